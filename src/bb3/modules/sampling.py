"""How each module's answer is decoded: data in ``parameters/<family>.toml``.

Families: ``opt`` and ``r2c2`` as released (presets gen/opt_bb3 and gen/r2c2_bb3),
``chat`` and ``fewshot`` for models that were not trained on the modules.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from importlib.resources import files
from typing import Any, get_type_hints

from bb3.core.errors import UsageError
from bb3.core.ports import Sampling
from bb3.modules.catalog import MODULES

_TYPES = get_type_hints(Sampling)
_NAMES = tuple(f.name for f in fields(Sampling))


@cache
def family(name: str) -> Mapping[str, Sampling]:
    """The sampling parameters of a family for every module, by tag. Raises UsageError."""
    source = files(__package__) / "parameters" / f"{name}.toml"
    if not source.is_file():
        raise UsageError(f"There are no sampling parameters for the dialect {name!r}.")
    table = tomllib.loads(source.read_text(encoding="utf-8"))
    return {
        tag: override(
            Sampling(),
            table.get("default", {}) | table.get(module.kind, {}) | table.get(tag, {}),
            tag,
        )
        for tag, module in MODULES.items()
    }


def override(sampling: Sampling, values: Mapping[str, Any], where: str) -> Sampling:
    """The parameters with some values replaced, checked. Raises UsageError.

    Args:
        values: field name to value; strings are read as the field's type (from argv, environment).
        where: a name for messages, a module's tag.
    """
    checked = {name: _check(name, value, where) for name, value in values.items()}
    result = replace(sampling, **checked)
    if result.min_tokens > result.max_tokens:
        raise UsageError(
            f"{where}.min_tokens is {result.min_tokens}, more than "
            f"{where}.max_tokens ({result.max_tokens})."
        )
    return result


def _check(name: str, value: Any, where: str) -> Any:
    if name not in _NAMES:
        raise UsageError(
            f"{where}.{name} is not a sampling parameter.",
            remedy=f"Known are: {', '.join(_NAMES)}.",
        )
    try:
        if name == "stop":
            stops = (value,) if isinstance(value, str) else tuple(str(v) for v in value)
            if not all(stops):
                raise ValueError
            return stops
        if name == "method":
            if value not in ("greedy", "beam", "nucleus", "factual_nucleus"):
                raise ValueError
            return value
        number = _TYPES[name](value)
        if isinstance(value, bool) or (isinstance(value, float) and number != value):
            raise ValueError
    except (TypeError, ValueError):
        raise UsageError(f"{where}.{name} cannot be {value!r}.") from None
    low, high = _RANGES.get(name, (0, float("inf")))
    if not low <= number <= high:
        raise UsageError(f"{where}.{name} is {number}, outside {low} to {high}.")
    return number


_RANGES: dict[str, tuple[float, float]] = {
    "max_tokens": (1, 4096),
    "min_tokens": (0, 4096),
    "beam_size": (1, 64),
    "length_penalty": (-5, 5),
    "temperature": (0, 10),
    "top_p": (0, 1),
    "lambda_decay": (0, 1),
    "omega_bound": (0, 1),
    "presence_penalty": (-10, 10),
    "frequency_penalty": (-10, 10),
    "source_presence_penalty": (-10, 10),
    "source_frequency_penalty": (-10, 10),
}
