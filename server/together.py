"""A round of a secure sum, as the server sees it: hand keys on, add masked vectors, begin again where a site is lost.

The server learns who takes part, and the total. A site that does not answer leaves the others' masks standing, so what
they sent is of no use to anybody; all who are left are asked again for fresh keys, as the next attempt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray
from torch import Tensor

from fedspine.config import Plan, Stage
from fedspine.errors import FedspineError
from fedspine.secure.encoding import added, decoded, width_for
from fedspine.secure.keys import MOST_ATTEMPTS
from fedspine.wire import ARRAYS, KEYS, MASKED, ORDER, SECURE, SHARED, masked_schema, offer_schema
from server.answers import count_rounds, usable
from server.sites import Enrolled, Reply, ask, order_of

PASSING = ("attempt-used",)
"""Codes after which a site is asked again: it remembers an attempt from before the server was started anew."""


@dataclass(frozen=True)
class Total:
    """What a round gives.

    Args:
        entries: (entry,) the sum over the sites' patients, with noise, in the units of the terms.
        sites: who is in it.
        noise_sd: of each entry.
    """

    entries: NDArray[np.float64]
    sites: tuple[Enrolled, ...]
    noise_sd: float


@dataclass(frozen=True)
class Sum:
    """What is asked for, of however many sites are left.

    Args:
        grid: Flower's.
        plan: its section on privacy.
        stage: clip, noise, fold.
        round: counted from 1.
        dimension: entries of the sum.
        arrays: weights, the same for every site.
        shared: released and public values, per site.
        timeout_s: the longest wait for an answer.
    """

    grid: Grid
    plan: Plan
    stage: Stage
    round: int
    dimension: int
    arrays: Mapping[str, Tensor]
    shared: Mapping[str, Mapping[str, Tensor]]
    timeout_s: float

    def over(self, sites: Sequence[Enrolled], entry: dict[str, Any]) -> Total:
        """Return the total over as many of `sites` as stay to the end of one attempt.

        Args:
            sites: enrolled.
            entry: the stage's, which says who has refused; changed.

        Raises:
            FedspineError: if fewer sites are left than the plan demands, or every attempt failed.
        """
        for attempt in range(1, MOST_ATTEMPTS + 1):
            present = sorted(
                (site for site in sites if site.name not in entry["refused"] and site.place is not None),
                key=lambda site: site.place or 0,
            )
            self._check(present, entry)
            offers = self._offers(present, attempt, entry)
            if len(offers) < len(present):
                continue
            replies = self._masked(present, attempt, offers, entry)
            if len(replies) == len(present):
                return self._total(present, replies)
        raise FedspineError(
            f"a secure sum must come about within {MOST_ATTEMPTS} attempts; that of stage '{self.stage.name}' did not; "
            "see the sites' errors.jsonl."
        )

    def _check(self, present: Sequence[Enrolled], entry: Mapping[str, Any]) -> None:
        least = self.plan.privacy.least_sites
        if len({site.place for site in present}) < len(present):
            raise FedspineError("sites must have places of their own in the roster; found one twice; mend the rosters.")
        if len(present) < least:
            codes = ", ".join(sorted(set(entry["refused"].values()))) or "fewer enrolled"
            raise FedspineError(
                f"a secure sum must be over {least} sites or more (least_sites); stage '{self.stage.name}' has "
                f"{len(present)} ({codes}); see the sites' errors.jsonl."
            )

    def _offers(self, present: Sequence[Enrolled], attempt: int, entry: dict[str, Any]) -> dict[str, Reply]:
        secure = ConfigRecord({"attempt": attempt, "participants": _places(present)})
        order = order_of(self.plan, self.stage.name, self.round)
        contents = {site.node: RecordDict({ORDER: order, SECURE: secure}) for site in present}
        return usable(self._asked(present, contents, KEYS), offer_schema(), entry, passing=PASSING)

    def _masked(
        self, present: Sequence[Enrolled], attempt: int, offers: Mapping[str, Reply], entry: dict[str, Any]
    ) -> dict[str, Reply]:
        bits = self._width(present)
        keys = b"".join(offers[site.name].arrays["offer"].numpy().tobytes() for site in present)
        secure = ConfigRecord({"attempt": attempt, "participants": _places(present), "keys": keys, "bits": bits})
        order, weights = order_of(self.plan, self.stage.name, self.round), ArrayRecord(dict(self.arrays))
        contents = {
            site.node: RecordDict(
                {ORDER: order, SECURE: secure, ARRAYS: weights, SHARED: ArrayRecord(dict(self.shared[site.name]))}
            )
            for site in present
        }
        replies = self._asked(present, contents, MASKED)
        kept = usable(replies, masked_schema(self.dimension, bits), entry, passing=PASSING)
        count_rounds(entry, [site.name for site in present], kept)
        return kept

    def _asked(self, present: Sequence[Enrolled], contents: Mapping[int, RecordDict], kind: str) -> dict[str, Reply]:
        replies = ask(self.grid, contents, kind, self.timeout_s, ttl=self.timeout_s)
        return {site.name: replies[site.node] for site in present}

    def _width(self, present: Sequence[Enrolled]) -> int:
        patients = sum(site.patients[self.stage.fold] for site in present)
        parts = len(present) - self.plan.privacy.colluding
        return width_for(patients, self.dimension, self.stage.noise_multiplier, len(present), parts)

    def _total(self, present: Sequence[Enrolled], replies: Mapping[str, Reply]) -> Total:
        whole = added([replies[site.name].arrays["masked"] for site in present], self._width(present))
        more = len(present) / (len(present) - self.plan.privacy.colluding)
        noise_sd = self.stage.noise_multiplier * self.stage.clip * math.sqrt(more)
        return Total(decoded(whole, self.stage.clip), tuple(present), noise_sd)


def _places(present: Sequence[Enrolled]) -> list[int]:
    return [site.place for site in present if site.place is not None]
