"""Numbers modulo 2³² or 2⁶⁴ mean what they were, unless they are too large, which is refused beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedspine.errors import ConfigError
from fedspine.privacy.integer_sum import IntegerSum, skellam, steps_for
from fedspine.secure.encoding import added, decoded, largest_entry, split, to_tensor, to_words, width_for


@given(arrays(np.int64, st.integers(1, 20), elements=st.integers(-(2**31), 2**31 - 1)), st.sampled_from([32, 64]))
def test_what_fits_comes_back(whole: np.ndarray[tuple[int], np.dtype[np.int64]], bits: int) -> None:
    assert added([to_tensor(to_words(whole, bits))], bits).tolist() == whole.tolist()


@given(st.lists(arrays(np.int64, 5, elements=st.integers(-(2**62), 2**62)), min_size=1, max_size=6))
def test_sums_are_those_of_whole_numbers_modulo_the_width(
    rows: list[np.ndarray[tuple[int], np.dtype[np.int64]]],
) -> None:
    for bits in (32, 64):
        found = added([to_tensor(to_words(row, bits)) for row in rows], bits)
        true = [sum(int(row[i]) for row in rows) for i in range(5)]
        assert [(int(a) - b) % 2**bits for a, b in zip(found, true, strict=True)] == [0] * 5
        assert max(abs(int(one)) for one in found) <= 2 ** (bits - 1)


def test_the_width_is_the_least_in_which_nothing_wraps() -> None:
    assert width_for(1000, 1000, 4.0, 10, 9) == 32
    assert width_for(10**6, 1000, 4.0, 10, 9) == 64
    assert width_for(1000, 10**6, 4.0, 10, 9) == 32
    with pytest.raises(ConfigError, match="64 bits"):
        width_for(1000, 1000, 1e17, 10, 9)


def test_no_entry_of_a_total_goes_beyond_what_was_reckoned_with() -> None:
    generator = np.random.default_rng(0)
    patients, size, sigma, sites, parts = 50, 40, 0.7, 5, 4
    beyond = largest_entry(patients, size, sigma, sites, parts)
    totals = []
    for _ in range(50):
        total = np.zeros(size, np.int64)
        for _ in range(sites):
            one = IntegerSum(size, 2.0)
            for _ in range(patients // sites):
                one.add([torch.nn.functional.one_hot(torch.tensor(0), size) * 5.0])
            total += one.release_share(sigma, parts, generator)
        totals.append(total)
    largest = np.abs(totals).max()
    assert patients * steps_for(size) - 5 * sigma * steps_for(size) < largest < beyond


def test_the_tail_of_the_noise_is_not_underrated() -> None:
    """Bernstein's bound at a probability that can be counted: of 10⁵ numbers, about none is beyond the 10⁻⁵ bound."""
    for variance in (0.5, 4.0, 1e4):
        exponent = np.log(2 / 1e-5)
        bound = exponent / 3 + np.sqrt(exponent**2 / 9 + 2 * exponent * variance)
        assert (np.abs(skellam(10**5, variance, np.random.default_rng(1))) > bound).sum() <= 4


def test_a_total_is_told_in_the_units_of_the_terms_and_under_their_names() -> None:
    like = {"first": torch.zeros(2, 3), "second": torch.zeros(4, dtype=torch.float64)}
    steps = steps_for(10)
    found = split(decoded(np.arange(10) * steps, 0.5), like)
    assert found["first"].tolist() == [[0.0, 0.5, 1.0], [1.5, 2.0, 2.5]]
    assert found["second"].dtype == torch.float64
    assert found["second"].tolist() == [3.0, 3.5, 4.0, 4.5]
