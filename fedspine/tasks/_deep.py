"""What an earlier stage's network sees of a patient, as a few numbers: further inputs of SOCCE's image tower.

The network's coarsest map is averaged over the lesion and over the body, and told along a few public axes, in which two
examinations of one phantom agree best compared with how phantoms differ.

The privacy argument: the network's weights are what its own stage released, paid for there; centre and axes come from
phantoms under these weights. So a patient's numbers are a function of that patient and of released or public values
(post-processing), as measured features are, and whatever bounds a patient's term of `encode` bounds it as before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.cohort.tensors import PatientTensors
from fedspine.harmony.features import BODY
from fedspine.harmony.scaling import BOUND
from fedspine.networks.lesion_classifier import LesionClassifier
from fedspine.networks.unet import Unet
from fedspine.tasks._slices import arranged
from fedspine.tasks._task import load_weights, need
from fedspine.tasks.classify import Classify
from fedspine.tasks.segment import Segment

REGIONS = ("lesion", "body")
CERTAIN = 0.5
"""Probability from which a place counts as lesion where a network says so."""

RIDGE = 0.01
"""Share of the columns' mean variance that is added to what scanners do: no axis is to rest on chance agreement."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Network:
    """An earlier stage's task and its network, in evaluation mode."""

    task: Segment | Classify
    model: nn.Module

    def maps(self, patient: PatientTensors) -> Tensor:
        """Return the coarsest map (slice, width, row, column)."""
        if isinstance(self.task, Segment):
            options, unet = self.task.options, cast(Unet, self.model)
            images = arranged(patient, options.dimensions, planes=options.presence == "planes")
            found = unet.descended(images, patient.present)[-1]
            return found[0].transpose(0, 1) if options.dimensions == 3 else found
        return cast(LesionClassifier, self.model).coarsest(arranged(patient))

    def lesion(self, patient: PatientTensors) -> Tensor:
        """Return where the lesion is, (slice, 1, row, column) in {0, 1}: the patient's mask, or else the network's."""
        if patient.lesion is not None:
            return patient.lesion
        if isinstance(self.task, Segment):
            return self.task.segmented(self.model, patient).amax(1, keepdim=True)
        return (self.task.look(self.model, patient).heat.sigmoid() > CERTAIN).float()

    def seen(self, patient: PatientTensors) -> tuple[Tensor, Tensor]:
        """Return the map's mean over each of `REGIONS`, (region, width), and which of these are there, (region,)."""
        with torch.no_grad():
            maps = self.maps(patient)
            brightest = (patient.images * patient.present[:, None, None]).amax(1, keepdim=True)
            parts = [_averaged(maps, region) for region in (self.lesion(patient), (brightest > BODY).float())]
        there = [float(part is not None) for part in parts]
        means = [maps.new_zeros(maps.shape[1]) if part is None else part for part in parts]
        return torch.stack(means), torch.tensor(there)


def _averaged(maps: Tensor, region: Tensor) -> Tensor | None:
    """Return the maps' mean (width,) over a region (slice, 1, row, column) on a finer grid; `None` if it is empty."""
    share = F.adaptive_avg_pool2d(region, (maps.shape[2], maps.shape[3]))
    total = share.sum()
    return (maps * share).sum((0, 2, 3)) / total if bool(total > 0) else None


