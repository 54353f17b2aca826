"""Turn file headers into JSON values for the cache, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from fedspine.cohort.dicom.frame import Frame
from fedspine.cohort.dicom.header import FileHeader
from fedspine.cohort.dicom.plain import Plain
from fedspine.cohort.patient import Scanner

SCANNER_FIELDS = tuple(field.name for field in fields(Scanner))
FRAME_FIELDS = tuple(field.name for field in fields(Frame))

PATIENT = 1
"""Where the pseudonym is among the values of a header."""


def stored(header: FileHeader) -> list[Any]:
    """Return `header` as JSON values."""
    return [
        header.modality,
        header.patient,
        header.person,
        header.series,
        header.frame_of_reference,
        header.series_number,
        header.shape,
        [[getattr(frame, name) for name in FRAME_FIELDS] for frame in header.frames],
        [getattr(header.scanner, name) for name in SCANNER_FIELDS],
        dict(header.text),
        header.study,
        header.day,
        header.instance,
        None if header.plain is None else list(vars(header.plain).values()),
        header.tiles,
    ]


def restored(values: Sequence[Any]) -> FileHeader:
    """Return the header that `stored` made these values of."""
    modality, patient, person, series, reference, number, shape, frames, scanner, text = values[:10]
    study, day, instance, plain, tiles = values[10:]
    return FileHeader(
        modality=modality,
        patient=patient,
        person=(person[0], person[1]),
        series=series,
        frame_of_reference=reference,
        series_number=number,
        shape=(shape[0], shape[1]),
        frames=tuple(_frame(frame) for frame in frames),
        scanner=Scanner(*scanner),
        text=text,
        study=study,
        day=day,
        instance=instance,
        plain=None if plain is None else Plain(*plain),
        tiles=tiles,
    )


def _frame(values: Sequence[Any]) -> Frame:
    parts: list[Any] = [tuple(part) if isinstance(part, list) else part for part in values]
    return Frame(*parts)
