"""A12: does any row of one patient leave, and does the released encoder link a patient's images to its omics?

Two questions. First, what leaves. A stage's schema is made at the coordinator, where no patient is, and the gate stops
what does not fit it; here it is seen in the sites' logs: messages of one round are equally long at all sites, though
these have different numbers of patients. So nothing in them has a row for each patient. A stage whose messages differ
is a FAIL.

Second, what the encoder remembers. Whoever has a stranger's images and a pile of omics tables can ask which of them
belongs to the images. That works a little for everybody, as imaging tells about genes; what a contrastive network has
learned by heart is what works better for those who trained. Each patient's own omics are ranked among those of all
patients of the run, trained or not, and the score is how much nearer the own ones are than the others (the logarithm of
their share in the encoder's softmax). The line fails where that score tells members from others better than the ledger
lets any attack do (`trade_off`). The same attack has to find the members of a control, the same encoder overfitted
without clip and noise to half of the people; otherwise the line reads NOT TESTED. A PASS needs both answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedspine.atlas.anchors import rows_of
from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.people import FEWEST, people, without_privacy
from fedspine.audit.subject import Subject
from fedspine.audit.trade_off import FALSE_ALARMS, Promise, Rates, in_words, promise, rates, unnoticed
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import TRAIN, Stage
from fedspine.errors import PrivacyError
from fedspine.harmony.scaling import standard
from fedspine.networks.towers import Towers
from fedspine.privacy.chain import read
from fedspine.tasks._task import rebuilt
from fedspine.tasks.encode import Encode

TASK = "encode"

CONTROL_STEPS, CONTROL_BATCH, CONTROL_RATE = 250, 8.0, 3e-3

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Examined:
    """An encoder of a run, and the patients who have both images and omics.

    Args:
        stage: of the plan.
        task: made of the run's released values.
        model: with the run's final weights.
        patients: the members first.
        members: how many of them trained.
        values: (patient, column), image features and then omics, standardised.
        known: (patient, column).
    """

    stage: Stage
    task: Encode
    model: nn.Module
    patients: Sequence[PatientTensors] = field(repr=False)
    members: int
    values: Tensor = field(repr=False)
    known: Tensor = field(repr=False)

    @property
    def enough(self) -> bool:
        """Whether there are enough on both sides."""
        return min(self.members, len(self.patients) - self.members) >= FEWEST

    def halves(self, seed: int) -> NDArray[np.bool_]:
        """Return whom the control is overfitted to: (patient,), half of them."""
        count = len(self.patients)
        return np.asarray(np.random.default_rng([seed, 12]).permutation(count) < (count + 1) // 2)

    def overfitted(self, inside: NDArray[np.bool_], seed: int) -> nn.Module:
        """Return the control: the encoder after it learned the patients `inside` by heart, without clip and noise."""
        return without_privacy(
            self.task,
            self.stage,
            [patient for patient, there in zip(self.patients, inside, strict=True) if there],
            self.model.state_dict(),
            steps=CONTROL_STEPS,
            batch=CONTROL_BATCH,
            rate=CONTROL_RATE,
            seed=seed,
        ).eval()


def examined(subject: Subject) -> Examined | None:
    """Return the plan's first encoder and its patients; `None` where it has none."""
    stage = next((one for one in subject.plan.stage if one.task == TASK and one.name in subject.models), None)
    if stage is None:
        return None
    task, model = rebuilt(subject.plan, stage, subject.shared, subject.models)
    assert isinstance(task, Encode)
    assert isinstance(model, Towers)
    known = people(subject)
    sides = [
        [p for p in side if p.has_image and bool(p.omics_present.any())]
        for side in (known.every_member, known.every_other)
    ]
    rows = [rows_of(patient) for side in sides for patient in side]
    if not rows:
        return None
    values, there = (torch.stack(column) for column in zip(*rows, strict=True))
    scaled = standard(values, there, task.mean, task.deviation)
    return Examined(stage, task, model, [*sides[0], *sides[1]], len(sides[0]), scaled, there)


def linkage(subject: Subject) -> Line:
    """Return the line."""
    try:
        odd = uneven(subject)
    except PrivacyError:
        return _untested("a site's egress log cannot be read", "")
    if odd:
        names = ", ".join(f"'{name}'" for name in odd)
        return _line(Grade.FAIL, f"Messages of stage {names} are not equally long at all sites.", "", {})
    told = what_left(subject)
    found = examined(subject)
    if found is None or not found.enough:
        return _untested("the plan trains no encoder, or too few patients of the run are at hand", told)
    try:
        claim = promise(subject, found.stage)
    except PrivacyError:
        return _untested("a site's ledger cannot be read, so there is no bound to hold the attack against", told)
    if not claim.made:
        return _untested("the ledgers book no noised release of the encoder, so nothing is promised", told)
    inside = found.halves(subject.seed)
    linked = links(found, found.model)
    control = links(found, found.overfitted(inside, subject.seed))
    split = found.members
    return judged(
        rates(linked.scores[:split], linked.scores[split:]),
        rates(control.scores[inside], control.scores[~inside]),
        {
            **_shares("members", linked.ranks[:split]),
            **_shares("others", linked.ranks[split:]),
            **_shares("control members", control.ranks[inside]),
            **_shares("control others", control.ranks[~inside]),
            "by chance: first": 1 / len(linked.ranks),
        },
        claim,
        told,
    )


