"""A de-identified copy of a site folder: nothing of a person in it, and the same cohort as before."""

from __future__ import annotations

import errno
import gzip
import io
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from fedspine.cohort.deidentify.carried import survey
from fedspine.cohort.deidentify.copy import write_copy
from fedspine.cohort.deidentify.key import Key, is_pseudonym
from fedspine.cohort.deidentify.keyring import open_key, write_key
from fedspine.cohort.deidentify.view import is_clean
from fedspine.cohort.dicom.header import Opened, read_header
from fedspine.cohort.files import File
from fedspine.cohort.patient import Cohort
from fedspine.cohort.site import load_cohort
from fedspine.cohort.split import split
from fedspine.errors import InputError
from fedspine.phantom.writer import write_consortium

from .test_bids import nifti

Write = Callable[..., list[Path]]
DATA = Path(__file__).parent.parent / "data"


def same(one: Cohort, other: Cohort) -> None:
    assert [patient.identifier for patient in one.patients] == [patient.identifier for patient in other.patients]
    assert one.omics_columns == other.omics_columns
    for before, after in zip(one.patients, other.patients, strict=True):
        assert set(before.volumes) == set(after.volumes)
        for name, volume in before.volumes.items():
            np.testing.assert_array_equal(volume.voxels, after.volumes[name].voxels)
            np.testing.assert_array_equal(volume.affine, after.volumes[name].affine)
            assert volume.scanner == after.volumes[name].scanner
        assert (before.mask is None) == (after.mask is None)
        if before.mask is not None and after.mask is not None:
            np.testing.assert_array_equal(before.mask.voxels, after.mask.voxels)
        for field in ("label", "grade", "time", "event", "level", "age", "sex"):
            assert getattr(before, field) == getattr(after, field)
        np.testing.assert_array_equal(before.omics, after.omics)
        assert (before.levels is None) == (after.levels is None)
        if before.levels is not None and after.levels is not None:
            np.testing.assert_array_equal(before.levels, after.levels)
        assert [one.months for one in before.follow_up] == pytest.approx([one.months for one in after.follow_up])


def test_a_copy_is_the_same_cohort_with_the_same_folds_and_names_nobody(tmp_path: Path) -> None:
    (site,) = write_consortium(tmp_path / "sites", sites=1, patients=4, seed=3, shape=(4, 32, 32))
    copied = write_copy(site, tmp_path / "copy")
    before, after = load_cohort(site), load_cohort(tmp_path / "copy")
    assert copied.left_out == ()
    assert copied.patients == len(before.patients) == 4
    same(before, after)
    assert set(after.own_ids.values()) == {patient.identifier for patient in before.patients}
    for seed in range(3):
        sides = [split(cohort.patients, seed, 0.5)["train"] for cohort in (before, after)]
        assert [one.identifier for one in sides[0]] == [one.identifier for one in sides[1]]
    carried = survey(tmp_path / "copy")
    assert carried.files == carried.marked == copied.files
    assert is_clean(carried), carried
    names = {part for path in (tmp_path / "copy").rglob("*") for part in path.relative_to(tmp_path / "copy").parts}
    numbered = re.compile(r"\d{6}\.dcm")
    rest = {name for name in names if not numbered.fullmatch(name) and not is_pseudonym(name.removesuffix(".nii.gz"))}
    assert rest - {".fedspine"} <= {"dicom", "masks", "levels", "patients.csv", "omics.csv"} | {
        path.name for path in (tmp_path / "copy" / ".fedspine").rglob("*")
    }


def test_a_copy_of_a_copy_names_the_same_patients(site: Path, tmp_path: Path) -> None:
    write_copy(site, tmp_path / "one")
    write_copy(tmp_path / "one", tmp_path / "two")
    same(load_cohort(site), load_cohort(tmp_path / "two"))


def test_a_copy_holds_no_key_no_table_and_nothing_that_was_not_used(
    site: Path, tmp_path: Path, write_series: Write
) -> None:
    write_series(site, "stranger")
    (site / "dicom" / "letter.txt").write_text("zq")
    (site / "notes.txt").write_text("zq")
    (site / "patients.csv").write_text("patient,label,name\nP1,benign,zq\nP2,malignant,zq\n")
    copied = write_copy(site, tmp_path / "copy")
    assert {one.where.split("/")[1] for one in copied.left_out} == {"stranger-T1", "letter.txt"}
    assert not (tmp_path / "copy" / ".fedspine").exists()
    assert not any(b"zq" in path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file())


