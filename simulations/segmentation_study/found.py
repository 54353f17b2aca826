"""Masks that networks found in patients they did not train on, kept in files for another study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from fedspine.errors import InputError

Masks = Mapping[tuple[str, int], Tensor]
"""Of patients, by site and place in the site's list: (slice, structure, row, column) in {0, 1}."""


def write_masks(file: Path, masks: Masks) -> None:
    """Write what one network found."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"{site}/{index}": mask.bool().contiguous() for (site, index), mask in masks.items()}, file)


def read_masks(folder: Path, arm: str) -> dict[tuple[str, int], Tensor]:
    """Return what the networks of `arm` found in all folds, with seed 0.

    Raises:
        InputError: if there is nothing.
    """
    found: dict[tuple[str, int], Tensor] = {}
    for file in sorted(folder.glob(f"{arm}, seed 0, fold *.safetensors")):
        for key, mask in load_file(file).items():
            site, index = key.rsplit("/", 1)
            found[site, int(index)] = mask.float()
    if not found:
        raise InputError(
            f"--masks must hold what the {arm} arm found", "nothing", "segmentation_study --masks writes it"
        )
    return found
