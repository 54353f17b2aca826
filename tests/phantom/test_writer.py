"""A written consortium is real DICOM, read back through the hospital's own door to the same voxels."""

from __future__ import annotations

import csv
import hashlib
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import config

from fedspine.cohort.levels import grid_places
from fedspine.cohort.patient import Patient
from fedspine.cohort.scanner import vendor_of
from fedspine.cohort.site import load_cohort
from fedspine.errors import InputError
from fedspine.phantom import writer
from fedspine.phantom.genome import CLASSES, OMICS_COLUMNS
from fedspine.phantom.hospital import Hospital
from fedspine.phantom.writer import write_consortium

SHAPE = (3, 32, 32)
MANDATORY = """
SOPClassUID SOPInstanceUID StudyDate StudyTime AccessionNumber Modality Manufacturer ReferringPhysicianName
PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID SeriesInstanceUID StudyID SeriesNumber
InstanceNumber FrameOfReferenceUID PositionReferenceIndicator ImagePositionPatient ImageOrientationPatient
PixelSpacing SliceThickness SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated BitsStored
HighBit PixelRepresentation PixelData ImageType ScanningSequence SequenceVariant ScanOptions
MRAcquisitionType EchoTime RepetitionTime EchoTrainLength
"""
"""Type 1 and 2 attributes of the modules of MR Image Storage (PS3.3 A.4)."""


def digest(folder: Path) -> str:
    found = hashlib.sha256()
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        found.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return found.hexdigest()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_consortium(tmp_path / name, sites=2, patients=4, seed=seed, shape=SHAPE)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a") != digest(tmp_path / "c")


def test_what_is_read_back_is_what_was_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Patient] = {}
    write = writer.write_patient

    def remember(site: Path, patient: Patient, hospital: Hospital, seed: int = 0) -> None:
        drawn[patient.identifier] = patient
        write(site, patient, hospital, seed)

    monkeypatch.setattr(writer, "write_patient", remember)
    folders = write_consortium(tmp_path / "out", sites=2, patients=12, seed=4, shape=SHAPE)
    cohorts = [load_cohort(folder) for folder in folders]
    read = [patient for cohort in cohorts for patient in cohort.patients]
    own_ids = {pseudonym: own for cohort in cohorts for pseudonym, own in cohort.own_ids.items()}
    assert load_cohort(folders[0]).omics_columns == OMICS_COLUMNS
    assert {own_ids[p.identifier] for p in read} == set(drawn)
    for patient in read:
        truth = drawn[own_ids[patient.identifier]]
        assert (patient.label, patient.level) == (truth.label, truth.level)
        assert patient.grade == truth.grade
        assert set(patient.volumes) == set(truth.volumes)
        for contrast, volume in patient.volumes.items():
            wanted = truth.volumes[contrast]
            assert np.array_equal(volume.voxels, wanted.voxels), contrast
            assert np.allclose(volume.affine, wanted.affine, atol=1e-4)
            got, gave = volume.scanner, wanted.scanner
            assert (got.vendor, got.model, got.field_tesla) == (
                vendor_of(gave.vendor or ""),
                gave.model,
                gave.field_tesla,
            )
            assert got.echo_time_ms == pytest.approx(gave.echo_time_ms)
            assert got.repetition_time_ms == pytest.approx(gave.repetition_time_ms)
            if gave.inversion_time_ms is not None:
                assert got.inversion_time_ms == pytest.approx(gave.inversion_time_ms)
        assert (patient.mask is None) == (truth.mask is None)
        if patient.mask is not None and truth.mask is not None:
            assert np.array_equal(patient.mask.voxels != 0, truth.mask.voxels != 0)
        assert (patient.levels is None) == (truth.levels is None)
        if patient.levels is not None and truth.levels is not None:
            volume = next(iter(patient.volumes.values()))
            half_voxel = np.array(volume.spacing_mm) / 2
            off = np.abs(grid_places(patient.levels - truth.levels + volume.affine[:3, 3], volume.affine))
            assert np.array_equal(np.isnan(patient.levels), np.isnan(truth.levels))
            assert (np.nan_to_num(off) * volume.spacing_mm <= half_voxel + 1e-3).all()
        assert (patient.omics is None) == (truth.omics is None)
        if patient.omics is not None and truth.omics is not None:
            assert np.allclose(patient.omics, truth.omics, rtol=1e-5, equal_nan=True)


def test_holes_are_as_in_life_and_every_class_is_everywhere(tmp_path: Path) -> None:
    folders = write_consortium(tmp_path / "out", sites=3, patients=20, seed=0, shape=(2, 16, 16))
    patients: list[Patient] = []
    for folder in folders:
        with open(folder / "patients.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 20
        patients += load_cohort(folder).patients
        assert set(CLASSES) <= {row["label"] for row in rows}
    for lacks in (
        [p for p in patients if len(p.volumes) < 5],
        [p for p in patients if p.omics is None],
        [p for p in patients if p.label is None],
        [p for p in patients if p.mask is None],
    ):
        assert 0 < len(lacks) < 20


def test_files_are_sound_dicom_in_no_particular_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.RAISE)
    (folder,) = write_consortium(tmp_path / "out", sites=1, patients=4, shape=(6, 16, 16))
    series = sorted({file.parent for file in (folder / "dicom").rglob("*") if file.is_file()})
    shuffled = 0
    for one in series:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            files = [pydicom.dcmread(file) for file in sorted(one.iterdir())]
        for ds in files:
            missing = [name for name in MANDATORY.split() if name not in ds]
            assert not missing
            assert ds.file_meta.TransferSyntaxUID.is_little_endian
            assert all(element.value is not None or element.is_empty for element in ds)
        places = [float(ds.ImagePositionPatient[0]) for ds in files]
        shuffled += places not in (sorted(places), sorted(places, reverse=True))
    assert shuffled > len(series) / 2


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(InputError, match="empty folder"):
        write_consortium(tmp_path, sites=1, patients=1, shape=SHAPE)
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.txt"]
