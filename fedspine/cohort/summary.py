"""Print what a site folder holds: for the hospital's own screen, never to be sent.

Patients' own ids and places of files appear here and nowhere else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fedspine.cohort.deidentify.view import printable
from fedspine.cohort.patient import CONTRASTS, PLANES, Cohort, Patient, Rejected, Scanner, Volume

MOST_PATIENTS_LISTED = 60
MOST_PLACES_LISTED = 3
MOST_COLUMNS_LISTED = 24


def usable(cohort: Cohort) -> str | None:
    """Return `None` if the cohort can be trained on, else one sentence that says why not."""
    if not any(set(patient.volumes) - {"other"} for patient in cohort.patients):
        return (
            "at least one patient must have a known contrast; found none; "
            "name the sequence in SeriesDescription or export the acquisition times."
        )
    labels = {patient.label for patient in cohort.patients if patient.label is not None}
    if len(labels) == 1:
        return "labelled patients must be of at least two classes; found one; add patients of another class."
    return None


def describe(cohort: Cohort) -> Group:
    """Return what the cohort holds, readable at 100 columns."""
    parts: list[RenderableType] = [_headline(cohort)]
    parts += [_contrasts(cohort), _scanners(cohort)]
    if cohort.omics_columns:
        parts.append(_omics(cohort))
    parts.append(_labels(cohort))
    parts.append(_missing(cohort))
    if len(cohort.patients) <= MOST_PATIENTS_LISTED:
        parts.append(_patients(cohort))
    if cohort.cleared:
        parts.append(_cleared(cohort))
    if cohort.rejected:
        parts.append(_refused(cohort.rejected))
    spaced: list[RenderableType] = []
    for part in parts:
        spaced += [part, Text("")]
    return Group(*spaced[:-1])


def _table(title: str, *columns: str, numbers: Iterable[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def _add(table: Table, *cells: str | Text) -> None:
    """Add a row; words from the data are no markup, for rich would read brackets in them as styles."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in cells))


def _headline(cohort: Cohort) -> Text:
    images = sum(bool(patient.volumes) for patient in cohort.patients)
    masks = sum(patient.mask is not None for patient in cohort.patients)
    labels = sum(patient.label is not None for patient in cohort.patients)
    omics = sum(patient.omics is not None for patient in cohort.patients)
    text = Text()
    text.append(printable(cohort.name), style="bold cyan")
    text.append(f"  {len(cohort.patients)} patients", style="bold")
    text.append(f"   {images} with images   {masks} with a mask   {labels} with a label   {omics} with omics")
    later = sum(bool(patient.follow_up) for patient in cohort.patients)
    text.append(f"   {later} with a follow-up" if later else "")
    return text


def _cleared(cohort: Cohort) -> Text:
    """Return how much was taken out of the DICOM headers; the tag 0 stands for all private elements."""
    attributes = len({tag for tag, *_ in cohort.cleared if tag})
    private = " and private elements" if any(not tag for tag, *_ in cohort.cleared) else ""
    files = max(files for _, _, files, _ in cohort.cleared)
    return Text(
        f"Identifiers: {attributes} attributes{private} were taken out of up to {files} DICOM headers before anything "
        "was cached; fedspine check SITE --identifiers lists them.",
        style="dim",
    )


def _names(cohort: Cohort) -> list[str]:
    """Return the names of the volumes that any patient has, in the order of contrasts."""
    order = [name for one in CONTRASTS for name in (one, *(f"{one} {plane}" for plane in PLANES))]
    return [name for name in order if any(name in patient.volumes for patient in cohort.patients)]


def _contrasts(cohort: Cohort) -> Table:
    table = _table(
        "Contrasts", "contrast", "patients", "plane", "slices", "matrix", "voxel mm", "", numbers=("patients",)
    )
    for contrast in _names(cohort):
        volumes = [patient.volumes[contrast] for patient in cohort.patients if contrast in patient.volumes]
        if volumes:
            _add(
                table,
                contrast,
                str(len(volumes)),
                _most(volume.plane for volume in volumes),
                _range(volume.voxels.shape[0] for volume in volumes),
                _most(f"{volume.voxels.shape[1]} x {volume.voxels.shape[2]}" for volume in volumes),
                _most(" x ".join(f"{step:.3g}" for step in volume.spacing_mm) for volume in volumes),
                "kept out of training" if contrast == "other" else _computed(volumes),
            )
    return table


def _computed(volumes: Iterable[Volume]) -> str:
    count = sum(volume.computed for volume in volumes)
    return f"{count} computed from DWI" if count else ""


def _range(values: Iterable[float | None], form: str = "{:g}") -> str:
    found = sorted(value for value in values if value is not None)
    if not found:
        return "-"
    low, high = form.format(found[0]), form.format(found[-1])
    return low if low == high else f"{low} to {high}"


def _most(values: Iterable[str]) -> str:
    counted = Counter(values).most_common()
    return counted[0][0] + (f"  and {len(counted) - 1} more" if len(counted) > 1 else "")


def _scanners(cohort: Cohort) -> Table:
    table = _table("Scanners", "vendor", "model", "tesla", "coils", "patients", numbers=("tesla", "patients"))
    groups: dict[tuple[str, str, str], list[tuple[str, Scanner]]] = defaultdict(list)
    for patient in cohort.patients:
        for volume in patient.volumes.values():
            scanner = volume.scanner
            tesla = "-" if scanner.field_tesla is None else f"{scanner.field_tesla:.3g}"
            groups[scanner.vendor or "-", scanner.model or "-", tesla].append((patient.identifier, scanner))
    for key, members in sorted(groups.items()):
        coils = sorted({scanner.coil for _, scanner in members if scanner.coil})
        shown = ", ".join(coils[:MOST_PLACES_LISTED]) + (" ..." if len(coils) > MOST_PLACES_LISTED else "")
        _add(table, *key, shown or "-", str(len({identifier for identifier, _ in members})))
    return table


