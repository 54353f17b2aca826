"""Marks in more than twenty places of a patient's data, and none of them in any byte that leaves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_to_proto

import client.app
from client.work import Answer
from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage, load_plan
from fedspine.phantom.writer import write_consortium
from fedspine.tasks import segment
from server.coordinate import coordinate
from simulations.consortium import Simulation, open_consortium
from simulations.grid import InProcessGrid

from ..planting import GENE, ROW, TEXTS, VALUE, needles, plant, seen

pytestmark = pytest.mark.slow

PLAN = """
name = "marks"
seed = 3
[data]
contrasts = ["T1", "T2", "STIR"]
classes = ["benign", "malignant", "normal"]
omics = ["NF2", "MKI67"]
markers = ["MKI67"]
size = 32
slices = 2
held_out = 0.3
[[stage]]
task = "standardise"
[[stage]]
task = "harmonise"
[[stage]]
task = "segment"
rounds = 2
steps = 2
sample_rate = 0.6
[stage.options]
features = [4, 4, 4, 4]
[[stage]]
task = "evaluate"
of = "segment"
"""


class Recorder(InProcessGrid):
    """Keeps every answer as the bytes that Flower would send."""

    def __init__(self, app: ClientApp, names: tuple[str, ...]) -> None:
        super().__init__(app, names)
        self.left = bytearray()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        identifiers = list(super().push_messages(messages))
        for one in identifiers:
            self.left += message_to_proto(self._replies[one]).SerializeToString()
        return identifiers


class Silent:
    def stage_begins(self, stage: Stage) -> None: ...

    def round_ends(self, stage: Stage, round_number: int, seconds: float) -> None: ...


@dataclass(frozen=True)
class Marked:
    """Two marked sites.

    Args:
        plan: complete.
        folders: of the sites.
        marks: what to look for.
        out: where runs go.
    """

    plan: Plan
    folders: tuple[Path, ...]
    marks: dict[str, tuple[bytes, ...]]
    out: Path

    def run(self, name: str) -> Recorder:
        """Run the plan and return what kept all that left."""
        simulation = Simulation(self.plan, self.folders, self.out / name, "inprocess", "site folders")
        grid = Recorder(simulation.client_app(), simulation.names)
        coordinate(
            grid,
            self.plan,
            simulation.out,
            expected=2,
            watcher=Silent(),
            engine="inprocess",
            source="site folders",
            names=("site-1", "site-2"),
            report=False,
        )
        return grid


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Marked:
    folder = tmp_path_factory.mktemp("marked")
    for site in write_consortium(folder / "sites", sites=2, patients=6, shape=(3, 32, 32)):
        plant(site)
    plan, folders = open_consortium(folder / "sites", load_plan(PLAN))
    hospital = Simulation(plan, folders, folder / "look", "inprocess", "site folders").hospital(0)
    images = next(patient.images for patient in hospital.patients(plan)["train"] if patient.has_image)
    row = images[0, int(images[0].flatten(1).std(1).argmax()), 16].numpy()
    assert row.std() > 0
    return Marked(plan, folders, needles(row), folder)


def test_every_place_was_marked_and_the_sites_read_it(marked: Marked) -> None:
    names = "".join(str(path) for path in marked.folders[0].rglob("*"))
    held = b"".join(path.read_bytes() for path in marked.folders[0].rglob("*") if path.is_file()) + names.encode()
    places = [place for place in marked.marks if place not in ("exception text", "prepared pixels")]
    assert [place for place in places if place not in seen(marked.marks, held)] == ["mask's header"]  # compressed
    assert len(marked.marks) >= 20


def test_no_mark_is_in_any_byte_that_left(marked: Marked, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = segment.Segment.patient_loss
    calls = iter(range(1_000_000))

    def at_times_broken(
        self: segment.Segment, model: torch.nn.Module, patient: PatientTensors, draws: torch.Generator
    ) -> torch.Tensor | None:
        if next(calls) % 3 == 0:
            raise OSError("ZQEXCEPTION: cannot read /data/ZQPID0001/ZQFILE")
        return whole(self, model, patient, draws)

    monkeypatch.setattr(segment.Segment, "patient_loss", at_times_broken)
    grid = marked.run("honest")
    assert next(calls) > 3
    assert len(grid.left) > 20_000
    assert seen(marked.marks, bytes(grid.left)) == []


def test_a_client_that_answers_with_an_exception_sends_none_of_its_text(
    marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise OSError("ZQEXCEPTION: cannot read /data/ZQPID0001/ZQFILE")

    monkeypatch.setattr("client.work.make", broken)
    simulation = Simulation(marked.plan, marked.folders, marked.out / "broken", "inprocess", "site folders")
    grid = Recorder(simulation.client_app(), simulation.names)
    with pytest.raises(Exception, match="failed"):
        coordinate(
            grid,
            marked.plan,
            simulation.out,
            expected=2,
            watcher=Silent(),
            engine="inprocess",
            source="site folders",
            names=("site-1", "site-2"),
        )
    assert b"failed" in grid.left
    assert seen(marked.marks, bytes(grid.left)) == []


def test_a_client_that_leaks_is_found_at_every_place(marked: Marked, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = client.app._packed
    prepared = np.frombuffer(marked.marks["prepared pixels"][0], np.float32)

    def leaking(result: Answer, message: Message) -> Message:
        reply = packed(result, message)
        texts: dict[str, str | bytes] = {f"t{number}": text for number, text in enumerate(TEXTS.values())}
        rows = {"row": torch.from_numpy(ROW), "prepared": torch.from_numpy(prepared.copy())}
        values = {"gene": torch.tensor([GENE], dtype=torch.float64), "value": torch.tensor([VALUE])}
        leak = {"texts": ConfigRecord(dict(texts)), "values": ArrayRecord({**rows, **values})}
        return Message(RecordDict({**reply.content, **leak}), reply_to=message)  # type: ignore[dict-item]

    monkeypatch.setattr(client.app, "_packed", leaking)
    grid = marked.run("leaking")
    assert seen(marked.marks, bytes(grid.left)) == list(marked.marks)
