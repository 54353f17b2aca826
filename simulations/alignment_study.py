"""`python -m simulations.alignment_study`: are aligned images those of the same people on the reference scanner?

Every hospital scanner sees patients of its own and releases one sum over them. Its alignment is tried on phantoms that
nobody trained on, scanned on that scanner and, as the truth, on the reference scanner. A table shows the mean absolute
difference over the body's pixels before and after; another how often 90 % intervals hold the truth.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedspine.atlas.rescanned import rescanned, scanner_name
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import DataPlan, Plan
from fedspine.harmony.alignment import Public, align, alignment_of, named, public_centre, public_material
from fedspine.harmony.certainty import REGIONS, deviations, evidence, interval, region_means, reliability
from fedspine.harmony.features import BODY
from fedspine.harmony.fields import roles
from fedspine.harmony.landmarks import aligned, histogram_term, landmarks
from fedspine.harmony.saliency import saliency
from fedspine.harmony.scanner_sum import centred_term, pooled
from fedspine.harmony.twin import public_people, scans
from fedspine.phantom.genome import CLASSES
from fedspine.phantom.scanner import CONTRASTS, SCANNERS, ScannerModel

TRIED = 30
"""Phantoms that alignments are tried on."""
PURPOSE = 31


@dataclass(frozen=True)
class Tried:
    """What one scanner's alignment did; all (phantom, …) on the phantoms tried.

    Args:
        errors: by kind of alignment, (phantom, contrast).
        held: whether the interval held the truth, (phantom, region, contrast); NaN without a lesion.
        deviations: predicted, (phantom, region, contrast).
        scores: saliency, (phantom,); labels: their class.
    """

    errors: Mapping[str, Tensor]
    held: Tensor
    deviations: Tensor
    scores: Tensor


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m simulations.alignment_study", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--patients", type=int, default=40, help="patients of each scanner's sum")
    parser.add_argument("--reference", type=int, default=0, help=f"0 to {len(SCANNERS) - 1}")
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation on each entry of a released sum")
    parser.add_argument("--unseen", action="store_true", help="scanners of which only the settings are known")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = DataPlan(contrasts=CONTRASTS, classes=CLASSES)
    found: dict[int, list[Tried]] = {}
    begun = time.perf_counter()
    for seed in given.seeds:
        public = public_material(data, SCANNERS[given.reference], 1000 * seed + 7)
        people = rescanned(Plan("alignment", seed, data), TRIED, PURPOSE)
        for index in range(len(SCANNERS)):
            if index != given.reference:
                patients = patients_of(index, seed, given.patients, data)
                arrays = arrays_of(index, seed, [] if given.unseen else patients, public, given.noise)
                nyul = landmarks_of(patients, public)
                found.setdefault(index, []).append(tried(people[index], people[given.reference], arrays, nyul))
    print_errors(found)
    print_certainty([one for runs in found.values() for one in runs])
    print_saliency([one for runs in found.values() for one in runs])
    print(f"{time.perf_counter() - begun:.0f} s")


def patients_of(index: int, seed: int, count: int, data: DataPlan) -> list[PatientTensors]:
    """Return the patients of one scanner: nobody else is scanned there, and they nowhere else."""
    return scans(public_people(data, count, 100_000 * (index + 1) + seed), SCANNERS[index], data)


def arrays_of(
    index: int, seed: int, patients: Sequence[PatientTensors], public: Public, noise_sd: float
) -> dict[str, Tensor]:
    """Return one scanner's alignment, learned from the sum over its patients."""
    scanner = SCANNERS[index]
    total: dict[str, Tensor] = {}
    if patients:
        part = roles(public.data.contrasts)
        centre = public_centre(public)
        exact = pooled([centred_term(p.images, p.present, part, centre) for p in patients])
        random = torch.Generator().manual_seed(seed)
        total = {k: v + noise_sd * torch.randn(v.shape, generator=random) for k, v in exact.items()}
    return alignment_of(total, len(patients), scanner.protocols, scanner.field_tesla, public, noise_sd)


def landmarks_of(patients: Sequence[PatientTensors], public: Public) -> dict[str, Tensor]:
    """Return landmarks alone (Nyul 2000) from the same patients, for comparison."""
    source = torch.stack([histogram_term(p.images, p.present) for p in patients]).sum(0)
    every = torch.ones(len(public.data.contrasts))
    target = torch.stack([histogram_term(images, every) for images in public.seen_fitted]).sum(0)
    fixed = 1.0 - roles(public.data.contrasts)[0]
    return {"source": landmarks(source), "target": landmarks(target), "fixed": fixed}


def difference(images: Tensor, truth: Tensor) -> Tensor:
    """Return the mean absolute difference over the body's pixels of the truth, (contrast,)."""
    body = (truth > BODY).float()
    return ((images - truth).abs() * body).sum((0, 2, 3)) / body.sum((0, 2, 3)).clamp(min=1.0)


