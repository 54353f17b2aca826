"""The networks of the levels: shapes, missing contrasts, and what a level may hear of the others."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from fedspine.networks.vertebrae import Finder, Reader

SIZE, BODIES = 48, 4
PLACES = torch.tensor([[6.0, 6.0], [6.0, 41.0], [41.0, 6.0], [41.0, 41.0]])
"""So far apart that no window around one reaches another."""


def row_of_bodies(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a slice (1, 1, row, column) and which bodies are darker than the one before them, (body,).

    The first is compared with the last. What all bodies have in common says nothing of that: group normalisation
    knows it, and tells it to every level.
    """
    brightness = torch.rand(BODIES, generator=generator)
    image = torch.zeros(1, 1, SIZE, SIZE)
    for body, (row, column) in enumerate(PLACES.int().tolist()):
        image[..., row - 3 : row + 4, column - 3 : column + 4] = 0.2 + brightness[body]
    return image, (brightness < brightness.roll(1)).float()


def auc_after_training(*, context: bool) -> float:
    """Return the area under the curve of a reader's judgement of single levels, on patients that it has not seen."""
    torch.manual_seed(0)
    reader = Reader(1, BODIES, 2, width=4, tokens=16, layers=2, context=context)
    optimiser = torch.optim.Adam(reader.parameters(), 5e-3)
    generator, present, names = torch.Generator().manual_seed(1), torch.ones(1), torch.arange(BODIES)
    for _ in range(220):
        loss = torch.zeros(())
        for image, truth in (row_of_bodies(generator) for _ in range(8)):
            loss = loss + F.binary_cross_entropy_with_logits(reader(image, present, PLACES, names)[0], truth)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    said, wanted = [], []
    with torch.no_grad():
        for image, truth in (row_of_bodies(generator) for _ in range(80)):
            said.append(reader(image, present, PLACES, names)[0])
            wanted.append(truth)
    return float(roc_auc_score(torch.cat(wanted).numpy(), torch.cat(said).numpy()))


@pytest.mark.slow
def test_a_level_that_only_its_neighbours_tell_is_judged_better_in_their_context() -> None:
    alone, among_others = auc_after_training(context=False), auc_after_training(context=True)
    assert among_others > max(alone + 0.05, 0.95), (alone, among_others)


def reader(context: bool) -> Reader:
    torch.manual_seed(0)
    return Reader(2, BODIES, 2, width=4, tokens=16, layers=1, context=context)


@pytest.mark.parametrize("context", [True, False])
def test_a_level_hears_of_the_others_only_in_context(context: bool) -> None:
    network, names = reader(context), torch.arange(BODIES)
    images, present = torch.rand(2, 2, SIZE, SIZE), torch.ones(2)
    whole, _ = network(images, present, PLACES, names)
    fewer, _ = network(images, present, PLACES[:2], names[:2])
    assert torch.allclose(whole[:2], fewer, atol=1e-5) != context


def test_a_contrast_that_is_missing_is_not_looked_at() -> None:
    network, names = reader(True), torch.arange(BODIES)
    images = torch.rand(2, 2, SIZE, SIZE)
    present = torch.tensor([1.0, 0.0])
    first = network(images, present, PLACES, names)
    images[:, 1] = 0.0
    again = network(images, present, PLACES, names)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_nothing_that_is_seen_is_no_error() -> None:
    levels, whole = reader(True)(torch.rand(1, 2, SIZE, SIZE), torch.ones(2), torch.zeros(0, 2), torch.zeros(0).long())
    assert levels.shape == (0,)
    assert whole.shape == (2,)


def test_the_slices_weigh_one_in_all_and_names_come_in_the_order_of_a_spine() -> None:
    torch.manual_seed(0)
    heat, names, weights = Finder(2, 25, (8, 8, 8, 8, 8, 8), 12.0)(torch.rand(3, 2, SIZE, SIZE))
    assert heat.shape == (SIZE, SIZE)
    assert torch.allclose(weights.sum(0), torch.ones(SIZE, SIZE), atol=1e-5)
    best = names.argmax(0)
    neighbours = names.gather(0, (best + 1).clamp(max=24)[None])[0] - names.amax(0)
    assert bool((neighbours <= 0).all())
    rising = names[:, 0, 0].diff() > 0
    assert bool((rising.int().diff() <= 0).all())  # up to the best name, then down
