"""What is audited: a finished run, the books of its sites, and the patients who were in it, where somebody has them."""

from __future__ import annotations

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
    """

    name: str
    state: Path
    patients: Mapping[str, Sequence[PatientTensors]] = field(repr=False)


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
