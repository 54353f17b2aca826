"""ComBat from sums, measured: parity, privacy's price, and scanners that join.

    python -m simulations.combat_study
    python -m simulations.combat_study --part noise --runs 20

Consortia are drawn from ComBat's own model, so that the truth is known: 4 scanners, one a site, whose patients differ
in age; every scanner has a location and a scale of its own for each feature. The label that a model would predict
differs in prevalence, and is *not* among the covariates. For the price of noise each site makes one release; publicly
known are the features' centres, half a spread off, and one spread for all of them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fedspine.harmony import moments
from fedspine.harmony.bounded import Bounds, batch_sums, bounded_term, in_units
from fedspine.harmony.combat import Pooled, adjust, batch_effect, pool
from fedspine.harmony.moments import Array, BatchSums
from fedspine.harmony.onboarding import fit_acquisition, joined, predict_effect
from fedspine.privacy.accounting import Event, epsilon_rdp
from fedspine.privacy.patient_sum import PatientSum, noise_generator

DATA = Path(__file__).parent.parent / "tests" / "data"
DELTA = 1e-5
EPSILONS = (8.0, 3.0, 1.0)
JOINING = (1, 5, 10, 15, 20, 40)
REFERENCE = {
    "adjusted": (True, False),
    "unadjusted": (True, False),
    "adjusted_noeb": (False, False),
    "adjusted_meanonly": (True, True),
}
"""Files of the reference outputs: with empirical Bayes or not, mean only or not."""


@dataclass(frozen=True, eq=False)
class Consortium:
    """Patients of several scanners whose truth is known.

    Args:
        values: (patient, feature) as measured.
        clean: (patient, feature) as a scanner without effect would measure them.
        scanner: (patient,).
        covariates: (patient, 2) age in years, sex.
        centre: (feature,) of the population.
    """

    values: Array = field(repr=False)
    clean: Array = field(repr=False)
    scanner: NDArray[np.int64] = field(repr=False)
    covariates: Array = field(repr=False)
    centre: Array = field(repr=False)

    def sums(self, scanner: int, most: int | None = None) -> BatchSums:
        """Return the exact sums of a scanner's patients, of the first `most` of them."""
        own = np.flatnonzero(self.scanner == scanner)[:most]
        return moments.sums(self.values[own], self.covariates[own])


def draw(seed: int, patients: tuple[int, ...], features: int, gamma: Array | None = None) -> Consortium:
    """Draw a consortium with so many `patients` a scanner; `gamma` (scanner, feature) sets the locations."""
    random = np.random.default_rng(seed)
    scanners, total = len(patients), sum(patients)
    scanner = np.repeat(np.arange(scanners), patients)
    age = random.normal(55 + 4 * (scanner % 4), 12, total)
    sex = random.integers(0, 2, total).astype(np.float64)
    label = (random.random(total) < 0.3 + 0.1 * (scanner % 4)).astype(np.float64)
    alpha = random.normal(10, 3, features)
    slopes = [random.normal(0, spread, features) for spread in (0.03, 0.4, 0.3)]
    sigma = random.uniform(0.6, 1.4, features)
    own = random.normal(0, 1.5, (scanners, 1)) + random.normal(0, 0.8, (scanners, features))
    delta = random.gamma(8, 1 / 8, (scanners, features)) * random.uniform(0.6, 1.6, (scanners, 1))
    rest = random.normal(0, 1, (total, features))
    person = alpha + sum(np.outer(c, b) for c, b in zip((age, sex, label), slopes, strict=True))
    location = own if gamma is None else gamma
    values = person + sigma * (location[scanner] + np.sqrt(delta[scanner]) * rest)
    centre = alpha + 61 * slopes[0] + 0.5 * slopes[1] + 0.45 * slopes[2]
    return Consortium(values, person + sigma * rest, scanner, np.column_stack([age, sex]), centre)


@lru_cache
def noise_multiplier(epsilon: float) -> float:
    """Return σ of one Gaussian release that costs `epsilon` at `DELTA`."""
    low, high = 0.05, 100.0
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if epsilon_rdp([Event(middle)], DELTA) > epsilon else (low, middle)
    return high


def harmonise(consortium: Consortium, batches: list[BatchSums], pooled: Pooled, own: Pooled | None = None) -> Array:
    """Return all patients' harmonised features; `own` is `pooled` in the features' units, if those differ."""
    result = np.empty_like(consortium.values)
    for scanner, batch in enumerate(batches):
        here = consortium.scanner == scanner
        effect = batch_effect(batch, pooled)
        result[here] = adjust(consortium.values[here], consortium.covariates[here], own or pooled, effect)
    return result


