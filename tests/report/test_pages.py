"""The pages say what must be said, hold nothing that they must not, and survive what is missing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedspine.errors import InputError
from fedspine.report.pages import write_reports
from fedspine.report.token_map import MOST_POINTS, read_tokens

from .run_folder import SITES, write_run


def rendered(folder: Path, change: Callable[[dict[str, Any]], object] | None = None) -> str:
    return write_reports(write_run(folder, change=change)).read_text("utf-8")


def test_the_coordinators_page_tells_the_whole_story(tmp_path: Path) -> None:
    text = rendered(tmp_path / "run")
    for words in ("epsilon 8", "patient", "noise is repeatable", "Losses of the GAN", "Synthetic", "Segmentation"):
        assert words in text, words
    for words in ("Harmonisation", "Lesion tokens", "Privacy spent", "What was sent", "Training", *SITES):
        assert words in text, words
    assert text.count("<svg") > 10
    assert text.count("data:image/png;base64,") > 10


def test_a_page_is_one_file_that_fetches_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_reports(run)
    for page in run.rglob("report.html"):
        text = page.read_text("utf-8")
        assert "default-src &#x27;none&#x27;" in text or "default-src &#39;none&#39;" in text
        assert not re.search(r"(?:src|href)=[\"'](?:https?:)?//", text)
        assert "@import" not in text
        assert "url(" not in text


def test_the_coordinators_page_does_not_change_with_what_sites_keep_for_themselves(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with_sites = write_reports(run).read_bytes()
    for site in (run / "sites").iterdir():
        for name in ("metrics.json", "gallery.safetensors", "ledger.jsonl", "egress.jsonl"):
            (site / name).unlink()
        (site / "metrics.json").write_text(json.dumps({"name": site.name}))
    assert write_reports(run).read_bytes() == with_sites


def test_a_sites_page_says_that_it_stays(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_reports(run)
    text = (run / "sites" / SITES[0] / "report.html").read_text("utf-8")
    for words in ("stays at this hospital", "Exact and released", "Privacy ledger", "Egress log", "Real and synthetic"):
        assert words in text, words


@pytest.mark.parametrize("rehearsing", [[], ["site-2"]])
def test_the_coordinators_page_names_sites_whose_noise_is_repeatable(tmp_path: Path, rehearsing: list[str]) -> None:
    page = rendered(tmp_path, lambda metrics: metrics.update(rehearsing=rehearsing))
    assert ("A rehearsal: the noise of some sites is repeatable." in page) == bool(rehearsing)


def test_a_rehearsal_with_repeatable_noise_is_loud_on_its_page(tmp_path: Path) -> None:
    def deployed(metrics: dict[str, Any]) -> None:
        metrics |= {"simulation": False, "noise": "each site's own"}

    for change, loud in ((deployed, True), (None, False)):
        run = write_run(tmp_path / f"run-{loud}", change=change)
        write_reports(run)
        page = (run / "sites" / SITES[0] / "report.html").read_text("utf-8")
        assert ("The noise of this site is repeatable." in page) == loud


def test_no_privacy_is_loud_on_every_page(tmp_path: Path) -> None:
    def off(metrics: dict[str, Any]) -> None:
        metrics["privacy"] |= {"mechanism": "none", "epsilon": None}
        for site in metrics["epsilon"].values():
            for fold in ("train", "held-out"):
                site[fold] = {"pld": None, "rdp": None}

    run = write_run(tmp_path / "run", change=off)
    write_reports(run)
    for page in run.rglob("report.html"):
        text = page.read_text("utf-8")
        assert "No differential privacy." in text
        assert "Differential privacy per patient" not in text


@pytest.mark.parametrize("part", ["gan", "tokens", "harmonisation", "metrics", "stages", "epsilon"])
def test_a_missing_part_is_a_sentence_not_a_crash(tmp_path: Path, part: str) -> None:
    text = rendered(tmp_path / "run", lambda metrics: metrics.pop(part))
    assert "</html>" in text


def test_a_site_sees_how_certain_its_contrasts_are_and_how_its_lesions_stand_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_reports(run)
    own = (run / "sites" / SITES[0] / "report.html").read_text("utf-8")
    assert "<strong>0.60</strong>" in own
    assert "saliency 0.30" in own
    assert own.count('class="dot s0 hollow"') == 15
    shared = (run / "report.html").read_text("utf-8")
    assert "saliency 0.30" not in shared  # a patient's score never is on the coordinator's page


def test_tokens_say_what_defines_them_and_what_is_unlike_all(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    text = write_reports(run).read_text("utf-8")
    assert "What defines each token" in text
    assert "MKI67" in text
    assert "unlike anything seen" in text
    assert text.count('class="ground') > 50
    many = [{"x": float(i), "y": 0.0, "token": i // 800} for i in range(4000)]
    shown = read_tokens({"tokens": {"names": list("abcde"), "points": many}})
    assert shown is not None
    assert {point.token for point in shown.points} == set(range(5))
    assert len(shown.points) <= MOST_POINTS
    own = (run / "sites" / SITES[0] / "report.html").read_text("utf-8")
    assert "80 % certain · score 0.40 (−0.30 to 1.10) by markers" in own
    assert own.count('class="patient unlike') == 1
    assert "80 % certain" not in text  # of a patient: never on the coordinator's page


def test_a_collapsed_generator_is_said_on_the_page(tmp_path: Path) -> None:
    well = rendered(tmp_path / "well", lambda metrics: metrics["stages"][2].update(diversity=[0.8] * 12, collapsed=[]))
    assert "After the last round of gan made images were 80 % as diverse as real ones. Balance" in well
    assert "collapsed in round" not in well
    text = rendered(tmp_path / "ill", lambda metrics: metrics["stages"][2].update(diversity=[0.1], collapsed=[3, 4]))
    assert "It collapsed in round 3, 4" in text


def test_a_collapsed_translator_is_said_where_there_is_no_gan(tmp_path: Path) -> None:
    def no_gan(metrics: dict[str, Any]) -> None:
        metrics["gan"] = {}
        metrics["stages"][2].update(name="fill", task="cyclegan", diversity=[0.9, 0.2], collapsed=[2])

    text = rendered(tmp_path / "run", no_gan)
    assert "After the last round of fill made images were 20 % as diverse" in text
    assert "It collapsed in round 2" in text


def test_a_run_without_pictures_or_sites_is_still_a_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "gallery.safetensors").unlink()
    shutil.rmtree(run / "sites")
    assert "</html>" in write_reports(run).read_text("utf-8")


def test_names_that_hold_markup_are_shown_not_run(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"

    def rename(metrics: dict[str, Any]) -> None:
        metrics["plan"]["name"] = evil
        metrics["sites"][evil] = metrics["sites"].pop(SITES[0])
        metrics["epsilon"][evil] = metrics["epsilon"].pop(SITES[0])

    text = rendered(tmp_path / "run", rename)
    assert evil not in text
    assert "&lt;script&gt;alert(1)" in text


def test_a_site_that_refused_is_named_with_its_code(tmp_path: Path) -> None:
    def refuse(metrics: dict[str, Any]) -> None:
        metrics["stages"][3]["refused"] = {SITES[1]: "budget-spent"}

    assert "budget-spent" in rendered(tmp_path / "run", refuse)


def test_a_metric_that_noise_has_drowned_is_said_to_be_unknown(tmp_path: Path) -> None:
    def drown(metrics: dict[str, Any]) -> None:
        for group in (
            metrics["metrics"]["segment-test"]["pooled"],
            *metrics["metrics"]["segment-test"]["sites"].values(),
        ):
            for name in group:
                group[name] = {"value": None, "low": None, "high": None}

    text = rendered(tmp_path / "run", drown)
    assert "too few patients under this noise" in text
    assert "nothing can be concluded" in text


def test_the_noise_of_a_released_loss_is_drawn_as_a_band(tmp_path: Path) -> None:
    def noisy(metrics: dict[str, Any]) -> None:
        for stage in metrics["stages"]:
            if stage["loss"]:
                stage["loss"]["noise"] = 0.2

    assert 'class="band' not in rendered(tmp_path / "without")
    assert rendered(tmp_path / "with", noisy).count('class="band') == 3


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        write_reports(tmp_path / "empty")
