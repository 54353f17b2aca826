"""What is audited: a finished run, the books of its sites, and the patients who were in it, where somebody has them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan
from fedspine.tasks._task import Shared


@dataclass(frozen=True, eq=False)
class SiteRecord:
    """One site of the run.

    Args:
        name: of the site.
        state: the folder with its `ledger.jsonl` and `egress.jsonl`.
        patients: fold (`config.TRAIN`, `config.HELD_OUT`) to patients as the stages saw them, on the plan's grid;
            empty where nobody has them at hand.
        own: values released for this site alone, such as its effects in harmonisation.
        folder: the site folder, where it is at hand: pseudonyms to look for, and the site's own policy.
    """

    name: str
    state: Path
    patients: Mapping[str, Sequence[PatientTensors]] = field(repr=False)
    own: Shared = field(default_factory=dict, repr=False)
    folder: Path | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Subject:
    """A run to audit.

    Args:
        run: its folder.
        plan: as run, noise solved for.
        shared: released and public values, by `stage.key`.
        models: stage to final weights.
        sites: in order of their names.
        simulated: whether all of it was played on one machine (then noise was seeded, and the ledger says so).
        seed: of everything random in the audit.
    """

    run: Path
    plan: Plan
    shared: Shared = field(repr=False)
    models: Mapping[str, Shared] = field(repr=False)
    sites: tuple[SiteRecord, ...]
    simulated: bool
    seed: int = 0

    @property
    def digest(self) -> str:
        """The digest by which the sites' books know the plan: of its text as run, whatever settings plans got since."""
        try:
            return hashlib.sha256((self.run / "plan.toml").read_bytes()).hexdigest()
        except FileNotFoundError:
            return self.plan.digest()