def harmonise_privately(consortium: Consortium, epsilon: float, seed: int) -> Array:
    """Return all patients' harmonised features from one noisy release a site."""
    random = np.random.default_rng(seed)
    features = consortium.values.shape[1]
    centre = consortium.centre + 0.5 * random.standard_normal(features)
    bounds = Bounds(centre, np.ones(features), np.array([60.0, 0.5]), np.array([12.0, 0.5]))
    noise = noise_multiplier(epsilon)
    batches = [_released(consortium, scanner, bounds, noise, seed) for scanner in np.unique(consortium.scanner)]
    pooled = pool(batches)
    return harmonise(consortium, batches, pooled, in_units(pooled, bounds))


def _released(consortium: Consortium, scanner: int, bounds: Bounds, noise: float, seed: int) -> BatchSums:
    here = consortium.scanner == scanner
    known = np.ones(consortium.values.shape[1])
    terms = [
        bounded_term(values, known, covariates, bounds)
        for values, covariates in zip(consortium.values[here], consortium.covariates[here], strict=True)
    ]
    total = PatientSum([torch.from_numpy(part) for part in terms[0].values()], clip=1.0)
    for term in terms:
        total.add([torch.from_numpy(part) for part in term.values()])
    parts = total.release(noise, noise_generator(seed, "combat", int(scanner)))
    released = {part: tensor.numpy() for part, tensor in zip(terms[0], parts, strict=True)}
    return batch_sums(released, len(terms), bounds, noise)


def rms(values: Array) -> float:
    """Return the root mean square of all entries."""
    return float(np.sqrt(np.mean(values**2)))


def parity() -> str:
    """Return the table of largest differences from the reference implementation."""
    data = np.load(DATA / "combat_fixture.npz")
    rows, scanner = data["Y"], data["batch"].astype(int)
    covariates = data["cov"][:, [2, 3, 1]].astype(np.float64)
    covariates[:, 2] = covariates[:, 2].astype(np.float32)  # the reference rounds continuous covariates
    batches = [moments.sums(rows[scanner == b], covariates[scanner == b]) for b in range(4)]
    pooled = pool(batches)
    effects = [batch_effect(batch, pooled) for batch in batches]
    found = np.concatenate([adjust(rows[scanner == b], covariates[scanner == b], pooled, effects[b]) for b in range(4)])
    differences = {
        "simulated: features": found - data["harmonised"],
        "simulated: gamma": np.stack([effect.gamma for effect in effects]) - data["gamma_star"],
        "simulated: delta": np.stack([effect.delta for effect in effects]) - data["delta_star"],
        "simulated: variance": pooled.sigma**2 - data["var_pooled"],
    }
    for name in REFERENCE:
        differences[f"reference: {name}"] = reference_outputs(name) - _read(f"expected_parametric_{name}.csv")
    return _table(("parity", "largest difference"), [(n, f"{np.abs(d).max():.1e}") for n, d in differences.items()])


def reference_outputs(name: str) -> Array:
    """Return (patient, feature) of the reference data: five patients of either batch, gender 1, 2, 1, 2, …"""
    rows = _read("input.csv", skip=1)
    covariates = np.tile([1.0, 2.0], 5)[:, None][:, : 0 if name == "unadjusted" else 1]
    halves = [slice(0, 5), slice(5, 10)]
    batches = [moments.sums(rows[half], covariates[half]) for half in halves]
    pooled, (bayes, mean_only) = pool(batches), REFERENCE[name]
    effects = [batch_effect(batch, pooled, empirical_bayes=bayes, mean_only=mean_only) for batch in batches]
    parts = zip(halves, effects, strict=True)
    return np.concatenate([adjust(rows[half], covariates[half], pooled, effect) for half, effect in parts])


def noise(runs: int) -> str:
    """Return the table of privacy's price: 4 sites of 100 patients, one release each."""
    rows = []
    for features in (10, 40):
        for epsilon in EPSILONS:
            found = np.array([price(seed, features, epsilon) for seed in range(runs)])
            share = found[:, 0] / found[:, 1]
            figures = (*found.mean(0), share.mean(), share.max())
            rows.append((str(features), f"{epsilon:g}", *(f"{figure:.2f}" for figure in figures)))
    return _table(("features", "epsilon", "distance", "removed effect", "share", "worst run"), rows)


def price(seed: int, features: int, epsilon: float) -> tuple[float, float]:
    """Return the RMS distance of private to noiseless harmonised features, and the RMS of the removed effect."""
    consortium = draw(seed, (100,) * 4, features)
    batches = [consortium.sums(scanner) for scanner in range(4)]
    noiseless = harmonise(consortium, batches, pool(batches))
    private = harmonise_privately(consortium, epsilon, seed)
    return rms(private - noiseless), rms(consortium.values - noiseless)


