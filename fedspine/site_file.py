"""What never leaves a hospital: `site.toml`, its own policy. Strict TOML, as a plan is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fedspine.config import TASKS, demand, read_text
from fedspine.strict import build, parse


@dataclass(frozen=True)
class Site:
    """A hospital's own policy, `site.toml`; it has the last word and never travels.

    Args:
        tasks: what the hospital permits.
        allow_no_privacy: whether a plan with `mechanism = "none"` may run here.
        max_epsilon: the most that all releases together may cost a patient.
        max_delta: the largest delta at which epsilon may be stated.
        minimum_cohort: fewer patients than this and the hospital takes no part.
        seed: fixes noise and sampling; for tests only, the ledger says so.
        threads: torch threads; 0 means all cores. Networks for few patients are small, and on a machine that is shared,
            threads that wait for each other cost more than they bring.
        device: where networks of images train, `"cpu"`, `"cuda"` or one of several, `"cuda:1"`. What is measured is
            measured on the CPU.
    """

    tasks: tuple[str, ...] = TASKS
    allow_no_privacy: bool = False
    max_epsilon: float = 10.0
    max_delta: float = 1e-4
    minimum_cohort: int = 2
    seed: int | None = None
    threads: int = 1
    device: str = "cpu"


def load_site(folder: Path) -> Site:
    """Return the policy in `folder/site.toml`, or the default policy where there is none."""
    path = folder / "site.toml"
    if not path.exists():
        return Site()
    return _check_site(build(Site, parse(read_text(path, "site.toml"), "site.toml"), "site.toml"))


def _check_site(site: Site) -> Site:
    known = set(site.tasks) <= set(TASKS)
    demand(known, "tasks in site.toml must be known", "an unknown one", f"use: {', '.join(TASKS)}")
    demand(site.max_epsilon > 0, "max_epsilon in site.toml must be positive", site.max_epsilon, "mend it")
    demand(0 < site.max_delta < 1, "max_delta in site.toml must lie between 0 and 1", site.max_delta, "mend it")
    demand(site.minimum_cohort >= 1, "minimum_cohort in site.toml must be 1 or more", site.minimum_cohort, "mend it")
    known_device = re.fullmatch(r"cpu|cuda(:\d+)?", site.device) is not None
    demand(known_device, "device in site.toml must be cpu, cuda or cuda:NUMBER", f"'{site.device}'", "mend it")
    demand(site.threads >= 0, "threads in site.toml must be 0 or more", site.threads, "mend it")
    return site
