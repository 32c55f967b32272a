"""Rooms that need more than the core's packages."""

from __future__ import annotations

import importlib
from types import ModuleType

from bb3.core.errors import UsageError


def extra(module: str, name: str, what: str) -> ModuleType:
    """A module of ours that stands on an extra.

    Args:
        name: of the extra.
        what: needs it, for the message.

    Raises:
        UsageError: the extra is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("bb3."):
            raise
        raise UsageError(
            f"{what} needs the package {error.name}.",
            remedy=f"Install it: pip install 'bb3[{name}]'.",
        ) from error
