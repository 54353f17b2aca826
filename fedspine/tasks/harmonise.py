"""`harmonise`: what each scanner does to the intensities of every contrast, by ComBat from private sums.

The first round releases the sums of ComBat, per scanner; patients' terms count for their own. A second one, if the
plan has it, releases the second moments of harmonised features within scanners: the harmonisation space, which is the
same at every site, are their principal axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedspine.atlas.anchors import prior
from fedspine.cohort.scanner import MOST_SCANNERS
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage, demand
from fedspine.harmony import settings
from fedspine.harmony.bounded import Bounds, Weights, batch_sums, bounded_term, in_units, on_public_scale
from fedspine.harmony.combat import BatchEffect, Pooled, batch_effect, pool
from fedspine.harmony.covariates import COVARIATES, covariate_row, scale_of
from fedspine.harmony.features import PER_CONTRAST, features, intensity_names
from fedspine.harmony.moments import BatchSums, from_parts, term, zeros
from fedspine.harmony.onboarding import LEAST_SCANNERS, fit_acquisition
from fedspine.strict import build
from fedspine.tasks._scanners import of_scanner
from fedspine.tasks._space import Space
from fedspine.tasks._task import Outcome, Shared, Site, frozen_values, need

MEASURES = ()
REPEATS = True
FREEZES = True

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Options:
    """Settings of the stage.

    Args:
        covariates: what of a person is kept, some of `COVARIATES`; each costs precision where there is noise. Never the
            diagnosis.
        lacking: weight of the release of how many patients lack a contrast or a mask, beside 1 of the first moments.
        axes: most dimensions of the harmonisation space, which the second round finds.
        settings: share of a patient's norm that goes to the scanner's settings, from which scanners never seen are
            told; 0 releases none.
    """

    covariates: tuple[str, ...] = ()
    lacking: float = 0.2
    axes: int = 8
    settings: float = 0.25


@dataclass(frozen=True)
class Harmonise:
    """The task; see `Measured` in `_task`. Features are body and lesion of every contrast, mean and deviation each.

    A patient's term is `bounded.bounded_term` in the row of the patient's scanner, zero in the others: of norm at most
    1, from that patient and public values. Without noise it is the exact `moments.term`.

    Args:
        names: of the features.
        options: of the stage.
        bounds: the public scale of terms.
        exact: whether the plan has no noise.
        frozen: what an earlier consortium shares, in the features' units; scanners that join get their own effect, and
            nobody else's harmonised features change.
    """

    names: tuple[str, ...]
    options: Options
    bounds: Bounds
    exact: bool
    frozen: Pooled | None = None

    def zeros(self) -> dict[str, Tensor]:
        """Return the parts of a term for every scanner of a site, (scanner, …) float64."""
        size, p = len(self.names), len(self.options.covariates)
        one = zeros(size, p) if self.exact else bounded_term(np.zeros(size), np.zeros(size), np.zeros(p), self.bounds)
        if self.options.settings:
            one["settings"] = np.zeros(settings.size(size // len(PER_CONTRAST)))
        return {part: torch.zeros(MOST_SCANNERS, *value.shape, dtype=torch.float64) for part, value in one.items()}

    def term(self, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return this patient's term."""
        if patient.batch < 0:
            return None
        values, known = (one[: len(self.names)].double().numpy() for one in features(patient))
        row = covariate_row(patient.person, self.options.covariates)
        if self.exact:  # about the public centre, where squares lose no digits
            own = term(self.bounds.standard(values), known, self.bounds.standard_covariates(row))
        else:
            own = bounded_term(values, known, row, self.bounds)
        share = self.options.settings
        if not self.exact:  # the squares of both shares add up to 1
            own = {part: math.sqrt(1 - share**2) * value for part, value in own.items()}
        if share:
            own["settings"] = share * settings.settings_term(patient.scanners)
        return of_scanner(self.zeros(), patient.batch, own)

    def finish(self, sites: Mapping[str, Site], noise_sd: float) -> Outcome:
        """Return what all scanners share, and the effect of each of a site's own."""
        batches = {
            (name, number): self._sums(site, number, noise_sd)
            for name, site in sites.items()
            for number in range(MOST_SCANNERS)
            if site.scanners[number] > 0
        }
        pooled = self._pooled(list(batches.values()))
        effects = {key: batch_effect(batch, pooled) for key, batch in batches.items()}
        common = in_units(pooled, self.bounds)
        chosen = [COVARIATES.index(name) for name in self.options.covariates]
        return Outcome(
            common={
                "alpha": _tensor(common.alpha),
                "beta": _tensor(common.beta),
                "sigma": _tensor(common.sigma),
                "covariates": torch.tensor(chosen, dtype=torch.float64),
                **self._model(sites, batches, pooled),
            },
            own={name: self._own(site, name, effects) for name, site in sites.items()},
            numbers={"harmonisation": self._numbers(sites, batches, pooled, effects)},
        )

    def _pooled(self, batches: Sequence[BatchSums]) -> Pooled:
        if self.frozen is not None:
            return on_public_scale(self.frozen, self.bounds)
        if batches:
            return pool(batches)
        size = len(self.names)
        return Pooled(np.zeros((len(self.options.covariates), size)), np.zeros(size), np.ones(size))

    def _sums(self, site: Site, number: int, noise_sd: float) -> BatchSums:
        released = {part: value[number].double().numpy() for part, value in site.sums.items() if part != "settings"}
        if self.exact:
            return from_parts(released)
        share = math.sqrt(1 - self.options.settings**2)
        released = {part: value / share for part, value in released.items()}
        return batch_sums(released, site.scanners[number], self.bounds, noise_sd / share)

    def _model(
        self, sites: Mapping[str, Site], batches: Mapping[tuple[str, int], BatchSums], pooled: Pooled
    ) -> dict[str, Tensor]:
        """Return what settings tell of scanners' effects, where there are scanners enough to learn it from."""
        if not self.options.settings or len(batches) < LEAST_SCANNERS:
            return {}
        rows = [
            settings.mean_settings(
                sites[name].sums["settings"][number].double().numpy() / self.options.settings,
                sites[name].scanners[number],
            )
            for name, number in batches
        ]
        return settings.packed(fit_acquisition(list(batches.values()), np.stack(rows), pooled))

    def _own(self, site: Site, name: str, effects: Mapping[tuple[str, int], BatchEffect]) -> dict[str, Tensor]:
        """Return a site's effects, (scanner, feature) each; a scanner that nobody lay on has none."""
        ones = np.ones(len(self.names))
        none = BatchEffect(0 * ones, ones, ones)
        own = [effects.get((name, number), none) for number in range(MOST_SCANNERS)]
        return {
            "gamma": _tensor(np.stack([effect.gamma for effect in own])),
            "delta": _tensor(np.stack([effect.delta for effect in own])),
            "variance": _tensor(np.stack([effect.gamma_variance for effect in own])),
            "patients": torch.tensor(site.scanners, dtype=torch.float64),
        }

    def _numbers(
        self,
        sites: Mapping[str, Site],
        batches: Mapping[tuple[str, int], BatchSums],
        pooled: Pooled,
        effects: Mapping[tuple[str, int], BatchEffect],
    ) -> dict[str, Any]:
        """Return where every scanner's mean lay, in pooled deviations, before and after; and the noise in it."""
        before, after, noise = {}, {}, {}
        for (name, number), batch in batches.items():
            several = sum(patients > 0 for patients in sites[name].scanners) > 1
            label = f"{name} · scanner {number + 1}" if several else name
            own, effect = batch_effect(batch, pooled, empirical_bayes=False), effects[name, number]
            before[label] = own.gamma.tolist()
            after[label] = ((own.gamma - effect.gamma) / np.sqrt(effect.delta)).tolist()
            spread = batch.noise.first / np.maximum(batch.known, 1.0) / pooled.sigma
            noise[label] = float(np.sqrt(np.mean(spread**2)))
        return {"features": list(self.names), "before": before, "after": after, "noise": noise}


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float64))


