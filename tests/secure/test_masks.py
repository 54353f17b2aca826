"""Masks are gone from the sum of all, and from nothing less."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from fedspine.secure.encoding import added, to_tensor, to_words
from fedspine.secure.keys import verified
from fedspine.secure.masks import Words, masked

from .conftest import Consortium

SITES = Consortium(tuple("abcde"))
"""Made once: every example masks under the same keys, which no site would."""


def hidden(consortium: Consortium, words: dict[str, Words]) -> dict[str, Words]:
    others = verified(consortium.offers, consortium.roster, consortium.context)
    return {name: masked(one, consortium.own[name], name, others, consortium.context) for name, one in words.items()}


@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from([32, 64]),
    st.lists(st.lists(st.integers(-(2**28), 2**28), min_size=4, max_size=4), min_size=5, max_size=5),
)
def test_the_sum_of_masked_vectors_is_the_sum_of_the_vectors(bits: int, rows: list[list[int]]) -> None:
    whole = np.array(rows, np.int64)
    words = {name: to_words(row, bits) for name, row in zip(SITES.roster.names, whole, strict=True)}
    found = added([to_tensor(one) for one in hidden(SITES, words).values()], bits)
    assert found.tolist() == whole.sum(0).tolist()


@pytest.mark.parametrize("bits", [32, 64])
def test_whoever_lacks_one_part_has_nothing(bits: int) -> None:
    words = {name: to_words(np.zeros(4000, np.int64), bits) for name in SITES.roster.names}
    parts = [one.astype(np.uint64) << np.uint64(64 - bits) for one in hidden(SITES, words).values()]
    for some in (group for size in range(1, 5) for group in combinations(parts, size)):
        total = np.add.reduce(np.array(some))
        for shift in (56, 64 - bits):  # the highest and the lowest byte
            counts = np.bincount((total >> np.uint64(shift)).astype(np.int64) & 255, minlength=256)
            assert chisquare(counts).pvalue > 1e-6
    assert not np.add.reduce(np.array(parts)).any()


def test_vectors_of_another_length_or_width_have_other_masks() -> None:
    others = verified(SITES.offers, SITES.roster, SITES.context)
    vectors: tuple[Words, ...] = (np.zeros(8, np.uint32), np.zeros(12, np.uint32), np.zeros(4, np.uint64))
    short, long, wide = (masked(one, SITES.own["a"], "a", others, SITES.context) for one in vectors)
    assert not (short == long[:8]).any()
    assert not (short == wide.view(np.uint32)).any()


def test_another_attempt_has_other_masks_even_under_the_same_keys() -> None:
    words = {name: to_words(np.zeros(8, np.int64), 32) for name in SITES.roster.names}
    others = verified(SITES.offers, SITES.roster, SITES.context)
    again = SITES.context_of(attempt=2)
    first, second = (masked(words["a"], SITES.own["a"], "a", others, context) for context in (SITES.context, again))
    assert not (first == second).any()


def test_two_pairs_of_sites_share_no_keystream() -> None:
    words = {name: to_words(np.zeros(8, np.int64), 64) for name in SITES.roster.names}
    others = verified(SITES.offers, SITES.roster, SITES.context)
    pairs = [
        masked(words[a], SITES.own[a], a, {a: others[a], b: others[b]}, SITES.context)
        for a, b in combinations(SITES.roster.names, 2)
    ]
    assert len({tuple(one.tolist()) for one in pairs}) == 10


def test_masking_leaves_the_vector_that_it_was_given() -> None:
    words = to_words(np.arange(4), 32)
    masked(words, SITES.own["a"], "a", verified(SITES.offers, SITES.roster, SITES.context), SITES.context)
    assert words.tolist() == [0, 1, 2, 3]
