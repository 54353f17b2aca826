"""One lung phantom's volume as a DICOM CT series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import CTImageStorage

from fedspine.cohort.patient import Volume
from fedspine.phantom.dicom import Study, decimal, header, write_slices
from fedspine.phantom.lung.scanner import CTScanner

INTERCEPT = -1024
PADDING = -2000
"""What a scanner with signed pixels writes outside of its round field of view."""


def write_ct_series(folder: Path, study: Study, volume: Volume, number: int, scanner: CTScanner) -> None:
    """Write `volume` as one series into `folder`.

    Args:
        folder: made if it is not there.
        study: of the patient.
        volume: int16 Hounsfield units (slice, row, column).
        number: SeriesNumber.
        scanner: who made it.
    """
    ds = header(study, volume, number)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.Modality, ds.ImageType, ds.BodyPartExamined = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "CHEST"
    ds.StudyDescription, ds.AcquisitionNumber = "PHANTOM CHEST", 1
    ds.Manufacturer, ds.ManufacturerModelName, ds.ConvolutionKernel = scanner.vendor, scanner.model, scanner.kernel
    ds.KVP, ds.GantryDetectorTilt = "120", decimal(float(np.degrees(scanner.tilt)))
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(INTERCEPT), "1", "HU"
    ds.WindowCenter, ds.WindowWidth, ds.PositionReferenceIndicator = "-600", "1500", "XY"
    stored = np.asarray(volume.voxels, np.int32) - INTERCEPT
    if scanner.signed:
        ds.PixelRepresentation = 1
        ds.add_new(0x00280120, "SS", PADDING)
        stored = np.where(_in_view(stored.shape), stored, PADDING)
    write_slices(folder, study, volume, ds, stored.astype("<i2" if scanner.signed else "<u2"))


def _in_view(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the round field of view within a slice, (row, column)."""
    rows, columns = shape[1:]
    down, across = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    return np.asarray(down**2 + across**2 <= 1.02)
