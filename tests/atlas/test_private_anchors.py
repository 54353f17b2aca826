"""Anchors from private sums: bounded terms, noise-aware rounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedspine.atlas import private_anchors
from fedspine.atlas.private_anchors import Anchors, Array, Query, advance, finish, grid, grid_on_sphere, query, term
from fedspine.errors import InputError

LATENT = 4
CORNERS = 3.0 * np.eye(LATENT)[:3]


def patients(count: int, seed: int = 0) -> tuple[Array, NDArray[np.int64]]:
    """Return latents in three clouds, and which cloud each is of."""
    random = np.random.default_rng(seed)
    clouds = random.integers(3, size=count)
    return CORNERS[clouds] + 0.3 * random.normal(size=(count, LATENT)), clouds


def joint(one: dict[str, Array]) -> Array:
    return np.concatenate([value.ravel() for value in one.values()])


def summed(latents: Array, asked: Query, noise_sd: float = 0.0, seed: int = 0) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    total = private_anchors.zeros(asked)
    for latent in latents:
        for key, value in term(latent, asked).items():
            total[key] = total[key] + value
    return {key: value + noise_sd * random.normal(size=value.shape) for key, value in total.items()}


def rounds(latents: Array, count: int, noise_sd: float, own_spread: bool = False) -> Anchors:
    asked = query(grid(np.full(LATENT, 1.5), count, seed=0), own_spread)
    for number in range(4):
        asked = advance(asked, summed(latents, asked, noise_sd, number), noise_sd, number)
    return finish(asked, summed(latents, asked, noise_sd, 9), noise_sd)


@given(st.lists(st.floats(-1e8, 1e8), min_size=LATENT, max_size=LATENT), st.booleans())
def test_a_patients_term_has_norm_1_at_most_whatever_the_latent(latent: list[float], own_spread: bool) -> None:
    asked = query(grid(np.ones(LATENT), 16, seed=0), own_spread)
    assert np.linalg.norm(joint(term(np.array(latent), asked))) <= 1 + 1e-12


def test_removing_a_patient_changes_the_sums_by_1_at_most() -> None:
    latents, _ = patients(40)
    latents[3] = 1e6
    asked = query(grid(np.ones(LATENT), 16, seed=0))
    gone = joint(summed(latents, asked)) - joint(summed(np.delete(latents, 3, axis=0), asked))
    assert np.linalg.norm(gone) <= 1 + 1e-9


def test_a_term_reads_no_other_patient() -> None:
    latents, _ = patients(20)
    asked = query(grid(np.ones(LATENT), 16, seed=0))
    parts = np.sum([joint(term(latent, asked)) for latent in latents[::-1]], axis=0)
    np.testing.assert_allclose(parts, joint(summed(latents, asked)), atol=1e-12)


def test_what_leaves_has_no_patient_axis_and_the_same_shapes_every_round() -> None:
    latents, _ = patients(60)
    asked = query(grid(np.ones(LATENT), 16, seed=0))
    shapes = {key: value.shape for key, value in private_anchors.zeros(asked).items()}
    few, many = summed(latents[:3], asked), summed(latents, asked)
    following = private_anchors.zeros(advance(asked, many, 2.0, seed=0))
    for sums in (few, many, following):
        assert {key: value.shape for key, value in sums.items()} == shapes


@pytest.mark.parametrize(("noise_sd", "own_spread"), [(0.0, False), (0.0, True), (3.0, False)])
def test_anchors_settle_where_patients_are(noise_sd: float, own_spread: bool) -> None:
    latents, clouds = patients(600)
    found = rounds(latents, 16, noise_sd, own_spread)
    cloud = ((found.centres[:, None] - CORNERS) ** 2).sum(2).argmin(1)
    inside = np.linalg.norm(found.centres - CORNERS[cloud], axis=1) < 1.2
    assert found.counts[inside].sum() > 0.9 * found.counts.sum()
    shares = np.array([found.counts[cloud == index].sum() for index in range(3)]) / len(latents)
    np.testing.assert_allclose(shares, np.bincount(clouds) / len(latents), atol=0.1)
    assert (np.linalg.eigvalsh(found.spread) > 0).all()


def test_centres_that_noise_drowns_are_dropped() -> None:
    latents, _ = patients(600)
    noisy = rounds(latents, 64, 12.0)
    assert private_anchors.LEAST <= len(noisy.counts) < 40
    assert (noisy.counts >= 0).all()


def test_noise_alone_still_gives_a_usable_answer() -> None:
    nobody = rounds(np.zeros((0, LATENT)), 16, 50.0)
    assert np.isfinite(nobody.centres).all()
    assert (np.linalg.eigvalsh(nobody.spread) > 0).all()


def test_a_grid_on_the_sphere_is_spread_and_repeatable() -> None:
    points = grid_on_sphere(8, 48, seed=3)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0)
    assert np.linalg.norm(points.mean(0)) < 0.15
    assert points.tobytes() == grid_on_sphere(8, 48, seed=3).tobytes()


def test_one_anchor_is_no_map() -> None:
    with pytest.raises(InputError, match="two anchors"):
        query(np.zeros((1, LATENT)))
