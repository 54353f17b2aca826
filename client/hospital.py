"""What one hospital knows and keeps: its folder, policy, patients on the plan's grid, optimiser state, error log.

All of it lies on the hospital's disk: a deployed Flower starts a process per message, so nothing lives in memory only.
"""

from __future__ import annotations

import contextlib
import json
import os
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from client.approvals import Approvals
from client.roll import Protocols, read_roll, roll_of, write_roll
from fedspine.cohort.cache import first_writable
from fedspine.cohort.patient import Patient
from fedspine.cohort.prepared import Lazily, prepared
from fedspine.cohort.site import ROOM, load_cohort
from fedspine.cohort.split import split
from fedspine.config import Plan
from fedspine.errors import FedspineError, Refused, SeriesError
from fedspine.privacy.ledger import Ledger
from fedspine.site_file import Site, load_site

LONGEST_TEXT = 1000
"""Characters kept of an error's text, which may quote a plan that anybody sent."""

UNLIMITED = Site(
    allow_no_privacy=True,
    max_epsilon=float("inf"),
    max_delta=1.0,
    minimum_cohort=1,
    max_message_bytes=2**40,
    max_rounds_a_day=10**9,
    max_repeats=10**9,
)
"""The policy of a simulated site that has no `site.toml`."""


@dataclass(frozen=True)
class Enrolment:
    """Who takes part.

    Args:
        key_mark: tells the site's pseudonym key from any other one.
        sides: fold to patients on the plan's grid.
        scanners: training patients on each of the site's scanners, by number; public as their sum is.
        protocols: how each scanner is set.
    """

    key_mark: str
    sides: Mapping[str, Lazily]
    scanners: tuple[int, ...]
    protocols: tuple[Protocols, ...] = ()


