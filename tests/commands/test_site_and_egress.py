"""A privacy officer approves a plan, withdraws it, and verifies what has left."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fedspine.commands.extent import extents
from fedspine.config import load_plan
from fedspine.privacy.accounting import Event, epsilon_pld, epsilon_rdp
from fedspine.privacy.calibrate import calibrate
from fedspine.privacy.chain import read
from fedspine.privacy.ledger import Entry, Ledger

from ..client.conftest import PLAN, Opened
from ..conftest import Run


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "plan.toml").write_text(PLAN)
    folder = tmp_path / "hospital"
    folder.mkdir()
    (folder / "site.toml").write_text('tasks = ["segment"]\n')
    return folder


def test_an_approval_says_what_leaves_and_what_it_costs_and_is_on_record(
    fedspine: Run, site: Path, tmp_path: Path
) -> None:
    code, said, _ = fedspine("site", "approve", "plan.toml", "--site", site, "--by", "Dr Officer", "--yes")
    plan = load_plan(PLAN)
    assert code == 0
    tight = f"epsilon {epsilon_pld([Event(2.0, 0.5, 4)], 1e-5):.2f} (PLD"
    for part in (plan.digest(), "training patients", "2 x 2", tight, "2.82 by RDP", "at most", "in 100"):
        assert part in said, part
    (line,) = read(site / ".fedspine" / "approvals.jsonl", "the record")
    assert (line["action"], line["plan"], line["by"]) == ("approved", plan.digest(), "Dr Officer")
    assert load_plan(line["text"]) == plan
    assert line["cost"]["train"]["rdp"] == pytest.approx(2.817, abs=1e-3)
    code, said, _ = fedspine("site", "approvals", site)
    assert (code, "Dr Officer" in said, "approved" in said) == (0, True, True)
    assert fedspine("site", "revoke", plan.digest()[:10], "--site", site, "--by", "Dr Officer")[0] == 0
    assert "revoked" in fedspine("site", "approvals", site)[1]
    code, _, said = fedspine("site", "revoke", plan.digest()[:10], "--site", site)
    assert (code, "DIGEST must be" in said) == (2, True)


def test_without_a_yes_nothing_is_written(fedspine: Run, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedspine.commands.site.typer.confirm", lambda question: False)
    assert fedspine("site", "approve", "plan.toml", "--site", site, "--quick")[0] == 1
    assert not (site / ".fedspine").exists()


def test_an_approval_of_secure_sums_says_against_whom_costs_are(fedspine: Run, site: Path) -> None:
    def words() -> str:
        return fedspine("site", "approve", "plan.toml", "--site", site, "--quick", "--yes")[1]

    assert "own share of the noise" not in words()
    plan = (site.parent / "plan.toml").read_text()
    (site.parent / "plan.toml").write_text(plan.replace("[privacy]", '[privacy]\nsums = "secure"'))
    assert "only this hospital's own share of the noise is left" in " ".join(words().split())


def test_both_guarantees_of_a_secure_sum_are_priced(fedspine: Run, tmp_path: Path) -> None:
    event = Event(4.0, 1.0, 1, "skellam", 100, 4096.0)
    alone = replace(event, noise_multiplier=2.0)
    entry = Entry("tokens", 1, "train", "split", event, 1.0, "plan", "os entropy", alone)
    Ledger(tmp_path / "ledger.jsonl").book(entry, max_epsilon=10, delta=1e-5)
    said = fedspine("egress", "verify", tmp_path)[1]
    assert f"{epsilon_rdp([event], 1e-5):.3f}" in said
    assert f"{epsilon_rdp([alone], 1e-5):.3f}" in said


def test_what_the_policy_forbids_is_said_whoever_approves(fedspine: Run, site: Path) -> None:
    (site / "site.toml").write_text('tasks = ["classify"]\nmax_epsilon = 1.0\n')
    said = fedspine("site", "approve", "plan.toml", "--site", site, "--quick", "--yes")[1]
    assert "does not list this task, whoever approves" in said
    assert "THE BUDGET DOES NOT COVER THE PLAN" in said


def test_a_plans_name_cannot_write_to_the_terminal(fedspine: Run, site: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.replace('"tiny"', '"\\u001b[2J[red]safe[/red]"'))
    said = fedspine("site", "approve", "plan.toml", "--site", site, "--quick", "--yes")[1]
    assert "\x1b[2J" not in said
    assert "(red)safe" in said


def test_a_plan_that_leaves_its_contrasts_open_cannot_be_approved(fedspine: Run, site: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.replace('contrasts = ["T1", "T2"]', ""))
    code, _, said = fedspine("site", "approve", "plan.toml", "--site", site, "--yes")
    assert (code, "must name its contrasts" in said) == (2, True)


def test_the_numbers_told_are_those_that_leave(opened: Opened) -> None:
    plan = calibrate(load_plan(PLAN))
    post = opened(enrolled=plan)
    assert post.ask(plan).has_content()
    found = extents(plan, lambda stage: None)["segment"]
    assert post.left()[-1]["bytes"] == found.size
    assert found.numbers > 1000


def test_the_books_of_a_site_are_verified_and_each_tampering_is_found(fedspine: Run, opened: Opened) -> None:
    plan = load_plan(PLAN)
    post = opened(enrolled=plan)
    assert post.ask(plan).has_content()
    state = post.hospital.state
    code, said, _ = fedspine("egress", "verify", state)
    assert (code, "PASS" in said, "epsilon (PLD)" in said) == (0, True, True)
    for book in ("ledger.jsonl", "egress.jsonl"):
        whole = (state / book).read_text()
        for broken in (
            whole.replace('"round": 1', '"round": 2'),
            "".join(whole.splitlines(keepends=True)[:-1]),
            "",
        ):
            (state / book).write_text(broken)
            code, said, _ = fedspine("egress", "verify", state)
            assert (code, "FAIL" in said) == (1, True)
        (state / book).write_text(whole)
    assert fedspine("egress", "verify", state)[0] == 0
    (state / "ledger.jsonl").unlink()
    (state / "ledger.mark").unlink()
    code, said, _ = fedspine("egress", "verify", state)
    assert (code, "no line of the ledger paid for" in said) == (1, True)


def test_a_place_without_books_is_bad_input(fedspine: Run, tmp_path: Path) -> None:
    code, _, said = fedspine("egress", "verify", tmp_path)
    assert (code, "PLACE must be" in said) == (2, True)
    assert json.dumps(str(tmp_path))[1:-1] not in said
