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
        max_epsilon_plan: the most that one plan's releases may cost; as much as `max_epsilon` if left out.
        min_noise_multiplier: no stage may have less noise than this.
        minimum_cohort: fewer patients than this and the hospital takes no part.
        plans: digests of plans that may run, beside those approved by `fedspine site approve`; with either, no other.
        approved_only: whether the first plan, too, must be approved before it runs.
        max_message_bytes: the largest message, either way.
        max_rounds_a_day: the most releases in any 24 hours.
        max_repeats: how many rounds of a plan may be asked for again, such as after a crash; each costs again.
        rehearsal: there are no patients here: phantoms stand for them, to try a federation out.
        seed: fixes noise and sampling, in a rehearsal only; ledger and report say so.
        threads: torch threads; 0 means all cores. Networks for few patients are small, and on a machine that is shared,
            threads that wait for each other cost more than they bring.
        device: where networks of images train, `"cpu"`, `"cuda"` or one of several, `"cuda:1"`. What is measured is
            measured on the CPU.
    """

    tasks: tuple[str, ...] = TASKS
    allow_no_privacy: bool = False
    max_epsilon: float = 10.0
    max_delta: float = 1e-4
    max_epsilon_plan: float | None = None
    min_noise_multiplier: float = 0.0
    minimum_cohort: int = 2
    plans: tuple[str, ...] = ()
    approved_only: bool = False
    max_message_bytes: int = 2**28
    max_rounds_a_day: int = 1000
    max_repeats: int = 3
    rehearsal: bool = False
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
    _check_limits(site)
    demand(site.minimum_cohort >= 1, "minimum_cohort in site.toml must be 1 or more", site.minimum_cohort, "mend it")
    known_device = re.fullmatch(r"cpu|cuda(:\d+)?", site.device) is not None
    demand(known_device, "device in site.toml must be cpu, cuda or cuda:NUMBER", f"'{site.device}'", "mend it")
    rule = "seed in site.toml must stand beside rehearsal = true, which says that no patients are here"
    demand(site.seed is None or site.rehearsal, rule, "a seed alone", "take the seed out")
    demand(site.threads >= 0, "threads in site.toml must be 0 or more", site.threads, "mend it")
    return site


def _check_limits(site: Site) -> None:
    cap, whole = site.max_epsilon_plan, all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in site.plans)
    demand(cap is None or cap > 0, "max_epsilon_plan in site.toml must be positive", cap, "mend it")
    floor = site.min_noise_multiplier
    demand(floor >= 0, "min_noise_multiplier in site.toml must be 0 or more", floor, "mend it")
    demand(whole, "plans in site.toml must be digests", "another text", "copy what fedspine site approve prints")
    for what, least in (("max_message_bytes", 1), ("max_rounds_a_day", 1), ("max_repeats", 0)):
        value = getattr(site, what)
        demand(value >= least, f"{what} in site.toml must be {least} or more", value, "mend it")
