"""Structures of the spine as mask values, so that public phantoms can teach what a plan's `structures` name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedspine.phantom.grid import block_sum
from fedspine.phantom.tissue import Tissue
from fedspine.phantom.tumour import VERTEBRAL
from fedspine.phantom.view import FINER

_TUMOUR = (Tissue.TUMOUR, Tissue.CORE)
STRUCTURES: dict[str, tuple[Tissue, ...]] = {
    "vertebra": (Tissue.MARROW, Tissue.CORTEX, Tissue.MARROW_OEDEMA, Tissue.MARROW_FAT, Tissue.SCLEROSIS, Tissue.METAL),
    "disc": (Tissue.DISC, Tissue.DRY_DISC, Tissue.ANNULUS),
    "canal": (Tissue.CSF, Tissue.CORD, Tissue.ROOTS, Tissue.OEDEMA),
    "cord": (Tissue.CORD, Tissue.OEDEMA),
    "lesion": _TUMOUR,
}
"""Name in a plan to the tissues that it is made of. A plan that names the lesion, or the cord beside the canal, has
those voxels there and not in what surrounds them: a voxel has one value."""


def structure_mask(tissues: NDArray[np.uint8], names: Sequence[str], compartment: str) -> NDArray[np.uint8]:
    """Return a mask, uint8 (slice, row, column) in the image's grid: 1 for the first of `names`, and so on.

    A voxel belongs to the structure that fills most of it, if that fills half. A tumour that is not itself asked for
    belongs to where it grew: to the vertebra, or to what is in the canal.

    Args:
        tissues: values of `Tissue`, on the grid twice as fine as the image's.
        names: of `STRUCTURES`.
        compartment: of the tumour; any word without one.
    """
    home = "vertebra" if compartment == VERTEBRAL else "canal"
    filled = []
    for name in names:
        made_of = STRUCTURES[name]
        if name == "canal" and "cord" in names:
            made_of = tuple(tissue for tissue in made_of if tissue not in STRUCTURES["cord"])
        if name == home and "lesion" not in names:
            made_of = (*made_of, *_TUMOUR)
        filled.append(block_sum(np.isin(tissues, made_of).astype(np.uint8)))
    shares = np.stack(filled)
    most = shares.argmax(axis=0)
    return np.where(shares.max(axis=0) >= FINER**3 // 2, most + 1, 0).astype(np.uint8)
