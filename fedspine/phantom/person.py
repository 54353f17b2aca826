"""The causal graph of a phantom: every node, its direct causes, and the function that draws it.

    genome ─▸ tissue, expression, hazard, growth        never from a hospital
    hospital ─▸ case mix, scanner ─▸ image               the scanner reaches the image alone
    months ─▸ size of the lesions, position of the patient

`as_text(GRAPH)` prints all of it; `docs/explanation/phantom.md` shows that text, and a test keeps them the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.patient import Volume
from fedspine.phantom import genome, hospital, lesion, levels, outcome, tissue
from fedspine.phantom.acquisition import Subject, acquire
from fedspine.phantom.anatomy import Anatomy, Frame, draw_age, draw_anatomy, frame_of
from fedspine.phantom.bones import column_of, paint_arches, paint_bodies
from fedspine.phantom.canal import paint_canal
from fedspine.phantom.clutter import GRAINS, Clutter, draw_clutter, field
from fedspine.phantom.graph import Node, checked
from fedspine.phantom.grid import block_sum
from fedspine.phantom.implant import Implant, draw_implant, paint_implant
from fedspine.phantom.lesion import Lesion, lesion_mask, paint_lesion
from fedspine.phantom.scanner import CONTRASTS, ScannerModel
from fedspine.phantom.soft import paint_surroundings
from fedspine.phantom.tumour import TumourType
from fedspine.phantom.view import View, draw_view
from fedspine.phantom.wear import Wear, draw_wear

_FULL = 8.0


@dataclass(frozen=True)
class Request:
    """What an examination was asked for; no cause of anything in the person.

    Args:
        shape: (slice, row, column) of the image.
        levels: first and last level that may lie in its middle, as indices into `levels.LEVELS`.
        contrasts: in order.
        field_mm: side of the field of view; `None` for what is usual in the region.
    """

    shape: tuple[int, int, int] = (12, 128, 128)
    levels: tuple[int, int] = levels.parse_levels(levels.EVERY_LEVEL)
    contrasts: tuple[str, ...] = CONTRASTS
    field_mm: float | None = None


def draw_level(stream: np.random.Generator, *, request: Request, tumour: TumourType | None) -> int:
    """Draw the level that is imaged, where the tumour is: the request's, as far as its kind grows there."""
    first, last = request.levels
    wanted = np.zeros(levels.COUNT)
    wanted[first : last + 1] = 1.0
    if tumour is None:
        low, high, favours = levels.C1 + 2, levels.L5, (0.25, 0.40, 0.35)
    else:
        low, high = (levels.LEVELS.index(name) for name in tumour.levels)
        favours = tumour.favours
    weights = np.zeros(levels.COUNT)
    for region, favour in zip(levels.REGIONS, favours, strict=True):
        inside = np.arange(max(low, region.first), min(high, region.last) + 1)
        weights[inside] = favour / max(len(inside), 1)
    if not (weights * wanted).any():  # the kind does not grow where the request looks: it is found all the same
        weights = np.ones(levels.COUNT)
    chances = weights * wanted
    return int(stream.choice(levels.COUNT, p=chances / chances.sum()))


def view_of(stream: np.random.Generator, *, request: Request, level: int, months: float) -> View:
    """Draw how the patient lies in the scanner."""
    return draw_view(stream, shape=request.shape, level=level, months=months, field_mm=request.field_mm)


def frame(_: np.random.Generator, *, anatomy: Anatomy, view: View) -> Frame:
    """Return the view's grid in the spine's own coordinates."""
    return frame_of(anatomy, view)


def paint(
    stream: np.random.Generator,
    *,
    anatomy: Anatomy,
    wear: Wear,
    implant: Implant | None,
    clutter: Clutter,
    size: tuple[Lesion, ...],
    view: View,
    frame: Frame,
) -> NDArray[np.uint8]:
    """Return the tissue map, uint8 (slice, row, column) on a grid twice as fine as the image's."""
    tissues = np.empty((frame.lateral_mm.shape[0], *frame.ap_mm.shape), dtype=np.uint8)
    column = column_of(anatomy, frame, wear)
    paint_surroundings(tissues, anatomy, frame, view, clutter)
    paint_bodies(tissues, anatomy, frame, wear, column)
    paint_arches(tissues, anatomy, frame, wear, column)
    paint_canal(tissues, anatomy, frame, wear, column, view.level)
    for one in size:
        paint_lesion(tissues, frame, one, stream)
    if implant is not None:
        paint_implant(tissues, anatomy, frame, implant)
    return tissues


