"""A9: can somebody who has a person's complete record tell from the released network whether they trained?

The attack is RMIA (Zarifzadeh, Liu, Shokri 2024): a person's likelihood under the network, over the mean of it under
reference networks that were trained with and without the person by the plan's own stage. The attacker is as strong as
such attacks get: has the images, mask and class, the plan, the public start and so the reference networks. RMIA
compares this ratio with that of other people, of one fixed set for everybody, which keeps the order of people; only
the order counts below.

Attacked are the released network, whose members trained in the run, and the reference networks, each by means of
others: they tell more, being more, and nothing of the run itself. The line fails where either attack tells members
better than the ledger lets any attack do (`trade_off`). To pass, the same attack must find the members of a control:
the same network trained without clip and noise, all weights, until it knows its patients by heart. Otherwise it is too
weak to say anything, and the line reads NOT TESTED.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.people import People, people, public_start, without_privacy
from fedspine.audit.subject import Subject
from fedspine.audit.trade_off import FALSE_ALARMS, Promise, Rates, in_words, promise, rates, unnoticed
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Stage
from fedspine.errors import PrivacyError
from fedspine.tasks._federation import Weights, train
from fedspine.tasks._task import Trained, make, rebuilt

TASKS = ("classify", "segment")
"""Networks that can be attacked; the first one of the plan is, for a reference network takes as long as its stage."""

REFERENCES = 4
"""At least two pairs: every person trained in one network of each."""

CONTROL_SIDE, CONTROL_STEPS, CONTROL_BATCH, CONTROL_RATE = 24, 150, 6.0, 3e-3
"""Of the control: people it learns by heart, and as many it does not; steps, people a step, learning rate."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Attacked:
    """What the attack found.

    Args:
        released: in the run's own network.
        replayed: in the reference networks, all trials together.
        control: in the network without privacy.
    """

    released: Rates
    replayed: Rates
    control: Rates


def membership(subject: Subject) -> Line:
    """Return the line."""
    stage = next((one for name in TASKS for one in subject.plan.stage if one.task == name), None)
    if stage is None or stage.name not in subject.models:
        return _untested("the plan trains no network that classifies or segments")
    task, model = rebuilt(subject.plan, stage, subject.shared, subject.models)
    assert isinstance(task, Trained)
    assert model is not None
    known = people(subject, task, model)
    if not known.enough:
        return _untested("too few patients of the run are at hand, or none")
    try:
        claim = promise(subject, stage)
    except PrivacyError:
        return _untested("a site's ledger cannot be read, so there is no bound to hold the attack against")
    if not claim.made:
        return _untested("the ledgers book no noised release of the network, so nothing is promised")
    return judged(attacked(subject, stage, task, model, known), claim, stage)


def attacked(subject: Subject, stage: Stage, task: Trained, model: nn.Module, known: People) -> Attacked:
    """Return what the attack finds in the released network, in its replays and in the control."""
    everybody = [*known.every_member, *known.every_other]
    weights = public_start(subject.plan, stage, task)
    inside = drawn_in(len(everybody), subject.seed)
    replays = np.stack(
        [
            likelihoods(task, _replay(subject, stage, task, known, chosen, weights, number), everybody)
            for number, chosen in enumerate(inside)
        ]
    )
    scores = ratios(likelihoods(task, model, everybody), replays)
    count = len(known.every_member)
    each = [ratios(one, elsewhere(replays, number)) for number, one in enumerate(replays)]
    replayed = rates(
        np.concatenate([one[chosen] for one, chosen in zip(each, inside, strict=True)]),
        np.concatenate([one[~chosen] for one, chosen in zip(each, inside, strict=True)]),
    )
    known_by_heart, strangers = _control_sides(len(everybody), subject.seed)
    control = ratios(_control(subject, stage, everybody, known_by_heart, weights), replays)
    return Attacked(rates(scores[:count], scores[count:]), replayed, rates(control[known_by_heart], control[strangers]))


