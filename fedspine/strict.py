"""Strict TOML into frozen dataclasses: an unknown key, a wrong type or a bad number is one sentence, never a guess."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, TypeVar

from fedspine.errors import ConfigError

T = TypeVar("T")


def parse(text: str, where: str) -> dict[str, Any]:
    """Return the tables written in `text`."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} must be TOML", f"an error ({error})", "mend that line") from None


def build(kind: type[T], table: dict[str, Any], where: str) -> T:
    """Return a TOML table as the frozen dataclass `kind`; keys may be written with `-` or `_`.

    Args:
        kind: its field types may be str, int, float, bool, `X | None`, tuples, mappings and other dataclasses.
        table: as read.
        where: how a message may call it, such as "the plan".
    """
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            hint = suggestion(name, sorted(known))
            raise ConfigError(f"{where} must hold only known settings", f"unknown setting '{key}'", hint)
        values[name] = _convert(hints[name], value, f"'{key}' in {where}")
    missing = [n for n, f in known.items() if n not in values and _required(f)]
    if missing:
        raise ConfigError(f"{where} must hold '{missing[0]}'", "no such setting", f"add {missing[0]} = …")
    return kind(**values)


def suggestion(name: str, names: Iterable[str]) -> str:
    """Return what to do about an unknown name: the one of `names` that is meant, or else all of them.

    >>> suggestion("segmnt", ["gan", "segment"])
    "did you mean 'segment'?"
    """
    names = list(names)
    close = get_close_matches(name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"use one of: {', '.join(names)}"


def _required(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where} must be a list", type(value).__name__, "write it as [ … ]")
        return tuple(_convert(arguments[0], item, where) for item in value)
    if origin is types.UnionType:
        return _convert(next(a for a in arguments if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a table", type(value).__name__, "write it as a [table]")
        return build(hint, value, where)
    wanted: type = dict if origin is not None else hint
    if wanted is float and type(value) is int:
        value = float(value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise ConfigError(f"{where} must be of type {wanted.__name__}", f"{type(value).__name__}", "mend the value")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where} must be a finite number", str(value), "mend the value")
    return value


def demand(holds: bool, rule: str, found: object, remedy: str) -> None:
    """Raise ConfigError unless the rule `holds`."""
    if not holds:
        raise ConfigError(rule, str(found), remedy)