def mask(_: np.random.Generator, *, tissues: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the lesion mask on the image's grid."""
    return lesion_mask(tissues)


def unevenness(
    stream: np.random.Generator,
    *,
    clutter: Clutter,
    frame: Frame,
    tissues: NDArray[np.uint8],
    table: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return the unevenness of proton density, float32 (slice, row, column), 1 on average in every tissue."""
    grain, streak = (
        block_sum((table[:, column] / _FULL).astype(np.float32)[tissues]) for column in (tissue.GRAIN, tissue.STREAK)
    )
    fine = stream.standard_normal(grain.shape, dtype=np.float32)
    uneven = np.float32(1.0) + grain * fine + streak * np.float32(1.6) * field(clutter[2], GRAINS, frame)
    return np.maximum(uneven, np.float32(0.05)).astype(np.float32)


def scan(
    stream: np.random.Generator,
    *,
    request: Request,
    anatomy: Anatomy,
    view: View,
    tissues: NDArray[np.uint8],
    table: NDArray[np.float64],
    unevenness: NDArray[np.float32],
    scanner: ScannerModel,
) -> dict[str, Volume]:
    """Scan the person."""
    return acquire(Subject(anatomy, view, tissues, table, unevenness), scanner, request.contrasts, stream)


GRAPH = checked(
    Node("hospital", (), lambda _: hospital.EVERYWHERE, "where the patient goes"),
    Node("request", (), lambda _: Request(), "grid, levels and contrasts that are asked for"),
    Node("months", (), lambda _: 0.0, "since the first study"),
    Node("age", (), draw_age, "in years"),
    Node("label", ("hospital",), hospital.draw_label, "normal, benign or malignant, by the case mix"),
    Node("tumour", ("label",), genome.draw_tumour, "its kind, or none"),
    Node("mutations", ("tumour",), genome.draw_mutations, "counts of six genes"),
    Node("pathways", ("tumour", "mutations"), genome.draw_pathways, "proliferation, angiogenesis, water"),
    Node("expression", ("tumour", "pathways"), genome.draw_expression, "markers and pathology embedding"),
    Node("omics", ("mutations", "expression"), genome.omics_of, "the row of the omics table"),
    Node("grade", ("tumour",), outcome.draw_grade, "of the biopsy"),
    Node("hazard", ("tumour", "grade", "pathways"), outcome.hazard_of, "of progression, a month"),
    Node("outcome", ("hazard",), outcome.draw_outcome, "time and event"),
    Node("doubling", ("tumour", "pathways"), outcome.draw_doubling, "days in which the volume doubles"),
    Node("anatomy", ("age",), draw_anatomy, "curves and measures of the spine"),
    Node("clutter", (), draw_clutter, "lie of muscle bundles, fat, bowel"),
    Node("person", ("age",), tissue.draw_tissues, "relaxation and more of every healthy tissue"),
    Node("table", ("person", "tumour", "pathways"), genome.tumour_tissues, "the same with the tumour's"),
    Node("level", ("request", "tumour"), draw_level, "that is imaged, where the tumour is"),
    Node("wear", ("age", "label", "level"), draw_wear, "degeneration and mimics"),
    Node("implant", ("age", "level"), draw_implant, "screws and rods, or none"),
    Node("lesions", ("tumour", "anatomy", "level"), lesion.draw_lesions, "shapes at the first study"),
    Node("size", ("lesions", "doubling", "months"), lesion.grown, "shapes at this study"),
    Node("view", ("request", "level", "months"), view_of, "field of view, position"),
    Node("frame", ("anatomy", "view"), frame, "the grid in the spine's own coordinates"),
    Node(
        "tissues",
        ("anatomy", "wear", "implant", "clutter", "size", "view", "frame"),
        paint,
        "map of tissues, twice as fine as the image",
    ),
    Node("mask", ("tissues",), mask, "of the lesions"),
    Node("unevenness", ("clutter", "frame", "tissues", "table"), unevenness, "of the proton density"),
    Node("scanner", ("hospital",), hospital.draw_scanner, "one of the hospital's"),
    Node(
        "images",
        ("request", "anatomy", "view", "tissues", "table", "unevenness", "scanner"),
        scan,
        "what the scanner makes of it",
    ),
)
"""Everything about a phantom, in causal order."""
