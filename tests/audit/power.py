"""How often each planted fault is found, over seeds: `python -m tests.audit.power [--seeds 10]` prints the table.

The suite plants each fault once; this says how sure that is. Half a minute a seed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
import torch

from fedspine.audit import canaries, noise, sampler, sensitivity
from fedspine.audit.line import Grade, Line
from fedspine.audit.subject import Subject
from fedspine.privacy.patient_sum import PatientSum
from tests.audit.conftest import fix_draws, made_subject, small_plan
from tests.audit.test_planted_faults import LINES, mixing, shuffled, slices_one_by_one, with_noise

Check = Callable[[Subject], Line]


def noise_times(factor: float) -> Callable[[pytest.MonkeyPatch], None]:
    """Return what plants noise of another size."""
    return lambda patch: patch.setattr(PatientSum, "release", with_noise(factor))


FAULTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], Sequence[Check]]] = {
    "noise off": (noise_times(0.0), (noise.noise, canaries.canary_epsilon)),
    "noise half": (noise_times(0.5), (noise.noise, canaries.canary_epsilon)),
    "noise 5 % low": (noise_times(0.95), (noise.noise, canaries.canary_epsilon)),
    "noise 2 % low": (noise_times(0.98), (noise.noise,)),
    "noise 1.5 % low": (noise_times(0.985), (noise.noise,)),
    "slices clipped one by one": (slices_one_by_one, (sensitivity.sensitivity,)),
    "a queue of earlier patients": (mixing, (sensitivity.sensitivity,)),
    "shuffled loader": (shuffled, (sampler.sampling,)),
    "nothing": (lambda patch: None, LINES),
}


def failures(plant: Callable[[pytest.MonkeyPatch], None], checks: Sequence[Check], seed: int) -> dict[str, int]:
    """Return 1 for each of `checks` that fails with the fault planted, else 0; the audit draws from `seed`."""
    with pytest.MonkeyPatch.context() as patch:
        fix_draws(patch, seed)
        plant(patch)
        subject = made_subject(small_plan(), 4, seed)
        return {line.check: int(line.grade is Grade.FAIL) for line in (check(subject) for check in checks)}


def main() -> None:
    """Print a row a fault: in how many seeds each check failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    print(f"| planted | found, of {seeds} |\n|---|---|")
    for name, (plant, checks) in FAULTS.items():
        found: Counter[str] = Counter()
        for seed in range(seeds):
            found.update(failures(plant, checks, seed))
        print(f"| {name} | {', '.join(f'{check}: {count}' for check, count in found.items())} |", flush=True)


if __name__ == "__main__":
    main()
