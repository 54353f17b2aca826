"""The one primitive: clipped, noised once, empty or not."""

from __future__ import annotations

import math
import weakref

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from fedspine.errors import PrivacyError
from fedspine.privacy.patient_sum import PatientSum, noise_generator, poisson_sample
from fedspine.privacy.sgd import LOSS_NORM, private_gradient

SEED = np.random.default_rng(0)


def test_the_clipped_sum_equals_a_straightforward_reference() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))
    patients = [torch.randn(n, 5) for n in (1, 4, 9)]
    clip, bound = 0.05, 2.0

    released = private_gradient(
        list(net.parameters()),
        patients,
        lambda rows: (net(rows) ** 2).mean(),
        clip=clip,
        noise_multiplier=0.0,
        expected=2.0,
        loss_bound=bound,
        generator=SEED,
    )

    reference = torch.zeros(sum(p.numel() for p in net.parameters()))
    losses = 0.0
    for rows in patients:
        net.zero_grad()
        loss = (net(rows) ** 2).mean()
        loss.backward()
        flat = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
        limit = clip * math.sqrt(1 - LOSS_NORM**2)
        reference += flat * min(1.0, limit / float(flat.norm()))
        losses += min(float(loss.detach()), bound)
    found = torch.cat([g.flatten() for g in released.gradients])
    assert torch.allclose(found, reference / 2.0, rtol=1e-5, atol=1e-8)
    assert released.loss == pytest.approx(losses / 2.0, rel=1e-4)


@given(
    st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=1, max_size=6),
    st.floats(0.01, 100),
)
def test_one_patient_moves_the_sum_by_at_most_the_clip(rows: list[list[float]], clip: float) -> None:
    def total(members: list[list[float]]) -> Tensor:
        patients = PatientSum([torch.zeros(3, dtype=torch.float64)], clip)
        for row in members:
            patients.add([torch.tensor(row, dtype=torch.float64)])
        return patients.release(0.0, SEED)[0]

    for gone in range(len(rows)):
        assert (total(rows) - total(rows[:gone] + rows[gone + 1 :])).norm() <= clip * (1 + 1e-9)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_term_that_is_not_finite_counts_as_zero(value: float) -> None:
    patients = PatientSum([torch.zeros(2)], 1.0)
    patients.add([torch.tensor([0.5, 0.0])])
    patients.add([torch.tensor([value, 1.0])])
    assert patients.release(0.0, SEED)[0].tolist() == [0.5, 0.0]


def test_an_empty_sample_still_gets_its_noise_and_takes_its_step() -> None:
    weight = nn.Parameter(torch.zeros(20_000))
    released = private_gradient(
        [weight],
        [],
        lambda patient: None,
        clip=2.0,
        noise_multiplier=1.5,
        expected=3.0,
        loss_bound=1.0,
        generator=noise_generator(0, "empty"),
    )
    assert float(released.gradients[0].std()) == pytest.approx(2.0 * 1.5 / 3.0, rel=0.03)