def _omics(cohort: Cohort) -> Table:
    table = _table(
        "Omics", "column", "filled", "lowest", "median", "highest", numbers=("filled", "lowest", "median", "highest")
    )
    rows = [patient.omics for patient in cohort.patients if patient.omics is not None]
    values = np.array(rows).reshape(len(rows), len(cohort.omics_columns))
    for number, name in enumerate(cohort.omics_columns[:MOST_COLUMNS_LISTED]):
        filled = values[:, number][~np.isnan(values[:, number])]
        share = f"{100 * len(filled) / max(len(cohort.patients), 1):.0f} %"
        measures = [filled.min(), np.median(filled), filled.max()] if len(filled) else []
        _add(table, name, share, *([f"{value:.4g}" for value in measures] or ["-"] * 3))
    rest = len(cohort.omics_columns) - MOST_COLUMNS_LISTED
    if rest > 0:
        filled_share = (
            float(np.mean(~np.isnan(values[:, MOST_COLUMNS_LISTED:]))) * len(rows) / max(len(cohort.patients), 1)
        )
        _add(table, f"and {rest} more columns", f"{100 * filled_share:.0f} %", "", "", "")
    return table


def _labels(cohort: Cohort) -> Table:
    table = _table(
        "Labels", "label", "patients", "with mask", "with lesion", numbers=("patients", "with mask", "with lesion")
    )
    groups: dict[str | None, list[Patient]] = defaultdict(list)
    for patient in cohort.patients:
        groups[patient.label].append(patient)
    for label, members in sorted(groups.items(), key=lambda one: (one[0] is None, -len(one[1]), one[0] or "")):
        masks = [patient.mask for patient in members if patient.mask is not None]
        lesions = sum(bool(np.any(mask.voxels)) for mask in masks)
        _add(table, label or "(none)", str(len(members)), str(len(masks)), str(lesions))
    return table


HAS: tuple[tuple[str, Callable[[Patient], bool]], ...] = (
    ("label", lambda patient: patient.label is not None),
    ("mask", lambda patient: patient.mask is not None),
    ("omics", lambda patient: patient.omics is not None),
    ("grade", lambda patient: patient.grade is not None),
    ("time and event", lambda patient: patient.time is not None and patient.event is not None),
    ("level", lambda patient: patient.level is not None),
    ("age", lambda patient: patient.age is not None),
    ("sex", lambda patient: patient.sex is not None),
)


def _missing(cohort: Cohort) -> Table:
    """Return a table of what some patients lack; a contrast counts when any patient has it."""
    table = _table("Missing", "what", "patients without", "", numbers=("patients without",))
    checks = [(one, _has_contrast(one)) for one in _names(cohort) if one in CONTRASTS[:-1]] + list(HAS)
    if any(patient.levels is not None for patient in cohort.patients):
        checks.append(("drawn levels", lambda patient: patient.levels is not None))
    for name, has in checks:
        lacking = [_own(cohort, patient) for patient in cohort.patients if not has(patient)]
        if lacking:
            _add(table, name, str(len(lacking)), "all" if len(lacking) == len(cohort.patients) else _some(lacking))
    if not table.row_count:
        _add(table, "nothing", "0", "")
    return table


def _has_contrast(contrast: str) -> Callable[[Patient], bool]:
    return lambda patient: contrast in patient.volumes


def _some(names: list[str]) -> str:
    return ", ".join(names[:MOST_PLACES_LISTED]) + (" ..." if len(names) > MOST_PLACES_LISTED else "")


def _patients(cohort: Cohort) -> Table:
    """Return one row a patient, with a mark for each thing it has."""
    shown = _names(cohort)
    later = any(patient.follow_up for patient in cohort.patients)
    table = _table(
        "Patients", "patient", "pseudonym", *shown, "mask", "omics", "label", *(["follow-up months"] if later else [])
    )
    for patient in cohort.patients:
        omics = "" if patient.omics is None else f"{int((~np.isnan(patient.omics)).sum())}"
        marks = [_mark(contrast in patient.volumes) for contrast in shown]
        months = [", ".join(f"{study.months:.1f}" for study in patient.follow_up)] if later else []
        names = _own(cohort, patient), patient.identifier
        _add(table, *names, *marks, _mark(patient.mask is not None), omics, patient.label or "", *months)
    return table


def _own(cohort: Cohort, patient: Patient) -> str:
    """Return the id that the hospital knows the patient by."""
    return cohort.own_ids.get(patient.identifier, patient.identifier)


def _mark(present: bool) -> Text:
    return Text("●", style="green") if present else Text("·", style="dim")


def _refused(rejected: Iterable[Rejected]) -> Table:
    """Return what was refused by reason, the most frequent first, with a few places."""
    table = _table("Not used", "count", "why", "where", numbers=("count",))
    groups: dict[str, list[Rejected]] = defaultdict(list)
    for one in rejected:
        groups[one.reason].append(one)
    for reason, members in sorted(groups.items(), key=lambda one: (-len(one[1]), one[0])):
        places = [
            printable(one.where if one.patient is None else f"{one.where} ({one.patient})")
            for one in members[:MOST_PLACES_LISTED]
        ]
        more = f"\n... and {len(members) - MOST_PLACES_LISTED} more" if len(members) > MOST_PLACES_LISTED else ""
        _add(table, str(len(members)), reason, Text("\n".join(places) + more, style="dim"))
    return table
