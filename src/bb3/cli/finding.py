"""What a check of ``bb3 doctor`` found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["ok", "note", "bad", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report.

    Attributes:
        check: the check's name.
        state: ``ok``; ``note``: it works, but could be better; ``bad``: it does not work;
            ``skipped``: it could not be looked at, for the reason in ``text``.
        text: what was found.
        remedy: what the reader can do about it.
        data: figures, for ``--json``.
    """

    check: str
    state: State
    text: str
    remedy: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