class Failing(torch.autograd.Function):
    """A loss that cannot be gone back through, as where memory runs out on a large patient."""

    @staticmethod
    def forward(context: object, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(context: object, *gradients: Tensor) -> Tensor:
        raise RuntimeError("no memory left")


def test_a_patient_whose_gradient_fails_is_a_zero_term_and_the_others_never_notice() -> None:
    weight, noted = nn.Parameter(torch.ones(3)), list[Exception]()

    def loss(patient: int) -> Tensor:
        value = (weight * (patient + 1)).sum()
        return Failing.apply(value) if patient == 1 else value  # type: ignore[no-untyped-call]

    def step(sample: list[int]) -> Tensor:
        released = private_gradient(
            [weight],
            sample,
            loss,
            clip=1.0,
            noise_multiplier=0.0,
            expected=3.0,
            loss_bound=1.0,
            generator=SEED,
            note=noted.append,
        )
        return released.gradients[0]

    assert torch.equal(step([0, 1, 2]), step([0, 2]))
    assert len(noted) == 1


def test_one_patients_gradient_is_gone_before_the_next_ones_is_made() -> None:
    weight = torch.ones(1000, requires_grad=True)
    gradients: list[weakref.ref[Tensor]] = []
    weight.register_hook(lambda gradient: gradients.append(weakref.ref(gradient)))  # type: ignore[no-untyped-call]

    def loss(patient: int) -> Tensor:
        assert all(made() is None for made in gradients), "kept beside the next, it doubles what a step holds of it"
        return (weight * patient).sum()

    private_gradient(
        [weight],
        [1, 2, 3],
        loss,
        clip=1.0,
        noise_multiplier=0.0,
        expected=3.0,
        loss_bound=1.0,
        generator=SEED,
    )
    assert len(gradients) == 3


def test_noise_is_gaussian_with_the_claimed_deviation() -> None:
    patients = PatientSum([torch.zeros(50_000)], 0.7)
    noise = patients.release(2.0, noise_generator(1, "noise"))[0].double().numpy()
    assert stats.kstest(noise / (2.0 * 0.7), "norm").pvalue > 1e-3


def test_a_sum_is_released_once() -> None:
    patients = PatientSum([torch.zeros(1)], 1.0)
    patients.release(1.0, SEED)
    with pytest.raises(PrivacyError, match="released once"):
        patients.release(1.0, SEED)


def test_noise_without_a_bound_is_refused() -> None:
    with pytest.raises(PrivacyError, match="finite clip"):
        PatientSum([torch.zeros(1)], math.inf).release(1.0, SEED)


def test_production_noise_differs_every_time_and_seeded_noise_does_not() -> None:
    def draw(seed: int | None, *purpose: object) -> list[float]:
        drawn: list[float] = noise_generator(seed, *purpose).normal(size=4).tolist()
        return drawn

    assert draw(None) != draw(None)
    assert draw(3, "site", 1) == draw(3, "site", 1)
    assert draw(3, "site", 1) != draw(3, "site", 2)
    assert draw(3) != draw(3 + 2**32), "no bit of the seed may be dropped"


def test_production_noise_takes_its_whole_key_from_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def urandom(count: int) -> bytes:
        asked.append(count)
        return bytes(range(count))

    monkeypatch.setattr("fedspine.privacy.patient_sum.os.urandom", urandom)
    assert noise_generator(None).bit_generator.state["state"]["keysetup"].tobytes() == bytes(range(32))
    assert asked == [32]


def test_the_noise_generator_is_chacha20(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first block is RFC 8439's test vector #1 of appendix A.1, and the rest what `cryptography` makes."""
    first = "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
    for key in (bytes(32), bytes(range(32))):
        monkeypatch.setattr("fedspine.privacy.patient_sum.os.urandom", lambda count, key=key: key)
        drawn = noise_generator(None).bit_generator.random_raw(10_000).astype("<u8").tobytes()
        assert drawn == Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(80_000))
        assert (drawn[:32].hex() == first) == (key == bytes(32))


def test_poisson_sampling_takes_each_patient_at_the_rate_and_may_take_none() -> None:
    generator = noise_generator(0, "sampling")
    draws = [poisson_sample(10, 0.3, generator) for _ in range(3000)]
    counts = torch.bincount(torch.tensor([i for draw in draws for i in draw]), minlength=10) / len(draws)
    assert torch.allclose(counts, torch.full((10,), 0.3), atol=0.04)
    assert any(not draw for draw in draws)
    assert len({len(draw) for draw in draws}) > 5
    assert poisson_sample(5, 1.0, generator) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_noise_is_as_fine_as_the_sum_that_it_covers(kind: torch.dtype) -> None:
    """Coarser noise gives the sum away: less the true sum, a release is a draw of float32 to the last bit."""
    told = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        terms = [[torch.from_numpy(random.normal(0, 0.1, 6)).to(kind)] for _ in range(8)]
        total = PatientSum([torch.zeros(6, dtype=kind)], clip=1.0)
        inside = bool(random.random() < 0.5)
        for term in terms if inside else terms[1:]:
            total.add(term)
        (released,) = total.release(2.0, np.random.default_rng(10_000 + seed))

        def drawn(candidate: list[list[Tensor]], released: Tensor = released) -> float:
            """Return how far the noise that `candidate` implies lies from numbers of float32."""
            other = PatientSum([torch.zeros(6, dtype=kind)], clip=1.0)
            for term in candidate:
                other.add(term)
            noise = ((released - other.release(0.0, np.random.default_rng(0))[0]) / 2.0).double()
            return float((noise - noise.float().double()).abs().max())

        told += (drawn(terms) < drawn(terms[1:])) == inside
    assert 60 < told < 140  # a fair coin: 100
