"""Three sites that know each other, and one attempt at a sum of theirs."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedspine.secure.keys import Context, offer
from fedspine.secure.roster import Roster, roster_of

NAMES = ("north", "south", "west")


class Consortium:
    """Signing keys, the roster, and keys and offers for one attempt."""

    def __init__(self, names: tuple[str, ...] = NAMES, **changed: object) -> None:
        self.signing = {name: Ed25519PrivateKey.generate() for name in names}
        self.roster: Roster = roster_of(
            {name: key.public_key().public_bytes_raw().hex() for name, key in self.signing.items()}
        )
        self.context = self.context_of(**changed)
        self.own = {name: X25519PrivateKey.generate() for name in names}
        self.offers = {name: offer(self.own[name], name, self.signing[name], self.context) for name in names}

    def context_of(self, **changed: object) -> Context:
        fields: dict[str, object] = {"plan": "ab" * 32, "stage": "standardise", "round": 1, "attempt": 1}
        fields |= {"roster": self.roster.digest(), "participants": self.roster.names, **changed}
        return Context(**fields)  # type: ignore[arg-type]


@pytest.fixture
def consortium() -> Consortium:
    return Consortium()
