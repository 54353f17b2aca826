"""What is audited: a run's plan and results, its sites' books, and the patients where somebody has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from client.aligning import maps_of
from client.hospital import Hospital
from fedspine.audit.books import record
from fedspine.audit.subject import SiteRecord, Subject
from fedspine.cohort.prepared import Lazily, mapped
from fedspine.cohort.site import ROOM
from fedspine.config import Plan
from fedspine.errors import InputError, Refused
from fedspine.harmony.apply import harmonised
from fedspine.tasks._task import Shared
from server.finished import Finished, read_finished


def subject_of(run: Path, data: Path | None, seed: int = 0) -> Subject:
    """Return the run of a folder as an audit needs it.

    Args:
        run: the run folder, as the coordinator has it.
        data: a site folder, or a folder of them; left out, the phantoms in the run folder, where there are any.
        seed: of what is random in the audit.

    Raises:
        InputError: if the run has not come to its end, `data` holds no site folder or one that has not its name in the
            run, or a site's patients cannot be divided as the run divided them.
    """
    finished = read_finished(run)
    simulated = bool(record(run).get("simulation", (run / "sites").is_dir()))
    phantoms = run / "phantoms"
    place = data if data is not None else phantoms if phantoms.is_dir() else None
    folders = {} if place is None else {folder.resolve().name: folder.resolve() for folder in _site_folders(place)}
    if data is not None and not folders:
        raise InputError("--data must be a site folder or a folder of them", "none", "name the place")
    known: Mapping[str, object] = record(run).get("sites", {})
    if data is not None and known and not folders.keys() <= known.keys():
        rule = "a site folder must have the name that its site had in the run, or it is not harmonised as then"
        raise InputError(rule, "another name", f"rename or link it; the run had: {', '.join(sorted(known))}")
    names = sorted({*folders, *(state.name for state in _states(run))} if data is None else folders)
    sites = tuple(_record(run, finished, name, folders.get(name), simulated) for name in names)
    return Subject(run, finished.plan, finished.progress.shared, finished.progress.models, sites, simulated, seed)


def _states(run: Path) -> list[Path]:
    folder = run / "sites"
    return [state for state in folder.iterdir() if state.is_dir()] if folder.is_dir() else []


def _site_folders(data: Path) -> list[Path]:
    if not data.is_dir():
        return []
    if any((data / part).exists() for part in ("dicom", "bids", "site.toml")):
        return [data]
    return [folder for folder in data.iterdir() if folder.is_dir() and not folder.name.startswith(".")]


def _record(run: Path, finished: Finished, name: str, folder: Path | None, simulated: bool) -> SiteRecord:
    state = run / "sites" / name
    if not state.is_dir() and folder is not None:
        state = folder / ROOM
    own = finished.progress.own.get(name, {})
    if folder is None:
        return SiteRecord(name, state, {}, own)
    hospital = Hospital(folder, state, partition=0 if simulated else None)
    shared = {**finished.progress.shared, **own}
    return SiteRecord(name, state, _patients(hospital, finished.plan, shared), own, folder)


def _patients(hospital: Hospital, plan: Plan, shared: Shared) -> Mapping[str, Lazily]:
    """Return the site's patients by fold, as the last stages saw them."""
    try:
        folds = hospital.patients(plan)
    except Refused:
        rule = "a site's key must be kept, or who trained cannot be told"
        remedy = "let the folder be written to, or name the run where it was used"
        raise InputError(rule, "a new one", remedy) from None
    maps = maps_of(hospital, plan, shared)
    return {fold: mapped(members, lambda patient: harmonised(patient, shared, maps)) for fold, members in folds.items()}
