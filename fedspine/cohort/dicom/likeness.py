"""Know a header by the bytes of another of its series, without parsing it.

The headers of a series are the same bytes but for a few values: what names a slice, places it, says when it was taken
and how bright it is. Where all bytes around these values agree, and the values have their usual form, a parser would
find the same elements again; only the name and the place are read anew. Anything unusual is left to the parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset

SOP_INSTANCE, POSITION = 0x00080018, 0x00200032
META_LENGTH, META_INSTANCE, PER_FRAME = 0x00020000, 0x00020003, 0x52009230
UID = rb"(?!1\.2\.840\.10008\.)[0-9.]{1,64}\0?"  # the standard's own name no slice, and are left as they are
TIME = rb"([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9](\.[0-9]{1,6})? ?"
NUMBER = rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})? ?"
BYTES = rb"[\x00-\xff]"
# what differs from slice to slice, and the form that its values usually have
OF_A_SLICE = {
    META_LENGTH: re.compile(BYTES + rb"{4}"),
    META_INSTANCE: re.compile(UID),
    SOP_INSTANCE: re.compile(UID),
    0x00080032: re.compile(TIME),  # AcquisitionTime
    0x00080033: re.compile(TIME),  # ContentTime
    0x00200013: re.compile(rb"[0-9]{1,9} ?"),  # InstanceNumber
    POSITION: re.compile(NUMBER + rb"\\" + NUMBER + rb"\\" + NUMBER),
    0x00201041: re.compile(NUMBER),  # SliceLocation
    0x00280106: re.compile(BYTES + rb"{2}"),  # SmallestImagePixelValue
    0x00280107: re.compile(BYTES + rb"{2}"),  # LargestImagePixelValue
    0x00281050: re.compile(NUMBER),  # WindowCenter
    0x00281051: re.compile(NUMBER),  # WindowWidth
}
META = 132
"""Where the first element begins."""
PIXEL_HEADER, UNDEFINED = 12, 2**32 - 1


@dataclass(frozen=True)
class Slice:
    """What differs in a header that is like another.

    Args:
        instance: SOPInstanceUID; `None` where it is the other's.
        position: ImagePositionPatient, three numbers as text; `None` where it is the other's.
        pixels: where the pixels begin, in bytes.
    """

    instance: str | None = field(repr=False)
    position: tuple[str, ...] | None = field(repr=False)
    pixels: int


@dataclass(frozen=True)
class Likeness:
    """A header as bytes around gaps; a gap is the length and the value of an element of `OF_A_SLICE`.

    Args:
        around: the bytes before each gap, which end with the element's tag and type, and those after the last one,
            which end with the beginning of the pixel element.
        tags: of the gaps.
        rest: bytes from the pixels to the end of the file; `None` where they are encapsulated and may be any number.
    """

    around: tuple[bytes, ...] = field(repr=False)
    tags: tuple[int, ...]
    rest: int | None

    @property
    def encapsulated(self) -> bool:
        """Whether the pixels are compressed."""
        return self.rest is None

    def slice_of(self, head: bytes, size: int) -> Slice | None:
        """Return what a file of `size` bytes that begins with `head` says of its slice; `None` when it is not alike.

        >>> likeness = Likeness((b"a", b"b"), (0x00200013,), 3)
        >>> likeness.slice_of(b"a" + bytes([2, 0]) + b"17" + b"b" + b"...", 9)
        Slice(pixels=6)
        """
        place, values = 0, {}
        for before, tag in zip(self.around, self.tags, strict=False):
            if not head.startswith(before, place):
                return None
            place += len(before) + 2
            length = int.from_bytes(head[place - 2 : place], "little")
            values[tag] = head[place : place + length]
            place += length
            if len(values[tag]) != length or not OF_A_SLICE[tag].fullmatch(values[tag]):
                return None
        if not head.startswith(self.around[-1], place):
            return None
        place += len(self.around[-1])
        if self.rest is not None and size - place != self.rest:
            return None
        instance, position = values.get(SOP_INSTANCE), values.get(POSITION)
        return Slice(
            None if instance is None else instance.rstrip(b"\0").decode("ascii"),
            None if position is None else tuple(position.decode("ascii").split("\\")),
            place,
        )


def likeness_of(dataset: FileDataset, head: bytes, place: int | None, size: int) -> Likeness | None:
    """Return what a header looks like, or `None` when another could not safely be told by it.

    Args:
        dataset: as parsed, of the explicit little endian kind.
        head: the beginning of the file.
        place: of the pixel element.
        size: of the file in bytes.
    """
    if dataset.original_encoding != (False, True) or place is None or place + PIXEL_HEADER > len(head):
        return None
    if PER_FRAME in dataset:  # there the place stands within
        return None
    places = [(META_LENGTH, META + 8), *_places(dataset)]
    around, tags, done = [], [], 0
    for tag, value in sorted(places, key=lambda one: one[1]):
        name = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
        if value - 8 < done or head[value - 8 : value - 4] != name:
            return None
        end = value + int.from_bytes(head[value - 2 : value], "little")
        if OF_A_SLICE[tag].fullmatch(head[value:end]):  # one of another form belongs to the bytes that must agree
            around.append(head[done : value - 2])
            tags.append(tag)
            done = end
    around.append(head[done : place + PIXEL_HEADER])
    length, rest = int.from_bytes(head[place + 8 : place + PIXEL_HEADER], "little"), size - place - PIXEL_HEADER
    if length not in (rest, UNDEFINED):
        return None
    likeness = Likeness(tuple(around), tuple(tags), None if length == UNDEFINED else rest)
    return likeness if likeness.slice_of(head, size) is not None else None


def _places(dataset: FileDataset) -> list[tuple[int, int]]:
    """Return the tag and the place of the value of every element of `OF_A_SLICE`."""
    found = [
        (int(tag), int(raw.value_tell))
        for tag, raw in dataset._dict.items()
        if tag in OF_A_SLICE and isinstance(raw, RawDataElement)
    ]
    meta = dataset.file_meta.get(META_INSTANCE)
    return found if meta is None or meta.file_tell is None else [*found, (META_INSTANCE, int(meta.file_tell))]