def joining(runs: int, features: int = 40) -> str:
    """Return the table of a new scanner's error by the number of its patients, on 100 others of it."""
    found = np.array([[late(seed, count, features) for count in (0, *JOINING)] for seed in range(runs)]).mean(0)
    rows = [(str(n), f"{one:.3f}") for n, one in zip((0, *JOINING), found, strict=True)]
    return _table(("patients of a new scanner", "RMS error"), rows)


def late(seed: int, count: int, features: int) -> float:
    """Return the RMS error on held-out patients of a scanner that joined with `count`; 0 leaves them as measured."""
    consortium = draw(seed, (60, 45, 80, 140), features)
    batches = [consortium.sums(scanner) for scanner in range(3)]
    pooled = pool(batches)
    old = consortium.scanner < 3
    shift = consortium.clean[old].mean(0) - harmonise(consortium, batches, pooled)[old].mean(0)
    held = np.flatnonzero(consortium.scanner == 3)[40:]
    effect = joined(consortium.sums(3, count), pooled)
    found = adjust(consortium.values[held], consortium.covariates[held], pooled, effect)
    return rms(found + shift - consortium.clean[held])


def settings(seed: int, scanners: int) -> Array:
    """Draw the settings of scanners (scanner, 6): field in tesla, log TE, log TR, and three kinds of coil."""
    random = np.random.default_rng(seed)
    field_tesla = random.choice([1.5, 3.0], scanners)
    times = np.column_stack([random.normal(4.5, 0.2, scanners), random.normal(8.2, 0.25, scanners)])
    return np.column_stack([field_tesla, times, np.eye(3)[random.integers(0, 3, scanners)]])


def unseen(runs: int, scanners: int = 12, features: int = 20) -> str:
    """Return the table of leaving one scanner out, where acquisition matters: RMS error of γ, and coverage."""
    found = np.concatenate([left_out(seed, scanners, features) for seed in range(runs)])
    names = ("no effect", "acquisition alone", "5 patients", "5 patients and acquisition")
    rows = [
        (name, f"{math.sqrt(found[:, 2 * i].mean()):.3f}", f"{found[:, 2 * i + 1].mean():.2f}")
        for i, name in enumerate(names)
    ]
    return _table(("scanner left out", "RMS error of gamma", "in the 90 % interval"), rows)


def left_out(seed: int, scanners: int, features: int) -> Array:
    """Return per scanner (scanner, 8): squared error of γ and 90 % coverage of each way to know it."""
    random = np.random.default_rng(seed + 1000)
    acquisitions = settings(seed, scanners)
    scaled = (acquisitions - acquisitions.mean(0)) / np.maximum(acquisitions.std(0), 1e-9)
    gamma = scaled @ random.normal(0, 0.5, (6, features)) + random.normal(0, 0.3, (scanners, features))
    consortium = draw(seed, (40,) * scanners, features, gamma)
    everyone = [consortium.sums(scanner) for scanner in range(scanners)]
    clean = pool([moments.sums(consortium.clean, consortium.covariates)])
    rows = []
    for out in range(scanners):
        others = np.flatnonzero(np.arange(scanners) != out)
        batches = [everyone[scanner] for scanner in others]
        pooled = pool(batches)
        # in the unit and about the origin that the others set
        truth = (gamma[out] - gamma[others].mean(0)) * clean.sigma / pooled.sigma
        model = fit_acquisition(batches, acquisitions[others], pooled)
        few = consortium.sums(out, 5)
        prior, own = predict_effect(model, acquisitions[out]), joined(few, pooled)
        both = joined(few, pooled, model, acquisitions[out])
        ways = [
            (np.zeros(features), np.ones(features)),
            (prior.mean, prior.variance),
            (own.gamma, own.gamma_variance),
            (both.gamma, both.gamma_variance),
        ]
        rows.append([figure for mean, variance in ways for figure in _judged(mean, variance, truth)])
    return np.array(rows)


def _judged(mean: Array, variance: Array, truth: Array) -> tuple[float, float]:
    inside = np.abs(mean - truth) <= 1.645 * np.sqrt(variance)
    return float(np.mean((mean - truth) ** 2)), float(inside.mean())


def _read(name: str, skip: int = 0) -> Array:
    return np.loadtxt(DATA / "combat_reference" / name, delimiter=",", skiprows=skip).T


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("parity", "noise", "joining", "unseen"))
    parser.add_argument("--runs", type=int, default=10, help="consortia drawn for each figure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts: dict[str, Callable[[], str]] = {
        "parity": parity,
        "noise": lambda: noise(options.runs),
        "joining": lambda: joining(options.runs),
        "unseen": lambda: unseen(options.runs),
    }
    for name, table in parts.items():
        if options.part in (None, name):
            print(table(), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
