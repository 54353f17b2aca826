"""One data set is de-identified: against the tables of dicom-anonymizer, and case by case."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2023, dicomfields_2024b, dicomfields_2026c
from dicomanonymizer.simpledicomanonymizer import anonymize_dataset, initialize_actions
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.deidentify.marks import refuse_pictures_of_persons
from fedspine.cohort.deidentify.profile import PRIVATE, deidentify
from fedspine.cohort.deidentify.rules import DATES, Rule, rule_of
from fedspine.cohort.deidentify.values import DAY, moved
from fedspine.cohort.dicom.private import b_value_of, coil_of, direction_of
from fedspine.errors import SeriesError

KEY = Key(bytes(range(32)))
DATA = Path(__file__).parent.parent / "data"
VALUES = {"DA": "20200517", "DT": "20200517101112", "TM": "101112", "UI": "1.2.3.4", "AS": "063Y", "CS": "ZQMARK"}
NUMBERS = {"DS": "4711", "IS": "4711", "US": 4711, "FD": 4711.0, "UL": 4711}

# what dicom-anonymizer changes and this profile keeps, with the reason
KEPT_ON_PURPOSE = {
    "TM": "whole days are added to dates (113107), so a time of day stays what it is; those of column X go",
}


def representation(tag: int) -> str:
    try:
        return dictionary_VR(tag).split(" or ")[0]
    except KeyError:
        return "LO"


def filled(tags: list[tuple[int, ...]]) -> Dataset:
    """Return a data set that has every one of these attributes."""
    dataset = Dataset()
    for tag in tags:
        if len(tag) != 2 or tag[0] in (0x0000, 0x0002):
            continue
        number = tag[0] << 16 | tag[1]
        kind = representation(number)
        value: object = VALUES.get(kind, NUMBERS.get(kind, "Zqmark"))
        if kind in ("OB", "UN"):
            value = b"zqmark"
        elif kind == "SQ":
            item = Dataset()
            item.ReferencedSOPInstanceUID, item.PatientName = "1.2.3.4", "Zqmark"
            value = [item]
        dataset.add_new(number, kind, value)
    return dataset


@pytest.mark.parametrize("edition", [dicomfields_2023, dicomfields_2024b, dicomfields_2026c])
def test_whatever_dicom_anonymizer_removes_or_changes_is_removed_or_changed_here(edition: object) -> None:
    tags = edition.ALL_TAGS  # type: ignore[attr-defined]
    before, theirs, ours = filled(tags), filled(tags), filled(tags)
    name = str(edition.__name__.rsplit(".", 1)[1])  # type: ignore[attr-defined]
    anonymize_dataset(theirs, base_rules_gen=lambda: initialize_actions(name))
    deidentify(ours, KEY)
    lenient = set()
    for tag in before.keys():  # noqa: SIM118 - iterating gives elements
        changed = tag not in theirs or theirs[tag].value != before[tag].value
        if changed and tag in ours and ours[tag].value == before[tag].value:
            lenient.add(representation(tag))
    assert lenient == set(KEPT_ON_PURPOSE)
    assert len(before) > 590
    assert "zqmark" not in str(ours).casefold()


def test_no_uid_of_the_hospital_stays_whatever_the_table_lists() -> None:
    dataset = Dataset()
    dataset.PatientID, dataset.SOPClassUID, dataset.SOPInstanceUID = "4711", MRImageStorage, "1.2.3.4.5"
    uids = [number for number in DicomDictionary if number >> 16 not in (0, 2, 4) and dictionary_VR(number) == "UI"]
    for number in uids:
        if number != 0x00080016:
            dataset.add_new(number, "UI", "1.2.3.4.5")
    deidentify(dataset, KEY)
    assert len(uids) > 80
    assert "1.2.3.4.5" not in [str(element.value) for element in dataset]
    assert dataset.SOPInstanceUIDOfConcatenationSource == dataset.SOPInstanceUID == KEY.uid("1.2.3.4.5")
    assert dataset.SOPClassUID == MRImageStorage


def test_dates_of_one_patient_move_by_the_same_days_and_never_none() -> None:
    dataset = filled(dicomfields_2026c.ALL_TAGS)
    days = KEY.days(KEY.pseudonym(str(dataset.PatientID)))
    deidentify(dataset, KEY)
    assert dataset.StudyDate == moved("20200517", days) != "20200517"
    dates = [str(element.value) for element in dataset if element.VR in DATES and element.value]
    assert {match.group() for value in dates if (match := DAY.match(value))} == {moved("20200517", days)}
    assert len(dates) > 30
    assert dataset.AcquisitionDateTime == moved("20200517", days) + "101112"
    assert (dataset.StudyTime, dataset.PatientBirthDate) == ("101112", "")
    other = Dataset()
    other.PatientID, other.StudyDate = "other", "20200517"
    deidentify(other, KEY)
    assert other.StudyDate != dataset.StudyDate


@pytest.mark.parametrize("odd", ["2020", "202005", "20201399", "unknown", "00010101"])
def test_a_date_that_cannot_be_moved_goes(odd: str) -> None:
    dataset = Dataset()
    dataset.PatientID = "4711"
    with pydicom.config.disable_value_validation():
        dataset.StudyDate = odd
    deidentify(dataset, KEY)
    assert dataset.StudyDate == ""


def test_uids_are_keyed_alike_at_every_depth_and_the_standards_stay() -> None:
    dataset = Dataset()
    dataset.PatientID, dataset.SOPClassUID, dataset.SOPInstanceUID = "4711", "1.2.840.10008.5.1.4.1.1.4", "1.2.3.9"
    inner = Dataset()
    inner.ReferencedSOPClassUID, inner.ReferencedSOPInstanceUID = dataset.SOPClassUID, "1.2.3.9"
    dataset.ReferencedImageSequence = Sequence([inner])
    removed = deidentify(dataset, KEY)
    assert dataset.SOPClassUID == inner.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.4"
    assert dataset.SOPInstanceUID == dataset.ReferencedImageSequence[0].ReferencedSOPInstanceUID == KEY.uid("1.2.3.9")
    assert (0x00080018, "replaced") in removed.actions


def test_several_values_of_a_uid_are_keyed_one_by_one() -> None:
    dataset = Dataset()
    dataset.PatientID, dataset.IrradiationEventUID = "4711", ["1.2.3", "1.2.4"]
    deidentify(dataset, KEY)
    assert list(dataset.IrradiationEventUID) == [KEY.uid("1.2.3"), KEY.uid("1.2.4")]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_only_safe_private_elements_stay(syntax: UID) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    dataset.PatientID = "4711"
    siemens = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    siemens.add_new(0x0C, "IS", "800")
    siemens.add_new(0x0E, "FD", [0.0, 0.6, 0.8])
    siemens.add_new(0x08, "CS", "ZQMARK")
    dataset.private_block(0x0051, "SIEMENS MR HEADER", create=True).add_new(0x0F, "LO", "SP:SP1")
    dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", b"zqmark")
    dataset.private_block(0x0009, "ZQMARK", create=True).add_new(0x01, "LO", "zqmark")
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    read = pydicom.dcmread(buffer)
    assert coil_of(read) == "SP:SP1"
    removed = deidentify(read, KEY)
    assert (PRIVATE, "removed") in removed.actions
    assert (b_value_of(read), direction_of(read), coil_of(read)) == (800.0, [0.0, 0.6, 0.8], "")
    assert sorted(hex(tag) for tag in read.keys() if tag >> 16 & 1) == ["0x190010", "0x19100c", "0x19100e"]  # noqa: SIM118


def test_descriptions_keep_what_they_say_of_the_picture_and_lose_the_rest() -> None:
    dataset = Dataset()
    dataset.PatientID, dataset.SpecificCharacterSet = "4711", "ISO_IR 100"
    dataset.SeriesDescription, dataset.ProtocolName = "t2_tse_sag Müller 0815", "Dr. Zqmark"
    dataset.ContrastBolusAgent, dataset.ImageComments = "7 ml Gadovist, lot 4711", "zqmark"
    removed = deidentify(dataset, KEY)
    assert (dataset.SeriesDescription, dataset.ProtocolName, dataset.ContrastBolusAgent) == ("t2", "", "agent")
    assert "ImageComments" not in dataset
    done = {keyword_for_tag(tag): what for tag, what in removed.actions}
    assert done == {
        "SeriesDescription": "cleaned",
        "ProtocolName": "emptied",
        "ContrastBolusAgent": "cleaned",
        "ImageComments": "removed",
        "PatientID": "replaced",
    }


def test_an_attribute_that_no_dictionary_knows_an_overlay_and_a_curve_go() -> None:
    dataset = Dataset()
    dataset.PatientID = "4711"
    dataset.add_new(0x00091001, "LO", "zqmark")
    dataset.add_new(0x0008EEEE, "LO", "zqmark")
    dataset.add_new(0x60003000, "OW", b"zqmark")
    dataset.add_new(0x60001500, "LO", "zqmark")
    dataset.add_new(0x50003000, "OW", b"zqmark")
    deidentify(dataset, KEY)
    assert [element.keyword for element in dataset] == ["PatientID"]


@pytest.mark.parametrize("file", sorted((DATA / "vendor_dicom").glob("*.dcm")), ids=lambda file: str(file.stem))
def test_the_physics_of_a_real_scanner_stays(file: Path) -> None:
    before, after = (pydicom.dcmread(file, stop_before_pixels=True) for _ in range(2))
    deidentify(after, KEY)
    for keyword in (
        "Manufacturer",
        "ManufacturerModelName",
        "MagneticFieldStrength",
        "SoftwareVersions",
        "EchoTime",
        "RepetitionTime",
        "FlipAngle",
        "ImagePositionPatient",
        "PixelSpacing",
        "ImageType",
        "Rows",
        "PerFrameFunctionalGroupsSequence",
    ):
        if not keyword.endswith("Sequence"):
            assert after.get(keyword) == before.get(keyword), keyword
        assert (keyword in after) == (keyword in before)
    assert b_value_of(after) == b_value_of(before)
    assert direction_of(after) == direction_of(before)


def test_what_was_done_to_an_empty_attribute_is_not_told() -> None:
    dataset = Dataset()
    dataset.PatientID, dataset.PatientName, dataset.InstitutionName = "", "", ""
    assert deidentify(dataset, KEY).actions == ()


def test_a_pseudonym_is_left_as_it_is() -> None:
    dataset = Dataset()
    dataset.PatientID = own = Key(bytes(32)).pseudonym("4711")
    assert deidentify(dataset, KEY).actions == ()
    assert dataset.PatientID == own


@pytest.mark.parametrize(
    ("keyword", "value", "rule"),
    [
        ("BurnedInAnnotation", "YES", "a picture must not have text burned into it"),
        ("RecognizableVisualFeatures", "YES", "a picture must not show a recognisable face"),
        ("ConversionType", "SD", "an image must come from a scanner"),
        ("ImageType", ["DERIVED", "SECONDARY", "SCREEN SAVE"], "an image must come from a scanner"),
        ("Modality", "US", "an MR or CT image must say so in its Modality"),
    ],
)
def test_a_picture_that_may_show_a_person_is_refused(keyword: str, value: object, rule: str) -> None:
    dataset = Dataset()
    dataset.Modality, dataset.BurnedInAnnotation, dataset.ImageType = "MR", "NO", ["ORIGINAL", "PRIMARY"]
    refuse_pictures_of_persons(dataset)
    setattr(dataset, keyword, value)
    with pytest.raises(SeriesError) as caught:
        refuse_pictures_of_persons(dataset)
    assert caught.value.rule == rule


def test_every_person_in_the_dictionary_goes() -> None:
    from pydicom._dicom_dict import DicomDictionary

    persons = [tag for tag, entry in DicomDictionary.items() if entry[0] in ("PN", "LT", "ST", "UT") and tag >> 16 > 2]
    assert len(persons) > 200
    assert {rule_of(tag) for tag in persons} <= {Rule.REMOVE, Rule.EMPTY, Rule.DUMMY}
