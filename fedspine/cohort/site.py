"""Read a site folder into a `Cohort`: the one door through which a hospital's data enters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedspine.cohort.bids.read import Bids, patients_of, read_bids
from fedspine.cohort.bids.tree import Tree, read_tree
from fedspine.cohort.cache import Cache, key_of
from fedspine.cohort.deidentify.keyring import Pseudonyms, load_table, open_key, save_table
from fedspine.cohort.dicom.read import Imaging, read_dicom
from fedspine.cohort.files import files_below
from fedspine.cohort.level_files import ROOM as LEVELS
from fedspine.cohort.level_files import read_levels
from fedspine.cohort.levels import Places
from fedspine.cohort.mask import mask_grids, read_masks
from fedspine.cohort.patient import Cohort, FollowUp, Patient, Rejected, Volume
from fedspine.cohort.select import Study
from fedspine.cohort.tables import Omics, Row, read_omics, read_participants, read_patients
from fedspine.errors import CohortError

ROOM = Path(".fedspine")
"""What fedspine keeps in a site folder."""
CACHE = ROOM / "cache"


def load_cohort(
    folder: Path,
    *,
    cache: Path | None = None,
    state: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Cohort:
    """Return everything usable in a site folder; what is not usable is named in `Cohort.rejected`.

    Patients are known by pseudonyms from here on; the hospital's own ids are in `Cohort.own_ids` and in the hospital's
    own `.fedspine/pseudonyms.csv`.

    Args:
        folder: holds `patients.csv`, `omics.csv`, `dicom/` and `masks/`, or is a BIDS data set; its name is the site's.
        cache: where decoded volumes are kept; below `folder` if not given, nowhere if that cannot be written.
        state: a folder of the hospital that keeps the pseudonym key where `folder` cannot be written.
        progress: called with (done, total) steps, two for every file below `dicom/`.

    Raises:
        CohortError: when nothing is usable, two rows claim one patient, or the pseudonym key cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CohortError("a site must be a folder", "none at the place given", "give the folder with dicom/ in it")
    tree = read_tree(folder)
    door = open_key(folder, state)
    names = load_table(folder, door.key)
    rejected = list(door.notes)
    tables = _tables(folder, tree, names, rejected)
    rows, omics = tables.rows, tables.omics
    # a folder that several sites share, or that holds other things, keeps this site's volumes in a room of their own
    place = folder / CACHE if cache is None else Path(cache) / key_of("site", [folder.resolve()])
    with Cache(place) as store:
        imaging, drawn = _images(folder, tables, tree, names, store, progress or (lambda done, total: None), rejected)
    save_table(folder, names)
    identifiers = sorted((set(rows) if rows is not None else set(imaging.studies)) - imaging.two_people)
    rejected += _strangers(omics, identifiers, imaging)
    patients = [_patient(one, rows or {}, imaging.studies, drawn, omics) for one in identifiers]
    kept = tuple(one for one in patients if _holds_anything(one))
    rejected += [Rejected("patients.csv", NOTHING, one.identifier) for one in patients if not _holds_anything(one)]
    return Cohort(
        name=folder.resolve().name,
        patients=kept,
        omics_columns=omics.columns,
        rejected=tuple(_in_own_words(one, names) for one in rejected),
        own_ids=dict(names.own),
        key_mark=door.key.fingerprint(),
        key_kept=door.kept,
        cleared=imaging.cleared,
    )


def _in_own_words(rejected: Rejected, names: Pseudonyms) -> Rejected:
    """Return a refusal with the id that the hospital knows the patient by."""
    if rejected.patient is None:
        return rejected
    return replace(rejected, patient=names.own.get(rejected.patient, rejected.patient))


@dataclass(frozen=True)
class _Tables:
    """What the tables say by pseudonym, and the pseudonym of each BIDS subject; no rows where there is no table."""

    rows: Mapping[str, Row] | None
    omics: Omics
    subjects: Mapping[str, str]


@dataclass(frozen=True)
class _Drawn:
    """What is drawn on the images, by patient and number of the study (0 is the baseline)."""

    masks: Mapping[tuple[str, int], Volume]
    levels: Mapping[tuple[str, int], Places]


def _tables(folder: Path, tree: Tree | None, names: Pseudonyms, rejected: list[Rejected]) -> _Tables:
    """Return what stands in the tables of `folder`; `names` learns whom they name."""
    rows = read_patients(folder, rejected)
    if rows is None and tree is not None and tree.participants is not None:
        rows = read_participants(folder, tree.participants, rejected)
    subjects = patients_of(tree, rows)
    omics = read_omics(folder, rejected)
    if tree is not None:
        omics = _spelled(omics, {*(rows or ()), *subjects.values()})
    return _Tables(
        rows=None if rows is None else {names.of(own): row for own, row in rows.items()},
        omics=replace(omics, rows={names.of(own): values for own, values in omics.rows.items()}),
        subjects={subject: names.of(own) for subject, own in subjects.items()},
    )


