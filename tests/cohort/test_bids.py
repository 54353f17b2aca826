"""A BIDS data set is as good as DICOM."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from fedspine.cohort.bids.picture import Picture, decode
from fedspine.cohort.bids.sidecar import in_dicom
from fedspine.cohort.files import LEAVES
from fedspine.cohort.patient import Cohort, Patient, Volume
from fedspine.cohort.site import load_cohort
from fedspine.errors import CohortError, PassingError
from fedspine.phantom.public import public_patients

DATA = Path(__file__).parents[1] / "data" / "cord_mri"
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SUFFIX = {"T1": "T1w", "T1c": "T1w", "T2": "T2w", "STIR": "T2w", "ADC": "ADC", "other": "label-lesion_mask"}


def nifti(place: Path, voxels: NDArray[Any], affine: NDArray[np.float64] | None = None, **header: Any) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 4.0, 1.0]) if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, place)
    return place


def flipped(volume: Volume) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return a volume as converters write it: (column, row, slice), rows from feet to head, RAS."""
    voxels = volume.voxels.transpose(2, 1, 0)[:, ::-1]
    back = np.zeros((4, 4))
    back[2, 0], back[1, 1], back[0, 2], back[3, 3] = 1, -1, 1, 1
    back[1, 3] = volume.voxels.shape[1] - 1
    return np.ascontiguousarray(voxels), RAS @ volume.affine @ back


