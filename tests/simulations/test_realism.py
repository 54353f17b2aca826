"""The two-sample test finds no difference where there is none, and finds one where there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from simulations.realism import two_sample as realism
from simulations.realism.two_sample import Slices, compare, draw_phantoms, read_real

PATIENTS, SLICES, SIZE = 10, 3, 48


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FOLDS", 3), ("TREES", 40), ("RESAMPLES", 40)):
        monkeypatch.setattr(realism, name, value)


@pytest.fixture(scope="module")
def phantoms() -> Slices:
    return draw_phantoms(PATIENTS, SLICES, SIZE, seed=1)


@pytest.mark.slow
def test_phantoms_are_not_told_from_other_phantoms(phantoms: Slices) -> None:
    verdicts, _ = compare(phantoms, draw_phantoms(PATIENTS, SLICES, SIZE, seed=2))
    verdict = verdicts["all, forest"]
    assert verdict.low < 0.6
    assert verdict.auc < 0.8


def test_blurred_phantoms_are_told_from_phantoms_by_their_spectrum(phantoms: Slices) -> None:
    blurred = np.stack([gaussian_filter(image, 1.0) for image in phantoms.images])
    verdicts, telling = compare(phantoms, Slices(blurred, phantoms.patient))
    assert verdicts["spectrum, forest"].auc > 0.95
    assert verdicts["texture, logistic"].auc > 0.9
    assert verdicts["anatomy, forest"].auc < verdicts["spectrum, forest"].auc
    assert len(telling) == 10


@pytest.mark.slow
def test_the_report_is_a_table_of_numbers(phantoms: Slices, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "real.npz"
    np.savez(file, images=phantoms.images, patient=np.array([f"p{n}" for n in phantoms.patient]))
    assert np.array_equal(np.unique(read_real(file).patient), np.arange(PATIENTS))
    realism.main([str(file), "--patients", "6"])
    printed = capsys.readouterr().out
    assert "| all, forest |" in printed
    assert "control: real against real" in printed
    assert "gives most away" in printed
