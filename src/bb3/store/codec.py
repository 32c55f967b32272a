"""Traces to plain JSON data and back, without loss but for the vectors.

A field that this version does not know (written by a newer one) is skipped; a field that is
missing takes its default. Floats that JSON has no word for (``inf``, ``nan``) travel as text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from bb3.core.errors import StoreError
from bb3.core.types import Memory, Trace

T = TypeVar("T")

LEFT_OUT = {(Memory, "vector")}


def dump_trace(trace: Trace) -> str:
    """A trace as JSON text."""
    return dump(plain(trace))


def dump(data: Any) -> str:
    """Plain data as JSON text, each character in one way only."""
    return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def load_trace(text: str) -> Trace:
    """The trace of ``dump_trace``. Raises StoreError when the text is not one."""
    try:
        return _read(Trace, json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"A stored trace cannot be read ({error}).") from error


def plain(value: Any) -> Any:
    """A value of ``bb3.core.types``, however nested, as dicts, lists, strings and numbers."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: plain(getattr(value, f.name))
            for f in fields(value)
            if (type(value), f.name) not in LEFT_OUT
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"{type(value).__name__} has no plain form")


@cache
def _hints(kind: Any) -> dict[str, Any]:
    # Python 3.11 cannot evaluate array[float]; the vectors are left out anyway
    return get_type_hints(kind, localns={"Vector": list})


def _read(kind: type[T], data: Mapping[str, Any]) -> T:
    hints = _hints(kind)  # type: ignore[arg-type]
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: _value(hints[name], item) for name, item in data.items() if name in known})


def _value(hint: Any, data: Any) -> Any:
    """``data`` as the type that the annotation ``hint`` names."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        if data is None:
            return None
        (hint,) = (arm for arm in get_args(hint) if arm is not NoneType)
        return _value(hint, data)
    if origin is Mapping:
        return {key: _value(get_args(hint)[1], item) for key, item in data.items()}
    if origin is tuple:
        return tuple(_value(get_args(hint)[0], item) for item in data)
    if hint is float:
        return float(data)
    if isinstance(hint, type):
        if is_dataclass(hint):
            return _read(hint, data)
        if issubclass(hint, Enum):
            return hint(data)
        if issubclass(hint, datetime):
            return hint.fromisoformat(data)
    return data
