"""Say in a DICOM file that it was de-identified and how, as PS3.15 E.1.1 asks for."""

from __future__ import annotations

from pydicom.dataset import Dataset

from fedspine.cohort.deidentify.rules import EDITION

METHOD = f"fedspine, PS3.15 {EDITION} Basic Profile"

CODES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113105", "Clean Descriptors Option"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113111", "Retain Safe Private Option"),
)
"""What was applied, from CID 7050 of PS3.16."""


def mark(dataset: Dataset) -> None:
    """Write the attributes that tell a reader how `dataset` was de-identified."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    dataset.DeidentificationMethodCodeSequence = [_code(value, meaning) for value, meaning in CODES]
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def is_marked(dataset: Dataset) -> bool:
    """Tell whether `dataset` says that it was de-identified by this profile with dates moved, and so UIDs keyed."""
    if dataset.get("PatientIdentityRemoved") != "YES":
        return False
    items = dataset.get("DeidentificationMethodCodeSequence") or []
    codes = {str(item.get("CodeValue") or "") for item in items}
    return {"113100", "113107"} <= codes and dataset.get("LongitudinalTemporalInformationModified") == "MODIFIED"
