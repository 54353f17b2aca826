"""A small network that tells real from phantom patches: it sees texture and edges, and no place in the body."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor, nn

from simulations.realism.two_sample import Slices, Verdict, judged

SIDE, PATCHES, STEPS, BATCH, FOLDS = 48, 12, 240, 48, 4
"""Pixels a side, patches of a slice, training steps, patches a step, folds."""


def tell_apart_by_patches(one: Slices, other: Slices, seed: int = 0) -> Verdict:
    """Return how well the network tells slices apart by the mean over their patches, on patients it has not seen."""
    generator = np.random.default_rng(seed)
    images = np.concatenate([one.images, other.images])
    truth = np.repeat([False, True], [len(one.images), len(other.images)])
    groups = np.concatenate([one.patient, other.patient + one.patient.max() + 1])
    patches = torch.from_numpy(np.stack([_patches(image, generator) for image in images]))
    target = torch.from_numpy(truth.astype(np.float32))
    scores = np.empty(len(truth))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(truth, truth, groups):
        network = _trained(patches[train], target[train], seed)
        with torch.no_grad():
            found = network(patches[test].reshape(-1, 1, SIDE, SIDE)).sigmoid().reshape(len(test), PATCHES)
        scores[test] = found.mean(dim=1).numpy()
    return judged(scores, truth, groups, seed)


def _patches(image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.float32]:
    """Return patches where there is tissue, (patch, row, column), each of mean 0 and deviation 1."""
    found: list[NDArray[np.float32]] = []
    for trial in range(200):
        row, column = (int(generator.integers(side - SIDE)) for side in image.shape)
        patch = image[row : row + SIDE, column : column + SIDE].astype(np.float32)
        if np.mean(patch > 40) > 0.4 or trial > 190 - PATCHES:
            found.append((patch - patch.mean()) / (patch.std() + 1.0))
        if len(found) == PATCHES:
            break
    return np.stack((found * PATCHES)[:PATCHES])


def _trained(patches: Tensor, target: Tensor, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    network = nn.Sequential(
        *(nn.Conv2d(1, 16, 5, stride=2), nn.GroupNorm(4, 16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2), nn.GroupNorm(4, 32), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, stride=2), nn.GroupNorm(4, 32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(32, 1), nn.Flatten(0)),
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    draws = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        which = torch.randint(len(patches), (BATCH,), generator=draws)
        part = torch.randint(PATCHES, (BATCH,), generator=draws)
        answer = network(patches[which, part][:, None])
        loss = nn.functional.binary_cross_entropy_with_logits(answer, target[which])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return network.eval()
