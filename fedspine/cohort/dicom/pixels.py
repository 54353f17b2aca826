"""Read the pixels of a stack, a slice at a time: however large it is, it never lies in memory as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID

from fedspine.cohort.dicom.codestream import check_sizes
from fedspine.cohort.dicom.mosaic import tiles
from fedspine.cohort.dicom.opening import whole
from fedspine.cohort.dicom.plain import Plain, read_plain
from fedspine.cohort.files import File, check_unchanged, open_file
from fedspine.cohort.patient import AIR_HU
from fedspine.cohort.quiet import quiet
from fedspine.errors import PassingError, SeriesError

Array = NDArray[np.generic]

MOST_VOLUME_BYTES = 2**32
"""What a volume may take that is not in its files already: few bytes of a compressed file can ask for any amount."""


@dataclass(frozen=True)
class Part:
    """One frame of one file.

    Args:
        file: number of the file in `Order.files`.
        index: number of the frame in the file.
        slope: rescale slope.
        intercept: rescale intercept.
        padding: of CT, the lowest and highest stored value that fills places which were not measured.
    """

    file: int
    index: int
    slope: float
    intercept: float
    padding: tuple[float, ...] = ()


@dataclass(frozen=True)
class Order:
    """What is needed to read the voxels of one stack; small, for it travels to another process.

    Args:
        folder: the site folder.
        files: every file of the stack.
        plains: for each file where its pixels are, `None` where they must be decoded.
        slices: for each slice its frames, more than one where it was sent twice.
        shape: (rows, columns).
        tiles: slices a side of each picture, see `dicom.mosaic`.
    """

    folder: Path = field(repr=False)
    files: tuple[File, ...] = field(repr=False)
    plains: tuple[Plain | None, ...]
    slices: tuple[tuple[Part, ...], ...] = field(repr=False)
    shape: tuple[int, int]
    tiles: int = 1

    @property
    def is_plain(self) -> bool:
        """Whether no decoder is needed."""
        return all(self.plains)

    @property
    def size(self) -> int:
        """Bytes of the voxels, at most."""
        return 4 * len(self.slices) * self.shape[0] * self.shape[1]


def write_voxels(order: Order, to: BinaryIO) -> list[tuple[int, str]]:
    """Write the voxels (slice, row, column) as `.npy`; return the numbers of files not needed, with the reason.

    The stored integers are kept where the rescale is the identity; otherwise the voxels are float32 in the
    rescaled unit (Hounsfield for CT).

    Raises:
        SeriesError: when a slice cannot be read, or two different slices claim one position.
        OSError: when `to` cannot be written.
    """
    if not order.is_plain and order.size > MOST_VOLUME_BYTES:
        raise SeriesError("a volume must fit into memory", "one that does not", "export it in smaller parts")
    start = to.tell()
    spare = _write(order, to, None)
    if spare is None:  # slices of several types
        to.seek(start)
        to.truncate()
        spare = _write(order, to, np.dtype("<f4"))
    assert spare is not None
    return spare


def _write(order: Order, to: BinaryIO, kind: np.dtype[np.generic] | None) -> list[tuple[int, str]] | None:
    """Write the voxels as numbers of `kind`, or as those of the first slice; `None` when another slice has others."""
    source, chosen, begun = _Source(order), kind, False
    try:
        for parts in order.slices:
            picture = source.slice(parts)
            if not begun:
                chosen, begun = chosen or picture.dtype, True
                _write_start(to, chosen, (len(order.slices), *order.shape))
            if picture.dtype != chosen:
                if kind is None:
                    return None
                picture = picture.astype(chosen)
            to.write(np.ascontiguousarray(picture).data)
    finally:
        source.close()
    return [*source.spare, *((file, str(error)) for file, error in source.broken.items())]


def _write_start(to: BinaryIO, kind: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(
        to, {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    )


REPEATED = "a slice must be sent once; found a copy of it; nothing is lost, the copy is not needed."


class _Source:
    """The files of an order; each is opened once, and let go after its last frame."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._left = Counter(part.file for parts in order.slices for part in parts)
        self._open: dict[int, BinaryIO] = {}
        self._decoded: dict[int, Array] = {}
        self.broken: dict[int, SeriesError] = {}
        self.spare: list[tuple[int, str]] = []

    def slice(self, parts: Sequence[Part]) -> Array:
        """Return the picture (row, column) at one position, in its rescaled unit."""
        found = [(part, picture) for part in parts if (picture := self._picture(part)) is not None]
        if not found:  # a copy would have served
            raise self.broken[parts[0].file]
        (chosen, first), *copies = found
        if any(copy.shape != first.shape or not np.array_equal(copy, first) for _, copy in copies):
            raise SeriesError(
                "two slices at one position must be the same picture",
                "different ones that nothing in the header tells apart",
                "export one moment or direction a series",
            )
        self.spare += [(part.file, REPEATED) for part, _ in copies]
        if first.shape != self._order.shape:
            raise SeriesError(
                "a picture must be as large as its header says", "another size", "export the series again"
            )
        return _rescaled(first, chosen)

    def _picture(self, part: Part) -> Array | None:
        """Return the stored values of one frame, `None` when its file is broken."""
        if part.file in self.broken:
            return None
        try:
            picture = self._read(part)
        except PassingError:
            raise
        except OSError:
            raise PassingError("a file must be readable", "one that is not", "check its disk") from None
        except SeriesError as error:
            self.broken[part.file] = error
            picture = None
        self._left[part.file] -= 1
        if not self._left[part.file] or picture is None:
            self._let_go(part.file)
        return picture

    def _read(self, part: Part) -> Array:
        number, plain = part.file, self._order.plains[part.file]
        if plain is not None:
            if number not in self._open:
                self._open[number] = open_file(self._order.folder, self._order.files[number])
            picture = read_plain(self._open[number], plain, part.index, self._order.shape)
            if picture is None:
                raise _incomplete()
            return picture
        if number not in self._decoded:
            with open_file(self._order.folder, self._order.files[number]) as file:
                self._decoded[number] = decoded(file)
                check_unchanged(file, self._order.files[number])
        pixels = self._decoded[number]
        frames = pixels if pixels.ndim == 3 else tiles(pixels, self._order.tiles)
        if part.index >= len(frames):
            raise _incomplete()
        chosen: Array = frames[part.index]
        return chosen

    def _let_go(self, number: int) -> None:
        self._decoded.pop(number, None)
        file = self._open.pop(number, None)
        if file is not None:
            with file:
                check_unchanged(file, self._order.files[number])

    def close(self) -> None:
        """Close what is still open."""
        for file in self._open.values():
            file.close()


