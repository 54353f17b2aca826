"""Who this hospital is to the others in a secure sum: its signing key, and the roster that all of them agreed on.

A hospital's key lies in its folder's `.fedspine`, the roster beside its `site.toml`. In a simulation all hospitals are
in one hand: keys lie in the run folder, made when the first of them asks, and the roster is that of all site folders
beside each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.hospital import Hospital
from fedspine.cohort.site import ROOM
from fedspine.errors import Refused
from fedspine.secure.keys import FILE as KEY_FILE
from fedspine.secure.keys import signing_key
from fedspine.secure.roster import FILE as ROSTER_FILE
from fedspine.secure.roster import Roster, read_roster, roster_of


def own_key(folder: Path) -> Ed25519PrivateKey:
    """Return the signing key of the site folder `folder`, made at the first call."""
    return signing_key(folder / ROOM / KEY_FILE)


@dataclass(frozen=True)
class Identity:
    """What a site needs to speak for itself.

    Args:
        name: that the roster calls it by.
        key: that it signs with.
        roster: who may take part.
    """

    name: str
    key: Ed25519PrivateKey
    roster: Roster

    @property
    def number(self) -> int:
        """The site's place in the roster, by which messages call it."""
        return self.roster.names.index(self.name)


def identity(hospital: Hospital) -> Identity:
    """Return the hospital's identity.

    Raises:
        Refused: `not-on-roster`, if there is no roster, or this hospital's key is not on it.
        ConfigError: if the roster cannot be read.
    """
    if hospital.simulated:
        return _played(hospital)
    if not (hospital.folder / ROSTER_FILE).exists():
        raise Refused("not-on-roster")
    key, roster = own_key(hospital.folder), read_roster(hospital.folder / ROSTER_FILE)
    public = key.public_key().public_bytes_raw()
    name = next((name for name, other in roster.keys.items() if other == public), None)
    if name is None:
        raise Refused("not-on-roster")
    return Identity(name, key, roster)


def _played(hospital: Hospital) -> Identity:
    """Return the identity of a hospital in a simulation."""
    names = [one.name for one in hospital.folder.parent.iterdir() if one.is_dir() and not one.name.startswith(".")]
    keys = {name: signing_key(hospital.state.parent / name / KEY_FILE) for name in names}
    roster = roster_of({name: key.public_key().public_bytes_raw().hex() for name, key in keys.items()})
    return Identity(hospital.name, keys[hospital.name], roster)
