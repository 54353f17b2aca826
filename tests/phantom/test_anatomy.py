"""A spine has its levels, its curves and its wear where they belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedspine.errors import InputError
from fedspine.phantom import levels
from fedspine.phantom.anatomy import centre_line, draw_anatomy, sideways_mm
from fedspine.phantom.patient import draw
from fedspine.phantom.public import public_patients
from fedspine.phantom.tissue import Tissue
from fedspine.phantom.tumour import INTRADURAL, INTRAMEDULLARY, TUMOURS, VERTEBRAL
from fedspine.phantom.wear import MIMICS, Disc, draw_wear

SHAPE = (6, 64, 64)


@pytest.mark.parametrize("asked", ["C1-C7", "T1-T12", "L1-S1", "L5"])
def test_a_phantom_shows_the_levels_that_were_asked_for(asked: str) -> None:
    first, last = levels.parse_levels(asked)
    for patient in public_patients(9, 3, contrasts=(), shape=(2, 16, 16), levels=asked):
        assert first <= levels.LEVELS.index(patient.level or "") <= last


@pytest.mark.parametrize("asked", ["L5-C1", "X1", "C1-C2-C3", ""])
def test_levels_that_are_none_are_refused_in_a_sentence(asked: str) -> None:
    with pytest.raises(InputError, match="levels must be one of C1 to S3"):
        levels.parse_levels(asked)


def test_scoliosis_has_the_cobb_angle_it_was_given() -> None:
    drawn = draw_anatomy(np.random.default_rng(0), age=60.0)
    along = np.linspace(0.0, 700.0, 7001)
    for cobb in (10.0, 25.0, 40.0):
        aside = sideways_mm(replace(drawn, cobb_deg=cobb), along)
        slope = np.rad2deg(np.arctan(np.gradient(aside, along)))
        assert slope.max() - slope.min() == pytest.approx(cobb, abs=0.1)
    people = [draw_anatomy(np.random.default_rng(seed), age=70.0).cobb_deg for seed in range(300)]
    assert 0.05 < np.mean(np.array(people) >= 10.0) < 0.25
    assert max(people) <= 40.0


def test_the_spine_bends_forward_at_the_chest_and_backward_at_the_loin() -> None:
    for seed in range(20):
        drawn = draw_anatomy(np.random.default_rng(seed), age=40.0)
        back, down, _ = centre_line(drawn)
        assert np.all(np.diff(down) > 0.0)
        chest, loin = (float(levels.MIDDLE_MM[levels.LEVELS.index(name)]) for name in ("T7", "L4"))
        for place, behind in ((chest, True), (loin, False)):
            near = np.array([place - 90.0, place, place + 60.0])
            x = np.interp(near, np.arange(len(back)) * 0.5 - 60.0, back)
            chord = np.interp(near[1], near[[0, 2]], x[[0, 2]])
            assert (x[1] > chord) == behind


def test_the_neck_has_a_dens_within_a_ring_and_no_body_at_c1() -> None:
    phantom = draw(np.random.default_rng(1), label="normal", shape=(9, 96, 96), levels="C1-C3")
    assert (phantom.tissues == Tissue.CORD).any()
    assert (phantom.tissues == Tissue.MARROW).any()


def test_discs_dry_and_narrow_with_age() -> None:
    def dryness(age: float) -> tuple[float, float]:
        drawn = [draw_wear(np.random.default_rng(s), age=age, label="normal", level=22) for s in range(60)]
        discs = [disc for wear in drawn for disc in wear.discs]
        return float(np.mean([d.dryness for d in discs])), float(np.mean([d.collapse for d in discs]))

    assert dryness(80.0)[0] > dryness(25.0)[0] + 0.2
    assert dryness(80.0)[1] > dryness(25.0)[1]


def test_every_mimic_is_drawn_and_counts_as_normal() -> None:
    found = {draw_wear(np.random.default_rng(s), age=60.0, label="normal", level=12).mimic for s in range(80)}
    assert found == set(MIMICS)
    for seed in range(6):
        assert not draw(np.random.default_rng(seed), label="normal", shape=(2, 16, 16)).mask.any()


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"modic": 1}, Tissue.MARROW_OEDEMA),
        ({"modic": 2}, Tissue.MARROW_FAT),
        ({"modic": 3}, Tissue.SCLEROSIS),
        ({"herniation_mm": 6.0, "dryness": 0.9}, Tissue.ANNULUS),
    ],
)
def test_wear_shows_in_the_map_of_tissues(changes: dict[str, float], shown: Tissue) -> None:
    phantom = draw(np.random.default_rng(4), label="normal", shape=SHAPE, levels="L3")
    discs = [Disc() for _ in range(levels.COUNT)]
    sound = replace(phantom.wear, discs=tuple(discs), fracture=-1, myelitis_mm=0.0, mimic="none")
    discs[phantom.view.level] = Disc(**changes)  # type: ignore[arg-type]
    counts = [
        int((phantom.given(wear=wear).tissues == shown).sum()) for wear in (sound, replace(sound, discs=tuple(discs)))
    ]
    assert counts[1] > counts[0]


def test_a_fracture_and_an_inflamed_cord_hold_oedema() -> None:
    phantom = draw(np.random.default_rng(4), label="normal", shape=SHAPE, levels="T8")
    calm = replace(phantom.wear, fracture=-1, myelitis_mm=0.0, discs=tuple(Disc() for _ in range(levels.COUNT)))
    broken = replace(calm, fracture=phantom.view.level, crushed=0.4, fresh=True)
    inflamed = replace(calm, myelitis_mm=40.0)
    assert (phantom.given(wear=broken).tissues == Tissue.MARROW_OEDEMA).any()
    assert (phantom.given(wear=inflamed).tissues == Tissue.OEDEMA).any()
    assert not (phantom.given(wear=calm).tissues == Tissue.MARROW_OEDEMA).any()


@pytest.mark.parametrize("tumour", TUMOURS, ids=lambda tumour: tumour.name)
def test_every_tumour_grows_in_its_compartment(tumour: object) -> None:
    kind = next(one for one in TUMOURS if one is tumour)
    filled = 0
    for seed in range(3):
        phantom = draw(np.random.default_rng(seed), label=kind.label, shape=SHAPE).given(tumour=kind, implant=None)
        bare = phantom.given(size=())
        grown = (phantom.tissues == Tissue.TUMOUR) | (phantom.tissues == Tissue.CORE)
        under = set(np.unique(bare.tissues[grown]).tolist())
        filled += int(grown.sum())
        if kind.compartment in (INTRAMEDULLARY,):
            assert under <= {Tissue.CSF, Tissue.CORD, Tissue.ROOTS, Tissue.OEDEMA}
        if kind.compartment == INTRADURAL:
            assert {Tissue.MARROW, Tissue.DISC}.isdisjoint(under)
        if kind.compartment == VERTEBRAL:
            assert Tissue.CORD not in under
    assert filled > 0


def test_the_compartments_and_kinds_of_the_clinic_are_all_there() -> None:
    assert {tumour.compartment for tumour in TUMOURS} == {INTRAMEDULLARY, INTRADURAL, VERTEBRAL}
    for label in ("benign", "malignant"):
        assert sum(t.share for t in TUMOURS if t.label == label) == pytest.approx(1.0)
