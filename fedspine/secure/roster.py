"""Who may take part in a secure sum: `roster.toml`, the sites' names and public keys, the same file at every site.

The file is agreed outside of fedspine (a signed letter, a phone call with the digest read out), since a server that
could choose the keys could put itself between any two sites.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fedspine.config import demand, read_text
from fedspine.strict import parse

FILE = "roster.toml"


@dataclass(frozen=True)
class Roster:
    """The sites that know each other.

    Args:
        keys: name to Ed25519 public key, 32 bytes; in the order of the names.
    """

    keys: Mapping[str, bytes]

    @property
    def names(self) -> tuple[str, ...]:
        """The sites' names, in the order in which messages number them."""
        return tuple(self.keys)

    def digest(self) -> str:
        """Return the SHA-256 over names and keys, hexadecimal; every signature covers it."""
        return hashlib.sha256("\n".join(f"{name} {key.hex()}" for name, key in self.keys.items()).encode()).hexdigest()

    def key(self, name: str) -> Ed25519PublicKey:
        """Return the public key of the site called `name`."""
        return Ed25519PublicKey.from_public_bytes(self.keys[name])


def read_roster(file: Path) -> Roster:
    """Return the roster in `file`.

    Raises:
        ConfigError: if there is none, or it is no table of names and keys.
    """
    return roster_of({name: str(key) for name, key in parse(read_text(file, FILE), FILE).items()})


def roster_of(keys: Mapping[str, str]) -> Roster:
    """Return the roster of these names and hexadecimal keys.

    Raises:
        ConfigError: if a key is none, or stands there twice.
    """
    found = {}
    for name in sorted(keys):
        try:
            found[name] = bytes.fromhex(keys[name])
        except ValueError:
            found[name] = b""
    right = all(len(key) == 32 for key in found.values())
    remedy = "copy what `fedspine site keys` prints at each site"
    demand(right, f"{FILE} must hold a public key of 64 hexadecimal digits per site", "another text", remedy)
    demand(len(set(found.values())) == len(found), f"{FILE} must hold a key per site", "one key twice", remedy)
    return Roster(found)


def roster_text(roster: Roster) -> str:
    """Return `roster` as TOML."""
    return tomli_w.dumps({name: key.hex() for name, key in roster.keys.items()})
