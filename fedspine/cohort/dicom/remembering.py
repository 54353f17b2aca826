"""Remember what headers said: the files of a series agree in nearly everything.

pydicom keeps elements as bytes until they are asked for; turning them into numbers and words is most of the cost of
reading a header. The same bytes under the same tag always mean the same, so a memory that many files share turns a
second and later file into look-ups. Where two headers differ only in what names a slice and places it, even the
finished header is known but for these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileDataset
from pydicom.tag import BaseTag

CHARACTER_SET = BaseTag(0x00080005)

# SOPInstanceUID, AcquisitionTime, ContentTime, InstanceNumber, ImagePositionPatient, SliceLocation, smallest and
# largest value, window: what differs from slice to slice, and says nothing of a file beyond its name and place
OF_A_SLICE = frozenset(
    {
        0x00080018,
        0x00080032,
        0x00080033,
        0x00200013,
        0x00200032,
        0x00201041,
        0x00280106,
        0x00280107,
        0x00281050,
        0x00281051,
    }
)
USUAL = re.compile(rb"[0-9.+-]+ *\0?")
"""One number, time or UID, as nearly all of the above are; another form stays apart from the usual ones."""


@dataclass(frozen=True)
class Memory:
    """What the headers of one batch share.

    Args:
        values: converted values by what they were made of.
        headers: finished headers by `alike`.
    """

    values: dict[tuple[object, ...], Any] = field(default_factory=dict, repr=False)
    headers: dict[tuple[object, ...], Any] = field(default_factory=dict, repr=False)


class Remembering(FileDataset):
    """A header whose values come from a memory where they are known; they must not be changed. See `remembering`."""

    _memory: Memory
    _groups: frozenset[int]

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of the element of this keyword, as `Dataset.get` does."""
        tag = _tag(key) if isinstance(key, str) else None
        if tag is None:
            return super().get(key, default)
        raw = self._dict.get(tag)
        if raw is None:
            return default
        if type(raw) is not RawDataElement or not _definite(tag, raw.VR):
            return super().get(key, default)
        charset = self._dict.get(CHARACTER_SET)
        known = (tag, raw.VR, raw.value, raw.is_implicit_VR, raw.is_little_endian, charset and charset.value)
        try:
            return self._memory.values[known]
        except KeyError:
            value = self._memory.values[known] = super().get(key, default)
            return value
        except TypeError:  # a list of character sets cannot be looked up
            return super().get(key, default)

    def get_private_item(self, group: int, element_offset: int, private_creator: str) -> DataElement:
        """Return a private element as `Dataset` does, and say at once that there is none where the group is missing."""
        if group not in self._groups:
            raise KeyError
        return super().get_private_item(group, element_offset, private_creator)


def remembering(dataset: FileDataset, memory: Memory) -> Remembering:
    """Turn `dataset`, as read, into one that looks values up in `memory`, shared by the headers of one batch.

    The class is exchanged, for making another data set would cost as much as is saved.
    """
    dataset.__class__ = Remembering
    assert isinstance(dataset, Remembering)
    object.__setattr__(dataset, "_memory", memory)
    object.__setattr__(dataset, "_groups", frozenset(int(tag) >> 16 for tag in dataset._dict))
    return dataset


def alike(dataset: FileDataset) -> tuple[object, ...] | None:
    """Return what two headers have in common that differ only in `OF_A_SLICE`; `None` when that cannot be told."""
    meta = dataset.file_meta
    parts: list[object] = [
        dataset.original_encoding,
        meta.get("TransferSyntaxUID"),
        meta.get("MediaStorageSOPClassUID"),
    ]
    for tag, raw in dataset._dict.items():
        if type(raw) is not RawDataElement:
            return None
        value: object = raw.value
        if tag in OF_A_SLICE:
            value = isinstance(value, bytes) and (USUAL.fullmatch(value) is not None or _is_place(tag, value))
        parts.append((tag, raw.VR, value))
    return tuple(parts)


def _is_place(tag: BaseTag, value: bytes) -> bool:
    return tag == 0x00200032 and value.count(b"\\") == 2


@cache
def _tag(keyword: str) -> BaseTag | None:
    tag = tag_for_keyword(keyword)
    return None if tag is None else BaseTag(tag)


@cache
def _definite(tag: BaseTag, representation: str | None) -> bool:
    """Tell whether a value follows from its bytes: it is no sequence, and no other element says how to read it."""
    return representation not in ("SQ", "UN") and " or " not in (representation or dictionary_VR(tag))
