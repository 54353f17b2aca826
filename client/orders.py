"""Reads an order that a server sent. It is untrusted: whatever is not as `fedspine.wire` says becomes a code."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from torch import Tensor

from client.masked import Asked
from client.work import Order
from fedspine.config import Plan, load_plan
from fedspine.errors import ConfigError, Refused
from fedspine.site_file import Site
from fedspine.wire import ARRAYS, FORMAT, ORDER, ORDER_KINDS, RECORDS_OF, SECURE, SECURE_KINDS, SHARED

LONGEST_PLAN = 2**20
"""Bytes of a plan's text; real ones have some thousands."""

MOST_SITES = 1000
"""That one secure sum may be over."""

MOST_ARRAYS, LONGEST_NAME = 10_000, 500
"""Arrays in a record, and characters of an array's or a stage's name."""


def read_enrolment(message: Message, site: Site) -> Plan:
    """Return the plan that the server asks to enrol for.

    Raises:
        Refused: `order-unreadable`, `order-too-large` or `format-unknown`.
        ConfigError: if the plan cannot be used.
    """
    return _plan(_order_record(message, site))


def read_order(message: Message, site: Site) -> Order:
    """Return one round's order, its arrays whole and finite; raises what `read_enrolment` raises."""
    order, records = _order_record(message, site), message.content.array_records
    return Order(
        plan=_plan(order),
        stage=str(order["stage"]),
        round=int(str(order["round"])),
        arrays=_tensors(records[ARRAYS]) if ARRAYS in records else {},
        shared=_tensors(records[SHARED]) if SHARED in records else {},
    )


def read_secure(message: Message, site: Site) -> tuple[Order, Asked]:
    """Return an order about a secure sum and what it says beside; raises what `read_order` raises."""
    order, kinds = read_order(message, site), SECURE_KINDS[message.metadata.message_type]
    said = message.content.config_records[SECURE]
    if said.keys() != kinds.keys() or any(type(said[key]) is not kind for key, kind in kinds.items()):
        raise Refused("order-unreadable")
    places = said["participants"]
    assert isinstance(places, list)
    if not 0 < len(places) <= MOST_SITES or any(type(place) is not int for place in places):
        raise Refused("order-unreadable")
    return order, Asked(
        attempt=int(str(said["attempt"])),
        participants=tuple(int(str(place)) for place in places),
        keys=_bytes(said.get("keys", b"")),
        bits=int(str(said.get("bits", 0))),
    )


def stage_of(message: Message) -> str:
    """Return the stage that an order names, for the site's own logs; nothing where it names none in a few letters."""
    order = message.content.config_records.get(ORDER) if message.has_content() else None
    stage = order.get("stage", "") if order is not None else ""
    plain = isinstance(stage, str) and len(stage) <= LONGEST_NAME and all(c.isalnum() or c in "-_" for c in stage)
    return str(stage) if plain else ""


def _order_record(message: Message, site: Site) -> ConfigRecord:
    content = message.content if message.has_content() else RecordDict()
    order = content.config_records.get(ORDER)
    if order is None or set(content) != RECORDS_OF.get(message.metadata.message_type, set()):
        raise Refused("order-unreadable")
    kinds = {name: content.config_records if name in (ORDER, SECURE) else content.array_records for name in content}
    if not all(name in records for name, records in kinds.items()):
        raise Refused("order-unreadable")
    if order.get("format") != FORMAT:
        raise Refused("format-unknown")
    if order.keys() != ORDER_KINDS.keys() or any(type(order[key]) is not kind for key, kind in ORDER_KINDS.items()):
        raise Refused("order-unreadable")
    if _size(order, content.array_records.values()) > site.max_message_bytes:
        raise Refused("order-too-large")
    return order


def _size(order: ConfigRecord, records: Iterable[ArrayRecord]) -> int:
    size = len(str(order["plan"]).encode(errors="replace"))
    if size > LONGEST_PLAN or len(str(order["stage"])) > LONGEST_NAME:
        raise Refused("order-too-large")
    for record in records:
        if len(record) > MOST_ARRAYS or any(len(name) > LONGEST_NAME for name in record):
            raise Refused("order-too-large")
        size += sum(len(array.data) for array in record.values())
    return size


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _plan(order: ConfigRecord) -> Plan:
    try:
        return load_plan(str(order["plan"]))
    except ConfigError:
        raise
    except (ValueError, OverflowError, RecursionError):  # numbers of thousands of digits, brackets in brackets
        raise Refused("plan-unusable") from None


def _tensors(record: ArrayRecord) -> dict[str, Tensor]:
    return {name: _tensor(array) for name, array in record.items()}


def _tensor(array: Array) -> Tensor:
    """Return an array's tensor: of plain numbers, whole, finite; no more memory is taken than its bytes fill.

    The header within the bytes rules, as it does when Flower reads them; what it promises must be there to the byte.
    """
    stream = io.BytesIO(array.data)
    try:
        if array.stype != "numpy.ndarray" or np.lib.format.read_magic(stream) != (1, 0):
            raise Refused("order-unreadable")
        shape, _, kind = np.lib.format.read_array_header_1_0(stream)
        promised = math.prod(shape) * kind.itemsize
        if kind.kind not in "fiub" or min(shape, default=0) < 0 or promised != len(array.data) - stream.tell():
            raise Refused("order-unreadable")
        values = torch.from_numpy(np.load(io.BytesIO(array.data), allow_pickle=False))
    except Refused:
        raise
    except Exception:  # whatever the library says of bytes that somebody made up
        raise Refused("order-unreadable") from None
    if values.is_floating_point() and not bool(torch.isfinite(values).all()):
        raise Refused("order-unreadable")
    return values
