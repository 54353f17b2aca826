"""A10: can a patient's images be read back from one update?

The attack is the strongest of those tried here, on the network that gives most away: the critic of the plan's GAN
(`unrolling`: its gradient of one slice gives a middle layer's features exactly, a decoder trained on public phantoms
and a search do the rest). The attacker gets more than any message holds: the gradient of all of the critic's weights,
though patients may train fewer and a site may keep its critic to itself; of one slice of one patient, nobody else being
in the sample, not augmented; the mask, class and the contrasts that there are; and, under privacy, the mean of as many
noisy copies of it as the stage releases of a patient on average. Networks that segment or classify hold out better:
gradient matching (Geiping et al. 2020) found no images in them even without privacy (docs/explanation/attacks.md).

Attacked are public phantoms and no patient: what is tested is clip and noise, which are the same for everybody, so the
pictures may be shown to anybody. Without privacy the reconstruction must reach a structural similarity (SSIM) above
`SEEN` and be better than the best public guess; otherwise the attack is too weak, and the line reads NOT TESTED. The
best public guess is chosen with the truth in hand, the most similar of the mean phantom and all single ones, so nobody
who guesses does better. The line fails where the reconstruction under the run's clip and noise is better than that.
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from torch import Tensor

from fedspine.atlas.anchors import phantoms
from fedspine.audit.line import Grade, Level, Line
from fedspine.audit.subject import Subject
from fedspine.audit.unrolling import Decoder, decoder, searched, unrolled
from fedspine.config import Stage
from fedspine.networks.dcgan import Critic, Gan
from fedspine.privacy.patient_sum import noise_generator
from fedspine.privacy.sgd import LOSS_NORM
from fedspine.tasks._adversarial import Adversarial
from fedspine.tasks._rounds import Strength
from fedspine.tasks._sample import Sample, real, shown
from fedspine.tasks._task import rebuilt

PUBLIC, PURPOSE = 160, 1
"""Phantoms that the attacker learns from, and what tells them from other draws."""

VICTIMS, OTHER_PURPOSE = 3, 12
"""Phantoms attacked, whom the attacker has never seen."""

SEEN = 0.5
"""SSIM from which a reconstruction shows the patient."""

ENLARGED = 3

Gradient = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Attacked:
    """One phantom attacked; images are (contrast, row, column).

    Args:
        truth: what was to be found.
        control: from its gradient without clip and noise.
        private: from its gradient with the run's.
        guess: the best public guess.
        present: (contrast,).
    """

    truth: Tensor = field(repr=False)
    control: Tensor = field(repr=False)
    private: Tensor = field(repr=False)
    guess: Tensor = field(repr=False)
    present: Tensor = field(repr=False)

    def likeness(self, images: Tensor) -> float:
        """Return the SSIM of `images` to the truth."""
        return similarity(images, self.truth, self.present)


def inversion(subject: Subject) -> Line:
    """Return the line."""
    for stage in subject.plan.stage:
        if stage.of or stage.name not in subject.models:
            continue
        task, model = rebuilt(subject.plan, stage, subject.shared, subject.models)
        if not isinstance(task, Adversarial) or not isinstance(model, Gan) or task.frame.slices:
            continue
        critic = copy.deepcopy(model.critic).double()
        if isinstance(critic, Critic):
            return judged(attacked(subject, stage, task, critic), stage)
    return _untested("the plan trains no GAN on slices, and the attack knows no other network that gives images away")


def attacked(subject: Subject, stage: Stage, task: Adversarial, critic: Critic) -> list[Attacked]:
    """Return what the attack makes of some phantoms."""
    public, victims = (
        [found for p in phantoms(subject.plan, count, purpose) if (found := real(p, task.frame, healthy=True))]
        for count, purpose in ((PUBLIC, PURPOSE), (VICTIMS, OTHER_PURPOSE))
    )
    known = [slice_of(sample) for sample in public]
    inputs = torch.cat([shown(sample, (), torch.Generator()) for sample in public]).double()
    strength, copies = Strength.of(subject.plan, stage), max(stage.rounds * stage.steps * stage.sample_rate, 1.0)
    decoders: dict[int, Decoder] = {}

    def images(gradient: Gradient, beside: Tensor) -> Tensor:
        found = unrolled(critic, gradient)
        if found.depth not in decoders:
            decoders[found.depth] = decoder(critic, found.depth, inputs, task.frame.contrasts)
        return searched(critic, found, decoders[found.depth].images(found.features, beside), beside)

    result = []
    for number, sample in enumerate(map(slice_of, victims)):
        exact = gradient_of(task, critic, sample)
        noise = noise_generator(subject.seed, "inversion", stage.name, number)
        beside = shown(sample, (), torch.Generator())[0, task.frame.contrasts :]
        result.append(
            Attacked(
                truth=sample.images[0],
                control=images(exact, beside),
                private=images(released(exact, strength, copies, noise), beside),
                guess=best_guess(sample, known),
                present=sample.present[0],
            )
        )
    return result


def slice_of(sample: Sample) -> Sample:
    """Return the slice with most lesion, in double precision."""
    index = int(sample.masks.flatten(1).sum(1).argmax())
    images, masks, present = (x[index : index + 1].double() for x in (sample.images, sample.masks, sample.present))
    return Sample(images * present[:, :, None, None], masks, present, sample.labels[index : index + 1])


def gradient_of(task: Adversarial, critic: Critic, sample: Sample) -> dict[str, Tensor]:
    """Return the gradient of all of the critic's weights, by name, of its loss on one real slice."""
    features = critic.features(shown(sample, (), torch.Generator()))
    score, label = critic.head(features).flatten(), int(sample.labels[0])
    if critic.classes is not None and label >= 0:
        score = score + features @ critic.classes.weight[:, label]
    names, weights = zip(*critic.named_parameters(), strict=True)
    gradients = torch.autograd.grad(task.losses.real(score).mean(), list(weights), allow_unused=True)
    pairs = zip(names, weights, gradients, strict=True)
    return {name: torch.zeros_like(weight) if one is None else one for name, weight, one in pairs}


