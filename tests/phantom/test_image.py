"""Noise, blur, metal and the contrast between tissues are what physics and practice say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, rayleigh, rice

from fedspine.phantom import implant, kspace, tissue
from fedspine.phantom.acquisition import tissue_signal
from fedspine.phantom.graph import run
from fedspine.phantom.implant import Implant
from fedspine.phantom.patient import draw
from fedspine.phantom.person import GRAPH
from fedspine.phantom.scanner import SCANNERS, ScannerModel
from fedspine.phantom.tissue import Tissue

APART = (slice(None), slice(None, None, 5), slice(None, None, 5))
"""Neighbours share noise, since the highest frequencies are not measured: pixels five apart hardly do."""


@pytest.mark.parametrize("share", [(1.0, 1.0), (0.75, 0.85)])
def test_noise_in_air_is_rayleigh_and_rician_in_signal(share: tuple[float, float]) -> None:
    generator = np.random.default_rng(1)
    for level, law in ((0.0, rayleigh(scale=0.02)), (0.05, rice(2.5, scale=0.02)), (0.4, rice(20.0, scale=0.02))):
        flat = np.full((6, 128, 128), level, dtype=np.float32)
        image = kspace.magnitude(flat, 0.02, share, generator)
        assert kstest(image[APART].ravel().astype(np.float64), law.cdf).pvalue > 0.01


def test_a_border_is_blurred_and_rings_where_frequencies_are_missing() -> None:
    edge = np.zeros((1, 128, 128), dtype=np.float32)
    edge[:, 32:96] = 1.0
    profile = kspace.magnitude(edge, 1e-9, (0.6, 1.0), np.random.default_rng(0))[0, :, 64]
    assert 1.01 < profile.max() < 1.15  # Gibbs, tapered: below the 9 % of a sharp cut and its neighbours
    assert 0.15 < profile[32] < 0.85
    assert profile[10] < 0.02


def _signals(scanner: ScannerModel, contrast: str) -> dict[Tissue, float]:
    table = np.array([tissue.usual(one) for one in Tissue])
    found = tissue_signal(table, contrast, scanner.protocols[contrast], scanner.field_tesla)
    return {one: float(found[one]) for one in Tissue}


@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda scanner: f"{scanner.vendor} {scanner.field_tesla}")
def test_tissues_stand_out_from_each_other_as_they_do_in_practice(scanner: ScannerModel) -> None:
    """Ratios in the range of clinical images at 1.5 and 3 T; typical, not from one source. Fat is nulled on STIR."""
    t1, t2, stir = (_signals(scanner, contrast) for contrast in ("T1", "T2", "STIR"))
    for name, ratio, low, high in (
        ("T1 fluid to cord", t1[Tissue.CSF] / t1[Tissue.CORD], 0.2, 0.6),
        ("T1 fat to muscle", t1[Tissue.FAT] / t1[Tissue.MUSCLE], 1.8, 4.5),
        ("T1 marrow to disc", t1[Tissue.MARROW] / t1[Tissue.DISC], 1.1, 2.5),
        ("T2 fluid to cord", t2[Tissue.CSF] / t2[Tissue.CORD], 1.5, 5.0),
        ("T2 fat to muscle", t2[Tissue.FAT] / t2[Tissue.MUSCLE], 3.0, 12.0),
        ("T2 disc to dry disc", t2[Tissue.DISC] / t2[Tissue.DRY_DISC], 1.8, 4.5),
        ("T2 marrow to cortex", t2[Tissue.MARROW] / t2[Tissue.CORTEX], 20.0, 1e9),
        ("STIR fat to muscle", abs(stir[Tissue.FAT]) / abs(stir[Tissue.MUSCLE]), 0.0, 0.25),
        ("STIR oedema to marrow", abs(stir[Tissue.MARROW_OEDEMA]) / abs(stir[Tissue.MARROW]), 1.5, 20.0),
    ):
        assert low < ratio < high, (name, round(ratio, 2))


def test_agent_lights_up_what_takes_it_up() -> None:
    for scanner in SCANNERS:
        before, after = _signals(scanner, "T1"), _signals(scanner, "T1c")
        assert after[Tissue.TUMOUR] > 1.2 * before[Tissue.TUMOUR]
        assert after[Tissue.CORD] < 1.1 * before[Tissue.CORD]


def test_the_void_of_metal_grows_with_the_field_and_with_the_sequence() -> None:
    metal = np.zeros((5, 40, 40), dtype=bool)
    metal[2, 18:22, 18:22] = True
    voids = [
        int((implant.disturbance(metal, (4.0, 1.5, 1.5), sequence, tesla) < 0.5).sum())
        for sequence, tesla in (("spin echo", 1.5), ("spin echo", 3.0), ("echo planar", 1.5), ("echo planar", 3.0))
    ]
    assert voids == sorted(set(voids))
    factor = implant.disturbance(metal, (4.0, 1.5, 1.5), "echo planar", 1.5)
    assert factor.max() > 1.3  # signal piles up at the rim
    assert factor[2, 20, 20] == 0.0


def test_a_screw_is_a_hole_in_the_image_and_no_lesion() -> None:
    bare = draw(np.random.default_rng(2), label="normal", shape=(12, 64, 64), levels="L3").given(implant=None)
    held = bare.given(implant=Implant(21, 23))
    assert (held.tissues == Tissue.METAL).any()
    assert not held.mask.any()
    inside = (held.tissues == Tissue.METAL)[::2, ::2, ::2]
    one, other = (person.scan(SCANNERS[1], contrasts=("T2",))["T2"].voxels for person in (bare, held))
    assert other[inside].mean() < 0.5 * one[inside].mean()
    assert run(GRAPH, (1,), {"age": 60.0, "level": 3}, ("implant",))["implant"] is None  # no pedicle screws in the neck
