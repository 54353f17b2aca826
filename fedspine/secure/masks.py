"""Pairwise masks: what two sites add and subtract, so that it is gone from the sum and hides each part of it.

For sites i < j of the participants, both compute the shared secret of their X25519 keys for this attempt, from it by
HKDF-SHA256 (RFC 5869) a key bound to the context, both names, and the number and width of the words, and from that a
ChaCha20 keystream (RFC 8439) as long as the vector. Site i adds it modulo 2³² or 2⁶⁴, site j subtracts it (Bonawitz et
al. 2017, arXiv:1611.08063).

Argument. To whoever knows neither private key the keystream is uniform, so a site's masked vector is uniform and
independent of its numbers as long as one other participant keeps its key; of all of them together only the sum over
those outside a coalition is left. A keystream used for two vectors would give their difference away: so a private key
belongs to one attempt, is deleted before it is used, and a second request finds none (`client.attempts`). Were the key
not bound to number and width, a server that tells sites of different ones could have masks cancel in part: two words
of 32 bits against the halves of one of 64. Then it would see some entries with fewer shares of noise than are booked.

With two participants, each can subtract its own part from the sum and holds the other's. Masks then hide nothing from
either; noise still does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from fedspine.errors import Refused
from fedspine.secure.keys import Context

Words = NDArray[np.uint32] | NDArray[np.uint64]
"""Numbers modulo 2³² or 2⁶⁴."""

NONCE = bytes(16)
"""Block counter and nonce of ChaCha20: constant, since every key is for one stream."""


def masked(
    words: Words,
    own: X25519PrivateKey,
    name: str,
    others: Mapping[str, X25519PublicKey],
    context: Context,
) -> Words:
    """Return `words` under the masks that this site shares with every other participant.

    Args:
        words: (entry,) uint32 or uint64.
        own: this site's key for this attempt.
        name: this site's.
        others: every participant's public key, this site's own among them.
        context: of the attempt.

    Raises:
        Refused: `keys-refused`, if a key is one that shares no secret (RFC 7748, section 6.1).
    """
    hidden = words.copy()
    for other in sorted(others):
        if other == name:
            continue
        about = context.about("mask", *sorted((name, other)), str(len(hidden)), hidden.dtype.str)
        mask = _keystream(_pair_key(own, others[other], about), hidden.nbytes, hidden.dtype.str)
        if name < other:
            hidden += mask
        else:
            hidden -= mask
    return hidden


def _pair_key(own: X25519PrivateKey, public: X25519PublicKey, about: bytes) -> bytes:
    try:
        secret = own.exchange(public)
    except ValueError:
        raise Refused("keys-refused") from None
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=about).derive(secret)


def _keystream(key: bytes, size: int, kind: str) -> Words:
    stream = Cipher(ChaCha20(key, NONCE), mode=None).encryptor().update(bytes(size))
    return np.frombuffer(stream, np.dtype(kind).newbyteorder("<")).astype(kind)