def released(exact: Gradient, strength: Strength, copies: float, noise: np.random.Generator) -> dict[str, Tensor]:
    """Return the mean of so many releases of one patient's gradient, clipped and noised as the stage does."""
    norm = math.sqrt(sum(float(one.square().sum()) for one in exact.values()))
    scale = 1.0 if math.isinf(strength.clip) else min(1.0, strength.clip * math.sqrt(1 - LOSS_NORM**2) / norm)
    spread = 0.0 if strength.noise_multiplier == 0 else strength.noise_multiplier * strength.clip / math.sqrt(copies)
    return {k: one * scale + spread * torch.from_numpy(noise.standard_normal(one.shape)) for k, one in exact.items()}


def best_guess(sample: Sample, known: Sequence[Sample]) -> Tensor:
    """Return the public image most similar to the truth: a single phantom, or the mean of all."""
    present = sample.present[0]
    guesses = [torch.cat([one.images for one in known]).mean(0), *(one.images[0] for one in known)]
    shown_as = [guess * present[:, None, None] for guess in guesses]
    return max(shown_as, key=lambda guess: similarity(guess, sample.images[0], present))


def similarity(one: Tensor, other: Tensor, present: Tensor) -> float:
    """Return the structural similarity (SSIM, Wang 2004) of two slices, the mean over the contrasts present."""
    values = [
        structural_similarity(a.numpy(), b.numpy(), data_range=1.0)
        for a, b, there in zip(one, other, present, strict=True)
        if there > 0
    ]
    return float(np.mean(values))


def judged(found: Sequence[Attacked], stage: Stage) -> Line:
    """Return the line of what the attack made of the phantoms."""
    control = float(np.mean([one.likeness(one.control) for one in found]))
    private = float(np.mean([one.likeness(one.private) for one in found]))
    guess = float(np.mean([one.likeness(one.guess) for one in found]))
    figures = {"without privacy": control, "with privacy": private, "best public guess": guess}
    pictures = {
        "truth (a phantom)": picture(found[0].truth),
        "read back from an update without privacy": picture(found[0].control),
        "read back from an update of this plan": picture(found[0].private),
        "best public guess": picture(found[0].guess),
    }
    told = (
        f"Of {len(found)} phantoms, images read back from one update of '{stage.name}' have a similarity (SSIM) to the "
        f"truth of {control:.2f} without privacy, {private:.2f} with the run's clip and noise, and the best public "
        f"guess has {guess:.2f}."
    )
    if private > guess:
        return _line(Grade.FAIL, told, "", figures, pictures)
    if control <= SEEN or control <= guess:
        return _untested(f"the attack is too weak to show anybody even without privacy. {told}", figures, pictures)
    bound = (
        f"One attack, on the network that gives most away of those tried, with the mean of as many releases as a "
        f"patient takes part in; it shows who it is without privacy ({control:.2f}, above {SEEN}). A better attack may "
        f"be found; the noise stays."
    )
    return _line(Grade.PASS, told, bound, figures, pictures)


def picture(images: Tensor) -> bytes:
    """Return a PNG of (contrast, row, column), contrasts side by side."""
    grey = np.round(255 * torch.cat(list(images), dim=1).clamp(0, 1).numpy()).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey.repeat(ENLARGED, 0).repeat(ENLARGED, 1)).save(buffer, "PNG")
    return buffer.getvalue()


def _line(grade: Grade, finding: str, bound: str, figures: Mapping[str, float], pictures: Mapping[str, bytes]) -> Line:
    return Line(
        check="A10",
        title="images read back from an update",
        level=Level.EXPOSURE,
        grade=grade,
        finding=finding,
        bound=bound,
        means="What a hospital sends after looking at a patient may hold enough to draw the patient's images again. "
        "With enough noise nothing comes out that anybody could not have guessed. All pictures are of phantoms.",
        figures=figures,
        pictures=pictures,
    )


def _untested(
    why: str, figures: Mapping[str, float] | None = None, pictures: Mapping[str, bytes] | None = None
) -> Line:
    return _line(Grade.NOT_TESTED, f"Not tested: {why}".rstrip(".") + ".", "", figures or {}, pictures or {})
