"""Components from private second moments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspine.errors import InputError
from fedspine.harmony.space import square, triangle
from simulations.map_study.principal import Array, principal, project, term, zeros

COLUMNS = 12


def rows(count: int, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    scale = np.array([4.0, 3.0, 2.0] + [0.3] * (COLUMNS - 3))
    result: Array = random.normal(size=(count, COLUMNS)) * scale / np.sqrt((scale**2).mean())
    return result


def total(values: Array) -> Array:
    return np.asarray(np.sum([term(row)["products"] for row in values], axis=0))


@given(st.lists(st.floats(-1e6, 1e6), min_size=COLUMNS, max_size=COLUMNS))
def test_a_patients_products_have_norm_1_at_most(row: list[float]) -> None:
    assert np.linalg.norm(term(np.array(row))["products"]) <= 1 + 1e-12


def test_removing_a_patient_changes_the_sum_by_1_at_most() -> None:
    values = rows(30)
    values[7] *= 1e4
    assert np.linalg.norm(total(values) - total(np.delete(values, 7, axis=0))) <= 1 + 1e-9


def test_what_leaves_has_no_patient_axis() -> None:
    assert total(rows(5)).shape == total(rows(300)).shape == zeros(COLUMNS)["products"].shape


def test_a_triangle_keeps_the_norm_and_gives_the_matrix_back() -> None:
    matrix = rows(COLUMNS)
    matrix = matrix + matrix.T
    assert np.linalg.norm(triangle(matrix)) == pytest.approx(np.linalg.norm(matrix))
    np.testing.assert_allclose(square(triangle(matrix), COLUMNS), matrix, atol=1e-12)


def test_exact_sums_give_the_directions_of_largest_spread_with_a_stable_sign() -> None:
    values = rows(2000)
    found = principal(total(values), COLUMNS, len(values), 0.0, most=3)
    np.testing.assert_allclose(np.abs(found.basis[:3]), np.eye(3), atol=0.1)
    assert (found.basis[np.abs(found.basis).argmax(0), range(3)] > 0).all()


def test_noise_hides_components_rather_than_inventing_some() -> None:
    values = rows(400)
    noise = np.random.default_rng(1).normal(size=COLUMNS * (COLUMNS + 1) // 2)
    few = principal(total(values) + 4 * noise, COLUMNS, len(values), 4.0)
    assert few.basis.shape[1] == 3
    assert principal(40 * noise, COLUMNS, len(values), 40.0).basis.shape[1] == 2


def test_a_latent_has_the_same_bits_alone_and_among_others() -> None:
    values = rows(300)
    found = principal(total(values), COLUMNS, len(values), 0.0)
    together = project(values, found)
    alone = np.concatenate([project(row[None], found) for row in values])
    assert together.tobytes() == alone.tobytes()


def test_nobody_gives_no_components() -> None:
    with pytest.raises(InputError, match="must come from patients"):
        principal(zeros(COLUMNS)["products"], COLUMNS, 0, 1.0)
