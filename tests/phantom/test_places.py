"""A phantom knows where its vertebrae lie."""

from __future__ import annotations

import numpy as np

from fedspine.cohort.levels import VERTEBRAE, grid_places
from fedspine.phantom import levels
from fedspine.phantom.anatomy import frame_of
from fedspine.phantom.grid import image_affine
from fedspine.phantom.patient import Phantom, draw
from fedspine.phantom.view import FINER


def phantoms(count: int) -> list[Phantom]:
    return [draw(np.random.default_rng(seed), shape=(8, 96, 96)) for seed in range(count)]


def test_the_frame_puts_every_level_in_the_middle_of_its_body() -> None:
    met = 0
    for phantom in phantoms(8):
        frame = frame_of(phantom.anatomy, phantom.view)
        places = grid_places(phantom.levels_mm, image_affine(phantom.view))
        for level in np.flatnonzero(np.isfinite(places[:, 0])):
            slice_, row, column = np.rint((places[level] + 0.5) * FINER - 0.5).astype(int)
            collapse = phantom.wear.discs[level].collapse
            share = levels.DISC_SHARE[level] * (1.0 - collapse)
            middle_mm = levels.EDGES_MM[level] + levels.PITCH_MM[level] * (1.0 - share) / 2
            centre_mm = -(phantom.anatomy.canal_mm + 1.5 + levels.DEPTH_MM[level] / 2)
            assert abs(float(frame.along_mm[row, column]) - middle_mm) < 3.0, VERTEBRAE[level]
            assert abs(float(frame.ap_mm[row, column]) - centre_mm) < 3.0, VERTEBRAE[level]
            inner = 0.5 <= places[level, 0] <= phantom.view.shape[0] - 1.5
            assert not inner or abs(float(frame.lateral_mm[slice_, row])) < 4.0, VERTEBRAE[level]
            met += 1
    assert met > 30


def test_the_level_that_is_imaged_is_in_the_image_and_others_follow_downwards() -> None:
    for phantom in phantoms(8):
        places = grid_places(phantom.levels_mm, image_affine(phantom.view))
        if phantom.level in VERTEBRAE:
            assert np.isfinite(places[VERTEBRAE.index(phantom.level)]).all()
        rows = places[np.isfinite(places[:, 0]), 1]
        assert (np.diff(rows) > 0).all()
