"""A head as a hospital would know it, and public ones in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fedspine.cohort.patient import Patient, Volume
from fedspine.phantom.brain.anatomy import draw_head, draw_view
from fedspine.phantom.brain.look import BRAIN_CONTRASTS, Tones, draw_clutter, draw_tones, shown
from fedspine.phantom.brain.tumour import draw_place, draw_tumour, pushed
from fedspine.phantom.genome import CLASSES

Streams = Mapping[str, np.random.Generator]
PARTS = ("build", "tumour", "scanner", "noise")
"""What is drawn from a stream of its own: the view and the head, the tumour, the tones of the contrasts, the rest, of
which every contrast has its own part: what is shown in FLAIR is the same whatever else is scanned."""


def draw_brain(
    streams: Streams, identifier: str, *, label: str, contrasts: tuple[str, ...], shape: tuple[int, int, int]
) -> Patient:
    """Return a head of this class: normal has no tumour, benign stands for low grade, malignant for high grade.

    Args:
        streams: one generator for each of `PARTS`.
        identifier: of the patient.
        label: one of `genome.CLASSES`.
        contrasts: those not in `look.BRAIN_CONTRASTS` are absent.
        shape: (slice, row, column); slices are spread evenly from the cerebellum to the crown.
    """
    build, growth = streams["build"], streams["tumour"]
    places, affine = draw_view(build, shape)
    place = None if label == "normal" else draw_place(growth, places[2, :, shape[1] // 2, shape[2] // 2])
    head = draw_head(build, places, affine, places if place is None else pushed(place, places))
    tumour = None if place is None else draw_tumour(growth, place, head, malignant=label == "malignant")
    clutter = draw_clutter(streams["noise"], head)
    own = dict(zip(BRAIN_CONTRASTS, streams["noise"].spawn(len(BRAIN_CONTRASTS)), strict=True))
    tones: dict[str, Tones] = {}
    volumes = {}
    for contrast in BRAIN_CONTRASTS:
        tones[contrast] = draw_tones(streams["scanner"], contrast, tones.get("T1"))
        if contrast in contrasts:
            voxels = shown(own[contrast], head, tumour, clutter, contrast, tones[contrast])
            volumes[contrast] = Volume(voxels, affine, contrast)
    inside = np.zeros(shape, np.uint8) if tumour is None else (tumour.share > 0.5).astype(np.uint8)
    return Patient(identifier, volumes, Volume(inside, affine, "other"), label)


def public_brains(
    count: int,
    seed: int,
    *,
    contrasts: tuple[str, ...],
    shape: tuple[int, int, int],
    structures: tuple[str, ...] = (),
) -> tuple[Patient, ...]:
    """Return `count` heads without omics, classes in turn.

    The mask is the tumour's; where `structures` are named and are not just the lesion, there is none.
    """
    wanted = tuple(dict.fromkeys(name.split()[0] for name in contrasts))
    brains = (
        draw_brain(
            {part: np.random.default_rng([seed, index, number, 5]) for number, part in enumerate(PARTS)},
            f"head-{index:04d}",
            label=CLASSES[index % len(CLASSES)],
            contrasts=wanted,
            shape=shape,
        )
        for index in range(count)
    )
    return tuple(brains) if structures in ((), ("lesion",)) else tuple(replace(one, mask=None) for one in brains)
