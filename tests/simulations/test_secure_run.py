"""A consortium whose server sees sums over sites alone: what it gets, what it learns, and what a lost site does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Message
from numpy.typing import NDArray
from scipy.stats import chisquare

from client.policy import CODES
from fedspine.config import Plan, load_plan
from fedspine.errors import FedspineError
from fedspine.phantom.writer import write_consortium
from fedspine.plans.default import phantom_data
from fedspine.privacy.accounting import epsilon_rdp
from fedspine.privacy.books import matched
from fedspine.privacy.chain import read
from fedspine.privacy.integer_sum import IntegerSum
from fedspine.privacy.ledger import Ledger
from fedspine.secure.encoding import added, decoded
from fedspine.wire import MASKED
from server.coordinate import coordinate
from simulations.consortium import Simulation, open_consortium, simulate
from simulations.grid import InProcessGrid

from .conftest import Silent

SECURE = """
name = "secure"
seed = 3
[data]
size = 32
slices = 2
held_out = 0.3
[privacy]
sums = "secure"
least_sites = 2
[[stage]]
task = "standardise"
[[stage]]
task = "harmonise"
[[stage]]
task = "segment"
rounds = 2
sample_rate = 0.6
[stage.options]
features = [4, 4, 4, 4]
[[stage]]
task = "evaluate"
of = "segment"
"""


class Overheard(InProcessGrid):
    """The grid, with a server that keeps what it gets, and sites that stop answering.

    Args:
        simulation: the consortium.
        silent: site to the message type that it does not answer, once.
    """

    def __init__(self, simulation: Simulation, silent: dict[str, str]) -> None:
        super().__init__(simulation.client_app(), simulation.names)
        self.names, self.silent = dict(enumerate(simulation.names, 100)), silent
        self.received: list[NDArray[np.int32]] = []

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Listen in, and lose what is to be lost."""
        for reply in super().pull_messages(message_ids):
            name = self.names[reply.metadata.src_node_id]
            if self.silent.get(name) == reply.metadata.message_type:
                del self.silent[name]
                continue
            if reply.metadata.message_type == MASKED and reply.has_content():
                words = reply.content.array_records["arrays"].to_torch_state_dict()["masked"]
                self.received.append(words.numpy())
            yield reply


def secure_plan(text: str = SECURE) -> Plan:
    plan = load_plan(text)
    return replace(plan, data=phantom_data(plan.data))


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three") / "sites"
    write_consortium(folder, sites=3, patients=5, shape=(2, 32, 32))
    return folder


def run(simulation: Simulation, **silent: str) -> Overheard:
    grid = Overheard(simulation, {name.replace("_", "-"): kind for name, kind in silent.items()})
    coordinate(
        grid,
        simulation.plan,
        simulation.out,
        expected=3,
        watcher=Silent(),
        engine="inprocess",
        source="phantoms",
        names=simulation.names,
        report=False,
    )
    return grid


def opened(sites: Path, out: Path, text: str = SECURE) -> Simulation:
    plan, folders = open_consortium(sites, secure_plan(text))
    return Simulation(plan, folders, out, "inprocess", "phantoms")


