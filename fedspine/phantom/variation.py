"""Phantoms as recipes: a class and one seed for each part of a person, so that one part can be drawn anew.

A recipe is a row of whole numbers. The causal graph draws every node from a stream of its own, so a person whose
scanner has another seed is the same person on another scanner, and one whose seed of the tumour changes keeps the spine
that it grew in. Two recipes can be crossed: each part from one or the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedspine.cohort.patient import Patient
from fedspine.phantom.brain.person import draw_brain
from fedspine.phantom.genome import CLASSES
from fedspine.phantom.levels import parse_levels
from fedspine.phantom.lung.person import draw_lung, to_lung_patient
from fedspine.phantom.lung.scanner import CT_SCANNERS
from fedspine.phantom.patient import compose, to_patient
from fedspine.phantom.person import Request

PARTS: dict[str, tuple[str, ...]] = {
    "build": ("age", "anatomy", "person", "clutter"),
    "tumour": ("tumour", "mutations", "pathways", "expression", "grade", "outcome", "doubling"),
    "place": ("level",),
    "lesion": ("lesions",),
    "wear": ("wear", "implant"),
    "view": ("view",),
    "scanner": ("scanner",),
    "noise": ("tissues", "unevenness", "images"),
}
"""Nodes of the graph by the part of a recipe that seeds them."""

NAMES = tuple(PARTS)
LARGEST = 2**31
"""Seeds lie below this number."""


@dataclass(frozen=True)
class Recipe:
    """A phantom.

    Args:
        label: one of `genome.CLASSES`.
        seeds: one of each of `PARTS`, in order.
    """

    label: str
    seeds: tuple[int, ...]

    def numbers(self) -> list[int]:
        """Return the recipe as a row of whole numbers: the class, then the seeds."""
        return [CLASSES.index(self.label), *self.seeds]


def recipe_of(numbers: Sequence[int]) -> Recipe:
    """Return the recipe that `Recipe.numbers` wrote.

    >>> recipe_of(Recipe("benign", (1, 2, 3, 4, 5, 6, 7, 8)).numbers()).label
    'benign'
    """
    return Recipe(CLASSES[int(numbers[0])], tuple(int(number) for number in numbers[1:]))


def fresh(label: str, generator: np.random.Generator) -> Recipe:
    """Return a person of this class drawn at random."""
    return Recipe(label, tuple(int(seed) for seed in generator.integers(LARGEST, size=len(PARTS))))


def crossed(one: Recipe, other: Recipe, generator: np.random.Generator) -> Recipe:
    """Return a person of the class of `one`, with each part from `one` or, as often, from `other`.

    What a tumour is and where it grew stay together, and are taken from a person of the same class only.
    """
    from_one = generator.uniform(size=len(PARTS)) < 0.5
    disease = [NAMES.index(name) for name in ("tumour", "place", "lesion", "wear")]
    from_one[disease] = from_one[disease[0]] or one.label != other.label
    return Recipe(
        one.label, tuple(a if kept else b for a, b, kept in zip(one.seeds, other.seeds, from_one, strict=True))
    )


def varied(recipe: Recipe, parts: Sequence[str], generator: np.random.Generator) -> Recipe:
    """Return the same person with these parts drawn anew."""
    drawn = generator.integers(LARGEST, size=len(PARTS))
    return Recipe(
        recipe.label,
        tuple(int(new) if name in parts else old for name, old, new in zip(NAMES, recipe.seeds, drawn, strict=True)),
    )


def grown_from(
    recipe: Recipe,
    identifier: str,
    *,
    contrasts: tuple[str, ...],
    shape: tuple[int, int, int],
    levels: str,
    structures: tuple[str, ...] = (),
    body: str = "spine",
) -> Patient:
    """Return the phantom of `recipe`, with the mask that `phantom.public` gives, on the scanner that it falls to.

    Where all contrasts are CT it is a chest, of which "build" and "noise" draw the person and "scanner" the scanner.
    A brain has the head of "build", the tumour of "tumour", "place" and "lesion", and the tones of "scanner".
    """
    if contrasts and all(contrast.split()[0] == "CT" for contrast in contrasts):
        chest = _chest(recipe, identifier, shape)
        return chest if structures in ((), ("lesion",)) else replace(chest, mask=None)
    if body == "brain":
        return _brain(recipe, identifier, contrasts, shape, structures)
    own = {node: (seed,) for part, seed in zip(PARTS, recipe.seeds, strict=True) for node in PARTS[part]}
    request = Request(shape=shape, levels=parse_levels(levels), contrasts=contrasts)
    phantom = compose((recipe.seeds[0],), {"request": request, "label": recipe.label}, own)
    return to_patient(phantom, identifier, phantom.scanner, contrasts=contrasts, structures=structures)


def _brain(
    recipe: Recipe,
    identifier: str,
    contrasts: tuple[str, ...],
    shape: tuple[int, int, int],
    structures: tuple[str, ...],
) -> Patient:
    seeds = dict(zip(PARTS, recipe.seeds, strict=True))
    streams = {part: np.random.default_rng(seeds[part]) for part in ("build", "scanner", "noise")}
    streams["tumour"] = np.random.default_rng([seeds[part] for part in ("tumour", "place", "lesion")])
    head = draw_brain(streams, identifier, label=recipe.label, contrasts=contrasts, shape=shape)
    return head if structures in ((), ("lesion",)) else replace(head, mask=None)


def _chest(recipe: Recipe, identifier: str, shape: tuple[int, int, int]) -> Patient:
    seeds = dict(zip(PARTS, recipe.seeds, strict=True))
    scanner = CT_SCANNERS[int(np.random.default_rng(seeds["scanner"]).integers(len(CT_SCANNERS)))]
    generator = np.random.default_rng([seeds[name] for name in ("build", "noise")])
    patient = to_lung_patient(
        draw_lung(generator, label=recipe.label, shape=shape, tilt=scanner.tilt), identifier, scanner, generator
    )
    return Patient(patient.identifier, patient.volumes, patient.mask, patient.label)
