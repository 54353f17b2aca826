"""Keys of a secure sum: one that a site signs with for good, and one a round and attempt, used once.

An X25519 key made for one attempt is signed with the site's Ed25519 key (RFC 7748, RFC 8032). What is signed is all
that both ends must agree on: plan, stage, round, attempt, roster, who takes part, and whose key it is. So the server,
which only hands keys on, cannot exchange one for its own, take one from another round, or tell sites of different
companions: the signature would not hold.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedspine.errors import Refused
from fedspine.secure.roster import Roster

FILE = "signing.key"
"""Where a site's signing key lies: 64 hexadecimal digits, mode 0600."""

OFFER_BYTES = 32 + 64
"""Of what travels: a public key and the signature over it."""

MOST_ATTEMPTS = 5
"""At one round of a secure sum, whoever asks. Each that gets as far as an answer is a release, booked and paid."""


@dataclass(frozen=True)
class Context:
    """What one attempt at one secure sum is about; every signature and every mask is bound to it.

    Args:
        plan: digest of the plan.
        stage: name.
        round: counted from 1.
        attempt: counted from 1.
        roster: digest of the roster.
        participants: names of all who take part, sorted.
    """

    plan: str
    stage: str
    round: int
    attempt: int
    roster: str
    participants: tuple[str, ...]

    def about(self, purpose: str, *more: str) -> bytes:
        """Return bytes that stand for this context and nothing else, for one purpose."""
        return json.dumps(["fedspine", purpose, asdict(self), *more], sort_keys=True).encode()


def signing_key(file: Path) -> Ed25519PrivateKey:
    """Return the site's signing key, made at the first call.

    Two processes that make it at once end up with the same one, for a file that is there is never replaced.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not file.exists():
        partial = file.with_name(f"{file.name}.{os.getpid()}")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(Ed25519PrivateKey.generate().private_bytes_raw().hex())
            opened.flush()
            os.fsync(opened.fileno())
        try:
            os.link(partial, file)
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(file.read_text("ascii").strip()))


def offer(own: X25519PrivateKey, name: str, signing: Ed25519PrivateKey, context: Context) -> bytes:
    """Return what a site sends of its key for one attempt: the public part, signed."""
    public = own.public_key().public_bytes_raw()
    return public + signing.sign(context.about("key", name, public.hex()))


def verified(offers: Mapping[str, bytes], roster: Roster, context: Context) -> dict[str, X25519PublicKey]:
    """Return the public keys of all participants, if every one is signed by the site that it is said to be of.

    Args:
        offers: name to what `offer` returned there.
        roster: this site's own.
        context: as this site knows it.

    Raises:
        Refused: `keys-refused`, if a key is missing, one too many, there twice, or not signed over this very context.
    """
    if tuple(sorted(offers)) != context.participants or len({o[:32] for o in offers.values()}) != len(offers):
        raise Refused("keys-refused")
    found = {}
    for name, one in offers.items():
        public, signature = one[:32], one[32:]
        try:
            roster.key(name).verify(signature, context.about("key", name, public.hex()))
            found[name] = X25519PublicKey.from_public_bytes(public)
        except (InvalidSignature, ValueError, KeyError):
            raise Refused("keys-refused") from None
    return found


def named(numbers: Sequence[int], roster: Roster) -> tuple[str, ...]:
    """Return the names of participants that a message gives by their places in the roster, sorted.

    Raises:
        Refused: `keys-refused`, if a place is none of the roster's, or there twice.
    """
    if len(set(numbers)) != len(numbers) or not all(0 <= number < len(roster.names) for number in numbers):
        raise Refused("keys-refused")
    return tuple(roster.names[number] for number in sorted(numbers))