def _control_sides(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return whom the control learns by heart, and as many whom it does not."""
    order = np.random.default_rng([seed, 99]).permutation(count)
    side = min(CONTROL_SIDE, count // 2)
    return order[:side], order[side : 2 * side]


def drawn_in(count: int, seed: int) -> NDArray[np.bool_]:
    """Return who trains in each reference network, (`REFERENCES`, person): pairs of networks share everybody out."""
    random = np.random.default_rng([seed, 9])
    halves = [random.permutation(count) < (count + 1) // 2 for _ in range(REFERENCES // 2)]
    return np.stack([side for half in halves for side in (half, ~half)])


def elsewhere(replays: Array, number: int) -> Array:
    """Return the reference networks of all pairs but that of `number`.

    Its twin trained exactly on those who are not in it: beside it, the attack would know who was there.
    """
    return np.asarray(replays[np.arange(len(replays)) // 2 != number // 2])


def likelihoods(task: Trained, model: nn.Module, patients: Sequence[PatientTensors]) -> Array:
    """Return each person's log-likelihood, less the loss; what is random about it is the same for every network."""
    model.eval()
    found = []
    for index, patient in enumerate(patients):
        with torch.no_grad():
            loss = task.patient_loss(model, patient, torch.Generator().manual_seed(index))
        assert loss is not None, "only those of whom the network has something to say are attacked"
        found.append(-float(loss))
    return np.array(found)


def ratios(attacked_network: Array, references: Array) -> Array:
    """Return RMIA's logarithmic ratio (person,): likelihoods (person,) over the mean of (network, person)."""
    return np.asarray(attacked_network - np.logaddexp.reduce(references, axis=0) + np.log(len(references)))


def _replay(
    subject: Subject,
    stage: Stage,
    task: Trained,
    known: People,
    chosen: NDArray[np.bool_],
    weights: Weights,
    number: int,
) -> nn.Module:
    """Return a reference network: the plan's own stage, its clip and noise too, at sites of the chosen people."""
    order = iter(chosen)
    first = [[patient for patient in site if next(order)] for site in known.members]
    second = [[patient for patient in site if next(order)] for site in known.others]
    sites = [[*some, *more] for some, more in zip(first, second, strict=True)]
    return train(
        task, subject.plan, stage, [site for site in sites if site], weights, seed=1000 * subject.seed + number
    )


def _control(
    subject: Subject,
    stage: Stage,
    everybody: Sequence[PatientTensors],
    chosen: NDArray[np.int64],
    weights: Weights,
) -> Array:
    """Return everybody's log-likelihood under a network that knows the chosen by heart."""
    whole = (
        stage if stage.trained == "adapters" else replace(stage, trained="all")
    )  # adapters have weights of their own
    task = make(subject.plan, whole, subject.shared)
    assert isinstance(task, Trained)
    overfitted = without_privacy(
        task,
        whole,
        [everybody[number] for number in chosen],
        weights,
        steps=CONTROL_STEPS,
        batch=CONTROL_BATCH,
        rate=CONTROL_RATE,
        seed=subject.seed,
    )
    return likelihoods(task, overfitted, everybody)


def judged(found: Attacked, claim: Promise, stage: Stage) -> Line:
    """Return the line of what the attack found, held against what the ledger promises."""
    figures = {**_figures("released", found.released, claim), **_figures("replayed", found.replayed, claim)}
    figures |= {"control: area": found.control.area, "control: found": found.control.rate}
    told = (
        f"of {found.released.members} members of '{stage.name}' the attack finds {in_words(found.released)}; in "
        f"networks trained again {in_words(found.replayed)}; without privacy {in_words(found.control)}"
    )
    if found.released.beyond(claim) or found.replayed.beyond(claim):
        return _line(Grade.FAIL, told[0].upper() + told[1:] + ".", "", figures)
    if not found.control.leaks:
        return _untested(f"the attack is too weak to find members even without privacy; {told}", figures)
    if not found.replayed.could_contradict(claim):
        return _untested(f"the ledger lets attacks find so many that none could contradict it; {told}", figures)
    least = found.released.least_area(claim)
    shown = "would" if found.control.area > least else "would not"
    bound = (
        f"The ledger lets no attack find more than {claim.largest(FALSE_ALARMS):.1%} of members at {FALSE_ALARMS:.0%} "
        f"false alarms, nor reach an area above {claim.area:.2f}. Not contradicting it here: in the released network "
        f"{unnoticed(found.released, claim)}; in replays {unnoticed(found.replayed, claim)}. An area such as the "
        f"control's {shown} contradict it. {REFERENCES} reference networks; one attack, and others may be better."
    )
    return _line(Grade.PASS, told[0].upper() + told[1:] + ".", bound, figures)


def _figures(name: str, found: Rates, claim: Promise) -> dict[str, float]:
    """Return the numbers of one attack, by name."""
    low, high = found.interval
    values = {
        "area": found.area,
        "p": found.chance,
        "found": found.rate,
        "found, low": low,
        "found, high": high,
        "false alarms": found.alarms / found.others,
        "false alarms, most": found.most_alarms,
        "bound there": claim.largest(found.most_alarms),
        "bound at 1 %": claim.largest(FALSE_ALARMS),
        "area, allowed": claim.area,
        "area, contradicting": found.least_area(claim),
    }
    return {f"{name}: {key}": value for key, value in values.items()}


def _line(grade: Grade, finding: str, bound: str, figures: dict[str, float]) -> Line:
    return Line(
        check="A9",
        title="who was among the training patients",
        level=Level.EXPOSURE,
        grade=grade,
        finding=finding,
        bound=bound,
        means="Somebody who already has a patient's images asks the network whether it was trained on them: a network "
        "that fits them better than networks trained without them gives it away.",
        figures=figures,
    )


def _untested(why: str, figures: dict[str, float] | None = None) -> Line:
    return _line(Grade.NOT_TESTED, f"Not tested: {why}.", "", figures or {})