@dataclass(frozen=True, eq=False)
class Deep:
    """How a patient's numbers are read off a network.

    Args:
        network: released.
        centre: (region, width), of phantoms.
        axes: (region, axis, width): of phantoms, each with a deviation of 1 among them.
    """

    network: Network
    centre: Tensor
    axes: Tensor
    _known: WeakKeyDictionary[PatientTensors, Tensor] = field(default_factory=WeakKeyDictionary, repr=False)

    @property
    def inputs(self) -> int:
        """How many numbers a row has."""
        return 2 * self.axes.shape[0] * self.axes.shape[1]

    def row(self, patient: PatientTensors) -> Tensor:
        """Return (1, 2·region·axis): places along the axes, within ±`BOUND`, then which of them are known."""
        if patient not in self._known:
            self._known[patient] = self.told(*self.network.seen(patient)) if patient.has_image else self.nothing()
        return self._known[patient]

    def told(self, means: Tensor, there: Tensor) -> Tensor:
        """Return the row of means (region, width) that are `there` (region,)."""
        places = torch.einsum("raw,rw->ra", self.axes, means - self.centre).clamp(-BOUND, BOUND)
        known = there[:, None].expand_as(places)
        return torch.cat([(places * known).flatten(), known.flatten()])[None]

    def nothing(self) -> Tensor:
        """Return the row of somebody of whom nothing is known."""
        return torch.zeros(1, self.inputs)


def public_values(
    network: Network, first: Sequence[PatientTensors], second: Sequence[PatientTensors], axes: int
) -> dict[str, Tensor]:
    """Return what sites need to read a network: its weights, centre, axes; and the anchors' own rows.

    Args:
        network: released.
        first, second: the anchors as examined on two scanners; the same where there is one.
        axes: how many of each region.
    """
    every = [network.seen(one) for one in (*first, *second)]
    means, there = (torch.stack(parts) for parts in zip(*every, strict=True))
    known = (there > 0).numpy()
    found = [axes_of(means[:, region].double().numpy(), known[:, region], axes) for region in range(len(REGIONS))]
    centre, directions = (torch.from_numpy(np.stack(parts)).float() for parts in zip(*found, strict=True))
    reader = Deep(network, centre, directions)
    rows = torch.cat([reader.told(*one) for one in zip(means, there, strict=True)])
    weights = {f"weights.{key}": value.detach().clone() for key, value in network.model.state_dict().items()}
    return {**weights, "centre": centre, "axes": directions, "anchors": rows[: len(first)], "twins": rows[len(first) :]}


def axes_of(rows: Array, known: NDArray[np.bool_], count: int) -> tuple[Array, Array]:
    """Return centre (width,) and axes (axis, width) of those rows (2·anchor, width) that are known; half are twins.

    The axes are those of the largest ratio of the rows' variance to that of an anchor's two examinations (Fisher 1936,
    every anchor a class of its own); each has a deviation of 1 among the rows. Where there are fewer, zeros follow.
    """
    centre = rows[known].mean(0) if known.any() else np.zeros(rows.shape[1])
    axes = np.zeros((count, rows.shape[1]))
    half = len(rows) // 2
    pairs = known[:half] & known[half:]
    if pairs.sum() < 2:
        return centre, axes
    scale = rows[known].std(0) + 1e-6
    values = (rows - centre) / scale
    apart = (values[:half] - values[half:])[pairs]
    within = apart.T @ apart / (2 * pairs.sum())
    total = np.cov(values[known].T)
    within += RIDGE * np.trace(total) / len(total) * np.eye(len(total))
    lengths, turned = np.linalg.eigh(within)
    whiten = turned / np.sqrt(lengths) @ turned.T
    _, best = np.linalg.eigh(whiten @ total @ whiten)
    chosen = (whiten @ best[:, ::-1][:, :count]).T / scale
    spread = ((rows[known] - centre) @ chosen.T).std(0)
    axes[: len(chosen)] = chosen / np.maximum(spread, 1e-6)[:, None]
    return centre, axes


def reader(task: Segment | Classify, shared: Mapping[str, Tensor], prefix: str) -> Deep:
    """Return what reads a patient off the network that the public values `shared` hold under `prefix`."""
    with torch.random.fork_rng(devices=[]):
        model = task.build()
    begins = f"{prefix}weights."
    load_weights(model, {key.removeprefix(begins): value for key, value in shared.items() if key.startswith(begins)})
    return Deep(Network(task, model.eval()), need(shared, f"{prefix}centre"), need(shared, f"{prefix}axes"))
