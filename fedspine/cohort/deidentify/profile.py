"""De-identify one DICOM data set in place, by the Basic Application Level Confidentiality Profile of PS3.15.

Options: Clean Descriptors, Retain Longitudinal Temporal Information with Modified Dates, and Retain Safe Private (the
elements that `cohort.dicom.private` reads numbers from, and no others). Elements that go are never parsed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from fedspine.cohort.contrast import NO_AGENT
from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.deidentify.rules import Rule, rule_of
from fedspine.cohort.deidentify.values import AGENT, DUMMY, dummy, moved
from fedspine.cohort.dicom.private import B_VALUES, DIRECTIONS
from fedspine.cohort.words import clean_words

PRIVATE = 0
"""Stands for all private elements in `Removed`, whose numbers mean nothing without their creator."""

AGENT_TAG, SEGMENT_LABEL = BaseTag(0x00180010), BaseTag(0x00620005)

SAFE = frozenset(
    {(group, creator, element) for group, creator, element in B_VALUES}
    | {(group, creator, element) for group, creator, elements in DIRECTIONS for element in elements}
)
"""Private elements that stay, as (group, creator, element within the block): b-values and directions of diffusion."""

SAFE_CREATORS = frozenset(creator for _, creator, _ in SAFE)


@dataclass(frozen=True)
class Removed:
    """What was done to one file: each attribute that held something, once, with what became of it.

    Args:
        actions: (tag, rule) in rising order; `PRIVATE` is the tag of all private elements together.
    """

    actions: tuple[tuple[int, str], ...] = ()


def deidentify(dataset: Dataset, key: Key) -> Removed:
    """Take everything that identifies out of `dataset`, whatever the depth, and return what that was."""
    own = str(dataset.get("PatientID") or "").strip()
    pseudonym = key.pseudonym(own) if own else ""
    work = _Work(key, pseudonym, key.days(pseudonym), set())
    work.clean(dataset)
    return Removed(tuple(sorted(work.done)))


@dataclass(frozen=True)
class _Work:
    """One data set's pseudonym and shift, and what was done so far."""

    key: Key
    pseudonym: str
    days: int
    done: set[tuple[int, str]]

    def clean(self, dataset: Dataset) -> None:
        """De-identify `dataset` and every item within it."""
        tags = list(dataset.keys())
        private = [tag for tag in tags if tag & 0x10000]
        if private:
            self._clean_private(dataset, private)
        for tag in tags:
            if tag & 0x10000 or (rule := rule_of(int(tag))) is Rule.KEEP:
                continue
            if rule is Rule.REMOVE:
                self._drop(dataset, tag)
            elif rule is Rule.ENTER:
                self._enter(dataset, tag)
            else:
                self._change(dataset, tag, rule)

    def _clean_private(self, dataset: Dataset, tags: list[BaseTag]) -> None:
        """Drop the private elements among `tags`, and the creators of blocks that nothing is left of."""
        creators = {tag: _text(dataset.get_item(tag)).strip() for tag in tags if 0x10 <= tag & 0xFFFF <= 0xFF}
        blocks = {(tag >> 16, tag & 0xFF): name for tag, name in creators.items() if name in SAFE_CREATORS}
        needed = set()
        for tag in tags:
            if tag in creators:
                continue
            group, block = tag >> 16, tag >> 8 & 0xFF
            creator = blocks.get((group, block))
            if creator is not None and (group, creator, tag & 0xFF) in SAFE:
                needed.add((group, block))
            else:
                del dataset[tag]
                self.done.add((PRIVATE, Rule.REMOVE.value))
        for tag in creators:
            if (tag >> 16, tag & 0xFF) not in needed:
                del dataset[tag]

    def _drop(self, dataset: Dataset, tag: BaseTag) -> None:
        if tag & 0xFFFF and not _is_empty(dataset.get_item(tag, keep_deferred=True)):  # a group's length tells nothing
            self.done.add((int(tag), Rule.REMOVE.value))
        del dataset[tag]

    def _enter(self, dataset: Dataset, tag: BaseTag) -> None:
        element = dataset[tag]
        if not isinstance(element.value, Sequence):
            self._drop(dataset, tag)
            return
        for item in element.value:
            self.clean(item)

    def _change(self, dataset: Dataset, tag: BaseTag, rule: Rule) -> None:
        element = dataset.get_item(tag)
        if _is_empty(element):
            return
        representation = dictionary_VR(tag)
        if representation == "SQ":
            dataset[tag] = DataElement(tag, "SQ", [])
            self.done.add((int(tag), Rule.EMPTY.value))
            return
        old = _text(element)
        if rule is Rule.CLEAN and not old.isascii():  # words may be of any alphabet
            old = _text(dataset[tag])
        new = _new_values(self.key, self.pseudonym, self.days, int(tag), rule, representation, old)
        if new != old.rstrip(" \0"):
            said = {Rule.UID: Rule.DUMMY, Rule.NAME: Rule.DUMMY}.get(rule, rule) if new.strip("\\") else Rule.EMPTY
            self.done.add((int(tag), said.value))
            dataset[tag] = _replaced(tag, element, representation, new)


@lru_cache(maxsize=4096)  # the files of a series agree in most values
def _new_values(key: Key, pseudonym: str, days: int, tag: int, rule: Rule, representation: str, old: str) -> str:
    """Return what takes the place of the values `old`, several parted by backslashes."""

    def one(value: str) -> str:
        if rule is Rule.UID:
            return key.uid(value)
        if rule is Rule.SHIFT:
            return moved(value, days)
        if rule is Rule.NAME:
            return pseudonym
        if rule is Rule.CLEAN and tag == AGENT_TAG:  # whether one was given counts; which, by which lot, does not
            return "" if value.strip().casefold() in NO_AGENT else AGENT
        if rule is Rule.CLEAN:
            return clean_words(value) or (DUMMY if tag == SEGMENT_LABEL else "")
        return dummy(representation) if rule is Rule.DUMMY else ""

    return "\\".join(one(part.strip(" \0")) for part in old.split("\\"))


def _is_empty(element: DataElement | RawDataElement | None) -> bool:
    if isinstance(element, RawDataElement):
        return element.length == 0
    return element is None or element.value is None or (hasattr(element.value, "__len__") and len(element.value) == 0)


def _text(element: DataElement | RawDataElement | None) -> str:
    """Return the values of an element as one text with backslashes; what is not ASCII is read as Latin-1."""
    if element is None or element.value is None:
        return ""
    value = element.value
    if isinstance(value, bytes):
        return value.decode("ascii", "replace") if value.isascii() else value.decode("latin-1")
    return "\\".join(map(str, value)) if isinstance(value, MultiValue | list | tuple) else str(value)


def _replaced(
    tag: BaseTag, element: DataElement | RawDataElement | None, representation: str, text: str
) -> DataElement | RawDataElement:
    """Return the element with the value `text`; a raw one stays raw, which spares the parser's checks."""
    if isinstance(element, RawDataElement) and element.VR in (None, representation):
        value = text.encode("ascii", "replace")
        if len(value) % 2:
            value += b"\0" if representation == "UI" else b" "
        return element._replace(value=value, length=len(value))
    return DataElement(tag, representation, text.split("\\") if "\\" in text else text)