@dataclass(frozen=True)
class Hospital:
    """One site as its client sees it.

    Args:
        folder: the site folder.
        state: where ledger, egress log and optimiser state lie.
        partition: the site's number in a simulation, else `None`.
    """

    folder: Path
    state: Path
    partition: int | None = None

    @property
    def name(self) -> str:
        """The site's name."""
        return self.folder.name

    @property
    def simulated(self) -> bool:
        """Whether this hospital is played on somebody's own machine."""
        return self.partition is not None

    @property
    def ledger(self) -> Ledger:
        """The site's privacy ledger."""
        return Ledger(self.state / "ledger.jsonl")

    @property
    def approvals(self) -> Approvals:
        """The site's record of plans."""
        return Approvals(self.state / "approvals.jsonl")

    @property
    def egress_log(self) -> Path:
        """The site's egress log."""
        return self.state / "egress.jsonl"

    def policy(self) -> Site:
        """Return `site.toml`; a simulation without one puts no limit of its own."""
        if self.simulated and not (self.folder / "site.toml").exists():
            return UNLIMITED
        return load_site(self.folder)

    def noise_seed(self, policy: Site, plan: Plan) -> int | None:
        """Return the seed of sampling and noise: `None`, the system's entropy, unless patients are played.

        They are in a simulation, and where `site.toml` says `rehearsal`. A plan's seed is known to the server, which
        could subtract noise drawn from it, so it counts only where server and hospital are played on one machine.
        """
        if policy.rehearsal and policy.seed is not None:
            return policy.seed
        return plan.seed if self.simulated else None

    def use_threads(self, policy: Site) -> None:
        """Set torch's threads for this process, as `site.toml` says."""
        torch.set_num_threads(policy.threads or os.cpu_count() or 1)

    def patients(self, plan: Plan) -> dict[str, Lazily]:
        """Return the patients of each fold on the plan's grid, each made when asked for.

        They are those who were enrolled, whatever became of them since: one who cannot be read any more is there with
        nothing to say (a zero term), one who is new waits for the next enrolment. So the number of patients, which is
        public and divides every mean, does not move when a file does.

        What was found is kept for the next message of the same plan, if this process gets one.

        Raises:
            Refused: when no place keeps the pseudonym key, for another start would divide the patients otherwise and
                the ledger's proof needs that nobody changes sides.
        """
        return dict(self._opened(plan).sides)

    def enrol(self, plan: Plan) -> Enrolment:
        """Write down who takes part from now on, by pseudonym, and on which scanners they lay."""
        return self._open(plan, enrolling=True)

    def protocols(self, plan: Plan) -> tuple[Protocols, ...]:
        """Return how each of the site's scanners is set, by number."""
        return self._opened(plan).protocols

    def division(self, plan: Plan) -> str:
        """Return what tells this division into folds from any other, for the ledger.

        A patient's fold follows from the plan's seed, the share held out and the pseudonym, so from the site's key too:
        under a new key a patient may change sides, and what was paid under the old one counts for everybody.
        """
        return f"{plan.seed}/{plan.data.held_out!r}/{self._opened(plan).key_mark}"

    def _opened(self, plan: Plan) -> Enrolment:
        key = (self.folder, self.state, plan.data, plan.seed)
        return _PREPARED[key] if key in _PREPARED else self._open(plan, enrolling=False)

    def _open(self, plan: Plan, *, enrolling: bool) -> Enrolment:
        keep = self._room()
        cache = None if keep is None or keep == self.folder / ROOM else keep / "volumes"
        cohort = load_cohort(self.folder, cache=cache, state=self.state)
        if not cohort.key_kept:
            raise Refused("pseudonyms-not-kept")
        roll = roll_of(split(cohort.patients, plan.seed, plan.data.held_out), plan.data)
        file = (
            None if keep is None else keep / "enrolled" / f"{cohort.key_mark}-{plan.seed}-{plan.data.held_out!r}.json"
        )
        if enrolling and file is not None:
            write_roll(file, roll)
        elif file is not None and file.exists():
            roll = read_roll(file, roll)
        if len(_PREPARED) >= MOST_PREPARED:
            del _PREPARED[next(iter(_PREPARED))]
        known = {one.identifier: one for one in cohort.patients}
        room = keep and keep / "prepared"
        sides = {
            fold: prepared(
                [known.get(one, Patient(one)) for one in members],
                cohort.omics_columns,
                plan.data,
                room,
                self._note_step,
                roll.scanners,
            )
            for fold, members in roll.folds.items()
        }
        opened = Enrolment(cohort.key_mark, sides, roll.patients, roll.protocols)
        _PREPARED[self.folder, self.state, plan.data, plan.seed] = opened
        return opened

    def _room(self) -> Path | None:
        """Return where pictures and pseudonyms may be kept: the site folder, or else the state folder; or `None`.

        A simulation's state lies in the run folder, which is passed around as a result: nothing of a patient goes in.
        """
        return first_writable(self.folder / ROOM, None if self.simulated else self.state / "cache")

    def _note_step(self, unmet: SeriesError) -> None:
        self.note_error("", "step-not-done", unmet)

    def optimiser_file(self, plan: Plan, stage: str) -> Path:
        """Return where the optimiser of a stage is kept between rounds."""
        return self.state / "optimiser" / f"{plan.digest()[:16]}-{stage}.pt"

    def own_file(self, plan: Plan, stage: str) -> Path:
        """Return where weights that never travel are kept between rounds."""
        return self.state / "own" / f"{plan.digest()[:16]}-{stage}.pt"

    def note_error(self, stage: str, code: str, error: BaseException) -> None:
        """Write down what went wrong, for the hospital alone: kind and place in the program, never a foreign text.

        The text of an exception from a library may quote a path or a header, so it is not kept; fedspine's own errors
        are made of rule, finding and remedy and are. Where nothing can be written, nothing is.
        """
        frames = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)][-6:]
        line: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "stage": stage,
            "code": code,
            "error": type(error).__name__,
            "frames": frames,
        }
        if isinstance(error, FedspineError):
            line["text"] = str(error)[:LONGEST_TEXT]
        with contextlib.suppress(OSError):
            self.state.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.state / "errors.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


MOST_PREPARED = 64
"""Sites (of a simulation) whose patients stay at hand in one process."""
_PREPARED: dict[tuple[Path, Path, Any, int], Enrolment] = {}
