"""A data set that remembers values it has converted before: the files of a series agree in nearly all of them.

pydicom keeps elements as bytes until they are asked for; turning them into numbers and words is most of the cost of
reading a header. The same bytes under the same tag always mean the same, so a memory that many files share turns a
second and later file into look-ups.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileDataset
from pydicom.tag import BaseTag

from fedspine.cohort.dicom.likeness import Likeness

CHARACTER_SET = BaseTag(0x00080005)


@dataclass(frozen=True)
class Memory:
    """What the headers of one batch share.

    Args:
        values: converted values by what they were made of.
        headers: finished headers with their likeness, the newest last.
    """

    values: dict[tuple[object, ...], Any] = field(default_factory=dict, repr=False)
    headers: list[tuple[Likeness, Any]] = field(default_factory=list, repr=False)


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


@cache
def _tag(keyword: str) -> BaseTag | None:
    tag = tag_for_keyword(keyword)
    return None if tag is None else BaseTag(tag)


@cache
def _definite(tag: BaseTag, representation: str | None) -> bool:
    """Tell whether a value follows from its bytes: it is no sequence, and no other element says how to read it."""
    return representation not in ("SQ", "UN") and " or " not in (representation or dictionary_VR(tag))