def what_left(subject: Subject) -> str:
    """Return what the lengths of messages tell, if they are the same at all sites."""
    counts = {len(site.patients.get(TRAIN, ())) for site in subject.sites}
    if len(counts) < 2:
        return "All sites have equally many patients, so equal lengths of messages tell nothing of rows in them."
    return "Messages of one round are equally long at sites of different numbers of patients: none has a row for each."


def uneven(subject: Subject) -> list[str]:
    """Return the stages of which the messages of one round are not equally long at all sites."""
    sizes: dict[tuple[str, int], set[int]] = {}
    for site in subject.sites:
        for stage, number, size in _sent(site.state / "egress.jsonl"):
            sizes.setdefault((stage, number), set()).add(size)
    names = {stage.name for stage in subject.plan.stage}
    return sorted({stage for (stage, _), found in sizes.items() if stage in names and len(found) > 1})


def _sent(log: Path) -> list[tuple[str, int, int]]:
    """Return stage, round and bytes of what left by an egress log."""
    lines = read(log, "the egress log")
    return [(line["stage"], line["round"], line["bytes"]) for line in lines if line["stage"] and line["bytes"]]


@dataclass(frozen=True, eq=False)
class Links:
    """How patients' images find their omics.

    Args:
        ranks: (patient,) place of the own omics among all patients', from 1.
        scores: (patient,) logarithm of the own one's share in the softmax.
    """

    ranks: Array
    scores: Array


def links(found: Examined, model: nn.Module) -> Links:
    """Return how each patient's images find their omics among all patients'."""
    assert isinstance(model, Towers)
    with torch.no_grad():
        images = model.embed_image(found.task.image_rows(found.values, found.known))
        omics = model.embed_omics(found.task.omics_rows(found.values, found.known))
        alike = images @ omics.T
    own = alike.diagonal()[:, None]
    shares = (alike / found.task.options.temperature).log_softmax(1).diagonal()
    return Links((1 + (alike > own).sum(1)).double().numpy(), shares.double().numpy())


def _shares(name: str, ranks: Array) -> dict[str, float]:
    return {f"{name}: first": float((ranks <= 1).mean()), f"{name}: among five": float((ranks <= 5).mean())}


def judged(found: Rates, control: Rates, shares: dict[str, float], claim: Promise, told: str) -> Line:
    """Return the line of what links were found, held against what the ledger promises."""
    figures = {"area": found.area, "p": found.chance, "found": found.rate, "control: area": control.area, **shares}
    figures["bound at 1 %"] = claim.largest(FALSE_ALARMS)
    said = (
        f"{told} The encoder puts a patient's own omics first for {shares['members: first']:.0%} of members and "
        f"{shares['others: first']:.0%} of others ({shares['by chance: first']:.0%} by chance), in the first five for "
        f"{shares['members: among five']:.0%} and {shares['others: among five']:.0%}; without privacy first for "
        f"{shares['control members: first']:.0%} of members. As an attack on membership it finds {in_words(found)}; "
        f"without privacy {in_words(control)}"
    )
    if found.beyond(claim):
        return _line(Grade.FAIL, said + ".", "", figures)
    if not control.leaks:
        return _untested("links tell too little even of an encoder without privacy", said + ".", figures)
    if not found.could_contradict(claim):
        return _untested("with so few people no attack could contradict the ledger", said + ".", figures)
    bound = (
        f"The ledger lets no attack find more than {claim.largest(FALSE_ALARMS):.1%} of members at {FALSE_ALARMS:.0%} "
        f"false alarms, nor reach an area above {claim.area:.2f}. Not contradicting it here: {unnoticed(found, claim)}."
    )
    return _line(Grade.PASS, said + ".", bound, figures)


def _line(grade: Grade, finding: str, bound: str, figures: dict[str, float]) -> Line:
    return Line(
        check="A12",
        title="linking images to omics",
        level=Level.EXPOSURE,
        grade=grade,
        finding=finding,
        bound=bound,
        means="An encoder that learned which images and which molecular data belong together could be asked whose "
        "molecular data these are. It may find out what imaging tells of anybody, and no more of those who trained.",
        figures=figures,
    )


def _untested(why: str, told: str, figures: dict[str, float] | None = None) -> Line:
    return _line(Grade.NOT_TESTED, f"Not tested: {why}. {told}", "", figures or {})
