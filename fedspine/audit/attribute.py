"""A12b: does the released encoder tell a training patient's mutation from images?

The attacker has a patient's images and all omics but one mutation, mutated or not, and takes the value that the encoder
finds nearer to the images (attribute inference after Yeom et al. 2018). Imaging tells about genes anyway, so two
comparisons are made. Without the network, a logistic regression on public phantoms predicts the mutation from the same
image features: what anybody could do. And the same attack on held-out patients, of whom the network learned nothing:
only what it does better on those who trained is a leak.

A patient's score is how much nearer the truth is than its opposite, the mean over known mutations; the line fails where
the score tells members from others better than the ledger lets any attack do (`trade_off`). Where an encoder that was
overfitted without clip and noise shows no clear difference, it reads NOT TESTED. It has a number of its own beside A12
since either can be tested without the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.linkage import Examined, examined
from fedspine.audit.subject import Subject
from fedspine.audit.trade_off import FALSE_ALARMS, Promise, Rates, in_words, promise, rates, unnoticed
from fedspine.errors import PrivacyError
from fedspine.harmony.scaling import BOUND
from fedspine.networks.towers import Towers

MUTATED = math.asinh(1.0)
"""One mutation among omics, which enter as asinh."""

NEAR = 1e-3
"""How far from a whole number a count may be after asinh and back."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Guesses:
    """What was guessed of everybody's mutations.

    Args:
        right: (patient, mutation) 1 where right, NaN where the truth is not known.
        scores: (patient,) how much nearer to the images the truth is, over known mutations; NaN of nobody tested.
    """

    right: Array
    scores: Array

    def accuracy(self, chosen: NDArray[np.bool_]) -> float:
        """Return the share of right guesses of the patients chosen."""
        return float(np.nanmean(self.right[chosen]))


def attribute(subject: Subject) -> Line:
    """Return the line."""
    found = examined(subject)
    if found is None or not found.enough:
        return _untested("the plan trains no encoder, or too few patients of the run are at hand")
    columns = mutations(found)
    if not columns:
        return _untested("no omics column of the plan counts mutations, with and without among the patients")
    try:
        claim = promise(subject, found.stage)
    except PrivacyError:
        return _untested("a site's ledger cannot be read, so there is no bound to hold the attack against")
    if not claim.made:
        return _untested("the ledgers book no noised release of the encoder, so nothing is promised")
    inside = found.halves(subject.seed)
    member = np.arange(len(found.patients)) < found.members
    guessed = guesses(found, found.model, columns)
    control = guesses(found, found.overfitted(inside, subject.seed), columns)
    public = from_phantoms(found, columns)
    return judged(
        _told_apart(guessed, member),
        _told_apart(control, inside),
        {
            "right, members": guessed.accuracy(member),
            "right, others": guessed.accuracy(~member),
            "right without the network, members": public.accuracy(member),
            "right without the network, others": public.accuracy(~member),
            "right, control members": control.accuracy(inside),
            "right, control others": control.accuracy(~inside),
        },
        claim,
    )


def mutations(found: Examined) -> list[int]:
    """Return the omics columns that count something, mutated and not mutated both being among the patients."""
    counts = torch.stack([patient.omics for patient in found.patients]).sinh()
    known = torch.stack([patient.omics_present for patient in found.patients]).bool()
    whole = ((counts - counts.round()).abs() < NEAR) & (counts > -NEAR)
    return [
        column
        for column in range(counts.shape[1])
        if bool((whole | ~known)[:, column].all())
        and bool(((counts > 0.5) & known)[:, column].any())
        and bool(((counts < 0.5) & known)[:, column].any())
    ]


def guesses(found: Examined, model: nn.Module, columns: list[int]) -> Guesses:
    """Return what the encoder makes of each mutation, all other omics being known to the attacker."""
    assert isinstance(model, Towers)
    with torch.no_grad():
        images = model.embed_image(found.task.image_rows(found.values, found.known))
        nearer = torch.stack([_nearer(found, model, images, column) for column in columns], dim=1)
    known = found.known[:, [found.task.features + column for column in columns]].bool()
    gains = np.where(known.numpy(), nearer.double().numpy(), np.nan)
    right = np.where(np.isnan(gains), np.nan, gains > 0)
    tested = known.any(1).numpy()
    scores = np.full(len(gains), np.nan)
    scores[tested] = np.nanmean(gains[tested], axis=1)
    return Guesses(right, scores)


