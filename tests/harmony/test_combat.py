"""ComBat from sums equals the reference implementation, and its noise-aware form stays sane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedspine.harmony.combat import SiteSums, adjust, pool, site_effect, sums

FIXTURE = Path(__file__).parent.parent / "data" / "combat_fixture.npz"


def test_combat_from_sums_equals_the_reference_implementation() -> None:
    data = np.load(FIXTURE)
    rows, batch = data["Y"], data["batch"].astype(int)
    covariates = data["cov"][:, [2, 3, 1]].astype(np.float64)
    covariates[:, 2] = covariates[:, 2].astype(np.float32)  # the reference rounds continuous covariates
    released = [sums(rows[batch == b], covariates[batch == b]) for b in range(4)]
    pooled = pool(released)
    assert np.abs(pooled.sigma**2 - data["var_pooled"]).max() < 1e-10
    for b in range(4):
        effect = site_effect(released[b], pooled)
        # the reference stops its iteration by a signed ratio, hence 1e-6 on one of the four batches
        assert np.abs(effect.gamma - data["gamma_star"][b]).max() < 2e-6
        assert np.abs(effect.delta - data["delta_star"][b]).max() < 2e-6
        found = adjust(rows[batch == b], covariates[batch == b], pooled, effect)
        assert np.abs(found - data["harmonised"][batch == b]).max() < 2e-6


def test_noise_moves_a_site_less_not_more() -> None:
    random = np.random.default_rng(0)
    shift = random.normal(0, 1, 10)
    near, far = random.normal(0, 1, (40, 10)), random.normal(0, 1, (40, 10)) + shift
    nothing = np.zeros((40, 0))

    def gamma(noise: float) -> float:
        released = [
            SiteSums(**{**vars(sums(rows, nothing)), "noise": noise, "square_noise": noise}) for rows in (near, far)
        ]
        return float(np.abs(site_effect(released[1], pool(released)).gamma).mean())

    exact, noisy, drowned = gamma(0.0), gamma(30.0), gamma(1e5)
    assert exact > noisy > drowned
    assert np.isfinite(drowned)


@pytest.mark.parametrize("lowest", [-1e6, 0.0])
def test_noisy_squares_below_zero_do_not_give_an_absurd_scale(lowest: float) -> None:
    site = SiteSums(
        np.full(4, 20.0), np.zeros(0), np.zeros((0, 0)), np.ones(4), np.zeros((0, 4)), np.full(4, lowest), 20.0, 40.0
    )
    pooled = pool([site, site])
    effect = site_effect(site, pooled)
    assert (pooled.sigma > 0.3).all()
    assert ((effect.delta > 0.1) & (effect.delta < 10)).all()
