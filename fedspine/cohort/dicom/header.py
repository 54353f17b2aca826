"""What a DICOM file says before its pixels: one `FileHeader` per file, one `Frame` per image plane.

This is where DICOM enters, so this is where it is de-identified: a `FileHeader` holds pseudonyms, keyed UIDs, moved
dates and cleaned words, and nothing after it has seen anything else.

A classic file holds one plane; an Enhanced file holds many, with most of its values in functional groups. Both become
the same values here, so that everything after this module knows one shape only.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset

from fedspine.cohort.deidentify.key import Key
from fedspine.cohort.deidentify.marks import refuse_pictures_of_persons
from fedspine.cohort.deidentify.profile import Removed, deidentify
from fedspine.cohort.dicom.frame import Frame, flat, frames_of, number, position_of, words
from fedspine.cohort.dicom.likeness import Slice, likeness_of
from fedspine.cohort.dicom.mosaic import mosaic_of, split
from fedspine.cohort.dicom.opening import HEAD_BYTES, header_and_place, not_dicom
from fedspine.cohort.dicom.plain import Plain, plain_of
from fedspine.cohort.dicom.private import coil_of
from fedspine.cohort.dicom.remembering import Memory, remembering
from fedspine.cohort.files import File, check_unchanged, open_file
from fedspine.cohort.patient import Scanner
from fedspine.cohort.scanner import tesla_of, vendor_of
from fedspine.errors import PassingError, SeriesError

MR_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4"})
CT_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"})
SEG_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"})
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
LARGEST_SIDE = 16_384


@dataclass(frozen=True)
class FileHeader:
    """One DICOM file as its header describes it; local, never shown.

    Args:
        modality: `MR`, `CT` or `SEG`.
        patient: the pseudonym of PatientID.
        person: keyed digests of name and birth date, empty where absent; they only tell two people apart.
        series: SeriesInstanceUID, keyed like every UID.
        study: StudyInstanceUID, empty where absent.
        instance: SOPInstanceUID, which no two pictures may share; empty where absent.
        plain: where the pixels are, if they need no decoding.
        tiles: slices a side of a mosaic's picture, 1 where a frame is one slice.
        day: StudyDate, moved as all of the patient's dates, as a count of days, `None` where absent; only differences
            have a meaning.
        frame_of_reference: FrameOfReferenceUID.
        series_number: SeriesNumber, 0 where absent.
        shape: (rows, columns) in voxels.
        frames: the planes, none for a segmentation.
        scanner: what all planes share of the scanner record.
        text: free words by DICOM keyword, for `cohort.contrast`.
    """

    modality: str
    patient: str
    person: tuple[str, str] = field(repr=False)
    series: str
    frame_of_reference: str
    series_number: int
    shape: tuple[int, int]
    frames: tuple[Frame, ...]
    scanner: Scanner
    text: Mapping[str, str]
    study: str = field(default="", repr=False)
    day: int | None = field(default=None, repr=False)
    instance: str = field(default="", repr=False)
    plain: Plain | None = field(default=None, repr=False)
    tiles: int = 1


# the key in `FileHeader.text` of the series that a segmentation was drawn on
DRAWN_ON = "ReferencedSeriesSequence"
TEXT_KEYWORDS = (
    "SeriesDescription",
    "ProtocolName",
    "SequenceName",
    "PulseSequenceName",
    "ScanningSequence",
    "SequenceVariant",
    "EchoPulseSequence",
    "EchoPlanarPulseSequence",
    "AcquisitionContrast",
    "ContrastBolusAgent",
    "RescaleType",
)


@dataclass(frozen=True)
class Opened:
    """A file as it came in.

    Args:
        header: what all of fedspine sees of it.
        own: the patient's own id, for the hospital's table of pseudonyms and its screen.
        removed: what the header does not hold any more.
    """

    header: FileHeader
    own: str = field(repr=False)
    removed: Removed


def read_header(folder: Path, file: File, key: Key, memory: Memory | None = None) -> Opened:
    """Return the header of `file`, a place within `folder`, de-identified with the site's key.

    Args:
        folder: the site folder.
        file: place, size and time as found.
        key: of the site.
        memory: of values met in other files, see `remembering`.

    Raises:
        SeriesError: when the file is not DICOM, is broken, or holds no MR, CT or segmentation.
        PassingError: when it cannot be read at all, or has changed since it was found.
    """
    with open_file(folder, file) as handle:
        try:
            opened = _opened(handle, file.size, key, Memory() if memory is None else memory)
            check_unchanged(handle, file)
            return opened
        except SeriesError:
            raise
        except MemoryError:
            raise PassingError("a header must fit into memory", "one that does not", "export the file again") from None
        except pydicom.errors.InvalidDicomError:
            raise not_dicom(os.pread(handle.fileno(), 8, 0)) from None
        except OSError as error:
            if error.errno == errno.EINVAL:  # a length in the file points to before its beginning
                raise _broken() from None
            raise PassingError("a file must be readable", "one that is not", "check its access rights") from None
        except Exception:  # a broken file may raise anything, and its text may quote the patient
            raise _broken() from None


def _opened(handle: BinaryIO, size: int, key: Key, memory: Memory) -> Opened:
    """Return the header of an open file, through what `memory` knows of others."""
    head = os.pread(handle.fileno(), HEAD_BYTES, 0)
    for likeness, known in reversed(memory.headers):
        found = likeness.slice_of(head, size)
        if found is not None:
            return _like(known, found, key)
    dataset, place = header_and_place(handle, size)
    likeness = likeness_of(dataset, head, place, size)
    opened = header_of(remembering(dataset, memory), key)
    single = opened.header.frames and opened.header.tiles == 1
    plain = plain_of(dataset, handle, place, size) if single else None
    opened = replace(opened, header=replace(opened.header, plain=plain))
    # what is neither plain nor encapsulated may differ in more than the name and place of a slice
    if likeness is not None and single and likeness.encapsulated == (plain is None):
        memory.headers[:] = [*memory.headers[-MOST_LIKENESSES:], (likeness, opened)]
    return opened


# of how many kinds the headers of one batch may be: echoes, b-values and planes interleave
MOST_LIKENESSES = 8


def _like(known: Opened, found: Slice, key: Key) -> Opened:
    """Return the header of another slice of the series that `known` belongs to."""
    header = known.header
    (frame,), instance = header.frames, header.instance
    if found.position is not None:
        frame = replace(frame, position_mm=position_of(list(found.position)))
    if found.instance is not None:
        instance = key.uid(found.instance)
    plain = None if header.plain is None else replace(header.plain, offset=found.pixels)
    return replace(known, header=replace(header, frames=(frame,), instance=instance, plain=plain))


def _broken() -> SeriesError:
    return SeriesError("a DICOM header must be complete", "a broken one", "export the file again")


def header_of(dataset: Dataset, key: Key) -> Opened:
    """Return the header in `dataset`, which is de-identified on the way; a `SeriesError` says what cannot be used."""
    modality = _modality(dataset)
    refuse_pictures_of_persons(dataset)
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if not (0 < rows <= LARGEST_SIDE and 0 < columns <= LARGEST_SIDE):
        raise SeriesError("an image must have rows and columns", "a header without them", "export the file again")
    own = str(dataset.get("PatientID") or "").strip()
    if not own:
        raise SeriesError("a DICOM file must have a PatientID", "none", "export it with the identifier of patients.csv")
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if samples != 1 or dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise SeriesError("an image must be grey", "a coloured one", "leave colour maps and screen shots out")
    if not dataset.get("SeriesInstanceUID"):
        raise SeriesError("a DICOM file must belong to a series", "no SeriesInstanceUID", "export it again")
    person = (key.digest(_person(dataset)), key.digest(str(dataset.get("PatientBirthDate") or "").strip()))
    # first, for vendors hide the coil and the make-up of mosaics in headers that go
    scanner, mosaic = _scanner(dataset, _shared(dataset)), mosaic_of(dataset) if modality == "MR" else None
    removed = deidentify(dataset, key)
    shared = _shared(dataset)
    frames = () if modality == "SEG" else frames_of(dataset)
    if mosaic is not None:
        rows, columns = rows // mosaic.side, columns // mosaic.side
        frames = split(frames[0], mosaic, (rows, columns))
    header = FileHeader(
        modality=modality,
        patient=key.pseudonym(own),
        person=person,
        series=str(dataset.get("SeriesInstanceUID")),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID") or ""),
        series_number=int(number(dataset.get("SeriesNumber")) or 0),
        shape=(rows, columns),
        frames=frames,
        scanner=scanner,
        text={name: text for name in TEXT_KEYWORDS if (text := words(dataset.get(name) or shared.get(name)))}
        | _agent(dataset)
        | _drawn_on(dataset),
        study=str(dataset.get("StudyInstanceUID") or ""),
        day=_day(dataset.get("StudyDate")),
        instance=str(dataset.get("SOPInstanceUID") or "").strip(),
        tiles=1 if mosaic is None else mosaic.side,
    )
    return Opened(header, own, removed)


def _shared(dataset: Dataset) -> dict[str, object]:
    """Return what all planes of an Enhanced object share, by keyword."""
    groups = dataset.get("SharedFunctionalGroupsSequence")
    return flat(groups[0]) if groups else {}


def _day(value: object) -> int | None:
    """Return a DICOM date (YYYYMMDD, or the YYYY.MM.DD of old files) as a count of days, or `None`."""
    try:
        return datetime.strptime(str(value).strip().replace(".", ""), "%Y%m%d").toordinal()
    except ValueError:
        return None


def _modality(dataset: Dataset) -> str:
    """Return MR, CT or SEG; anything else is refused."""
    kind = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    if kind in SEG_CLASSES:
        return "SEG"
    if kind == DICOMDIR_CLASS:
        raise SeriesError("a file must hold an image", "a DICOMDIR index", "nothing is lost, it is not needed")
    modality = "MR" if kind in MR_CLASSES else "CT" if kind in CT_CLASSES else ""
    if not modality:
        raise SeriesError(
            "a file must hold an MR image, a CT image or a segmentation",
            "another kind of DICOM object",
            "nothing is lost if it is a report, a dose, a plan or a screen shot",
        )
    return modality


def _person(dataset: Dataset) -> str:
    """Return the name with case, blanks and separators folded, so that spellings of one name agree."""
    return " ".join(str(dataset.get("PatientName") or "").split("=")[0].replace("^", " ").casefold().split())


def _agent(dataset: Dataset) -> dict[str, str]:
    """Return the contrast agent of an Enhanced object, which keeps it in a sequence."""
    items = dataset.get("ContrastBolusAgentSequence") or []
    return {"ContrastBolusAgent": "yes"} if len(items) and not dataset.get("ContrastBolusAgent") else {}


def _drawn_on(dataset: Dataset) -> dict[str, str]:
    """Return the series that a segmentation was drawn on, where it says so."""
    items = dataset.get("ReferencedSeriesSequence") or []
    series = [str(item.get("SeriesInstanceUID") or "") for item in items]
    return {DRAWN_ON: " ".join(series)} if dataset.get("Modality") == "SEG" and any(series) else {}


def _scanner(dataset: Dataset, shared: Mapping[str, object]) -> Scanner:
    """Return what the whole file says of the scanner; the planes add their times and b-values."""
    coil = words(dataset.get("ReceiveCoilName") or shared.get("ReceiveCoilName")) or coil_of(dataset)
    return Scanner(
        vendor=vendor_of(words(dataset.get("Manufacturer"))),
        model=words(dataset.get("ManufacturerModelName")) or None,
        field_tesla=tesla_of(number(dataset.get("MagneticFieldStrength"))),
        coil=coil or None,
    )
