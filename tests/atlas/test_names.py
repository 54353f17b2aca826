"""Names of tokens stay with the tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspine.atlas.names import named
from fedspine.errors import InputError

PLACES = 3.0 * np.eye(6, 8)


@given(st.permutations(range(6)), st.integers(0, 1000))
def test_names_follow_tokens_under_any_order_and_small_moves(order: list[int], seed: int) -> None:
    first = named(PLACES)
    moved = PLACES[order] + 0.2 * np.random.default_rng(seed).normal(size=PLACES.shape)
    again = named(moved, first)
    assert again.names == tuple(first.names[index] for index in order)
    assert again.issued == 6


def test_a_token_that_is_new_gets_a_name_that_no_token_had() -> None:
    first = named(PLACES)
    without = named(PLACES[:5], first)
    new = named(np.concatenate([PLACES[:5], np.full((1, 8), -9.0)]), without)
    assert without.names == first.names[:5]
    assert new.names == (*first.names[:5], "token-7")


def test_more_tokens_than_before_keep_the_old_names() -> None:
    first = named(PLACES[:4])
    assert named(PLACES, first).names == (*first.names, "token-5", "token-6")


def test_a_token_far_away_does_not_take_a_name_from_its_neighbour() -> None:
    first = named(np.array([[0.0], [1.0]]))
    again = named(np.array([[100.0], [1.1]]), first)
    assert again.names == ("token-3", "token-2")


def test_tokens_described_otherwise_are_refused() -> None:
    with pytest.raises(InputError, match="described as in the run before"):
        named(np.zeros((2, 3)), named(PLACES))