def write_patient(root: Path, subject: str, patient: Patient) -> None:
    for contrast, volume in patient.volumes.items():
        kind = {"T1c": "ce-gad_", "STIR": "acq-stir_"}.get(contrast, "")
        place = root / f"sub-{subject}" / "anat" / f"sub-{subject}_{kind}{SUFFIX[contrast]}.nii.gz"
        nifti(place, *flipped(volume))
        scanner = volume.scanner
        times = {
            "EchoTime": scanner.echo_time_ms,
            "RepetitionTime": scanner.repetition_time_ms,
            "InversionTime": scanner.inversion_time_ms,
        }
        sidecar: dict[str, Any] = {key: value / 1000 for key, value in times.items() if value is not None}
        sidecar |= {"Manufacturer": scanner.vendor, "ManufacturersModelName": scanner.model}
        sidecar |= {"MagneticFieldStrength": scanner.field_tesla, "ReceiveCoilName": scanner.coil}
        sidecar |= {"ScanningSequence": "EP" if contrast == "ADC" else "SE"}
        place.with_name(place.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    if patient.mask is not None:
        name = f"sub-{subject}_label-lesion_mask.nii.gz"
        nifti(root / "derivatives" / "manual" / f"sub-{subject}" / "anat" / name, *flipped(patient.mask))


@pytest.fixture
def cord(tmp_path: Path) -> Path:
    """Return a data set of one real volunteer: T2 with a lesion, T2* without a sidecar."""
    site = tmp_path / "hospital"
    anat, labels = site / "sub-01" / "anat", site / "derivatives" / "labels" / "sub-01" / "anat"
    anat.mkdir(parents=True)
    labels.mkdir(parents=True)
    shutil.copy(DATA / "t2_fake_lesion.nii.gz", anat / "sub-01_acq-sag_T2w.nii.gz")
    shutil.copy(DATA / "t2s.nii.gz", anat / "sub-01_T2starw.nii.gz")
    shutil.copy(DATA / "t2_fake_lesion_lesion_seg.nii.gz", labels / "sub-01_acq-sag_label-lesion_mask.nii.gz")
    (site / "T2w.json").write_text('{"Manufacturer": "Maker", "MagneticFieldStrength": 3, "EchoTime": 0.2}')
    (site / "sub-01" / "sub-01_acq-sag_T2w.json").write_text('{"EchoTime": 0.1, "RepetitionTime": 3.5}')
    (site / "participants.tsv").write_text("participant_id\tpathology\tgrade\nsub-01\tbenign\tn/a\n")
    (site / "omics.csv").write_text("patient,BRAF\nsub-01,1\n")
    return site


def reasons(cohort: Cohort) -> list[str]:
    return [one.reason.split(";")[0] for one in cohort.rejected]


def test_a_real_data_set_gives_images_mask_label_and_omics(cord: Path) -> None:
    cohort = load_cohort(cord)
    assert cohort.rejected == ()
    (patient,) = cohort.patients
    assert (cohort.own_ids[patient.identifier], patient.label, patient.grade) == ("01", "benign", None)
    assert patient.omics is not None
    assert patient.omics.tolist() == [1.0]
    assert set(patient.volumes) == {"T2", "other"}, "T2* is no contrast of ours"
    volume = patient.volumes["T2"]
    assert (volume.plane, volume.voxels.shape) == ("sagittal", (29, 99, 99))
    assert (volume.scanner.vendor, volume.scanner.field_tesla, volume.scanner.echo_time_ms) == ("Maker", 3.0, 100.0)
    assert volume.scanner.repetition_time_ms == 3500.0
    assert patient.mask is not None
    stored = np.asarray(nibabel.load(DATA / "t2_fake_lesion_lesion_seg.nii.gz").dataobj) != 0
    assert int(patient.mask.voxels.sum()) == int(stored.sum()) == 163


def test_voxels_keep_their_place_in_the_patient(cord: Path) -> None:
    volume = load_cohort(cord).patients[0].volumes["T2"]
    image = nibabel.load(DATA / "t2_fake_lesion.nii.gz")
    stored = np.asarray(image.dataobj)
    to_file = np.linalg.inv(RAS @ image.affine) @ volume.affine
    for index in [(0, 0, 0), (5, 20, 60), (28, 98, 98)]:
        there = np.rint((to_file @ [*index, 1])[:3]).astype(int)
        assert volume.voxels[index] == stored[tuple(there)]
    head_to_feet, front_to_back = volume.affine[:3, 1], volume.affine[:3, 2]
    assert head_to_feet[2] < 0 < front_to_back[1], "shown as DICOM shows a sagittal slice"


def own_order(cohort: Cohort) -> list[Patient]:
    return sorted(cohort.patients, key=lambda one: cohort.own_ids[one.identifier])


def test_phantoms_as_bids_are_the_same_volumes_as_phantoms_as_dicom(tmp_path: Path) -> None:
    from fedspine.phantom.dicom import Study, write_series
    from fedspine.phantom.hospital import STYLES
    from fedspine.phantom.scanner import CONTRASTS

    people = public_patients(3, 5, contrasts=CONTRASTS, shape=(6, 32, 32))
    for number, patient in enumerate(people):
        study = Study(f"P{number}", f"P{number}", "site", STYLES[0])
        for series, contrast in enumerate(patient.volumes, 1):
            place = tmp_path / "dicom-site" / "dicom" / f"P{number}" / str(series)
            write_series(place, study, patient.volumes[contrast], series)
        write_patient(tmp_path / "bids-site", f"P{number}", patient)
    (tmp_path / "bids-site" / "dataset_description.json").write_text('{"Name": "phantoms", "BIDSVersion": "1.9.0"}')
    dicom, bids = load_cohort(tmp_path / "dicom-site"), load_cohort(tmp_path / "bids-site")
    assert bids.rejected == ()
    for one, other, drawn in zip(own_order(dicom), own_order(bids), people, strict=True):
        assert set(one.volumes) == set(other.volumes) == set(CONTRASTS)
        for contrast, volume in one.volumes.items():
            same = other.volumes[contrast]
            np.testing.assert_array_equal(volume.voxels, same.voxels)
            np.testing.assert_allclose(volume.affine, same.affine, atol=1e-4)
            assert (volume.contrast, volume.scanner) == (same.contrast, same.scanner)
        assert drawn.mask is not None
        assert other.mask is not None
        np.testing.assert_array_equal(other.mask.voxels, drawn.mask.voxels)


def test_a_folder_named_bids_stands_beside_dicom(tmp_path: Path, site: Path) -> None:
    nifti(site / "bids" / "sub-P1" / "anat" / "sub-P1_FLAIR.nii.gz", np.arange(60, dtype=np.int16).reshape(4, 3, 5))
    nifti(site / "bids" / "sub-P9" / "anat" / "sub-P9_T1w.nii.gz", np.arange(60, dtype=np.int16).reshape(4, 3, 5))
    (site / "patients.csv").write_text("patient,label\nP1,benign\nP2,malignant\nsub-P9,benign\n")
    cohort = load_cohort(site)
    assert sorted((cohort.own_ids[one.identifier], sorted(one.volumes)) for one in cohort.patients) == [
        ("P1", ["T1", "T2"]),
        ("P2", ["T1", "T2"]),
        ("sub-P9", ["T1"]),
    ]
    (one,) = cohort.rejected
    assert (one.where, one.patient) == ("bids/sub-P1/anat/sub-P1_FLAIR.nii.gz", "P1"), "another study, without a date"


def test_a_subject_who_is_not_in_the_table_is_refused(cord: Path) -> None:
    shutil.copytree(cord / "sub-01", cord / "sub-02")
    for file in (cord / "sub-02").rglob("sub-01*"):
        file.rename(file.with_name(file.name.replace("sub-01", "sub-02")))
    cohort = load_cohort(cord)
    assert [cohort.own_ids[one.identifier] for one in cohort.patients] == ["01"]
    assert reasons(cohort) == ["a subject must stand in the table of patients"]


def test_sessions_with_dates_become_follow_ups(cord: Path) -> None:
    subject = cord / "sub-01"
    for number, when in ((1, "2020-01-01T10:00:00"), (2, "2020-07-01")):
        anat = subject / f"ses-{number}" / "anat"
        nifti(anat / f"sub-01_ses-{number}_T1w.nii.gz", np.full((4, 5, 6), number, np.int16))
        (subject / f"ses-{number}" / f"sub-01_ses-{number}_scans.tsv").write_text(
            f"filename\tacq_time\nanat/x.nii.gz\t{when}\n"
        )
    shutil.rmtree(subject / "anat")
    mask = np.zeros((4, 5, 6), np.uint8)
    mask[1, 2, 3] = 1
    nifti(cord / "derivatives" / "m" / "sub-01" / "ses-2" / "anat" / "sub-01_ses-2_label-lesion_mask.nii.gz", mask)
    (patient,) = load_cohort(cord).patients
    (later,) = patient.follow_up
    assert later.months == pytest.approx(5.98, abs=0.01)
    assert (patient.volumes["T1"].voxels.max(), later.volumes["T1"].voxels.max()) == (1, 2)
    assert patient.mask is None, "the mask names its session"
    assert later.mask is not None


def test_an_image_without_a_sidecar_goes_by_its_name(tmp_path: Path) -> None:
    names = {
        "T1w": "T1",
        "ce-gad_T1w": "T1c",
        "T2w": "T2",
        "FLAIR": "FLAIR",
        "acq-stir_T2w": "STIR",
        "PDw": None,
        "T2starw": None,
        "T1map": None,
        "part-phase_T1w": None,
    }
    for number, name in enumerate(names):
        place = tmp_path / f"sub-{number}" / "anat" / f"sub-{number}_{name}.nii.gz"
        nifti(place, np.arange(60, dtype=np.int16).reshape(4, 3, 5))
    nifti(tmp_path / "sub-90" / "dwi" / "sub-90_ADC.nii.gz", np.full((3, 4, 5), 900, np.int16))
    nifti(tmp_path / "sub-91" / "dwi" / "sub-91_dwi.nii.gz", np.full((3, 4, 5), 900, np.int16))
    nifti(tmp_path / "sub-92" / "ct" / "sub-92_ct.nii.gz", np.full((3, 4, 5), -900, np.int16))
    cohort = load_cohort(tmp_path)
    found = {cohort.own_ids[one.identifier]: set(one.volumes) for one in cohort.patients}
    assert {int(one): contrasts for one, contrasts in found.items() if int(one) < 90} == {
        number: {contrast or "other"} for number, contrast in enumerate(names.values())
    }
    assert (found["90"], found["91"], found["92"]) == ({"ADC"}, {"DWI"}, {"CT"})


def test_parameters_go_before_the_name(tmp_path: Path) -> None:
    place = nifti(tmp_path / "sub-1" / "anat" / "sub-1_T1w.nii.gz", np.arange(60, dtype=np.int16).reshape(4, 3, 5))
    (place.parent / "sub-1_T1w.json").write_text('{"EchoTime": 0.1, "RepetitionTime": 4.0, "ScanningSequence": "SE"}')
    assert set(load_cohort(tmp_path).patients[0].volumes) == {"T2"}


def test_a_diffusion_series_is_parted_by_its_b_values(tmp_path: Path) -> None:
    voxels = np.stack([np.full((4, 5, 6), b, np.int16) for b in (1000, 400, 400)], axis=-1)
    dwi = nifti(tmp_path / "sub-1" / "dwi" / "sub-1_dwi.nii.gz", voxels).parent
    (dwi / "sub-1_dwi.bval").write_text("0 800 800\n")
    (dwi / "sub-1_dwi.bvec").write_text("0 1 0\n0 0 1\n0 0 0\n")
    volumes = load_cohort(tmp_path).patients[0].volumes
    adc = float(np.asarray(volumes["ADC"].voxels)[1, 2, 2])
    assert adc == pytest.approx(np.log(1000 / 400) / 800 * 1e6, rel=1e-3), "computed from the b-values"
    assert (int(volumes["DWI"].voxels[0, 0, 0]), volumes["DWI"].scanner.b_value) == (400, 800.0)
    (dwi / "sub-1_dwi.bval").write_text("0 800\n")
    with pytest.raises(CohortError, match="a 4-D image must be a diffusion series with one b-value a volume"):
        load_cohort(tmp_path)


def test_a_file_of_many_volumes_that_is_no_diffusion_is_refused(cord: Path) -> None:
    nifti(cord / "sub-01" / "anat" / "sub-01_T1w.nii.gz", np.zeros((3, 3, 3, 4), np.int16))
    assert reasons(load_cohort(cord)) == [
        "a 4-D image must be a diffusion series with one b-value a volume in its .bval file"
    ]


@pytest.mark.parametrize(
    ("sidecar", "reason"),
    [("{", "a sidecar must be a JSON object"), ("[1]", "a sidecar must be a JSON object"), ("[" * 9999, "a sidecar")],
)
def test_a_broken_sidecar_costs_its_own_image_alone(cord: Path, sidecar: str, reason: str) -> None:
    (cord / "sub-01" / "anat" / "sub-01_T2starw.json").write_text(sidecar)
    cohort = load_cohort(cord)
    assert set(cohort.patients[0].volumes) == {"T2"}
    assert [one.startswith(reason) for one in reasons(cohort)] == [True]


def test_masks_of_other_structures_are_not_lesions(cord: Path) -> None:
    labels = cord / "derivatives" / "labels" / "sub-01" / "anat"
    shutil.copy(labels / "sub-01_acq-sag_label-lesion_mask.nii.gz", labels / "sub-01_T2w_seg-manual.nii.gz")
    shutil.copy(labels / "sub-01_acq-sag_label-lesion_mask.nii.gz", labels / "sub-01_desc-brain_mask.nii.gz")
    cohort = load_cohort(cord)
    assert reasons(cohort) == ["a mask in a BIDS data set must say that it is of the lesion"] * 2
    assert cohort.patients[0].mask is not None


def test_whether_a_mask_counts_does_not_depend_on_other_patients(cord: Path) -> None:
    labels = cord / "derivatives" / "labels" / "sub-01" / "anat"
    (labels / "sub-01_acq-sag_label-lesion_mask.nii.gz").rename(labels / "sub-01_T2w_dseg.nii.gz")
    assert load_cohort(cord).patients[0].mask is None, "it may be of the cord"
    other = cord / "derivatives" / "labels" / "sub-02" / "anat"
    other.mkdir(parents=True)
    shutil.copy(labels / "sub-01_T2w_dseg.nii.gz", other / "sub-02_label-lesion_mask.nii.gz")
    assert load_cohort(cord).patients[0].mask is None


def test_the_second_start_opens_no_image_again(cord: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_cohort(cord)
    monkeypatch.setattr("fedspine.cohort.bids.read.decode", lambda *_: pytest.fail("decoded again"))
    second = load_cohort(cord)
    for name, volume in first.patients[0].volumes.items():
        np.testing.assert_array_equal(volume.voxels, second.patients[0].volumes[name].voxels)
        assert isinstance(second.patients[0].volumes[name].voxels, np.memmap)


def test_a_sidecar_in_milliseconds_or_with_a_patient_in_it_does_no_harm() -> None:
    dataset = in_dicom(
        {"EchoTime": 98, "RepetitionTime": 3.5, "PatientName": "X", "PatientID": "Y", "ImageType": ["ORIGINAL", "M"]}
        | {"ScanningSequence": "GR_IR", "FlipAngle": "twelve", "MagneticFieldStrength": [], "Unknown": 1}
    )
    assert (float(dataset.EchoTime), float(dataset.RepetitionTime)) == (98.0, 3500.0)
    assert list(dataset.ScanningSequence) == ["GR", "IR"]
    assert {"PatientName", "PatientID", "FlipAngle", "MagneticFieldStrength"}.isdisjoint(dataset.dir())


@pytest.mark.parametrize(
    "make",
    [
        lambda place: place.write_bytes(b"not nifti"),
        lambda place: place.write_bytes(place.read_bytes()[:-40]),
    ],
)
def test_a_broken_image_is_refused_alone_without_its_path(cord: Path, make: Callable[[Path], Any]) -> None:
    make(cord / "sub-01" / "anat" / "sub-01_T2starw.nii.gz")
    cohort = load_cohort(cord)
    assert set(cohort.patients[0].volumes) == {"T2"}
    assert reasons(cohort) == ["a NIfTI file must be complete"]
    assert all("sub-01" not in one.reason for one in cohort.rejected)


def test_a_diffusion_file_is_inflated_once_whatever_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = np.stack([np.full((4, 5, 6), 1000 - 7 * number, np.int16) for number in range(13)], axis=-1)
    dwi = nifti(tmp_path / "sub-1" / "dwi" / "sub-1_dwi.nii.gz", voxels).parent
    (dwi / "sub-1_dwi.bval").write_text("0 " + "800 " * 12)
    (dwi / "sub-1_dwi.bvec").write_text(
        "\n".join(" ".join(f"{np.sin(n * k):.3f}" for n in range(13)) for k in (1, 2, 3))
    )
    opened = []

    def counted(folder: Path, picture: Picture) -> Any:
        opened.append(picture)
        return decode(folder, picture)

    monkeypatch.setattr("fedspine.cohort.bids.read.decode", counted)
    volumes = load_cohort(tmp_path).patients[0].volumes
    assert {"DWI", "ADC"} <= set(volumes)
    assert len(opened) == 1


def test_what_could_not_be_read_this_time_is_tried_again(cord: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> None:
        raise PassingError("a file must be readable", "one that is not", "check its access rights")

    monkeypatch.setattr("fedspine.cohort.bids.read.decode", busy)
    with pytest.raises(CohortError):
        load_cohort(cord)
    monkeypatch.undo()
    assert "T2" in load_cohort(cord).patients[0].volumes


def test_a_sidecar_that_is_a_link_out_of_the_folder_is_refused(
    cord: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "T2w.json"
    (cord / "T2w.json").rename(elsewhere)
    (cord / "T2w.json").symlink_to(elsewhere)
    cohort = load_cohort(cord)
    assert LEAVES.split(";")[0] in reasons(cohort)
    assert cohort.patients[0].volumes["T2"].scanner.field_tesla is None