def test_a_copied_file_says_how_it_was_made_and_its_pixels_are_untouched(site: Path, tmp_path: Path) -> None:
    write_copy(site, tmp_path / "copy")
    files = sorted((tmp_path / "copy" / "dicom").rglob("*.dcm"))
    originals = [pydicom.dcmread(path) for path in (site / "dicom").rglob("*.dcm")]
    assert Counter(one.PixelData for one in originals) == Counter(pydicom.dcmread(path).PixelData for path in files)
    one = pydicom.dcmread(files[0])
    assert (one.PatientIdentityRemoved, one.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    codes = [(item.CodeValue, item.CodingSchemeDesignator) for item in one.DeidentificationMethodCodeSequence]
    assert codes == [("113100", "DCM"), ("113105", "DCM"), ("113107", "DCM"), ("113111", "DCM")]
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
    assert one.preamble == b"\0" * 128
    assert (one.PatientName, one.PatientBirthDate) == ("", "")


def test_masks_go_under_pseudonyms_without_texts_and_with_their_voxels(
    site: Path, tmp_path: Path, make_picture: Callable[..., NDArray[np.uint16]]
) -> None:
    (site / "masks").mkdir()
    affine = np.diag([-0.75, -1.5, 4.0, 1.0])
    image = nibabel.Nifti1Image((make_picture((5, 6, 4)) % 2).astype(np.uint8), affine)
    image.header["descrip"], image.header["db_name"] = b"zqname", b"zqmrn"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"zqcomment"))
    nibabel.save(image, site / "masks" / "P1.nii.gz")
    nibabel.save(image, site / "masks" / "P2_1.nii")
    nibabel.save(image, site / "masks" / "P9.nii")
    assert survey(site).nifti == {"db_name": 3, "descrip": 3, "extensions": 3}
    copied = write_copy(site, tmp_path / "copy")
    one, two = (patient.identifier for patient in load_cohort(site).patients)
    masks = tmp_path / "copy" / "masks"
    assert {path.name for path in masks.iterdir()} == {f"{one}.nii.gz", f"{two}_1.nii"}
    assert [left.where for left in copied.left_out] == ["masks/P9.nii"]
    assert b"zq" not in gzip.decompress((masks / f"{one}.nii.gz").read_bytes())
    assert b"zq" not in (masks / f"{two}_1.nii").read_bytes()
    for name in (f"{one}.nii.gz", f"{two}_1.nii"):
        read = nibabel.load(masks / name)
        np.testing.assert_array_equal(np.asanyarray(read.dataobj), np.asanyarray(image.dataobj))
        np.testing.assert_array_equal(read.affine, image.affine)


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    """Return a BIDS data set of two patients with marks everywhere: images, diffusion, two dated sessions, a mask."""
    site = tmp_path / "hospital"
    write_key(site / ".fedspine", "77" * 32)  # moves these dates out of their year
    voxels = np.arange(240, dtype=np.int16).reshape(6, 5, 8)
    for session in ("zqbefore", "zqlater"):
        place = site / "sub-zq1" / f"ses-{session}" / "anat" / f"sub-zq1_ses-{session}_acq-zqstir_T2w.nii.gz"
        nifti(place, voxels, descrip=b"zq")
        sidecar = {"EchoTime": 0.05, "RepetitionTime": 4.0, "InversionTime": 0.16, "PatientName": "zq", "Comment": "zq"}
        sidecar |= {"SeriesDescription": "stir zq", "InstitutionName": "zq", "Manufacturer": "Siemens"}
        place.with_name(place.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    for number in (1, 2):
        nifti(site / "sub-zq1" / "ses-zqbefore" / "anat" / f"sub-zq1_ses-zqbefore_acq-zq{number}_T1w.nii.gz", voxels)
    (site / "sub-zq1" / "sub-zq1_sessions.tsv").write_text(
        "session_id\tacq_time\nses-zqbefore\t2004-04-04T10:00:00\nses-zqlater\t2004-10-04T10:00:00\n"
    )
    mask = site / "derivatives" / "zq" / "sub-zq1" / "ses-zqlater" / "anat"
    nifti(mask / "sub-zq1_ses-zqlater_label-lesion_mask.nii.gz", (voxels % 2).astype(np.uint8), descrip=b"zq")
    dwi = site / "sub-zq2" / "dwi" / "sub-zq2_dwi.nii.gz"
    nifti(dwi, np.stack([np.full((6, 5, 8), b, np.int16) for b in (1000, 400, 400)], axis=-1))
    (dwi.parent / "sub-zq2_dwi.bval").write_text("0 800 800\n")
    (dwi.parent / "sub-zq2_dwi.bvec").write_text("0 1 0\n0 0 1\n0 0 0\n")
    nifti(site / "sub-zq2" / "anat" / "sub-zq2_ce-zqgado_T1w.nii.gz", voxels)
    (site / "participants.tsv").write_text("participant_id\tpathology\tage\nsub-zq1\tbenign\t63\nsub-zq2\tother\t7\n")
    return site


def test_a_bids_data_set_is_copied_too(bids: Path, tmp_path: Path) -> None:
    copied = write_copy(bids, tmp_path / "copy")
    before, after = load_cohort(bids), load_cohort(tmp_path / "copy")
    assert (copied.nifti, copied.masks, copied.left_out) == (6, 1, ())
    assert [len(one.follow_up) for one in before.patients if one.follow_up] == [1]
    same(before, after)
    for one, other in zip(before.patients, after.patients, strict=True):
        for study, again in zip(one.follow_up, other.follow_up, strict=True):
            assert set(study.volumes) == set(again.volumes)
            assert (study.mask is None) == (again.mask is None)
    assert is_clean(survey(tmp_path / "copy"))
    shutil.rmtree(tmp_path / "copy" / ".fedspine")
    for path in (tmp_path / "copy").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        assert b"zq" not in content + path.name.encode(), path.name
        assert b"2004-" not in content


def test_a_copy_is_never_written_over_anything_or_into_the_site(site: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="a copy must be written into an empty folder; found something there"):
        write_copy(site, tmp_path / "full")
    for inside in (site / "copy", site):
        with pytest.raises(InputError):
            write_copy(site, inside)


def test_a_coil_that_only_a_private_element_names_is_written_down(tmp_path: Path, write_series: Write) -> None:
    def hide(number: int, dataset: pydicom.Dataset) -> None:
        dataset.private_block(0x0051, "SIEMENS MR HEADER", create=True).add_new(0x0F, "LO", "SP:SP1")

    site = tmp_path / "site"
    write_series(site, "P1", change=hide)
    write_copy(site, tmp_path / "copy")
    same(load_cohort(site), load_cohort(tmp_path / "copy"))
    files = [pydicom.dcmread(path, stop_before_pixels=True) for path in (tmp_path / "copy").rglob("*.dcm")]
    assert all(one.ReceiveCoilName == "SP:SP1" and (0x0051, 0x0010) not in one for one in files)


def test_a_mosaic_is_left_out_with_a_reason(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tiled(folder: Path, file: File, key: Key) -> Opened:
        opened = read_header(folder, file, key)
        return replace(opened, header=replace(opened.header, tiles=1 + ("P1-T1" in file.where)))

    monkeypatch.setattr("fedspine.cohort.deidentify.copy.read_header", tiled)
    copied = write_copy(site, tmp_path / "copy")
    assert {(one.where.split("/")[1], one.reason.split(";")[1]) for one in copied.left_out} == {
        ("P1-T1", " found a mosaic, whose private header says so and goes")
    }
    assert (copied.files, len(copied.left_out)) == (12, 4)


def complaints(file: Path) -> set[str]:
    """Return the errors of David Clunie's validator, without values."""
    done = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, errors="replace", check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return {re.sub(r"=? ?<.*?>", "", line) for line in lines if line.startswith("Error")}


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dicom3tools")
def test_a_copied_file_has_no_error_that_the_original_has_not(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "dicom").mkdir(parents=True)
    originals = sorted((DATA / "vendor_dicom").glob("*.dcm"))
    for file in originals:
        shutil.copy(file, site / "dicom" / file.name)
    write_copy(site, tmp_path / "copy")
    key = {}
    for file in (tmp_path / "copy").rglob("*.dcm"):
        key[pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID] = file
    site_key, compared = open_key(site).key, 0
    for file in originals:
        copy = key.get(site_key.uid(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID))
        if copy is not None:
            assert complaints(copy) - complaints(file) == set(), file.name
            compared += 1
    assert compared >= 5


@pytest.mark.parametrize("what", ["000001.dcm", "patients.csv", "P-"])
def test_a_full_disk_stops_a_copy_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    (site,) = write_consortium(tmp_path / "sites", sites=1, patients=2, seed=3, shape=(4, 32, 32))
    opened = io.open

    def full(file: object, mode: str = "r", *rest: object, **options: object) -> object:
        if "w" in mode and isinstance(file, str | Path) and Path(file).name.startswith(what):
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(file, mode, *rest, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(io, "open", full)
    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(InputError, match="a copy must be written whole"):
        write_copy(site, tmp_path / "copy")
