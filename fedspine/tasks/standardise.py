"""`standardise`: the scale that all hospitals share, of features and omics, intensities, and acquisition settings.

Phantoms give a public prior. Each patient's term holds, per column, its distance from the prior's mean in prior
deviations, and that squared; zero where the patient has no value, which leaves the prior where it is. The released sums
move the prior, the less the noisier they are.

A plan may ask for two more parts, each with a share of the term's norm: histograms of intensities per scanner, whose
quantiles are landmarks that map a scanner's scale to the shared one (`harmony.landmarks`), and the settings of every
contrast (`harmony.acquisition`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from fedspine.atlas.anchors import COUNT, phantoms, prior, rows_of
from fedspine.cohort.scanner import MOST_SCANNERS
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage, demand
from fedspine.harmony import acquisition
from fedspine.harmony.fields import roles
from fedspine.harmony.landmarks import BINS, histogram_term, landmarks
from fedspine.harmony.scaling import BOUND, standard
from fedspine.strict import build
from fedspine.tasks._task import Outcome, Shared, Site, need

SQUARE = 1 / 8
"""Weight of the squared distance within a term."""

SETTINGS = ("known", "first", "second")

MEASURES = ()


@dataclass(frozen=True)
class Options:
    """Settings of the stage: shares of a term's norm, 0 for none; the rest goes to features and omics.

    Args:
        landmarks: of histograms per scanner.
        acquisition: of acquisition settings.
    """

    landmarks: float = 0.0
    acquisition: float = 0.0


@dataclass(frozen=True, eq=False)
class Standardise:
    """The task; see `Measured` in `_task`.

    Args:
        mean, deviation: (column,) of the prior.
        contrasts: of the plan.
        options: of the stage.
        expected: (contrast, bin) the phantoms' histograms; empty where the stage asks for no landmarks.
    """

    mean: Tensor
    deviation: Tensor
    contrasts: tuple[str, ...]
    options: Options
    expected: Tensor = field(repr=False)

    @property
    def pools(self) -> bool:
        """Whether the total over sites is enough; landmarks need each scanner's own histogram."""
        return not self.options.landmarks

    @property
    def scale(self) -> float:
        """Divisor that brings the columns of a typical patient to norm 1 (a rare larger one is clipped)."""
        return math.sqrt(0.2 * max(len(self.mean), 1))

    @property
    def shares(self) -> dict[str, float]:
        """Return the share of each part, whose squares add up to 1."""
        parts = {"landmarks": self.options.landmarks, "acquisition": self.options.acquisition}
        return {"columns": math.sqrt(1 - sum(share**2 for share in parts.values())), **parts}

    @property
    def settings_scale(self) -> float:
        """Divisor of the settings of a typical patient, about half of whose columns are known."""
        return math.sqrt(2 * len(self.contrasts) * len(acquisition.ACQUISITION))

    def zeros(self) -> dict[str, Tensor]:
        """`first`, `second`: (column,); `histogram`: (scanner, contrast, bin); `settings`: (3, contrast, setting)."""
        parts = {key: torch.zeros(len(self.mean)) for key in ("first", "second")}
        if self.options.landmarks:
            parts["histogram"] = torch.zeros(MOST_SCANNERS, len(self.contrasts), BINS)
        if self.options.acquisition:
            parts["settings"] = torch.zeros(len(SETTINGS), len(self.contrasts), len(acquisition.ACQUISITION))
        return parts

    def term(self, patient: PatientTensors) -> dict[str, Tensor] | None:
        """Return this patient's parts, each times its share: a function of this patient and public values.

        A histogram has norm 1 at most by construction, in the row of the patient's scanner; columns and settings have
        about that, and what is longer is clipped.
        """
        values, known = rows_of(patient)
        z = standard(values, known, self.mean, self.deviation)
        term, shares = self.zeros(), self.shares
        columns = {"first": z / BOUND, "second": SQUARE * (z**2 - 1) * known}
        for key, part in columns.items():
            term[key] = shares["columns"] * part / self.scale
        if self.options.landmarks and patient.batch >= 0:
            term["histogram"][patient.batch] = shares["landmarks"] * histogram_term(patient.images, patient.present)
        if self.options.acquisition and patient.scanners:
            own = acquisition.term(*acquisition.acquisition_rows(patient.scanners))
            row = torch.from_numpy(np.stack([own[key] for key in SETTINGS])).float()
            term["settings"] = shares["acquisition"] * row / self.settings_scale
        return term

    def finish(self, sites: Mapping[str, Site], noise_sd: float) -> Outcome:
        """Return `mean` and `deviation`: the prior moved by noise-aware shrinkage; landmarks and settings if asked."""
        count = max(sum(site.patients for site in sites.values()), 1)
        total = {key: sum((site.sums[key] for site in sites.values()), zero) for key, zero in self.zeros().items()}
        scale = self.scale / self.shares["columns"]
        noise = noise_sd * math.sqrt(len(sites)) * scale
        shift = total["first"] * scale * BOUND / count
        shift = shift / (1 + (noise * BOUND / count) ** 2 + 1 / count)
        excess = total["second"] * scale / SQUARE / count
        excess = excess / (1 + (noise / SQUARE / count) ** 2 + 2 / count)
        variance = (1 + excess - shift**2).clamp(min=0.1)
        common = {"mean": self.mean + self.deviation * shift, "deviation": self.deviation * variance.sqrt()}
        if self.options.acquisition:
            common |= self._settings(total["settings"], noise_sd * math.sqrt(len(sites)))
        if not self.options.landmarks:
            return Outcome(common=common)
        rows = [
            site.sums["histogram"][number]
            for site in sites.values()
            for number in range(MOST_SCANNERS)
            if site.scanners[number] > 0
        ]
        if not rows:
            return Outcome(common=common)
        several = math.sqrt(len(rows))
        common["fixed"] = 1.0 - roles(self.contrasts)[0]
        common["target"] = landmarks(torch.stack(rows).sum(0), noise_sd * several, self.expected)
        own = {name: {"landmarks": self._landmarks(site, noise_sd, common["target"])} for name, site in sites.items()}
        return Outcome(common=common, own=own)

    def _landmarks(self, site: Site, noise_sd: float, target: Tensor) -> Tensor:
        """Return a site's landmarks, (scanner, contrast, quantile); the shared ones for a scanner nobody lay on."""
        found = []
        for number, patients in enumerate(site.scanners):
            counts = site.sums["histogram"][number]
            own = landmarks(counts, noise_sd, self.expected)
            # a contrast that its patients lack, or that noise drowns, tells nothing and is left as it is
            told = counts.sum(1) > max(2 * noise_sd * math.sqrt(BINS), 1e-9)
            found.append(torch.where(told[:, None], own, target) if patients > 0 else target)
        return torch.stack(found)

    def _settings(self, total: Tensor, noise_sd: float) -> dict[str, Tensor]:
        scale = self.settings_scale / self.shares["acquisition"]
        sums = dict(zip(SETTINGS, (total.double() * scale).numpy(), strict=True))
        found = acquisition.joint_scale(sums, dict.fromkeys(SETTINGS, noise_sd * scale))
        arrays = {"settings_mean": found.mean, "settings_deviation": found.deviation}
        return {key: torch.from_numpy(np.asarray(value)) for key, value in arrays.items()}


