"""Weights that come with the package: safetensors as base64 within JSON, checked against a digest in the code.

Flower packs an app from a list of kinds of text file and refuses any other, so a client on a hospital's machine would
miss a binary file; it also refuses files over 1 MB.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from fedspine.errors import InputError

_LINE = 116


def read_weights(file: Path, digest: str) -> dict[str, Tensor]:
    """Return the tensors in `file`.

    Args:
        file: as `write_weights` wrote it.
        digest: SHA-256 of the safetensors, as the code knows it.

    Raises:
        InputError: if they are not the weights that the code means.
    """
    data = base64.b64decode("".join(json.loads(file.read_text("utf-8"))))
    if hashlib.sha256(data).hexdigest() != digest:
        raise InputError("shipped weights must be those that the program knows", "others", "install fedspine again")
    return load(data)


def write_weights(file: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write tensors into `file` and return their digest."""
    data = save({key: value.detach().clone().contiguous() for key, value in tensors.items()})
    text = base64.b64encode(data).decode("ascii")
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    file.write_text(json.dumps(lines, indent=0) + "\n", encoding="utf-8")
    return hashlib.sha256(data).hexdigest()
