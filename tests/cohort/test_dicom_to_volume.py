"""DICOM series become volumes with an exact geometry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedMRImageStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    RLELossless,
)

from fedspine.cohort.patient import Cohort, Volume
from fedspine.cohort.site import load_cohort

Write = Callable[..., list[Path]]
OBLIQUE = (0.05378466379901, 0.96501313248301, 0.256625922454, 0.01811332435568, 0.25601276514781, -0.9665036841948)


def only(cohort: Cohort, contrast: str = "T1") -> Volume:
    (patient,) = cohort.patients
    return patient.volumes[contrast]


def reasons(cohort: Cohort) -> list[str]:
    return [one.reason for one in cohort.rejected]


def test_slices_sort_by_position_whatever_their_names_and_numbers(
    tmp_path: Path, write_series: Write, make_picture: Any
) -> None:
    def backwards(i: int, dataset: Dataset) -> None:
        dataset.InstanceNumber = 100 - i

    names = {0: "z", 1: "b.dcm", 2: "0.ima", 3: "a"}
    write_series(tmp_path / "a", voxels=make_picture())
    write_series(tmp_path / "b", voxels=make_picture(), names=lambda i: names[i], change=backwards)
    plain, shuffled = only(load_cohort(tmp_path / "a")), only(load_cohort(tmp_path / "b"))
    np.testing.assert_array_equal(plain.voxels, make_picture())
    np.testing.assert_array_equal(shuffled.voxels, plain.voxels)
    np.testing.assert_array_equal(shuffled.affine, plain.affine)


def test_the_affine_of_an_oblique_series_is_exact(tmp_path: Path, write_series: Write) -> None:
    files = write_series(tmp_path, orientation=OBLIQUE, origin=(-33.25, -107.5, 96.125), step_mm=0.9)
    volume = only(load_cohort(tmp_path))
    for number, file in enumerate(files):
        header = pydicom.dcmread(file, stop_before_pixels=True)
        corner = volume.affine @ [number, 0, 0, 1]
        np.testing.assert_allclose(corner[:3], [float(part) for part in header.ImagePositionPatient], atol=1e-8)
        inner = volume.affine @ [number, 2, 3, 1]
        right, down = np.array(OBLIQUE[:3]) * 0.75, np.array(OBLIQUE[3:]) * 1.5
        np.testing.assert_allclose(inner[:3] - corner[:3], 3 * right + 2 * down, atol=1e-9)
    assert volume.spacing_mm == pytest.approx((0.9, 1.5, 0.75), abs=1e-8)


def test_the_geometry_agrees_with_highdicom(tmp_path: Path, write_series: Write) -> None:
    files = write_series(tmp_path, orientation=OBLIQUE, step_mm=3.3)
    ours = only(load_cohort(tmp_path))
    theirs = highdicom.get_volume_from_series([pydicom.dcmread(file) for file in files])
    array, affine = np.asarray(theirs.array), np.asarray(theirs.affine)
    if float(affine[:3, 0] @ ours.affine[:3, 0]) < 0:  # it counts slices so that the axes are right-handed
        array = array[::-1]
        affine = affine @ np.array([[-1, 0, 0, len(array) - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(ours.voxels, array)
    np.testing.assert_allclose(ours.affine, affine, atol=1e-5)


def test_a_missing_slice_in_the_middle_is_refused(tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path, contrast="T2")
    write_series(tmp_path, contrast="T1")[1].unlink()
    cohort = load_cohort(tmp_path)
    assert set(cohort.patients[0].volumes) == {"T2"}
    (reason,) = reasons(cohort)
    assert reason == (
        "slices must lie at equal distances; found 3 slices 4.00 to 8.00 mm apart; export the missing slices too."
    )


def test_a_slice_sent_twice_is_dropped_and_counted(tmp_path: Path, write_series: Write, make_picture: Any) -> None:
    files = write_series(tmp_path, voxels=make_picture())
    (files[0].parent / "copy").write_bytes(files[2].read_bytes())
    cohort = load_cohort(tmp_path)
    np.testing.assert_array_equal(only(cohort).voxels, make_picture())
    (one,) = cohort.rejected
    assert one.reason.startswith("a slice must be sent once")
    assert one.where == "dicom/P1-T1/copy"


def test_a_broken_copy_of_a_slice_does_no_harm(tmp_path: Path, write_series: Write, make_picture: Any) -> None:
    files = write_series(tmp_path, voxels=make_picture())
    (files[0].parent / "copy").write_bytes(files[2].read_bytes()[:-20])
    cohort = load_cohort(tmp_path)
    np.testing.assert_array_equal(only(cohort).voxels, make_picture())
    assert reasons(cohort)[0].startswith("every slice of a series must be complete")


def test_two_different_slices_at_one_position_are_refused(tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path, contrast="T2")
    files = write_series(tmp_path)
    other = pydicom.dcmread(files[2])
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(files[0].parent / "other")
    cohort = load_cohort(tmp_path)
    assert set(cohort.patients[0].volumes) == {"T2"}
    assert reasons(cohort)[0].startswith("two slices at one position must be the same picture")


def test_a_stray_slice_across_the_others_is_refused_alone(tmp_path: Path, write_series: Write) -> None:
    files = write_series(tmp_path)
    stray = pydicom.dcmread(files[0])
    stray.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    stray.SOPInstanceUID = "1.2.3"
    stray.save_as(files[0].parent / "stray")
    cohort = load_cohort(tmp_path)
    assert only(cohort).voxels.shape == (4, 6, 5)
    assert reasons(cohort)[0].startswith("the slices of a series must share one orientation")


def test_one_series_of_two_orientations_makes_two_stacks(
    tmp_path: Path, write_series: Write, make_picture: Any
) -> None:
    first = write_series(tmp_path, voxels=make_picture((5, 6, 5)))
    series = pydicom.dcmread(first[0]).SeriesInstanceUID
    write_series(tmp_path, folder="more", orientation=(1, 0, 0, 0, 1, 0), SeriesInstanceUID=series)
    cohort = load_cohort(tmp_path)
    np.testing.assert_array_equal(only(cohort).voxels, make_picture((5, 6, 5)))
    assert (only(cohort).plane, cohort.patients[0].volumes["T1 axial"].plane) == ("sagittal", "axial")


def test_the_echoes_of_one_series_are_told_apart(tmp_path: Path, write_series: Write, make_picture: Any) -> None:
    first = write_series(tmp_path, contrast="ECHOES", EchoTime=10, RepetitionTime=700, voxels=make_picture(seed=1))
    series = pydicom.dcmread(first[0]).SeriesInstanceUID
    later = {"EchoTime": 90, "RepetitionTime": 700, "SeriesInstanceUID": series}
    write_series(tmp_path, folder="later", contrast="ECHOES", voxels=make_picture(seed=2), **later)
    volumes = load_cohort(tmp_path).patients[0].volumes
    np.testing.assert_array_equal(volumes["T1"].voxels, make_picture(seed=1))
    np.testing.assert_array_equal(volumes["T2"].voxels, make_picture(seed=2))
    assert volumes["T2"].scanner.echo_time_ms == 90


def test_b_values_and_directions_of_one_series_are_told_apart(
    tmp_path: Path, write_series: Write, make_picture: Any
) -> None:
    series = "1.2.3"
    for number, (b_value, direction) in enumerate([(0, None), (800, [1.0, 0, 0]), (800, [0, 1.0, 0]), (2000, None)]):
        header: dict[str, Any] = {"DiffusionBValue": float(b_value), "SeriesInstanceUID": series}
        if direction:
            header["DiffusionGradientOrientation"] = direction
        write_series(tmp_path, folder=str(number), contrast="dwi", voxels=make_picture(seed=number), **header)
    volumes = load_cohort(tmp_path).patients[0].volumes
    assert set(volumes) == {"DWI", "ADC"}
    assert volumes["DWI"].scanner.b_value == 800
    both = np.maximum(make_picture(seed=1), 0.0119) * np.maximum(make_picture(seed=2), 0.0119)
    np.testing.assert_allclose(np.asarray(volumes["DWI"].voxels, np.float64), np.sqrt(both), rtol=1e-4)


def test_moments_of_one_series_are_told_apart_but_interleaved_halves_are_not(
    tmp_path: Path, write_series: Write, make_picture: Any
) -> None:
    def halves(i: int, dataset: Dataset) -> None:
        dataset.AcquisitionNumber = i % 2

    files = write_series(tmp_path / "halves", voxels=make_picture(), change=halves)
    (files[0].parent / "copy").write_bytes(files[2].read_bytes())
    assert only(load_cohort(tmp_path / "halves")).voxels.shape == (4, 6, 5)
    for moment in (1, 2):
        header = {"TemporalPositionIdentifier": moment, "SeriesInstanceUID": "1.2.3", "SeriesNumber": moment}
        write_series(tmp_path / "moments", folder=str(moment), voxels=make_picture(seed=moment), **header)
    np.testing.assert_array_equal(only(load_cohort(tmp_path / "moments")).voxels, make_picture(seed=2))


def test_the_series_with_more_slices_then_finer_pixels_then_newer_number_is_used(
    tmp_path: Path, write_series: Write, make_picture: Any
) -> None:
    write_series(tmp_path, folder="a", voxels=make_picture((5, 6, 5)), spacing_mm=(1, 1), SeriesNumber=1)
    write_series(tmp_path, folder="b", voxels=make_picture((5, 6, 5), seed=1), spacing_mm=(1, 1), SeriesNumber=7)
    write_series(tmp_path, folder="c", voxels=make_picture((5, 6, 5)), spacing_mm=(2, 1), SeriesNumber=8)
    write_series(tmp_path, folder="d", voxels=make_picture((4, 6, 5)), spacing_mm=(0.5, 0.5), SeriesNumber=9)
    cohort = load_cohort(tmp_path)
    np.testing.assert_array_equal(only(cohort).voxels, make_picture((5, 6, 5), seed=1))
    assert sorted(one.where for one in cohort.rejected) == [f"dicom/{folder}/000.dcm" for folder in "acd"]


def test_of_a_dixon_series_the_picture_in_phase_is_used(tmp_path: Path, write_series: Write, make_picture: Any) -> None:
    for number, kind in enumerate(("WATER", "IN_PHASE", "OPP_PHASE", "FAT")):
        write_series(
            tmp_path,
            contrast="T2",
            folder=kind,
            voxels=make_picture(seed=number),
            SeriesNumber=9 - number,
            ImageType=["DERIVED", "PRIMARY", "DIXON", kind],
        )
    np.testing.assert_array_equal(only(load_cohort(tmp_path), "T2").voxels, make_picture(seed=1))


def test_the_plane_of_most_contrasts_goes_before_the_number_of_slices(
    tmp_path: Path, write_series: Write, make_picture: Any
) -> None:
    write_series(tmp_path, contrast="T1")
    write_series(tmp_path, contrast="STIR")
    write_series(tmp_path, contrast="T2", folder="sagittal")
    axial = {"orientation": (1, 0, 0, 0, 1, 0), "voxels": make_picture((9, 6, 5))}
    write_series(tmp_path, contrast="T2", folder="axial", **axial)
    cohort = load_cohort(tmp_path)
    assert only(cohort, "T2").voxels.shape == (4, 6, 5)
    assert only(cohort, "T2 axial").voxels.shape == (9, 6, 5)
    assert cohort.rejected == ()


def test_the_next_best_series_serves_when_the_best_cannot_be_decoded(
    tmp_path: Path, write_series: Write, make_picture: Any
) -> None:
    best = write_series(tmp_path, folder="best", voxels=make_picture((5, 6, 5)))
    best[3].write_bytes(best[3].read_bytes()[:-7])
    write_series(tmp_path, folder="next", voxels=make_picture())
    np.testing.assert_array_equal(only(load_cohort(tmp_path)).voxels, make_picture())


def test_integers_keep_their_type_and_hounsfield_units_are_applied(
    tmp_path: Path, write_series: Write, make_picture: Any
) -> None:
    write_series(tmp_path)
    ct = {"SOPClassUID": CTImageStorage, "Modality": "CT", "RescaleSlope": 2, "RescaleIntercept": -1024}
    write_series(tmp_path, contrast="abdomen", **ct)
    volumes = load_cohort(tmp_path).patients[0].volumes
    assert volumes["T1"].voxels.dtype == np.uint16
    assert volumes["CT"].voxels.dtype == np.float32
    np.testing.assert_array_equal(volumes["CT"].voxels, make_picture() * 2.0 - 1024)


def test_compressed_pixels_are_the_same_pixels(tmp_path: Path, write_series: Write, make_picture: Any) -> None:
    for file in write_series(tmp_path, voxels=make_picture()):
        dataset = pydicom.dcmread(file)
        dataset.compress(RLELossless)
        dataset.save_as(file)
    np.testing.assert_array_equal(only(load_cohort(tmp_path)).voxels, make_picture())


def test_a_single_slice_takes_its_thickness_as_its_step(tmp_path: Path, write_series: Write, make_picture: Any) -> None:
    write_series(tmp_path, voxels=make_picture((1, 6, 5)), step_mm=5.5)
    assert only(load_cohort(tmp_path)).spacing_mm == pytest.approx((5.5, 1.5, 0.75))


def test_an_enhanced_file_gives_the_same_volume_as_its_slices(tmp_path: Path, write_series: Write) -> None:
    files = write_series(tmp_path / "slices", orientation=OBLIQUE)
    slices = [pydicom.dcmread(file) for file in files]
    shuffled = [slices[number] for number in (2, 0, 3, 1)]
    enhanced = highdicom.legacy.LegacyConvertedEnhancedMRImage(
        shuffled, series_instance_uid="1.2.3", series_number=2, sop_instance_uid="1.2.3.4", instance_number=1
    )
    (tmp_path / "enhanced" / "dicom").mkdir(parents=True)
    enhanced.save_as(tmp_path / "enhanced" / "dicom" / "all.dcm")
    single, multi = only(load_cohort(tmp_path / "slices")), only(load_cohort(tmp_path / "enhanced"))
    np.testing.assert_array_equal(multi.voxels, single.voxels)
    np.testing.assert_allclose(multi.affine, single.affine, atol=1e-9)
    assert multi.scanner == single.scanner


def enhanced_t2(tmp_path: Path) -> Path:
    """Write an Enhanced MR whose times stand in functional groups only; the field is given in gauss."""
    dataset = Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.5")
    dataset.PatientID, dataset.Modality, dataset.SeriesInstanceUID = "P1", "MR", "1.2.3"
    dataset.MagneticFieldStrength, dataset.Manufacturer = 15000, "Maker"
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 2, 3, 2
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = np.arange(12, dtype="<u2").tobytes()

    def group(**items: dict[str, Any]) -> Dataset:
        outer = Dataset()
        for name, values in items.items():
            inner = Dataset()
            for keyword, value in values.items():
                setattr(inner, keyword, value)
            setattr(outer, name, [inner])
        return outer

    dataset.SharedFunctionalGroupsSequence = [
        group(
            PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
            PixelMeasuresSequence={"PixelSpacing": [1, 1], "SliceThickness": 3},
            MREchoSequence={"EffectiveEchoTime": 95.0},
            MRTimingAndRelatedParametersSequence={"RepetitionTime": 3500.0},
            MRReceiveCoilSequence={"ReceiveCoilName": "SPINE"},
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        group(PlanePositionSequence={"ImagePositionPatient": [0, 0, z]}) for z in (9, 6)
    ]
    (tmp_path / "dicom").mkdir()
    dataset.save_as(tmp_path / "dicom" / "enhanced", enforce_file_format=True)
    return tmp_path


def test_times_in_functional_groups_and_gauss_are_understood(tmp_path: Path) -> None:
    volume = only(load_cohort(enhanced_t2(tmp_path)), "T2")
    np.testing.assert_array_equal(volume.voxels, np.arange(12).reshape(2, 2, 3)[::-1])
    assert volume.spacing_mm == (3, 1, 1)
    assert (volume.scanner.field_tesla, volume.scanner.coil) == (1.5, "SPINE")
    assert (volume.scanner.echo_time_ms, volume.scanner.repetition_time_ms) == (95, 3500)


@pytest.mark.parametrize(
    ("written", "tesla"),
    [(1.494, 1.5), (2.89362, 3.0), (15000, 1.5), (2000, 0.2), (0.55, 0.55), (3, 3.0), (0, None), (None, None)],
)
def test_the_field_is_in_tesla_whatever_the_header_counts_in(
    tmp_path: Path, write_series: Write, written: float | None, tesla: float | None
) -> None:
    write_series(tmp_path, MagneticFieldStrength=written)
    assert only(load_cohort(tmp_path)).scanner.field_tesla == tesla


def test_other_objects_in_the_folder_do_not_disturb(tmp_path: Path, write_series: Write) -> None:
    files = write_series(tmp_path)
    report = pydicom.dcmread(files[0])
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = EnhancedSRStorage
    report.Modality = "SR"
    report.save_as(files[0].parent / "report")
    cohort = load_cohort(tmp_path)
    assert only(cohort).voxels.shape == (4, 6, 5)
    assert reasons(cohort)[0].startswith("a file must hold an MR image, a CT image or a segmentation")
