"""Pictures side by side: lesions with their masks, and segmentations with what the network drew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedspine.report.images import Contour, dice, tile
from fedspine.report.layout import absent, figure, swatch
from fedspine.report.markup import Markup, join, tag
from fedspine.report.run_files import Images
from fedspine.report.wording import amount

SHOWN = 4
"""Patients or samples in a block of tiles."""

EXAMPLES = 8
"""Segmentation examples shown."""

PREFERRED = ("T1c", "T2", "STIR", "FLAIR")
"""Contrasts on which a lesion is seen best, in the order in which one is chosen for an example."""


def block(gallery: Images, kind: str, contrasts: Sequence[str], says: str) -> Markup | None:
    """Return a row of tiles per image of `kind`, one column per contrast, or `None` where the gallery has none."""
    images, masks = _images(gallery, f"{kind}.images"), _masks(gallery, f"{kind}.masks")
    if images is None:
        return None
    names = _names(contrasts, images.shape[1])
    columns = len(names) if len(names) > 1 else SHOWN
    heads = [tag("div", name, class_="head") for name in names] if len(names) > 1 else []
    tiles = [
        tile(images[n, c], _contours(masks, n, images.shape[2:], "truth"), f"{says} {n + 1}, {name}")
        for n in range(min(len(images), SHOWN))
        for c, name in enumerate(names)
    ]
    grid = tag("div", heads, tiles, class_="tiles", style=f"grid-template-columns:repeat({columns},minmax(0,1fr))")
    return tag("div", tag("h3", says), grid)


def beside(blocks: Sequence[Markup | None], reading: str, missing: str) -> Markup:
    """Return blocks of tiles next to each other with one sentence, or `missing` where there is no block at all."""
    shown = [each for each in blocks if each is not None]
    if not shown:
        return absent(missing)
    legend = tag("p", swatch("truth", "border of the lesion mask"), class_="legend")
    return figure(join(legend, tag("div", shown, class_="beside")), reading)


def segmentations(gallery: Images, contrasts: Sequence[str], reading: str, missing: str) -> Markup:
    """Return examples with the true and the predicted border of the lesion, and the Dice of that slice."""
    images, masks = _images(gallery, "segmentation.images"), _masks(gallery, "segmentation.masks")
    predicted = _masks(gallery, "segmentation.predicted")
    if images is None or predicted is None:
        return absent(missing)
    names = _names(contrasts, images.shape[1])
    tiles = []
    for n in range(min(len(images), EXAMPLES)):
        chosen = _best(images[n], names)
        contours = _contours(masks, n, images.shape[2:], "truth")
        contours += _contours(predicted, n, images.shape[2:], "predicted")
        score = dice(contours[0][0], contours[1][0]) if len(contours) == 2 else None
        caption = f"{names[chosen]}, Dice of this slice {amount(score, absent='not defined')}"
        tiles.append(tile(images[n, chosen], contours, f"Segmentation example {n + 1}, {caption}", caption))
    legend = tag("p", swatch("truth", "true mask"), swatch("predicted", "predicted mask (dashed)"), class_="legend")
    grid = tag("div", tiles, class_="tiles", style="grid-template-columns:repeat(4,minmax(0,1fr));gap:14px")
    return figure(join(legend, grid), reading)


def _best(image: NDArray[np.float32], names: Sequence[str]) -> int:
    acquired = [index for index in range(len(names)) if np.any(image[index])] or [0]
    ranked = [index for name in PREFERRED for index in acquired if names[index] == name]
    return (ranked or acquired)[0]


def _names(contrasts: Sequence[str], channels: int) -> list[str]:
    return list(contrasts) if len(contrasts) == channels else [f"channel {i + 1}" for i in range(channels)]


def _images(gallery: Images, key: str) -> NDArray[np.float32] | None:
    images = gallery.get(key)
    return images if images is not None and images.ndim == 4 and images.size else None


def _masks(gallery: Images, key: str) -> NDArray[np.float32] | None:
    masks = gallery.get(key)
    if masks is not None and masks.ndim == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    return masks if masks is not None and masks.ndim == 3 and masks.size else None


def _contours(masks: NDArray[np.float32] | None, index: int, grid: tuple[int, ...], style: str) -> list[Contour]:
    """Return the mask of image `index` where there is one on the image's own grid."""
    if masks is None or index >= len(masks) or masks.shape[1:] != grid:
        return []
    return [(masks[index], style)]
