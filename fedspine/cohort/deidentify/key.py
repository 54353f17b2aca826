"""The site's secret key, and the names, UIDs and days that it makes.

Everything is HMAC-SHA256 (RFC 2104) of the key with a word for each purpose before the value. Whoever lacks the key can
neither guess back nor confirm a guess, which a plain hash of a name or a record number would allow.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from dataclasses import dataclass, field

from fedspine.errors import CohortError

BYTES = 32
"""Length of a key: as long as the digest."""

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O or U, which are misread."""

SYMBOLS = 11
"""Random symbols of a pseudonym, 55 bits; among a million patients two meet with a chance of 1 in 70,000."""

FORM = re.compile(rf"P-?([{ALPHABET}]{{4}})-?([{ALPHABET}]{{4}})-?([{ALPHABET}]{{4}})")
"""Without dashes too, for BIDS allows none in a label."""

MOST_DAYS = 3652
OWN_UIDS = "1.2.840.10008."
"""The root of the standard's own UIDs, which name classes and well-known frames and nobody."""


@dataclass(frozen=True)
class Key:
    """A site's secret; the same key always makes the same names.

    >>> key = Key(bytes(32))
    >>> key.pseudonym("4711")
    'P-Z10V-1W07-EVWM'
    >>> key.pseudonym("P-Z10V-1W07-EVWM")
    'P-Z10V-1W07-EVWM'
    >>> key
    Key()
    """

    secret: bytes = field(repr=False)

    def _digest(self, purpose: str, value: str) -> bytes:
        text = f"fedspine {purpose}\0{value}"
        return hmac.digest(self.secret, text.encode("utf-8", "surrogateescape"), "sha256")

    def fingerprint(self) -> str:
        """Return a word that tells this key from others and tells nothing else of it."""
        return self._digest("fingerprint", "").hex()[:16]

    def pseudonym(self, own: str) -> str:
        """Return the pseudonym of a patient's own id.

        A pseudonym is its own pseudonym, so that a folder that was de-identified keeps its names, and with them its
        folds, under whatever key it is read.
        """
        own = unicodedata.normalize("NFC", own)  # file systems and tables compose accents in their own ways
        if is_pseudonym(own):
            return _dashed(own.replace("-", "")[1:])
        bits = int.from_bytes(self._digest("patient", own)[:8], "big")
        body = "".join(ALPHABET[bits >> 5 * i & 31] for i in range(SYMBOLS))
        return _dashed(body + _check(body))

    def uid(self, uid: str) -> str:
        """Return the UID that takes the place of `uid`: 2.25 and a UUID as a number (PS3.5 B.2; RFC 9562, version 8).

        The standard's own UIDs stay as they are.
        """
        if not uid or uid.startswith(OWN_UIDS):
            return uid
        number = int.from_bytes(self._digest("uid", uid)[:16], "big")
        number = number & ~(0xF << 76) | 8 << 76
        number = number & ~(3 << 62) | 2 << 62
        return f"2.25.{number}"

    def days(self, pseudonym: str) -> int:
        """Return by how many days all dates of a patient are moved back, at least 1 and at most ten years."""
        return 1 + int.from_bytes(self._digest("days", pseudonym)[:8], "big") % MOST_DAYS

    def digest(self, text: str) -> str:
        """Return a word that is the same for the same text only, empty for none."""
        return self._digest("text", text).hex()[:16] if text else ""


def is_pseudonym(text: str) -> bool:
    """Tell whether `text` has the form of a pseudonym, its check symbol included.

    >>> is_pseudonym("P-Z10V-1W07-EVWM"), is_pseudonym("P-Z10V-1W07-EVWN"), is_pseudonym("4711")
    (True, False, False)
    """
    found = FORM.fullmatch(text)
    return found is not None and _check(body := "".join(found.groups())[:-1]) == "".join(found.groups())[len(body)]


def _dashed(whole: str) -> str:
    return f"P-{whole[:4]}-{whole[4:8]}-{whole[8:]}"


def _check(body: str) -> str:
    """Return the symbol that lets a mistyped pseudonym be noticed: a sum weighted by place, modulo 31."""
    return ALPHABET[sum(place * ALPHABET.index(symbol) for place, symbol in enumerate(body, 1)) % 31]


def key_of_text(text: str) -> Key:
    """Return the key written as hexadecimal digits.

    Raises:
        CohortError: when it is anything else.
    """
    try:
        secret = bytes.fromhex(text.strip())
    except ValueError:
        secret = b""
    if len(secret) != BYTES:
        raise CohortError(
            f"a site's pseudonym key must be {2 * BYTES} hexadecimal digits",
            "something else",
            "put the right one back into .fedspine/pseudonym.key, or remove it to begin anew under other pseudonyms",
        )
    return Key(secret)
