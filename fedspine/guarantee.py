"""What a plan promises its patients, and between whom sums are hidden: the `[privacy]` section of a plan."""

from __future__ import annotations

from dataclasses import dataclass

from fedspine.strict import demand, suggestion


@dataclass(frozen=True)
class PrivacyPlan:
    """The patient-level guarantee that the plan asks of every site.

    Args:
        mechanism: `"gaussian"`, or `"none"` to train without privacy (the report says so on its first line).
        epsilon: what the whole plan may cost a training patient, and, apart from that, a held-out patient.
        delta: probability with which epsilon may fail.
        sums: `"own"`, each site's sums with its own noise, or `"secure"`, sums over sites under masks.
        colluding: of secure sums, how many sites may pool what they know with the server at the same epsilon.
        least_sites: of secure sums, fewer than this and there is none.
        on_dropout: of secure sums, what is done when a site stops answering: `"retry"` without it.
    """

    mechanism: str = "gaussian"
    epsilon: float = 8.0
    delta: float = 1e-5
    sums: str = "own"
    colluding: int = 1
    least_sites: int = 3
    on_dropout: str = "retry"


def check_privacy(privacy: PrivacyPlan) -> None:
    """Raise ConfigError unless every value of the section is in range."""
    choose = "see docs/how-to/choose-privacy.md"
    known = privacy.mechanism in ("gaussian", "none")
    demand(known, "mechanism must be 'gaussian' or 'none'", privacy.mechanism, choose)
    demand(privacy.epsilon > 0, "epsilon must be positive", privacy.epsilon, choose)
    demand(0 < privacy.delta < 1, "delta must lie between 0 and 1", privacy.delta, choose)
    _check_sums(privacy)


def _check_sums(privacy: PrivacyPlan) -> None:
    """Say what secure sums cannot be; see docs/explanation/secure-sums.md."""
    known = privacy.sums in ("own", "secure")
    demand(known, "sums must be 'own' or 'secure'", f"'{privacy.sums}'", suggestion(privacy.sums, ("own", "secure")))
    rule = "on_dropout must be 'retry'; a lost site's masks are not recovered, the round is taken again without it"
    demand(privacy.on_dropout == "retry", rule, f"'{privacy.on_dropout}'", "write 'retry', or leave it out")
    demand(privacy.least_sites >= 2, "least_sites must be 2 or more", privacy.least_sites, "write 3, or leave it out")
    fits = 0 <= privacy.colluding < privacy.least_sites
    demand(fits, "colluding must be 0 or more and less than least_sites", privacy.colluding, "lower it")
    noisy = privacy.sums == "own" or privacy.mechanism != "none"
    demand(noisy, "secure sums must have noise", 'mechanism = "none"', 'leave `sums` out, or write "gaussian"')