@pytest.fixture(scope="module")
def finished(three: Path, tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    simulation = opened(three, tmp_path_factory.mktemp("secure") / "run")
    simulate(simulation, Silent())
    return simulation


@pytest.mark.slow
def test_a_secure_plan_runs_from_end_to_end_and_says_whose_noise_is_where(finished: Simulation) -> None:
    metrics = json.loads((finished.out / "metrics.json").read_text())
    assert {stage["name"]: stage["sums"] for stage in metrics["stages"]} == {
        "standardise": "secure",
        "harmonise": "own",  # a row a scanner
        "segment": "secure",
        "segment-test": "secure",
    }
    assert all(not stage["refused"] for stage in metrics["stages"])
    assert metrics["metrics"]["segment-test"]["sites"] == {}
    assert len(metrics["stages"][2]["loss"]["pooled"]) == 2
    assert (finished.out / "report.html").stat().st_size > 1000


@pytest.mark.slow
def test_the_books_hold_both_guarantees_and_match_the_log(finished: Simulation) -> None:
    plan = finished.plan
    metrics = json.loads((finished.out / "metrics.json").read_text())
    for name in finished.names:
        site = finished.out / "sites" / name
        entries = Ledger(site / "ledger.jsonl").entries()
        assert [(e.stage, e.round) for e in entries] == [(s.name, r + 1) for s in plan.stage for r in range(s.rounds)]
        for entry in entries:
            own = entry.stage == "harmonise"
            assert (entry.event.mechanism, entry.coalition is None) == ("gaussian" if own else "skellam", own)
            if entry.coalition is not None:
                assert entry.coalition.noise_multiplier == pytest.approx(entry.event.noise_multiplier / 2**0.5)
        spent = epsilon_rdp([e.event for e in entries if e.fold == "train"], plan.privacy.delta)
        assert spent <= plan.privacy.epsilon
        assert metrics["epsilon"][name]["train"]["rdp"] == pytest.approx(spent)
        books = matched(read(site / "ledger.jsonl", "the ledger"), read(site / "egress.jsonl", "the log"))
        assert books.faults == ()
        assert books.unsent == ()


def test_what_the_server_gets_of_a_site_is_uniform_and_the_sum_is_exact(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SECURE.split('[[stage]]\ntask = "harmonise"')[0]
    bare: list[NDArray[np.int64]] = []
    release = IntegerSum.release_share

    def noted(self: IntegerSum, sigma: float, parts: int, generator: np.random.Generator) -> NDArray[np.int64]:
        bare.append(release(self, sigma, parts, generator))
        return bare[-1]

    monkeypatch.setattr(IntegerSum, "release_share", noted)
    simulation = opened(three, tmp_path / "run", text)
    grid = run(simulation)
    vectors = grid.received
    assert len(vectors) == len(bare) == 3
    total = added([torch.from_numpy(one) for one in vectors], 32)
    assert total.tolist() == np.sum(bare, axis=0).tolist()
    assert np.abs(decoded(total, 1.0)).max() < 100
    for some in (vectors[0], vectors[1], vectors[0] + vectors[1], vectors[1] + vectors[2]):
        counts = np.bincount(some.view(np.uint8), minlength=256)
        assert chisquare(counts).pvalue > 1e-6
    assert chisquare(np.bincount(bare[0].astype(np.int32).view(np.uint8), minlength=256)).pvalue < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["query.keys", "train.masked"])
def test_a_lost_site_costs_the_others_an_attempt_and_the_round_goes_on_without_it(
    three: Path, tmp_path: Path, kind: str
) -> None:
    simulation = opened(three, tmp_path / "run", SECURE.split('[[stage]]\ntask = "segment"')[0])
    run(simulation, site_2=kind)
    metrics = json.loads((simulation.out / "metrics.json").read_text())
    standardise, harmonise = metrics["stages"]
    assert standardise["refused"] == {"site-2": "no-answer"}
    assert harmonise["refused"] == {}
    sent = {"query.keys": 1, "train.masked": 2}[kind]
    for name in ("site-1", "site-3"):
        entries = Ledger(simulation.out / "sites" / name / "ledger.jsonl").entries()
        assert [entry.stage for entry in entries].count("standardise") == sent
        assert standardise["asked"][name] == sent
        last = [entry for entry in entries if entry.stage == "standardise"][-1]
        assert last.coalition == last.event  # of two sites one may collude: each adds the whole noise


def test_too_few_sites_stop_the_run_with_a_sentence(three: Path, tmp_path: Path) -> None:
    simulation = opened(three, tmp_path / "run", SECURE.replace("least_sites = 2", "least_sites = 3"))
    with pytest.raises(FedspineError, match="must be over 3 sites or more") as caught:
        run(simulation, site_2="train.masked")
    assert "no-answer" in str(caught.value)


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_with_the_next_attempt(three: Path, tmp_path: Path) -> None:
    simulation = opened(three, tmp_path / "run", SECURE.split('[[stage]]\ntask = "harmonise"')[0])

    class Unplugged(Overheard):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            replies = list(super().pull_messages(message_ids))
            if replies and replies[0].metadata.message_type == MASKED:
                raise KeyboardInterrupt
            return replies

    with pytest.raises(KeyboardInterrupt):
        coordinate(
            Unplugged(simulation, {}),
            simulation.plan,
            simulation.out,
            expected=3,
            watcher=Silent(),
            engine="inprocess",
            source="phantoms",
            names=simulation.names,
            report=False,
        )
    run(simulation)
    metrics = json.loads((simulation.out / "metrics.json").read_text())
    assert metrics["stages"][0]["refused"] == {}
    entries = Ledger(simulation.out / "sites" / "site-1" / "ledger.jsonl").entries()
    assert [entry.stage for entry in entries] == ["standardise", "standardise"]


def test_every_refusal_of_a_secure_sum_is_a_known_code() -> None:
    assert {"keys-refused", "attempt-used", "not-on-roster", "too-few-sites", "masks-missing"} <= CODES.keys()