def public(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the phantoms' mean and deviation per column; for landmarks their mean histogram of every contrast too."""
    if not check(plan, stage).landmarks:
        return prior(plan)
    anchors = phantoms(plan, COUNT, purpose=0)
    histograms = torch.stack([histogram_term(one.images, one.present) for one in anchors])
    return {**prior(plan), "prior.histogram": histograms.mean(0)}


def check(plan: Plan, stage: Stage) -> Options:
    """Return the stage's options, or say which cannot be."""
    options = build(Options, dict(stage.options), f"options of stage '{stage.name}'")
    shares = (options.landmarks, options.acquisition)
    fits = min(shares) >= 0 and sum(share**2 for share in shares) < 1
    rule = f"landmarks and acquisition of stage '{stage.name}' must be 0 or more, their squares under 1 together"
    demand(fits, rule, ", ".join(map(str, shares)), "lower them")
    earlier = [one.task for one in plan.stage[: plan.stage.index(stage)]]
    first = not options.landmarks or "harmonise" not in earlier
    demand(first, f"stage '{stage.name}' must find landmarks before `harmonise`", "after it", "put it earlier")
    return options


def task(plan: Plan, stage: Stage, shared: Shared, model: nn.Module | None = None) -> Standardise:
    """Return the task of `stage`."""
    options = check(plan, stage)
    expected = need(shared, "prior.histogram") if options.landmarks else torch.zeros(0)
    return Standardise(
        need(shared, "prior.mean"), need(shared, "prior.deviation"), plan.data.contrasts, options, expected
    )
