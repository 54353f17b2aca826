"""A hospital's scanners as maps onto the reference scanner: from released sums, its protocols and public phantoms.

A map depends on what was released and on the roll, which is fixed at enrolment, never on a patient: so a patient's term
later stays a function of that patient alone. It takes some seconds a scanner and is kept in the state folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from client.hospital import Hospital
from fedspine.config import Plan
from fedspine.errors import InputError
from fedspine.harmony.alignment import alignment_of
from fedspine.phantom.scanner import Protocol
from fedspine.tasks.align import PARTS, material

FIELDS = (1.5, 3.0)
"""Tesla that phantoms know."""

TRAIN_MS = {"T2": 180.0}
"""Length of the echo train, which no header tells."""

USUAL_B = {"ADC": 800.0, "DWI": 800.0}
"""b-value where the header of an ADC map does not tell it."""

UNTOLD = InputError(
    "a scanner is aligned by echo and repetition time of every contrast",
    "a contrast without one",
    "see that headers or sidecars hold them",
)

Maps = dict[int, dict[str, Tensor]]
"""Number of a scanner to the arrays of `harmony.alignment`."""


def maps_of(hospital: Hospital, plan: Plan, shared: Mapping[str, Tensor]) -> Maps:
    """Return the maps of this hospital's scanners; none before the plan has aligned, or where a protocol is unknown."""
    if f"align.{PARTS[0]}" not in shared:
        return {}
    found: Maps = {}
    for number, protocols in enumerate(hospital.protocols(plan)):
        count = int(shared["align.patients"][number])
        if not count:
            continue
        if set(protocols.times) != set(plan.data.contrasts):
            hospital.note_error("", "scanner-not-aligned", UNTOLD)
            continue
        times = {
            name: Protocol(echo, repetition, inversion, TRAIN_MS.get(name, 0.0), b_value or USUAL_B.get(name))
            for name, (echo, repetition, inversion, b_value) in protocols.times.items()
        }
        field_tesla = min(FIELDS, key=lambda tesla: abs(tesla - protocols.field_tesla))
        released = {part: shared[f"align.{part}"][number] for part in PARTS}
        file = hospital.state / "aligned" / f"{_key(plan, repr(times), released)}.safetensors"
        try:
            found[number] = load_file(file)
        except (OSError, SafetensorError):
            noise = float(shared["align.noise"])
            found[number] = alignment_of(released, count, times, field_tesla, material(plan), noise)
            with contextlib.suppress(OSError, SafetensorError):  # kept only where there is a place for it
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                partial = file.with_suffix(f".{os.getpid()}")
                save_file({key: value.contiguous() for key, value in found[number].items()}, partial)
                os.replace(partial, file)
    return found


def _key(plan: Plan, times: str, released: Mapping[str, Tensor]) -> str:
    """Return a name made of all that a map follows from."""
    hasher = hashlib.sha256(f"{plan.digest()}{times}".encode())
    for part in PARTS:
        hasher.update(released[part].contiguous().numpy().tobytes())
    return hasher.hexdigest()[:24]