def public(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the phantoms' mean and deviation per column: the public scale of the terms."""
    return prior(plan)


def check(plan: Plan, stage: Stage) -> Options:
    """Return the stage's options, or say which cannot be."""
    where = f"of stage '{stage.name}'"
    options = build(Options, dict(stage.options), f"options {where}")
    strange = [name for name in options.covariates if name not in COVARIATES]
    rule = f"covariates {where} must be of a person, never a label"
    demand(not strange, rule, f"'{(strange or [''])[0]}'", f"use some of: {', '.join(COVARIATES)}")
    demand(0 <= options.settings < 1, f"settings {where} must lie in [0, 1)", options.settings, "mend the value")
    demand(options.lacking >= 0, f"lacking {where} must be 0 or more", options.lacking, "mend the value")
    demand(options.axes >= 1, f"axes {where} must be 1 or more", options.axes, "mend the value")
    demand(stage.rounds <= 2, f"rounds {where} must be 1, or 2 with the space", stage.rounds, "lower it")
    return options


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Harmonise | Space:
    """Return the task of `stage`: ComBat, or once that is known the harmonisation space."""
    options = check(plan, stage)
    names = intensity_names(plan.data.contrasts)
    size, exact = len(names), plan.privacy.mechanism == "none"
    if "harmonise.alpha" in shared:
        return Space(names, shared["harmonise.alpha"], shared["harmonise.sigma"], options.axes, exact)
    centre, spread = (need(shared, f"prior.{key}")[:size].double().numpy() for key in ("mean", "deviation"))
    bounds = Bounds(centre, spread, *scale_of(options.covariates), Weights(lacking=options.lacking))
    return Harmonise(names, options, bounds, exact, _frozen(shared, stage, options, size))


def _frozen(shared: Shared, stage: Stage, options: Options, size: int) -> Pooled | None:
    """Return what the file in `initial` holds, if the stage has one."""
    if not stage.initial:
        return None
    found = frozen_values(shared, stage, ("alpha", "beta", "sigma", "covariates"))
    alpha, beta, sigma, chosen = (value.double().numpy() for value in found)
    fits = len(alpha) == len(sigma) == size and tuple(COVARIATES[int(n)] for n in chosen) == options.covariates
    rule = f"initial of stage '{stage.name}' must be of a plan with the same contrasts and covariates"
    demand(fits, rule, "another's", "use models/harmonise.safetensors of that consortium's run")
    return Pooled(beta.reshape(-1, size), alpha, sigma)
