"""This site's part of a secure sum: first a key for the attempt, then whole numbers with noise under masks. No Flower.

What the server gets is uniform noise to it until the vectors of all participants are added (`fedspine.secure.masks`),
and then the sum of all, with noise of σC that `colluding` of the sites could not take away. Every answer is booked as
the release that it would be in that sum, whether the sum comes about or not: the server may hold all other parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from client.attempts import Attempts
from client.egress import Gate
from client.hospital import Hospital
from client.identity import Identity, identity
from client.limits import words_limit
from client.work import Answer, Order, Work, book, pass_gate, prepare, stage_of
from fedspine.errors import Refused
from fedspine.privacy.accounting import SKELLAM, Event
from fedspine.privacy.integer_sum import Integers, steps_for
from fedspine.privacy.patient_sum import noise_generator
from fedspine.secure.encoding import WIDTHS, to_tensor, to_words
from fedspine.secure.keys import OFFER_BYTES, Context, named, offer, verified
from fedspine.secure.masks import masked
from fedspine.tasks._task import Trained
from fedspine.tasks._together import is_one_sum, share_of_gradient, share_of_terms
from fedspine.wire import KEYS, MASKED, masked_schema, offer_schema


@dataclass(frozen=True)
class Asked:
    """What a message about a secure sum says beside the order.

    Args:
        attempt: counted from 1.
        participants: places in the roster.
        keys: of a round, what each participant offered, one after the other in the order of `participants`.
        bits: of a round, 32 or 64, of a word.
    """

    attempt: int
    participants: tuple[int, ...]
    keys: bytes = b""
    bits: int = 0


def offer_key(hospital: Hospital, order: Order, asked: Asked) -> Answer:
    """Return a fresh public key for one attempt, signed; it tells of no patient."""
    plan, policy = order.plan, hospital.policy()
    hospital.approvals.permit(plan, policy)
    hospital.approvals.counted_from(plan)
    stage = stage_of(order)
    site = identity(hospital)
    context = _context(order, asked, site)
    signed = offer(_attempts(hospital).begin(context), site.name, site.key, context)
    arrays = {"offer": torch.from_numpy(np.frombuffer(signed, np.uint8).copy())}
    Gate(hospital.egress_log).pass_through(
        arrays,
        {},
        kind=KEYS,
        schema=offer_schema(),
        stage=stage.name,
        round_number=order.round,
        mechanism="public",
        cost="none",
        plan=plan.digest(),
        largest=policy.max_message_bytes,
    )
    return Answer(arrays, {})


def answer_masked(hospital: Hospital, order: Order, asked: Asked) -> Answer:
    """Carry out this site's part of one round of a secure sum.

    The keys are checked before anything is booked, the site's own is deleted before it is used, and the release is
    booked before it is computed.
    """
    work = prepare(hospital, order)
    if not is_one_sum(order.plan, work.stage, work.task) or asked.bits not in WIDTHS:
        raise Refused("masks-missing")
    site = identity(hospital)
    context = _context(order, asked, site)
    others = verified(_offers(asked, context), site.roster, context)
    own = _attempts(hospital).take(context)
    if others[site.name] != own.public_key():
        raise Refused("keys-refused")
    dimension = work.dimension
    parts = len(context.participants) - order.plan.privacy.colluding
    event, coalition = events(work, dimension, parts)
    paid = book(hospital, work, event, coalition)
    words = to_words(_share(hospital, work, parts, asked.attempt), asked.bits)
    arrays = {"masked": to_tensor(masked(words, own, site.name, others, context))}
    numbers = {"patients": float(len(work.patients))}
    schema, limit = masked_schema(dimension, asked.bits), words_limit(asked.bits, len(work.patients))
    pass_gate(hospital, work, MASKED, schema, arrays, numbers, event, paid, limit)
    return Answer(arrays, numbers)


def events(work: Work, dimension: int, parts: int) -> tuple[Event, Event]:
    """Return what one answer costs: as the server sees the total, and where all others pool what they know.

    Then nothing but this site's own share of the noise is left, 1/`parts` of the variance.
    """
    sigma, rate, steps = work.strength.noise_multiplier, work.stage.sample_rate, steps_for(dimension)
    total = Event(sigma, rate, 1, SKELLAM, dimension, steps)
    return total, Event(sigma / parts**0.5, rate, 1, SKELLAM, dimension, steps)


def _share(hospital: Hospital, work: Work, parts: int, attempt: int) -> Integers:
    plan, stage = work.order.plan, work.stage
    purpose = ("noise", hospital.name, plan.digest(), stage.name, work.order.round, attempt)
    noise = noise_generator(work.seed, *purpose)
    if isinstance(work.task, Trained):
        assert work.model is not None
        return share_of_gradient(work.task, work.model, work.patients, stage, work.strength, parts, noise, work.note)
    return share_of_terms(work.task, work.patients, work.strength, parts, noise, work.note)


def _context(order: Order, asked: Asked, site: Identity) -> Context:
    """Return what this attempt is about, as this site knows it.

    Raises:
        Refused: `masks-missing`, `keys-refused` or `too-few-sites`.
    """
    plan = order.plan
    if plan.privacy.sums != "secure":
        raise Refused("masks-missing")
    participants = named(asked.participants, site.roster)
    if site.name not in participants:
        raise Refused("keys-refused")
    if len(participants) < plan.privacy.least_sites:
        raise Refused("too-few-sites")
    return Context(plan.digest(), order.stage, order.round, asked.attempt, site.roster.digest(), participants)


def _offers(asked: Asked, context: Context) -> dict[str, bytes]:
    """Return who offered what; too short a text leaves somebody without a key, which is refused."""
    pieces = [asked.keys[i : i + OFFER_BYTES] for i in range(0, len(asked.keys), OFFER_BYTES)]
    return dict(zip(context.participants, pieces, strict=False))


def _attempts(hospital: Hospital) -> Attempts:
    return Attempts(hospital.state / "secure")
