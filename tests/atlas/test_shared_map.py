"""The shared map from anchors: tokens, places, and no patient in it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedspine.atlas import shared_map
from fedspine.atlas.placing import from_arrays, place
from fedspine.atlas.private_anchors import Anchors, Array
from fedspine.errors import InputError

LATENT = 5
CORNERS = 4.0 * np.eye(LATENT)[:4]


def anchors() -> Anchors:
    random = np.random.default_rng(0)
    centres = np.repeat(CORNERS, 4, axis=0) + 0.2 * random.normal(size=(16, LATENT))
    return Anchors(centres, np.full(16, 30.0), np.repeat(0.1 * np.eye(LATENT)[None], 16, axis=0))


def patients(count: int) -> tuple[Array, NDArray[np.int64]]:
    random = np.random.default_rng(1)
    clouds = random.integers(4, size=count)
    return CORNERS[clouds] + 0.3 * random.normal(size=(count, LATENT)), clouds


@pytest.mark.parametrize("tokens", [4, 0])
def test_tokens_are_the_clouds_and_their_number_can_be_left_open(tokens: int) -> None:
    made = shared_map.fit(anchors(), tokens, seed=0, points=400)
    latents, clouds = patients(200)
    found = place(latents, made)
    assert made.membership.shape[1] == 4
    pairs = set(zip(clouds.tolist(), found.tokens.tolist(), strict=True))
    assert len(pairs) == 4
    assert found.unlike.mean() < 0.1


def test_what_travels_is_arrays_of_anchors_alone_and_equals_what_was_fitted() -> None:
    made = shared_map.fit(anchors(), 4, seed=0, points=400)
    arrays = made.arrays()
    assert {value.dtype for value in arrays.values()} == {np.dtype(np.float32)}
    assert from_arrays(arrays).references.tobytes() == made.references.tobytes()


def test_synthetic_points_follow_counts_and_come_from_the_seed_alone() -> None:
    uneven = Anchors(CORNERS, np.array([90.0, 10.0, 0.0, 0.0]), np.repeat(0.01 * np.eye(LATENT)[None], 4, axis=0))
    points = shared_map.synthetic(uneven, 1000, seed=0)
    near = ((points[:, None] - CORNERS) ** 2).sum(2).argmin(1)
    assert np.bincount(near, minlength=4).tolist() == pytest.approx([900, 100, 0, 0], abs=2)
    assert points.tobytes() == shared_map.synthetic(uneven, 1000, seed=0).tobytes()


def test_a_map_of_unit_vectors_stays_on_the_sphere() -> None:
    unit = anchors()
    centres = unit.centres / np.linalg.norm(unit.centres, axis=1, keepdims=True)
    made = shared_map.fit(Anchors(centres, unit.counts, unit.spread / 16), 4, seed=0, unit=True, points=400)
    np.testing.assert_allclose(np.linalg.norm(made.references, axis=1), 1.0, atol=1e-6)


def test_more_tokens_than_anchors_are_refused() -> None:
    with pytest.raises(InputError, match="no more than anchors"):
        shared_map.fit(anchors(), 17, seed=0)
