"""A patient's place is the same to the last bit, alone or among others."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest

from fedspine.atlas.placing import Placed, SharedMap, from_arrays, place, reach_of
from fedspine.atlas.private_anchors import Array
from fedspine.errors import InputError

LATENT, TOKENS = 8, 6


def even(count: int, width: int, step: int) -> Array:
    """Return numbers in [-1, 1) made by whole arithmetic alone, so that every machine has the same."""
    steps = np.arange(count * width, dtype=np.int64) * step % 104729
    result: Array = (steps.reshape(count, width) / 104729.0) * 2 - 1
    return result


def shared_map(count: int = 1500) -> SharedMap:
    references = even(count, LATENT, 7919)
    membership = even(count, TOKENS, 6007) + 1.0
    membership /= membership.sum(1, keepdims=True)
    return SharedMap(references, even(count, 2, 5003), membership, references[:TOKENS], reach_of(references))


def bits(placed: Placed) -> tuple[bytes, ...]:
    return tuple(
        value.tobytes()
        for value in (placed.places, placed.membership, placed.tokens, placed.strangeness, placed.unlike)
    )


def test_a_patient_gets_the_same_bits_alone_in_any_batch_and_in_any_order() -> None:
    shared, latents = shared_map(), even(1000, LATENT, 4001)
    together = place(latents, shared)
    alone = np.concatenate([place(latent[None], shared).places for latent in latents])
    assert alone.tobytes() == together.places.tobytes()
    order = np.random.default_rng(0).permutation(len(latents))
    shuffled = place(latents[order], shared)
    assert shuffled.places.tobytes() == together.places[order].tobytes()
    assert shuffled.membership.tobytes() == together.membership[order].tobytes()
    assert shuffled.strangeness.tobytes() == together.strangeness[order].tobytes()


def test_places_have_the_bits_they_had_on_the_machine_that_wrote_this_test() -> None:
    shared = shared_map(200)
    exact = SharedMap(shared.references, shared.plane, shared.membership, shared.centres, 1.0)
    placed = place(even(50, LATENT, 4001), exact)
    digest = hashlib.sha256(b"".join(bits(placed)[:2])).hexdigest()
    assert digest == "b8b28338382a91e89cae383fbf8b8af9edfe0c2f8e43c759597b1a390bb54d2f"


def test_a_map_that_travelled_places_to_the_same_bits() -> None:
    sent = from_arrays(shared_map().arrays())
    received = from_arrays({key: value.copy() for key, value in sent.arrays().items()})
    latents = even(100, LATENT, 4001)
    assert bits(place(latents, sent)) == bits(place(latents, received))


def test_a_thousand_patients_are_placed_within_a_second() -> None:
    shared, latents = shared_map(), even(1000, LATENT, 4001)
    begun = time.process_time()
    place(latents, shared)
    assert time.process_time() - begun < 1.0


def test_a_patient_lies_among_its_nearest_references_and_probabilities_add_up_to_1() -> None:
    shared = shared_map()
    flat = SharedMap(shared.references, shared.references[:, :2], shared.membership, shared.centres, 1.0)
    placed = place(shared.references, flat)
    np.testing.assert_allclose(placed.membership.sum(1), 1.0)
    assert np.corrcoef(placed.places[:, 0], shared.references[:, 0])[0, 1] > 0.9
    assert (placed.tokens == placed.membership.argmax(1)).all()


def test_who_is_far_from_every_reference_is_unlike_anything_seen() -> None:
    shared = shared_map()
    assert place(shared.references, shared).unlike.mean() <= 0.02
    assert place(np.full((1, LATENT), 5.0), shared).unlike.all()


def test_nobody_is_placed_nowhere() -> None:
    assert place(np.zeros((0, LATENT)), shared_map()).places.shape == (0, 2)


def test_equal_references_do_not_divide_by_zero() -> None:
    same = SharedMap(np.zeros((20, 2)), np.ones((20, 2)), np.ones((20, 1)), np.zeros((1, 2)), 1.0)
    np.testing.assert_allclose(place(np.zeros((1, 2)), same).places, 1.0)


def test_latents_of_another_encoder_are_refused() -> None:
    with pytest.raises(InputError, match="latents must be finite rows of 8"):
        place(np.zeros((3, 5)), shared_map())


def test_a_map_whose_arrays_do_not_fit_is_refused() -> None:
    arrays = shared_map().arrays()
    with pytest.raises(InputError, match="no 'plane'"):
        from_arrays({key: value for key, value in arrays.items() if key != "plane"})
    with pytest.raises(InputError, match="over 15 references"):
        from_arrays(arrays | {"plane": arrays["plane"][:-1]})
