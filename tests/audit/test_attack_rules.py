"""How lines A9 to A12b are graded: on made scores, so that each rule is seen to decide."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from fedspine.audit import attribute, inversion, linkage, membership, memorisation
from fedspine.audit.inversion import Attacked
from fedspine.audit.likeness import Points, nearest
from fedspine.audit.line import Grade
from fedspine.audit.memorisation import Memory, recalled
from fedspine.audit.trade_off import Promise, Rates, rates
from fedspine.audit.unrolling import unrolled
from fedspine.config import Stage
from fedspine.networks.dcgan import Critic
from fedspine.privacy.accounting import Event
from fedspine.tasks._rounds import Strength

TIGHT, LOOSE = Promise(((Event(3.0),),)), Promise(((Event(0.3),),))
STAGE = Stage("classify", "classify")


def scores(shift: float, members: int = 60, others: int = 31) -> Rates:
    random = np.random.default_rng(0)
    return rates(random.normal(shift, 1, members), random.normal(0, 1, others))


NOTHING, EVERYTHING = scores(0.0), scores(9.0)
RIGHT = dict.fromkeys(
    (
        "right, members",
        "right, others",
        "right without the network, members",
        "right without the network, others",
        "right, control members",
        "right, control others",
    ),
    0.5,
)
SHARES = {
    f"{who}: {what}": 0.5
    for who in ("members", "others", "control members", "control others")
    for what in ("first", "among five")
} | {"by chance: first": 0.01}


@pytest.mark.parametrize(
    ("found", "control", "claim", "grade"),
    [
        (NOTHING, EVERYTHING, TIGHT, Grade.PASS),
        (EVERYTHING, EVERYTHING, TIGHT, Grade.FAIL),
        (NOTHING, NOTHING, TIGHT, Grade.NOT_TESTED),
        (EVERYTHING, NOTHING, TIGHT, Grade.FAIL),
        (EVERYTHING, EVERYTHING, LOOSE, Grade.NOT_TESTED),
    ],
)
def test_an_attack_passes_under_the_bound_fails_above_it_and_says_nothing_without_power(
    found: Rates, control: Rates, claim: Promise, grade: Grade
) -> None:
    lines = (
        membership.judged(membership.Attacked(found, scores(0.0, 90, 90), control), claim, STAGE),
        linkage.judged(found, control, SHARES, claim, "All messages are alike."),
        attribute.judged(found, control, RIGHT, claim),
    )
    for line in lines:
        assert line.grade is grade
        assert bool(line.bound) == (grade is Grade.PASS)
        assert all(map(math.isfinite, line.figures.values()))


def test_replays_that_leak_fail_though_the_released_network_is_silent() -> None:
    found = membership.Attacked(NOTHING, scores(9.0, 90, 90), EVERYTHING)
    assert membership.judged(found, TIGHT, STAGE).grade is Grade.FAIL


def test_reference_networks_share_everybody_out() -> None:
    inside = membership.drawn_in(9, seed=1)
    assert inside.sum(0).tolist() == [membership.REFERENCES / 2] * 9
    assert {int(row.sum()) for row in inside} == {4, 5}


def test_a_replay_is_attacked_without_its_twin_so_that_members_and_others_have_alike_references() -> None:
    inside = membership.drawn_in(40, seed=2)
    for number, chosen in enumerate(inside):
        beside = membership.elsewhere(inside.astype(float), number).sum(0)
        assert set(beside[chosen]) == set(beside[~chosen]) == {membership.REFERENCES / 2 - 1}


def test_the_ratio_of_a_person_is_0_where_the_network_is_like_the_references() -> None:
    same = np.array([-1.0, -2.0])
    np.testing.assert_allclose(membership.ratios(same, np.stack([same, same])), 0.0, atol=1e-12)


def places(random: np.random.Generator, slices: int, patients: int | None = None) -> Points:
    whose = torch.arange(slices) % (patients or slices)
    drawn = torch.from_numpy(random.normal(size=(slices, 1, 12)))
    order = whose.argsort(stable=True)
    return Points({"features": drawn, "pixels": drawn.clone()}, torch.ones(slices, 1).double(), whose[order])


def near(points: Points, chosen: torch.Tensor, apart: float, random: np.random.Generator) -> Points:
    drawn = points.places["features"][chosen] + apart * torch.from_numpy(random.normal(size=(len(chosen), 1, 12)))
    return Points({"features": drawn, "pixels": drawn.clone()}, points.present[chosen], torch.arange(len(chosen)))


@pytest.fixture
def _fewer_exchanges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memorisation, "EXCHANGES", 1499)


@pytest.mark.usefixtures("_fewer_exchanges")
def test_made_images_that_know_nobody_are_not_accused_and_those_that_are_ten_patients_are() -> None:
    random = np.random.default_rng(4)
    everybody = places(random, 82, 41)
    honest = recalled(places(random, 60), everybody, 10, seed=0)
    repeated = torch.arange(60) % 20
    overfitted = recalled(near(everybody, repeated, 0.3, random), everybody, 10, seed=0)
    assert not honest.memorised
    assert not honest.copied
    assert overfitted.memorised


@pytest.mark.usefixtures("_fewer_exchanges")
def test_one_copied_patient_is_found_by_distance_though_ranks_cannot_tell() -> None:
    random = np.random.default_rng(5)
    everybody = places(random, 96)
    made = near(everybody, torch.tensor([3]), 0.01, random)
    crowd = places(random, 60)
    together = Points(
        {space: torch.cat([crowd.places[space], made.places[space]]) for space in crowd.places},
        torch.ones(61, 1).double(),
        torch.arange(61),
    )
    found = recalled(together, everybody, 65, seed=0)
    assert found.copied
    assert not found.memorised


def test_the_nearest_slice_of_a_patient_counts() -> None:
    between = np.array([[3.0, 1.0, 5.0], [2.0, 4.0, 0.5]])
    np.testing.assert_array_equal(nearest(between, np.array([0, 0, 1])), [[1.0, 5.0], [2.0, 0.5]])


def memory(chance: float, closest: float) -> Memory:
    both = {"features": 0.5, "pixels": 0.5}
    return Memory(chance, both, both, {"features": closest, "pixels": 1.0})


@pytest.mark.parametrize(
    ("found", "copy", "whole", "grade"),
    [
        (memory(0.2, 0.9), memory(0.2, 0.1), memory(1e-4, 0.1), Grade.PASS),
        (memory(1e-4, 0.9), memory(0.2, 0.1), memory(1e-4, 0.1), Grade.FAIL),
        (memory(0.2, 0.3), memory(0.2, 0.1), memory(1e-4, 0.1), Grade.FAIL),
        (memory(0.2, 0.9), memory(0.2, 0.8), memory(1e-4, 0.1), Grade.NOT_TESTED),
        (memory(0.2, 0.9), memory(0.2, 0.1), memory(0.01, 0.1), Grade.NOT_TESTED),
        (memory(1e-4, 0.9), memory(0.2, 0.8), memory(0.01, 0.8), Grade.FAIL),
    ],
)
def test_a_generator_passes_only_where_planted_copies_are_found_and_fails_wherever_it_is_accused(
    found: Memory, copy: Memory, whole: Memory, grade: Grade
) -> None:
    assert memorisation.judged({"gan": memory(0.5, 1.0), "other": found}, copy, whole, (65, 31)).grade is grade


def one_attacked(control: float, private: float) -> Attacked:
    random = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 16, 16, generator=random).double()
    noise = torch.rand(2, 16, 16, generator=random).double()

    def mixed(share: float) -> torch.Tensor:
        return share * truth + (1 - share) * noise

    return Attacked(truth, mixed(control), mixed(private), mixed(0.5), torch.ones(2))


@pytest.mark.parametrize(
    ("control", "private", "grade"),
    [(0.99, 0.1, Grade.PASS), (0.99, 0.9, Grade.FAIL), (0.3, 0.1, Grade.NOT_TESTED), (0.3, 0.9, Grade.FAIL)],
)
def test_an_inversion_counts_only_where_it_shows_somebody_without_privacy(
    control: float, private: float, grade: Grade
) -> None:
    line = inversion.judged([one_attacked(control, private)], Stage("gan", "gan"))
    assert line.grade is grade
    assert len(line.pictures) == 4
    assert all(Image.open(io.BytesIO(picture)).size == (96, 48) for picture in line.pictures.values())


def test_a_critic_gives_the_features_of_its_one_image_away_exactly() -> None:
    torch.manual_seed(0)
    critic = Critic(5, 64, 8, classes=3).double()
    for module in critic.modules():
        if isinstance(module, nn.GroupNorm):
            nn.init.normal_(module.weight, 1.0, 0.2)
            nn.init.normal_(module.bias, 0.0, 0.2)
    image = torch.rand(1, 5, 64, 64).double()
    loss = F.softplus(-critic.head(critic.features(image))).sum()
    names, weights = zip(*critic.named_parameters(), strict=True)
    gradient = {
        name: torch.zeros_like(weight) if one is None else one
        for name, weight, one in zip(
            names, weights, torch.autograd.grad(loss, list(weights), allow_unused=True), strict=True
        )
    }
    found = unrolled(critic, gradient)
    assert found.depth == 5
    torch.testing.assert_close(found.features, critic.layers[:5](image)[0], rtol=1e-7, atol=1e-9)


def test_what_the_attacker_gets_is_clipped_and_noised_as_the_stage_does() -> None:
    exact = {"a": torch.full((2000,), 3.0).double(), "b": torch.zeros(2000).double()}
    random = np.random.default_rng(0)
    clipped = inversion.released(exact, Strength(1.0, 0.0), 1.0, random)
    assert float(clipped["a"].norm()) == pytest.approx(math.sqrt(1 - 0.3**2))
    noisy = inversion.released(exact, Strength(1.0, 4.0), 16.0, random)
    assert float((noisy["b"]).std()) == pytest.approx(1.0, rel=0.1)
    bare = inversion.released(exact, Strength(math.inf, 0.0), 16.0, random)
    torch.testing.assert_close(bare["a"], exact["a"])
