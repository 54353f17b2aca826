"""From tissue to image: signal, coil, metal, noise, counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedspine.cohort.patient import Scanner, Volume
from fedspine.phantom import kspace, signal, tissue
from fedspine.phantom.anatomy import Anatomy
from fedspine.phantom.graph import entropy_from, stream
from fedspine.phantom.grid import block_sum, image_affine
from fedspine.phantom.implant import disturbance
from fedspine.phantom.scanner import EVERY_CONTRAST, Protocol, ScannerModel, saturation_band, sensitivity
from fedspine.phantom.tissue import Tissue
from fedspine.phantom.view import View

HIGHEST_COUNT = 4095
"""Images have 12 bits."""
_ECHO_PLANAR_NOISE = 2.5
"""An echo-planar image is read in one go, with a wide bandwidth: noisier than a spin echo by so much."""
_FULL = 8.0


@dataclass(frozen=True, eq=False)
class Subject:
    """What a scanner sees of a person.

    Args:
        anatomy: the coil's distance follows from it.
        view: the field of view and its grid.
        tissues: uint8 (slice, row, column) on the fine grid, values of `Tissue`.
        table: (tissue, column), see `tissue`.
        unevenness: float32 (slice, row, column), of proton density, 1 on average.
    """

    anatomy: Anatomy
    view: View
    tissues: NDArray[np.uint8] = field(repr=False)
    table: NDArray[np.float64] = field(repr=False)
    unevenness: NDArray[np.float32] = field(repr=False)


Coil = tuple[NDArray[np.float32], NDArray[np.float32]]


def acquire(
    subject: Subject, scanner: ScannerModel, contrasts: Sequence[str], generator: np.random.Generator
) -> dict[str, Volume]:
    """Scan a subject; a contrast the scanner does not know is absent.

    Voxels are uint16 counts, those of ADC in 1e-6 mm²/s. All volumes share one grid. Each contrast has noise of
    its own: which others are asked for does not change it, nor does the scanner.
    """
    entropy = entropy_from(generator)
    coil = sensitivity(scanner, subject.anatomy, subject.view, stream(entropy, "coil"))
    band = saturation_band(subject.anatomy, subject.view) if scanner.saturates else None
    affine = image_affine(subject.view)
    even = coil[1].astype(np.float64) ** scanner.normalised
    metal = _metal(subject)
    volumes = {}
    for contrast in contrasts:
        if contrast not in EVERY_CONTRAST:
            continue
        own = stream(entropy, contrast)
        protocol = _as_run(scanner.protocols[contrast], own)
        if contrast == "ADC":
            counts = _diffusion_map(subject, scanner, protocol, coil, metal, own)
        else:
            emitted = tissue_signal(subject.table, contrast, protocol, scanner.field_tesla)
            gain = scanner.gain * float(np.exp(0.2 * own.standard_normal()))
            received = _received(subject, emitted, coil)
            if band is not None:
                received *= band
            _disturb(received, subject, metal, contrast, protocol, scanner)
            image = kspace.magnitude(received, scanner.noise, scanner.matrix, own)
            counts = image.astype(np.float64) * gain / even
        voxels = np.clip(np.rint(counts), 0, HIGHEST_COUNT).astype(np.uint16)
        volumes[contrast] = Volume(voxels, affine, contrast, _record(scanner, protocol))
    return volumes


def _metal(subject: Subject) -> NDArray[np.bool_] | None:
    """Return the voxels that hold metal, (slice, row, column), or None."""
    inside = subject.tissues == Tissue.METAL
    return block_sum(inside.astype(np.uint8)) >= 2 if inside.any() else None


def _disturb(
    received: NDArray[np.float32],
    subject: Subject,
    metal: NDArray[np.bool_] | None,
    contrast: str,
    protocol: Protocol,
    scanner: ScannerModel,
) -> None:
    """Let metal disturb what is received, in place."""
    if metal is None or not metal.any():
        return
    if contrast in ("ADC", "DWI"):
        sequence = "echo planar"
    else:
        sequence = "spin echo" if protocol.inversion_time_ms is None else "inversion recovery"
    spacing_mm = (subject.view.gap_mm, subject.view.pixel_mm, subject.view.pixel_mm)
    received *= disturbance(metal, spacing_mm, sequence, scanner.field_tesla)


def tissue_signal(
    table: NDArray[np.float64], contrast: str, protocol: Protocol, field_tesla: float
) -> NDArray[np.float64]:
    """Return the signal of every tissue, (tissue,), signed, in units of the proton density of water."""
    high = field_tesla > 2.0
    t1_ms = table[:, tissue.T1_MS_3 if high else tissue.T1_MS_1_5]
    t2_ms = table[:, tissue.T2_MS_3 if high else tissue.T2_MS_1_5]
    density = table[:, tissue.PROTON_DENSITY]
    if protocol.fat_saturated:
        density = density * (1.0 - 0.9 * table[:, tissue.FAT_FRACTION])
    if contrast == "T1c":
        t1_ms, t2_ms = signal.enhanced(t1_ms, t2_ms, table[:, tissue.AGENT_MM])
    te_ms, tr_ms = protocol.echo_time_ms, protocol.repetition_time_ms
    if protocol.inversion_time_ms is not None:
        ti_ms = protocol.inversion_time_ms
        return signal.inversion_recovery(density, t1_ms, t2_ms, tr_ms=tr_ms, te_ms=te_ms, ti_ms=ti_ms)
    if protocol.train_ms:
        train_ms, fat = protocol.train_ms, table[:, tissue.FAT_FRACTION]
        return signal.turbo_spin_echo(density, t1_ms, t2_ms, tr_ms=tr_ms, te_ms=te_ms, train_ms=train_ms, fat=fat)
    emitted = signal.spin_echo(density, t1_ms, t2_ms, tr_ms=tr_ms, te_ms=te_ms)
    if contrast == "DWI" and protocol.b_value is not None:
        return signal.diffusion_weighted(emitted, table[:, tissue.ADC], b_value=protocol.b_value)
    return emitted


def _as_run(protocol: Protocol, generator: np.random.Generator) -> Protocol:
    """Return the protocol as a radiographer set it for this patient: a few per cent off the habit."""
    echo, repetition = 1.0 + 0.03 * generator.uniform(-1.0, 1.0, size=2)
    return replace(
        protocol,
        echo_time_ms=round(protocol.echo_time_ms * float(echo), 1),
        repetition_time_ms=round(protocol.repetition_time_ms * float(repetition)) * 1.0,
    )


def _record(scanner: ScannerModel, protocol: Protocol) -> Scanner:
    return Scanner(
        vendor=scanner.vendor,
        model=scanner.model,
        field_tesla=scanner.field_tesla,
        coil=scanner.coil,
        echo_time_ms=protocol.echo_time_ms,
        repetition_time_ms=protocol.repetition_time_ms,
        inversion_time_ms=protocol.inversion_time_ms,
        b_value=protocol.b_value,
    )


def _received(subject: Subject, emitted: NDArray[np.float64], coil: Coil) -> NDArray[np.float32]:
    """Return what the coil receives, (slice, row, column): the mean of the signed signals within each voxel."""
    voxels: NDArray[np.float32] = block_sum((emitted / _FULL).astype(np.float32)[subject.tissues])
    voxels *= subject.unevenness
    voxels *= coil[0][:, None]
    voxels *= coil[1][None, :]
    return voxels


def _diffusion_map(
    subject: Subject,
    scanner: ScannerModel,
    protocol: Protocol,
    coil: Coil,
    metal: NDArray[np.bool_] | None,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the ADC in 1e-6 mm²/s from images with and without diffusion weighting; 0 where neither has signal."""
    b_value = protocol.b_value or 0.0
    emitted = tissue_signal(subject.table, "ADC", protocol, scanner.field_tesla)
    weighted = signal.diffusion_weighted(emitted, subject.table[:, tissue.ADC], b_value=b_value)
    # several averages of the weighted image bring both to the same noise
    images = []
    for strength in (emitted, weighted):
        received = _received(subject, strength, coil)
        _disturb(received, subject, metal, "ADC", protocol, scanner)
        images.append(kspace.magnitude(received, _ECHO_PLANAR_NOISE * scanner.noise, scanner.matrix, generator))
    without, attenuated = images
    seen = without > np.float32(4.0 * _ECHO_PLANAR_NOISE * scanner.noise)
    adc = np.zeros(without.shape)
    adc[seen] = signal.diffusion_coefficient(
        without[seen].astype(np.float64), np.maximum(attenuated[seen], 1e-4).astype(np.float64), b_value=b_value
    )
    return adc
