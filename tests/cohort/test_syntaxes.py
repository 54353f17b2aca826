"""Every transfer syntax that hospitals send is read, voxel for voxel where it is lossless."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from fedspine.cohort.dicom.pixels import decoded
from fedspine.cohort.quiet import quiet
from fedspine.cohort.site import load_cohort

Write = Callable[..., list[Path]]
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
SHAPE = (3, 40, 36)


def smooth() -> Any:
    """Return a volume of 12 bits that lossy encoders change only a little."""
    slice_, row, column = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    return (2000 + 800 * np.sin(row / 6 + slice_) + 600 * np.cos(column / 5)).astype(np.uint16)


def stored_as(syntax: UID, plugin: str = "", **options: Any) -> Callable[[int, Dataset], None]:
    """Return a change that stores a slice in `syntax`."""

    def change(i: int, dataset: Dataset) -> None:
        dataset.BitsStored, dataset.HighBit = 12, 11
        if plugin:
            dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False, **options)
        elif syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
            dataset["PixelData"].VR = "OW"
        dataset.file_meta.TransferSyntaxUID = syntax

    return change


@pytest.mark.parametrize(
    ("change", "tolerance"),
    [
        (stored_as(ImplicitVRLittleEndian), 0),
        (stored_as(ExplicitVRLittleEndian), 0),
        (stored_as(ExplicitVRBigEndian), 0),
        (stored_as(DeflatedExplicitVRLittleEndian), 0),
        (stored_as(RLELossless, "pydicom"), 0),
        (stored_as(JPEGLSLossless, "pyjpegls"), 0),
        (stored_as(JPEGLSNearLossless, "pyjpegls", jls_error=3), 3),
        (stored_as(JPEG2000Lossless, "pylibjpeg"), 0),
        (stored_as(JPEG2000, "pylibjpeg", j2k_psnr=[80]), 12),
    ],
    ids=["implicit", "explicit", "big", "deflated", "RLE", "JPEG-LS", "JPEG-LS near", "JPEG 2000", "JPEG 2000 lossy"],
)
def test_a_series_in_any_syntax_gives_its_voxels(
    tmp_path: Path, write_series: Write, change: Callable[[int, Dataset], None], tolerance: int
) -> None:
    write_series(tmp_path, voxels=smooth(), change=change)
    cohort = load_cohort(tmp_path)
    assert cohort.rejected == ()
    voxels = cohort.patients[0].volumes["T1"].voxels
    assert voxels.dtype == np.uint16
    assert np.abs(voxels.astype(int) - smooth()).max() <= tolerance


def test_a_series_in_baseline_jpeg_gives_nearly_its_voxels(tmp_path: Path, write_series: Write) -> None:
    wanted = (smooth() // 16).astype(np.uint8)

    def change(i: int, dataset: Dataset) -> None:
        buffer = io.BytesIO()
        Image.fromarray(wanted[i]).save(buffer, "JPEG", quality=95)
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelData = 7, encapsulate([buffer.getvalue()])
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit

    write_series(tmp_path, voxels=smooth(), change=change)
    voxels = load_cohort(tmp_path).patients[0].volumes["T1"].voxels
    assert voxels.dtype == np.uint8
    assert np.abs(voxels.astype(int) - wanted).max() <= 6


def bundled() -> list[Path]:
    """Return pydicom's files with compressed pixels that pydicom itself can decode."""
    found = []
    for path in sorted(BUNDLED.rglob("*.dcm")):
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
                found.append(path)
        except Exception:
            continue
    return found


@pytest.mark.parametrize("path", bundled(), ids=lambda path: path.stem)
def test_compressed_files_of_pydicom_are_decoded_as_pydicom_decodes_them(path: Path) -> None:
    with quiet():
        dataset = pydicom.dcmread(path)
        dataset.pixel_array_options(decoding_plugin="pylibjpeg")
        try:
            theirs = dataset.pixel_array
        except Exception:
            pytest.skip("broken on purpose")
        with path.open("rb") as file:
            np.testing.assert_array_equal(decoded(file), theirs)


def test_pydicoms_files_cover_every_family_of_decoders() -> None:
    names = {pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID.name for path in bundled()}
    assert {name.split()[0].rstrip(",") for name in names} >= {"JPEG", "JPEG-LS", "RLE"}
    assert any("Lossless, Non-Hierarchical" in name for name in names)
    assert any("JPEG 2000" in name for name in names)


@pytest.mark.parametrize("kind", ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1"])
def test_a_series_in_lossless_jpeg_gives_its_voxels(tmp_path: Path, write_series: Write, kind: str) -> None:
    gdcm: Any = pytest.importorskip("gdcm")  # the only free encoder at hand; comes with dicom2nifti
    for path in write_series(tmp_path, voxels=smooth(), change=stored_as(ExplicitVRLittleEndian)):
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, kind)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(path))
        assert writer.Write()
    cohort = load_cohort(tmp_path)
    assert cohort.rejected == ()
    np.testing.assert_array_equal(cohort.patients[0].volumes["T1"].voxels, smooth())


@pytest.mark.parametrize("number", [201, 202, 203])
def test_high_throughput_jpeg_2000_has_a_decoder(number: int) -> None:
    """No free encoder writes it, so there is no picture to compare with."""
    assert "pylibjpeg" in get_decoder(UID(f"1.2.840.10008.1.2.4.{number}")).available_plugins