def decoded(file: BinaryIO) -> Array:
    """Return the stored values of every frame of an open file."""
    try:
        with quiet():
            dataset = whole(file)
            syntax = dataset.file_meta.get("TransferSyntaxUID")
            if syntax is not None and (UID(syntax).is_private or not UID(syntax).is_transfer_syntax):
                raise _unknown()
            check_sizes(dataset)
            if syntax is not None and UID(syntax).is_encapsulated:
                # one family of decoders, whatever else is installed: the same file is the same picture everywhere
                dataset.pixel_array_options(decoding_plugin="pylibjpeg")
            pixels: Array = dataset.pixel_array
            return pixels
    except SeriesError:
        raise
    except NotImplementedError:
        raise _unknown() from None
    except MemoryError:
        raise PassingError(
            "a picture must fit into memory", "one that does not", "export it in smaller parts"
        ) from None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # decoders raise anything (one in Rust not even an `Exception`); their text may hold the path
        raise _incomplete() from None


def _incomplete() -> SeriesError:
    return SeriesError("every slice of a series must be complete", "one cut short or broken", "export the series again")


def _unknown() -> SeriesError:
    return SeriesError(
        "pixels must be stored in a known transfer syntax",
        "an unknown one",
        "export the series uncompressed or as JPEG 2000, JPEG-LS, JPEG or RLE",
    )


def _rescaled(stored: Array, part: Part) -> Array:
    """Return stored values in their rescaled unit; integers stay as they are where that is the same."""
    values: NDArray[Any] = stored
    padded = (values >= part.padding[0]) & (values <= part.padding[1]) if part.padding else None
    same = part.slope == 1.0 and part.intercept == 0.0 and stored.dtype.kind in "iu"
    if same and (padded is None or not padded.any()):
        return stored.astype(stored.dtype.newbyteorder("="), copy=False)
    with np.errstate(all="ignore"):
        result = (stored.astype(np.float64) * part.slope + part.intercept).astype(np.float32)
    if padded is not None:
        result[padded] = AIR_HU
    if not np.isfinite(result).all():
        raise SeriesError("voxels must be finite", "infinite or missing values", "export the series again")
    return result