def _nearer(found: Examined, model: Towers, images: Tensor, column: int) -> Tensor:
    """Return how much nearer to the images the truth of `column` is than its opposite: (patient,)."""
    place = found.task.features + column
    turned = found.values.clone()
    zero, one = _standardised(found, place)
    turned[:, place] = torch.where(found.values[:, place] > (zero + one) / 2, zero, one) * found.known[:, place]
    true, false = (model.embed_omics(found.task.omics_rows(rows, found.known)) for rows in (found.values, turned))
    return (images * (true - false)).sum(1)


def _standardised(found: Examined, place: int) -> tuple[float, float]:
    """Return what none and one are on the shared scale of a column."""
    mean, deviation = float(found.task.mean[place]), float(found.task.deviation[place])
    return tuple(max(-BOUND, min(BOUND, (value - mean) / deviation)) for value in (0.0, MUTATED))  # type: ignore[return-value]


def from_phantoms(found: Examined, columns: list[int]) -> Guesses:
    """Return what anybody can guess from the image features: logistic regressions on the public anchors."""
    task, places = found.task, [found.task.features + column for column in columns]
    public, mine = (rows[:, : task.features].double().numpy() for rows in (task.anchors, found.values))
    guessed = []
    for place in places:
        middle = sum(_standardised(found, place)) / 2
        wanted, truth = (rows[:, place].numpy() > middle for rows in (task.anchors, found.values))
        if len(set(wanted.tolist())) == 2:
            likely = LogisticRegression(C=0.1, max_iter=1000).fit(public, wanted).predict_proba(mine)[:, 1]
        else:
            likely = np.full(len(mine), float(wanted[0]))
        guessed.append(np.where(truth, likely, 1 - likely) - 0.5)
    known = found.known[:, places].bool().numpy()
    gains = np.where(known, np.stack(guessed, axis=1), np.nan)
    return Guesses(np.where(np.isnan(gains), np.nan, gains > 0), np.where(known, gains, 0.0).mean(1))


def _told_apart(found: Guesses, members: NDArray[np.bool_]) -> Rates:
    """Return how well scores tell members from others, of all who were tested."""
    tested = np.isfinite(found.scores)
    return rates(found.scores[members & tested], found.scores[~members & tested])


def judged(found: Rates, control: Rates, right: dict[str, float], claim: Promise) -> Line:
    """Return the line of what was guessed, held against what the ledger promises."""
    figures = {"area": found.area, "p": found.chance, "found": found.rate, "control: area": control.area, **right}
    figures["bound at 1 %"] = claim.largest(FALSE_ALARMS)
    said = (
        f"Of mutations, the encoder guesses {right['right, members']:.0%} right of members and "
        f"{right['right, others']:.0%} of others; anybody without it "
        f"{right['right without the network, members']:.0%} and "
        f"{right['right without the network, others']:.0%}; an encoder without privacy "
        f"{right['right, control members']:.0%} of members and {right['right, control others']:.0%} of others. As an "
        f"attack on membership it finds {in_words(found)}; without privacy {in_words(control)}."
    )
    if found.beyond(claim):
        return _line(Grade.FAIL, said, "", figures)
    if not control.leaks:
        return _untested(f"the attack learns too little even of an encoder without privacy. {said}", figures)
    if not found.could_contradict(claim):
        return _untested(f"with so few people no attack could contradict the ledger. {said}", figures)
    bound = (
        f"The ledger lets no attack find more than {claim.largest(FALSE_ALARMS):.1%} of members at {FALSE_ALARMS:.0%} "
        f"false alarms, nor reach an area above {claim.area:.2f}. Not contradicting it here: {unnoticed(found, claim)}."
    )
    return _line(Grade.PASS, said, bound, figures)


def _line(grade: Grade, finding: str, bound: str, figures: dict[str, float]) -> Line:
    return Line(
        check="A12b",
        title="guessing a mutation from images",
        level=Level.EXPOSURE,
        grade=grade,
        finding=finding,
        bound=bound,
        means="Imaging tells a little about anybody's genes. A network must not tell more about the genes of those who "
        "trained it than about those of others.",
        figures=figures,
    )


def _untested(why: str, figures: dict[str, float] | None = None) -> Line:
    return _line(Grade.NOT_TESTED, f"Not tested: {why}.".replace("..", "."), "", figures or {})