def _images(
    folder: Path,
    tables: _Tables,
    tree: Tree | None,
    names: Pseudonyms,
    store: Cache,
    progress: Callable[[int, int], None],
    rejected: list[Rejected],
) -> tuple[Imaging, _Drawn]:
    """Return the images of DICOM and BIDS and what is drawn on them; note what is refused in `rejected`."""
    dicom, passed = files_below(folder, "dicom")
    nifti, passed_masks = files_below(folder, "masks")
    leveled, passed_levels = files_below(folder, LEVELS)
    rejected += passed + passed_masks + passed_levels
    if tables.rows is None and not dicom and tree is None:
        raise CohortError(
            "a site folder must hold patients.csv and dicom/, or BIDS", "none of them", "give the folder with them"
        )
    rows, subjects, key = tables.rows, tables.subjects, names.key
    drawn = [(subjects[one], item.file) for one, items in tree.masks.items() for item in items] if tree else []
    grids = mask_grids(folder, nifti, store, key, drawn)
    bids = read_bids(folder, tree, subjects, rows, grids, store, key) if tree else Bids()
    imaging = read_dicom(folder, dicom, store, rows, grids, names, progress, bids.candidates)
    segmentations = {
        one: bids.masks.get(one, []) + imaging.segmentations.get(one, [])
        for one in {*bids.masks, *imaging.segmentations}
    }
    masks, refused = read_masks(folder, nifti, segmentations, imaging.studies, store, key)
    levels, unread = read_levels(folder, leveled, bids.levels, imaging.studies, store, key)
    rejected += bids.rejected + imaging.rejected + refused + unread
    if not imaging.studies:
        raise _no_image(len(dicom) + (tree.files if tree else 0), rejected)
    return imaging, _Drawn(masks, levels)


NOTHING = "a patient must have images or omics; found neither; add them or take the row out."
STRANGER = "a patient in omics.csv must stand in patients.csv or have images; found one who does not; add the row."


def _no_image(files: int, rejected: list[Rejected]) -> CohortError:
    """Return the error of a site without any image, with the reason that most of its files have in common."""
    found = f"{files} {'file' if files == 1 else 'files'} and none usable"
    reasons = Counter(one.reason for one in rejected if one.where.startswith(("dicom", "bids", "sub-")))
    remedy = "export the images again, or give the folder that holds them"
    if reasons:
        rule, what, *rest = reasons.most_common(1)[0][0].split("; ")
        found += f" (most often: {rule}, {what})"
        remedy = "; ".join(rest).removesuffix(".") or remedy
    return CohortError("at least one patient must have a usable image", found, remedy)


def _spelled(omics: Omics, known: Collection[str]) -> Omics:
    """Return the table with ids spelled as in `known`, which differ by a `sub-` at most."""
    rows = {}
    for one, values in omics.rows.items():
        other = one.removeprefix("sub-") if one.startswith("sub-") else f"sub-{one}"
        rows[other if one not in known and other in known and other not in omics.rows else one] = values
    return replace(omics, rows=rows)


def _holds_anything(patient: Patient) -> bool:
    return bool(patient.volumes) or patient.omics is not None


def _strangers(omics: Omics, identifiers: list[str], imaging: Imaging) -> list[Rejected]:
    """Return a refusal for every omics row without a patient."""
    known = set(identifiers) | imaging.two_people
    return [Rejected("omics.csv", STRANGER, one) for one in omics.rows if one not in known]


def _patient(
    identifier: str,
    rows: Mapping[str, Row],
    studies: Mapping[str, Sequence[Study]],
    drawn: _Drawn,
    omics: Omics,
) -> Patient:
    row = rows.get(identifier, Row())
    known = [
        FollowUp(
            study.months, _volumes(study), drawn.masks.get((identifier, number)), drawn.levels.get((identifier, number))
        )
        for number, study in enumerate(studies.get(identifier, ()))
    ]
    return Patient(
        identifier=identifier,
        volumes=known[0].volumes if known else {},
        mask=known[0].mask if known else None,
        label=row.label,
        grade=row.grade,
        time=row.time,
        event=row.event,
        level=row.level,
        age=row.age,
        sex=row.sex,
        omics=omics.rows.get(identifier),
        follow_up=tuple(known[1:]),
        levels=known[0].levels if known else None,
    )


def _volumes(study: Study) -> dict[str, Volume]:
    return {name: image.volume for name, image in study.images.items()}
