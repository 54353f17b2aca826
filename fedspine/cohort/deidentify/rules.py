"""What becomes of each DICOM attribute: Table E.1-1 of PS3.15 in the edition 2026c, as `dicom-anonymizer` carries it.

The column of the Basic Profile decides; where it leaves a choice (X/Z/D), what an MR, CT or segmentation object needs
to stay valid decides. The options take two things back: dates are moved instead of emptied (Retain Longitudinal
Temporal Information with Modified Dates), and a few descriptions are cleaned instead of removed (Clean Descriptors).
What the table does not list stays, with these exceptions, which the table leaves to the reader's care: persons, long
free texts, addresses of machines and attributes unknown to the dictionary go, dates are moved, and UIDs are keyed.
"""

from __future__ import annotations

from enum import StrEnum

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table
from pydicom.datadict import dictionary_VR, tag_for_keyword

EDITION = "2026c"


class Rule(StrEnum):
    """What is done to an attribute."""

    KEEP = "kept"
    REMOVE = "removed"
    EMPTY = "emptied"
    DUMMY = "replaced"
    UID = "uid"
    NAME = "pseudonym"
    SHIFT = "shifted"
    CLEAN = "cleaned"
    ENTER = "entered"


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


CLEANED = (
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionProtocolName",
    "ContrastBolusAgent",
    "ContentDescription",
    "SegmentLabel",
)
"""Descriptions that say what a picture shows; only words of acquisition and anatomy survive in them."""

CHOSEN = {
    "PatientID": Rule.NAME,
    "PatientBirthDate": Rule.EMPTY,  # a shifted one would still tell the age to the day
    "DeviceSerialNumber": Rule.DUMMY,  # type 1 in Enhanced objects
    "ContentLabel": Rule.DUMMY,  # type 1 in segmentations
    "TrackingID": Rule.REMOVE,
    "TrackingUID": Rule.REMOVE,  # goes with the id: each requires the other
    "PatientBirthDateInAlternativeCalendar": Rule.REMOVE,
    "PatientDeathDateInAlternativeCalendar": Rule.REMOVE,
    "LocalNamespaceEntityID": Rule.REMOVE,
    "UniversalEntityID": Rule.REMOVE,
    "PlacerOrderNumberProcedure": Rule.REMOVE,
    "FillerOrderNumberProcedure": Rule.REMOVE,
    "PlacerOrderNumberImagingServiceRequestRetired": Rule.REMOVE,
    "FillerOrderNumberImagingServiceRequestRetired": Rule.REMOVE,
    "HL7InstanceIdentifier": Rule.REMOVE,
    "ProcedureCodeSequence": Rule.REMOVE,  # the hospital's own codes and words, beyond any vocabulary
    "PerformedProtocolCodeSequence": Rule.REMOVE,
    "DeviceID": Rule.REMOVE,
    "FrameLabel": Rule.REMOVE,
} | dict.fromkeys(CLEANED, Rule.CLEAN)

DATES, TIMES = frozenset({"DA", "DT"}), frozenset({"TM"})
UNLISTED_REMOVED = frozenset({"PN", "LT", "ST", "UT", "UC", "UR", "AE"})


def _rules() -> dict[int, Rule]:
    """Return the rule of every attribute that the table or `CHOSEN` names."""
    found: dict[int, Rule] = {}
    by_list = {
        "D": (table.D_TAGS, Rule.DUMMY),
        "Z": (table.Z_TAGS, Rule.EMPTY),
        "X": (table.X_TAGS, Rule.REMOVE),
        "U": (table.U_TAGS, Rule.UID),
        "Z/D": (table.Z_D_TAGS, Rule.EMPTY),
        "X/Z": (table.X_Z_TAGS, Rule.EMPTY),
        "X/D": (table.X_D_TAGS, Rule.REMOVE),
        "X/Z/D": (table.X_Z_D_TAGS, Rule.REMOVE),
        "X/Z/U*": (table.X_Z_U_STAR_TAGS, Rule.ENTER),
    }
    for listed, (tags, rule) in by_list.items():
        for tag in tags:
            if len(tag) == 2:
                number = tag[0] << 16 | tag[1]
                found[number] = _listed(listed, rule, _representation(number))
    return found | {_tag(keyword): rule for keyword, rule in CHOSEN.items()}


def _listed(code: str, rule: Rule, representation: str) -> Rule:
    """Return the rule of an attribute with the table's code: only what the profile removes outright goes with its date.

    Whole days are added to dates, so the time of day stays as it is.
    """
    if code in ("X", "U", "X/Z/U*"):
        return rule
    if representation in DATES:
        return Rule.SHIFT
    if representation in TIMES:
        return Rule.KEEP
    if representation == "UI":
        return Rule.UID
    if rule is Rule.DUMMY and representation in ("SQ", "OB", "UN"):
        return Rule.REMOVE  # no MR, CT or segmentation object requires one of these
    return rule


def _representation(tag: int) -> str:
    """Return the value representation of `tag`, empty where the dictionary does not know it."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


_RULES = _rules()


def rule_of(tag: int) -> Rule:
    """Return what becomes of the public attribute `tag`."""
    rule = _RULES.get(tag)
    if rule is None:
        rule = _RULES[tag] = _unlisted(tag)
    return rule


def _unlisted(tag: int) -> Rule:
    """Return the rule of an attribute that the table does not name."""
    representation = _representation(tag)
    family = tag >> 24
    if not representation or family in (0x50, 0x60) or representation in UNLISTED_REMOVED:
        return Rule.REMOVE  # curves and overlays may hold drawn-in text; group lengths would be wrong
    if representation in DATES:
        return Rule.SHIFT
    if representation == "UI":  # new editions bring new ones; those of classes are the standard's own, which stay
        return Rule.UID
    return Rule.ENTER if representation == "SQ" else Rule.KEEP
