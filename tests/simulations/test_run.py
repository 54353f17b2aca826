"""A whole run in one process: its files, its books, what it repeats, what it survives, and what never leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from client.policy import CODES
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import load_plan, plan_text
from fedspine.errors import FedspineError, InputError
from fedspine.privacy.accounting import epsilon_rdp
from fedspine.privacy.chain import read_chain
from fedspine.privacy.ledger import Ledger
from fedspine.tasks import segment
from server.vault import Vault
from simulations.consortium import Simulation, simulate

from .conftest import TINY, Opened, Silent, tiny_plan


def bytes_of(run: Path, *patterns: str) -> dict[str, bytes]:
    return {str(f.relative_to(run)): f.read_bytes() for p in patterns for f in sorted(run.glob(p)) if f.is_file()}


def test_a_run_folder_holds_what_it_promises(finished: Simulation) -> None:
    simulation, run = finished, finished.out
    assert (run / "report.html").stat().st_size > 1000
    assert load_plan((run / "plan.toml").read_text()) == simulation.plan
    assert set(load_file(run / "models" / "segment.safetensors")) == set(
        segment.task(simulation.plan, simulation.plan.find("segment"), {}).build().state_dict()
    )
    metrics = json.loads((run / "metrics.json").read_text())
    assert [stage["name"] for stage in metrics["stages"]] == ["standardise", "harmonise", "segment", "segment-test"]
    assert metrics["simulation"] is True
    assert metrics["noise"] == "fixed seed"
    assert set(metrics["metrics"]["segment-test"]["sites"]) == {"site-1", "site-2"}
    for name in simulation.names:
        site = run / "sites" / name
        assert (site / "report.html").stat().st_size > 1000
        assert json.loads((site / "metrics.json").read_text())["patients"] == 8


def test_no_patients_own_id_is_in_the_run_folder(finished: Simulation) -> None:
    own = [line.split(",")[0] for one in finished.folders for line in (one / "patients.csv").read_text().split()[1:]]
    pseudonyms = [line.split(",")[0] for one in finished.folders for line in _lines(one / ".fedspine/pseudonyms.csv")]
    assert len(own) == len(pseudonyms) == 16
    everything = b"".join(file.read_bytes() for file in finished.out.rglob("*") if file.is_file())
    assert [one for one in own + pseudonyms if one.encode() in everything] == []


def _lines(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:]


def test_every_release_is_booked_and_every_message_logged(finished: Simulation) -> None:
    simulation = finished
    plan = simulation.plan
    metrics = json.loads((simulation.out / "metrics.json").read_text())
    for name in simulation.names:
        site = simulation.out / "sites" / name
        entries = Ledger(site / "ledger.jsonl").entries()
        assert [(e.stage, e.round) for e in entries] == [(s.name, r + 1) for s in plan.stage for r in range(s.rounds)]
        assert {e.plan for e in entries} == {plan.digest()}
        spent = epsilon_rdp([e.event for e in entries if e.fold == "train"], plan.privacy.delta)
        assert spent <= plan.privacy.epsilon
        assert metrics["epsilon"][name]["train"]["rdp"] == pytest.approx(spent)
        lines = read_chain((site / "egress.jsonl").read_text(), "the egress log")
        assert [line["stage"] for line in lines] == ["", *(e.stage for e in entries)]
        sent = sum(line["bytes"] for line in lines if line["stage"] == "segment")
        assert sent == next(s for s in metrics["stages"] if s["name"] == "segment")["bytes"][name]


def test_the_same_seed_gives_the_same_networks_and_another_seed_others(finished: Simulation, opened: Opened) -> None:
    files = ("models/*", "gallery.safetensors")
    first, again = finished, opened(out="again")
    other = opened(tiny_plan(TINY.replace("seed = 3", "seed = 4")), out="other")
    for simulation in (again, other):
        simulate(simulation, Silent())
    assert bytes_of(first.out, *files) == bytes_of(again.out, *files)
    assert bytes_of(first.out, *files) != bytes_of(other.out, *files)


class Interrupted(Exception):
    """The machine goes down."""


class Unplugged(Silent):
    def round_ends(self, stage: object, round_number: int, seconds: float) -> None:
        if getattr(stage, "task", "") == "segment" and round_number == 1:
            raise Interrupted


def test_a_run_that_was_cut_off_goes_on_to_the_same_networks(finished: Simulation, opened: Opened) -> None:
    whole, broken = finished, opened(out="broken")
    with pytest.raises(Interrupted):
        simulate(broken, Unplugged())
    simulate(broken, Silent())
    assert bytes_of(whole.out, "models/*") == bytes_of(broken.out, "models/*")
    entries = Ledger(broken.out / "sites" / "site-1" / "ledger.jsonl").entries()
    assert [(e.stage, e.round) for e in entries].count(("segment", 1)) == 1


def test_another_plan_cannot_go_on_in_a_run_folder(opened: Opened) -> None:
    first = opened()
    Vault(first.out).begin(first.plan)
    with pytest.raises(InputError, match="one plan's run"):
        simulate(opened(tiny_plan(TINY.replace("steps = 2", "steps = 3"))), Silent())


def test_one_site_that_refuses_does_not_stop_the_others(opened: Opened) -> None:
    simulation = opened()
    policy = simulation.folders[0] / "site.toml"
    policy.write_text('tasks = ["standardise", "harmonise", "evaluate"]\nminimum_cohort = 1\nmax_epsilon = 100\n')
    try:
        simulate(simulation, Silent())
    finally:
        policy.unlink()
    stages = {s["name"]: s for s in json.loads((simulation.out / "metrics.json").read_text())["stages"]}
    assert stages["segment"]["refused"] == {"site-1": "task-not-allowed"}
    assert stages["segment"]["answered"] == {"site-2": 2}
    assert stages["harmonise"]["answered"] == {"site-1": 1, "site-2": 1}
    booked = Ledger(simulation.out / "sites" / "site-1" / "ledger.jsonl").entries()
    assert "segment" not in {entry.stage for entry in booked}


def test_a_spent_budget_refuses_to_train(opened: Opened) -> None:
    simulation = opened()
    for folder in simulation.folders:
        (folder / "site.toml").write_text("max_epsilon = 8.0\nminimum_cohort = 1\n")
    try:
        simulate(simulation, Silent())
        again = opened(tiny_plan(TINY.replace('name = "tiny"', 'name = "again"')))
        (simulation.out / "plan.toml").unlink()
        for file in (simulation.out / "checkpoints").iterdir():
            file.unlink()
        with pytest.raises(FedspineError, match="budget-spent"):
            simulate(again, Silent())
    finally:
        for folder in simulation.folders:
            (folder / "site.toml").unlink()


def test_a_patient_on_whom_a_loss_fails_is_a_zero_term_and_its_text_goes_nowhere(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "PATIENT_JANE_DOE"

    def broken(self: segment.Segment, model: object, patient: PatientTensors, draws: object) -> torch.Tensor:
        raise ValueError(f"cannot read /data/{secret}/T1.dcm")

    monkeypatch.setattr(segment.Segment, "patient_loss", broken)
    plan = tiny_plan(TINY.replace("pretrain_steps = 2", "pretrain_steps = 0"))
    simulation = opened(plan)
    simulate(simulation, Silent())
    written = bytes_of(simulation.out, "**/*")
    assert any(name.endswith("errors.jsonl") for name in written)
    assert not any(secret.encode() in data for data in written.values())
    stages = {s["name"]: s for s in json.loads((simulation.out / "metrics.json").read_text())["stages"]}
    assert stages["segment"]["answered"] == {"site-1": 2, "site-2": 2}


def test_a_patient_who_cannot_be_opened_any_more_is_a_zero_term(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*arguments: object) -> PatientTensors:
        raise OSError("/data/PATIENT_JANE_DOE/T1.dcm")

    simulation = opened(tiny_plan(TINY.replace("pretrain_steps = 2", "pretrain_steps = 0")))
    monkeypatch.setattr("client.work.harmonised", gone)
    simulate(simulation, Silent())
    written = bytes_of(simulation.out, "**/*")
    assert any(name.endswith("errors.jsonl") for name in written)
    assert not any(b"JANE_DOE" in data for data in written.values())
    stages = {s["name"]: s for s in json.loads((simulation.out / "metrics.json").read_text())["stages"]}
    assert stages["segment"]["answered"] == {"site-1": 2, "site-2": 2}


def test_an_exception_at_a_site_tells_the_server_a_code_and_nothing_else(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ValueError("cannot read /data/PATIENT_JANE_DOE/T1.dcm")

    monkeypatch.setattr("client.work.make", broken)
    simulation = opened()
    with pytest.raises(FedspineError) as caught:
        simulate(simulation, Silent())
    assert "(failed)" in str(caught.value)
    assert "failed" in CODES
    written = bytes_of(simulation.out, "**/*")
    assert not any(b"JANE_DOE" in data for data in written.values())
    assert any(name.endswith("errors.jsonl") for name in written)
    line = read_chain((simulation.out / "sites" / "site-1" / "egress.jsonl").read_text(), "the egress log")[-1]
    assert (line["mechanism"], line["cost"]) == ("refusal", "failed")


def test_nothing_that_leaves_names_a_patient(finished: Simulation, sites: Path) -> None:
    markers = [b"S1-P0", b"S2-P0", b"PHANTOM^", str(sites).encode()]
    for name, data in bytes_of(finished.out, "**/*").items():
        assert not any(marker in data for marker in markers), name


def test_without_privacy_the_run_says_so(opened: Opened) -> None:
    simulation = opened(tiny_plan(TINY + '\n[privacy]\nmechanism = "none"\n'))
    simulate(simulation, Silent())
    metrics = json.loads((simulation.out / "metrics.json").read_text())
    assert metrics["privacy"]["mechanism"] == "none"
    assert metrics["epsilon"]["site-1"]["train"]["pld"] is None
    assert 'mechanism = "none"' in plan_text(simulation.plan)
    assert "no differential privacy" in (simulation.out / "report.html").read_text().lower()
