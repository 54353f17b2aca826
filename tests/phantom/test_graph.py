"""The graph that is declared is the graph that is drawn: interventions reach descendants and nothing else."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest
from scipy.stats import pearsonr

from fedspine.phantom import genome
from fedspine.phantom.graph import Node as Thing
from fedspine.phantom.graph import as_text, checked, run
from fedspine.phantom.hospital import EVERYWHERE, Hospital
from fedspine.phantom.person import GRAPH, Request
from fedspine.phantom.scanner import SCANNERS
from fedspine.phantom.tumour import TUMOURS

DIRECTED = networkx.DiGraph([(parent, node.name) for node in GRAPH for parent in node.parents])

SMALL = Request(shape=(2, 24, 24), contrasts=("T1", "T2"))
ENTROPY = (1, 2, 3, 4)


def _same(one: Any, other: Any) -> bool:
    """Return whether two values of a node are byte for byte the same."""
    if isinstance(one, np.ndarray):
        return bool(one.dtype == other.dtype) and one.tobytes() == other.tobytes()
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if hasattr(one, "voxels"):
        return _same(one.voxels, other.voxels)
    if hasattr(one, "ap_mm"):
        return all(_same(value, getattr(other, name)) for name, value in vars(one).items())
    return bool(one == other)


def _changed(do: dict[str, Any], label: str = "malignant") -> set[str]:
    """Return the nodes that differ once `do` is done, without those in `do`."""
    given = {"request": SMALL, "label": label}
    before, after = run(GRAPH, ENTROPY, given), run(GRAPH, ENTROPY, {**given, **do})
    return {name for name in before if not _same(before[name], after[name])} - set(do)


def test_every_node_is_handed_its_declared_parents_and_nothing_else() -> None:
    for node in GRAPH:
        handed = list(inspect.signature(node.draw).parameters.values())
        assert [p.name for p in handed[1:]] == list(node.parents), node.name
        assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in handed[1:]), node.name


def test_another_scanner_changes_the_image_and_nothing_else() -> None:
    for scanner in SCANNERS:
        assert _changed({"scanner": scanner}) <= {"images"}
    assert _changed({"scanner": SCANNERS[1]}) | _changed({"scanner": SCANNERS[2]}) == {"images"}


def test_a_changed_gene_moves_tissue_expression_and_hazard_but_no_anatomy_and_no_scanner() -> None:
    mutations = run(GRAPH, ENTROPY, {"label": "malignant"}, wanted=("mutations",))["mutations"]
    changed = _changed({"mutations": mutations + np.array([0, 0, 1, 0, 0, 0])})
    assert changed >= {"pathways", "expression", "omics", "hazard", "table", "images"}
    assert not changed & {"age", "anatomy", "wear", "level", "lesions", "view", "tissues", "mask", "scanner", "grade"}
    # VHL is a gene of vessels: it moves the uptake of contrast agent and not the hazard
    changed = _changed({"mutations": mutations + np.array([0, 1, 0, 0, 0, 0])})
    assert "expression" in changed
    assert "table" in changed
    assert not changed & {"hazard", "outcome", "doubling"}


def test_another_hospital_changes_the_case_mix_and_the_scanner_but_no_tissue() -> None:
    other = Hospital(1, (SCANNERS[5],), (0.0, 0.0, 1.0), EVERYWHERE.style)
    assert _changed({"hospital": other}) <= {"scanner", "images"}  # the label is held
    assert "person" not in networkx.descendants(DIRECTED, "hospital")
    assert "anatomy" not in networkx.descendants(DIRECTED, "hospital")


@pytest.mark.parametrize("name", ["months", "age", "level", "tumour"])
def test_an_intervention_reaches_descendants_only(name: str) -> None:
    value: Any = {"months": 12.0, "age": 80.0, "level": 12, "tumour": TUMOURS[0]}[name]
    changed = _changed({name: value})
    assert changed
    assert changed <= networkx.descendants(DIRECTED, name)


def separated(one: str, other: str, *given: str) -> bool:
    return bool(networkx.is_d_separator(DIRECTED, {one}, {other}, set(given)))


def test_the_graph_separates_what_it_says_it_separates() -> None:
    assert separated("scanner", "omics", "label")
    assert not separated("scanner", "omics")  # the hospital's case mix and its scanner share a cause
    assert separated("mutations", "outcome", "hazard")
    assert not separated("mutations", "outcome")
    assert separated("age", "mutations")
    assert not separated("age", "mutations", "images")  # a common effect, once seen, ties its causes
    assert separated("scanner", "mask", "label")


def test_what_the_graph_separates_is_independent_in_the_drawing() -> None:
    wanted = ("age", "pathways", "omics", "anatomy", "hazard", "outcome")
    people = [run(GRAPH, (7, index), {"tumour": TUMOURS[0]}, wanted) for index in range(400)]
    proliferation = [p["pathways"].proliferation for p in people]
    marker = [p["omics"][genome.OMICS_COLUMNS.index("MKI67")] for p in people]
    assert pearsonr(proliferation, marker)[0] > 0.6
    for independent in ([p["age"] for p in people], [p["anatomy"].canal_mm for p in people]):
        assert pearsonr(proliferation, independent)[1] > 0.001


def test_a_graph_names_causes_before_effects() -> None:
    with pytest.raises(ValueError, match="after its parents"):
        checked(Thing("wet", ("rain",), print), Thing("rain", (), print))
    with pytest.raises(ValueError, match="a node of the graph"):
        run(GRAPH, ENTROPY, {"weather": 1})


def test_the_page_shows_the_graph_as_it_is() -> None:
    page = Path(__file__).parents[2] / "docs" / "explanation" / "phantom.md"
    shown = {line.strip() for line in page.read_text(encoding="utf-8").splitlines()}
    assert {line.strip() for line in as_text(GRAPH).splitlines()} <= shown


def test_the_page_shows_the_tumours_and_scanners_as_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "phantom.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| ")}
    for tumour in TUMOURS:
        for shown in (tumour.compartment, f"{tumour.adc / 1000:.2f}", f" {tumour.doubling_days:g} ", tumour.levels[0]):
            assert shown in rows[tumour.name]
    for scanner in SCANNERS:
        row = rows[f"{scanner.vendor} {scanner.model}"]
        protocol = scanner.protocols["STIR"]
        assert f"{protocol.inversion_time_ms:g}" in row
        assert f"{scanner.matrix[0]:.2f}, {scanner.matrix[1]:.2f}" in row