def tried(
    seen: Sequence[PatientTensors],
    truths: Sequence[PatientTensors],
    arrays: Mapping[str, Tensor],
    nyul: dict[str, Tensor],
) -> Tried:
    """Align each phantom and compare it with the truth."""
    errors: dict[str, list[Tensor]] = {"unaligned": [], "landmarks alone": [], "aligned": []}
    held: list[Tensor] = []
    spread: list[Tensor] = []
    scores: list[Tensor] = []
    model = named(arrays, "certainty")
    for one, truth in zip(seen, truths, strict=True):
        moved = align(one.images, one.present, arrays)
        shown = (one.images, aligned(one.images, one.present, nyul), moved)
        for name, images in zip(errors, shown, strict=True):
            errors[name].append(difference(images, truth.images))
        told = evidence(one.images, moved, one.lesion)
        low, high = interval(region_means(moved, one.lesion), told, model)
        wanted = region_means(truth.images, one.lesion)
        within = ((wanted >= low) & (wanted <= high)).float()
        held.append(torch.where(torch.isfinite(wanted), within, torch.nan))
        spread.append(torch.where(torch.isfinite(wanted), deviations(told, model), torch.nan))
        sure = reliability(deviations(told, model), model)[1]
        mask = one.lesion if one.lesion is not None and bool(one.lesion.any()) else elsewhere(one, len(scores))
        scores.append(saliency(moved, one.present, mask, sure))
    return Tried(
        {name: torch.stack(rows) for name, rows in errors.items()},
        torch.stack(held),
        torch.stack(spread),
        torch.stack(scores),
    )


def elsewhere(patient: PatientTensors, seed: int) -> Tensor:
    """Return a disc somewhere about the spine of a person without a lesion, (slice, 1, row, column)."""
    slices, _, height, width = patient.images.shape
    random = torch.Generator().manual_seed(seed)
    part = torch.rand(4, generator=random)
    row, column = (0.25 + 0.5 * part[0]) * height, (0.48 + 0.2 * part[1]) * width
    radius = (0.03 + 0.05 * part[2]) * width
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None, :]
    disc = ((rows - row) ** 2 + (columns - column) ** 2 <= radius**2).float()
    mask = torch.zeros(slices, 1, height, width)
    middle = slices // 2
    mask[max(0, middle - 1) : middle + 1, 0] = disc
    return mask


def print_errors(found: Mapping[int, Sequence[Tried]]) -> None:
    """Print errors by scanner and contrast, and how far they are cut."""
    print(
        f"\nmean absolute difference over the body\n{'':42}" + "".join(f"{c:>8}" for c in (*CONTRASTS, "mean", "cut"))
    )
    names = tuple(next(iter(found.values()))[0].errors)
    every: dict[str, list[Tensor]] = {name: [] for name in names}
    for index, runs in found.items():
        for name in names:
            every[name].append(torch.cat([run.errors[name] for run in runs]).mean(0))
            _print_row(f"{_name(SCANNERS[index]):24}{name:18}", every[name][-1], every[names[0]][-1])
    for name in names:
        mean, before = (torch.stack(every[n]).mean(0) for n in (name, names[0]))
        _print_row(f"{'all scanners':24}{name:18}", mean, before)
        if name == "aligned":
            cuts = "".join(f"{1 - float(a / b):8.0%}" for a, b in zip(mean, before, strict=True))
            print(f"{'':24}{'cut by contrast':18}{cuts}")


def _name(scanner: ScannerModel) -> str:
    return scanner_name(scanner)


def _print_row(label: str, values: Tensor, before: Tensor) -> None:
    numbers = "".join(f"{value:8.3f}" for value in values.tolist())
    print(f"{label}{numbers}{float(values.mean()):8.4f}{1 - float(values.mean() / before.mean()):8.1%}")


def print_certainty(runs: Sequence[Tried]) -> None:
    """Print how often intervals held the truth, and the mean predicted deviation."""
    print(f"\n90 % intervals{'':28}" + "".join(f"{c:>8}" for c in (*CONTRASTS, "mean")))
    held = torch.cat([run.held for run in runs])
    spread = torch.cat([run.deviations for run in runs])
    for index, region in enumerate(REGIONS):
        for what, values in (("held the truth", held[:, index]), ("predicted deviation", spread[:, index])):
            row = values.nanmean(0)
            numbers = "".join(f"{value:8.3f}" for value in (*row.tolist(), float(row.mean())))
            print(f"{region:24}{what:18}{numbers[1:] if len(what) > 18 else numbers}")


def print_saliency(runs: Sequence[Tried]) -> None:
    """Print saliency of tumours and of discs in people without one, and how well it tells them apart."""
    scores = torch.stack([run.scores for run in runs])  # (run, phantom), classes in turn
    normal = scores[:, 0 :: len(CLASSES)].flatten()
    tumour = torch.cat([scores[:, k :: len(CLASSES)].flatten() for k in range(1, len(CLASSES))])
    above = (tumour[:, None] > normal[None, :]).float().mean()
    print(f"\nsaliency: tumours {tumour.mean():.3f}, discs in others {normal.mean():.3f}, AUC {above:.3f}")


if __name__ == "__main__":
    main()
