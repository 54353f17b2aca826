"""Images as tiles: an 8-bit PNG inside the page, mask contours drawn over it as vector paths."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedspine.report.markup import Markup, tag

LARGEST = 256
"""Pixels along a side beyond which an image is thinned, to keep a page light."""

Contour = tuple[NDArray[np.float32], str]
"""A mask (row, column), inside where above 0.5, and the style class of its line."""


def png(image: NDArray[np.float32]) -> bytes:
    """Return `image` (row, column), [0, 1], as a greyscale PNG; values outside are clipped."""
    grey = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    height, width = grey.shape
    scanlines = np.pad(grey, ((0, 0), (1, 0))).tobytes()  # a filter byte of 0 before each row
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(scanlines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def outline(mask: NDArray[np.float32]) -> str:
    """Return the border of `mask` (row, column) along pixel edges as an SVG path, one unit per pixel.

    >>> outline(np.ones((1, 2), np.float32))
    'M0 0h2M0 1h2M0 0v1M2 0v1'
    """
    inside = np.pad(mask > 0.5, 1)
    across = inside[1:, 1:-1] != inside[:-1, 1:-1]  # (row edge, column)
    down = (inside[1:-1, 1:] != inside[1:-1, :-1]).T  # (column edge, row)
    horizontal = [f"M{start} {row}h{length}" for row, start, length in _runs(across)]
    vertical = [f"M{column} {start}v{length}" for column, start, length in _runs(down)]
    return "".join(horizontal + vertical)


def _runs(edges: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Return (line, start, length) of every unbroken run along the second axis."""
    steps = np.diff(np.pad(edges.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    lines, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    return [(int(i), int(s), int(e - s)) for i, s, e in zip(lines, starts, ends, strict=True)]


def tile(image: NDArray[np.float32], contours: Sequence[Contour], says: str, caption: str = "") -> Markup:
    """Return one picture.

    Args:
        image: (row, column), about [0, 1]; all zero means that the contrast was not acquired.
        contours: masks of the same grid with the class of their line.
        says: what the picture shows, for a reader who cannot see it.
        caption: a line below.
    """
    height, width = image.shape
    below = tag("figcaption", caption) if caption else None
    if not np.any(image):
        return tag("figure", tag("div", "not acquired", class_="empty"), below, class_="tile")
    step = -(-max(height, width) // LARGEST)
    picture = "data:image/png;base64," + base64.b64encode(png(image[::step, ::step])).decode()
    drawing = tag(
        "svg",
        tag("image", href=picture, width=width, height=height, preserveAspectRatio="none"),
        [tag("path", d=outline(mask), class_=f"contour {style}") for mask, style in contours if np.any(mask > 0.5)],
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=says,
    )
    return tag("figure", drawing, below, class_="tile")


def dice(first: NDArray[np.float32], second: NDArray[np.float32]) -> float | None:
    """Return the Dice overlap of two masks (row, column), or `None` where both are empty."""
    a, b = first > 0.5, second > 0.5
    total = int(a.sum() + b.sum())
    return 2 * int((a & b).sum()) / total if total else None
