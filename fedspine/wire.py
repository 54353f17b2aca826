"""What a message holds, for both ends; no Flower here, only names and shapes.

Down, server to site: `arrays` (weights of the stage's network, or none), `shared` (released and public values), `order`
(format, plan text, stage, round). Up: `arrays` (what the stage's schema names) and `numbers` (counts, noised losses).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fedspine.cohort.scanner import MOST_SCANNERS
from fedspine.errors import EgressBlocked, PrivacyError
from fedspine.secure.encoding import WIDTHS
from fedspine.secure.keys import OFFER_BYTES
from fedspine.tasks._task import Measured, Trained, travels

ARRAYS, SHARED, ORDER, NUMBERS = "arrays", "shared", "order", "numbers"
ENROL, STAGE, KEYS, MASKED = "query.enrol", "train.stage", "query.keys", "train.masked"
"""Message types: who is there, and one round of a stage; of a secure sum, first the keys and then the round."""

SECURE = "secure"
"""A record of secure sums' messages: which attempt and who takes part; then everybody's keys, and bits of a word."""

FORMAT = 1
"""Of orders; a site that knows another one says so."""

RECORDS_OF = {
    ENROL: {ORDER},
    STAGE: {ORDER, ARRAYS, SHARED},
    KEYS: {ORDER, SECURE},
    MASKED: {ORDER, SECURE, ARRAYS, SHARED},
}
"""The records that an order holds, no more and no fewer; all are arrays but `order` and `secure`."""

ORDER_KINDS: Mapping[str, type] = {"format": int, "plan": str, "stage": str, "round": int}
"""What stands in the record `order`."""

SECURE_KINDS: Mapping[str, Mapping[str, type]] = {
    KEYS: {"attempt": int, "participants": list},
    MASKED: {"attempt": int, "participants": list, "keys": bytes, "bits": int},
}
"""What stands in the record `secure`: participants by their places in the roster, keys one after the other."""

Schema = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
"""Array name to dtype and shape."""

SCANNERS = tuple(f"scanner-{number + 1}" for number in range(MOST_SCANNERS))
"""Training patients on each of a site's scanners."""

NUMBERS_OF = {
    ENROL: frozenset({"train", "held-out", "partition", "rehearsal", "roster", *SCANNERS}),
    STAGE: frozenset({"patients", "loss"}),
    KEYS: frozenset(),
    MASKED: frozenset({"patients"}),
}
"""The numbers that a reply may hold."""


def offer_schema() -> Schema:
    """Return what answers a request for a key: the public key of an attempt, signed."""
    return {"offer": (torch.uint8, (OFFER_BYTES,))}


def masked_schema(dimension: int, bits: int) -> Schema:
    """Return what answers a round of a secure sum: its words, (entry,)."""
    return {"masked": (WIDTHS[bits][2], (dimension,))}


def schema_of(task: Trained | Measured, model: nn.Module | None) -> Schema:
    """Return the arrays that a stage's reply must hold: a trained network's weights that travel, or a term's.

    Raises:
        PrivacyError: if the network has buffers. Running statistics are sums over patients without clip or noise.
    """
    if model is not None and next(model.buffers(), None) is not None:
        raise PrivacyError("a trained network must have no buffers; found some; use GroupNorm in place of BatchNorm")
    tensors: Mapping[str, Tensor] = {}
    if isinstance(task, Trained) and model is not None:
        tensors = {key: value for key, value in model.state_dict().items() if travels(task, key)}
    if isinstance(task, Measured):
        tensors = task.zeros()
    return {key: (value.dtype, tuple(value.shape)) for key, value in tensors.items()}


def check(arrays: Mapping[str, Tensor], schema: Schema) -> None:
    """Raise EgressBlocked unless `arrays` are exactly what `schema` names, of its kinds and shapes, and finite."""
    if arrays.keys() != schema.keys():
        raise EgressBlocked("a message must hold the arrays of its stage's schema; found others; nothing was sent")
    for key, (dtype, shape) in schema.items():
        value = arrays[key]
        if value.dtype != dtype or tuple(value.shape) != shape:
            raise EgressBlocked("an array must have its schema's kind and shape; found another; nothing was sent")
        if not bool(torch.isfinite(value).all()):
            raise EgressBlocked("an array must be finite; found another; nothing was sent")


def digest(arrays: Mapping[str, Tensor]) -> tuple[str, int]:
    """Return the SHA-256 over names, kinds, shapes and bytes, and the number of bytes."""
    hasher, size = hashlib.sha256(), 0
    for key in sorted(arrays):
        value = arrays[key].detach().contiguous()
        data = value.numpy().tobytes()
        hasher.update(f"{key}\x1f{value.dtype}\x1f{tuple(value.shape)}\x1f".encode())
        hasher.update(data)
        size += len(data)
    return hasher.hexdigest(), size
