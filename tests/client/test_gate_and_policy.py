"""What leaves is what the schema names; what a plan may ask is what the site allows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from client.egress import Gate
from client.hospital import Hospital
from client.page import _readable
from client.policy import CODES, admit
from client.rounds import answer, enrol
from client.work import Order
from fedspine.cohort import cache
from fedspine.cohort.deidentify import keyring
from fedspine.cohort.prepared import Lazily
from fedspine.cohort.site import load_cohort
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, PrivacyPlan, Stage
from fedspine.errors import ConfigError, EgressBlocked, PrivacyError, Refused
from fedspine.phantom.writer import write_consortium
from fedspine.plans.default import phantom_data
from fedspine.privacy.accounting import Event
from fedspine.privacy.chain import read_chain
from fedspine.privacy.ledger import Entry, paid_by
from fedspine.site_file import Site
from fedspine.wire import STAGE, Schema, digest

SCHEMA: Schema = {"weight": (torch.float32, (2, 3))}


def leave(gate: Gate, arrays: dict[str, Tensor], numbers: dict[str, float] | None = None) -> None:
    gate.pass_through(
        arrays,
        {"patients": 3.0} if numbers is None else numbers,
        kind=STAGE,
        schema=SCHEMA,
        stage="segment",
        round_number=1,
        mechanism="gaussian",
        cost="σ=1",
    )


def test_what_fits_the_schema_leaves_and_is_logged_by_digest_and_size(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "egress.jsonl")
    arrays = {"weight": torch.ones(2, 3)}
    leave(gate, arrays)
    leave(gate, arrays)
    lines = read_chain((tmp_path / "egress.jsonl").read_text(), "the egress log")
    assert [line["digest"] for line in lines] == [digest(arrays)[0]] * 2
    assert lines[0]["bytes"] == 2 * 3 * 4 + 8
    assert (tmp_path / "egress.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"weight": torch.ones(2, 3), "extra": torch.ones(1)},
        {"weihgt": torch.ones(2, 3)},
        {"weight": torch.ones(3, 2)},
        {"weight": torch.ones(2, 3, dtype=torch.float64)},
        {"weight": torch.full((2, 3), float("nan"))},
        {"weight": torch.full((2, 3), float("inf"))},
    ],
)
def test_what_does_not_fit_is_stopped_and_the_stop_is_logged(tmp_path: Path, arrays: dict[str, Tensor]) -> None:
    gate = Gate(tmp_path / "egress.jsonl")
    with pytest.raises(EgressBlocked, match="nothing was sent"):
        leave(gate, arrays)
    (line,) = read_chain((tmp_path / "egress.jsonl").read_text(), "the egress log")
    assert (line["mechanism"], line["bytes"]) == ("stopped", 0)


@pytest.mark.parametrize("numbers", [{"age": 44.0}, {"loss": float("nan")}])
def test_a_number_outside_the_schema_is_stopped(tmp_path: Path, numbers: dict[str, float]) -> None:
    with pytest.raises(EgressBlocked, match="number"):
        leave(Gate(tmp_path / "egress.jsonl"), {"weight": torch.ones(2, 3)}, numbers)


def test_a_broken_log_lets_nothing_leave(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "egress.jsonl")
    leave(gate, {"weight": torch.ones(2, 3)})
    line = json.loads((tmp_path / "egress.jsonl").read_text())
    (tmp_path / "egress.jsonl").write_text(json.dumps({**line, "bytes": 1}) + "\n")
    with pytest.raises(PrivacyError, match="egress log"):
        leave(gate, {"weight": torch.ones(2, 3)})


STAGE_OF = Stage("segment", "segment", rounds=5, steps=4, sample_rate=0.5, noise_multiplier=4.0)
PLAN = Plan("p", privacy=PrivacyPlan(epsilon=8.0), stage=(STAGE_OF,))


def test_a_plan_within_the_policy_is_admitted() -> None:
    admit(PLAN, STAGE_OF, Site(), 10)


@pytest.mark.parametrize(
    ("site", "plan", "patients", "code"),
    [
        (Site(tasks=("classify",)), PLAN, 10, "task-not-allowed"),
        (Site(minimum_cohort=11), PLAN, 10, "cohort-too-small"),
        (Site(max_epsilon=1.0), PLAN, 10, "epsilon-too-large"),
        (Site(), replace(PLAN, privacy=PrivacyPlan(epsilon=1.0)), 10, "epsilon-too-large"),
        (Site(max_delta=1e-6), PLAN, 10, "delta-too-large"),
        (Site(), replace(PLAN, privacy=PrivacyPlan(mechanism="none")), 10, "privacy-off"),
        (Site(), replace(PLAN, stage=(replace(STAGE_OF, noise_multiplier=0.0),)), 10, "noise-missing"),
    ],
)
def test_the_site_has_the_last_word(site: Site, plan: Plan, patients: int, code: str) -> None:
    with pytest.raises(Refused) as caught:
        admit(plan, plan.stage[0], site, patients)
    assert caught.value.code == code
    assert code in CODES


def test_a_site_may_permit_training_without_privacy_by_saying_so() -> None:
    admit(replace(PLAN, privacy=PrivacyPlan(mechanism="none")), STAGE_OF, Site(allow_no_privacy=True), 10)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_here_is_refused_before_anything_is_booked(tmp_path: Path) -> None:
    (site,) = write_consortium(tmp_path / "sites", sites=1, patients=4, shape=(2, 32, 32))
    plan = replace(PLAN, data=phantom_data(PLAN.data))
    (site / "site.toml").write_text('device = "cuda"\n')
    hospital = Hospital(site, tmp_path / "state")
    enrol(hospital, plan)
    with pytest.raises(ConfigError, match=r"device in site\.toml must be here"):
        answer(hospital, Order(plan, STAGE_OF.name, 1, {}, {}))
    assert hospital.ledger.entries() == []


def test_under_a_new_key_everybody_has_paid_for_both_sides(tmp_path: Path) -> None:
    (site,) = write_consortium(tmp_path / "sites", sites=1, patients=4, shape=(2, 32, 32))
    plan = replace(PLAN, data=phantom_data(PLAN.data))
    before = Hospital(site, tmp_path / "state").division(plan)
    assert Hospital(site, tmp_path / "state").division(plan) == before
    moved = site.rename(tmp_path / "sites" / "moved")
    assert Hospital(moved, tmp_path / "state").division(plan) == before
    (moved / ".fedspine" / "pseudonym.key").write_text(64 * "7")
    under_new_key = Hospital(moved.rename(tmp_path / "sites" / "rekeyed"), tmp_path / "state").division(plan)
    assert under_new_key != before
    paid = Entry("segment", 1, "held-out", before, Event(1.0, 1.0, 1), 1.0, plan.digest(), "os entropy")
    assert paid_by([paid], "train", before) == []
    assert paid_by([paid], "train", under_new_key) == [paid.event]


def test_the_number_of_patients_stays_what_was_enrolled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site,) = write_consortium(tmp_path / "sites", sites=1, patients=4, shape=(2, 32, 32))
    plan = replace(PLAN, data=phantom_data(PLAN.data))
    before = {fold: len(members) for fold, members in Hospital(site, tmp_path / "state").enrol(plan).sides.items()}
    cohort = load_cohort(site)
    (gone, *others), stays = cohort.patients, cohort.patients[1]
    new = replace(stays, identifier="P-NEW")
    monkeypatch.setattr("client.hospital._PREPARED", {})
    monkeypatch.setattr(
        "client.hospital.load_cohort", lambda *_, **__: replace(cohort, patients=(*others, new), name="later")
    )
    sides = Hospital(site, tmp_path / "state").patients(plan)
    assert {fold: len(members) for fold, members in sides.items()} == before
    silent = [one for members in sides.values() for one in members if not one.has_image and not one.omics_present.any()]
    assert len(silent) == 1
    assert gone.volumes
    enrolled = list((site / ".fedspine" / "enrolled").glob("*"))
    assert len(enrolled) == 1
    assert all(path.stat().st_mode & 0o077 == 0 for path in enrolled)


def test_a_read_only_folder_is_decoded_once_and_a_run_folder_holds_no_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site,) = write_consortium(tmp_path / "sites", sites=1, patients=4, shape=(2, 32, 32))
    plan = replace(PLAN, data=phantom_data(PLAN.data))
    made = cache._made
    monkeypatch.setattr(cache, "_made", lambda folder: not folder.is_relative_to(site) and made(folder))
    state = tmp_path / "state"
    for members in Hospital(site, state).patients(plan).values():
        list(members)
    kept = list(state.rglob("*.npy"))
    assert any("volumes" in path.parts for path in kept)
    assert any("prepared" in path.parts for path in kept)
    for members in Hospital(site, tmp_path / "run", partition=0).patients(plan).values():
        list(members)
    assert not list((tmp_path / "run").rglob("*.npy"))


def test_a_hospital_that_cannot_keep_its_pseudonyms_stays_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site,) = write_consortium(tmp_path / "sites", sites=1, patients=4, shape=(2, 32, 32))
    (site / ".fedspine" / "pseudonym.key").unlink()
    plan = replace(PLAN, data=phantom_data(PLAN.data))
    monkeypatch.setattr(keyring, "write_key", lambda room, text: False)
    with pytest.raises(Refused) as caught:
        Hospital(site, tmp_path / "state").patients(plan)
    assert caught.value.code == "pseudonyms-not-kept"
    assert caught.value.code in CODES
    monkeypatch.undo()
    assert sum(map(len, Hospital(site, tmp_path / "state").patients(plan).values())) == 4


def test_a_patient_who_cannot_be_opened_does_not_take_the_page_along(tmp_path: Path) -> None:
    def broken() -> PatientTensors:
        raise OSError("/data/PATIENT_JANE_DOE/T1.dcm")

    one = torch.zeros(1)
    whole = PatientTensors(one, one, None, 0, one, one)
    hospital = Hospital(tmp_path / "site", tmp_path / "state")
    assert list(_readable(hospital, Lazily([broken, lambda: whole]))) == [whole]
    noted = (tmp_path / "state" / "errors.jsonl").read_text()
    assert "patient-skipped" in noted
    assert "JANE_DOE" not in noted
