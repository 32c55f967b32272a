"""A part that fails degrades the turn by one step; it does not end it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType

from bb3.core.errors import Bb3Error

log = logging.getLogger(__name__)


class Tolerated:
    """``with Tolerated(tell): …``: what goes wrong inside is told, and the code after it runs.

    An error of ours is told by its message. Anything else is a fault in a part: it is told by its
    type and its text, and logged with its traceback. Cancelling passes.

    Args:
        tell: gets the reason, for operators.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        if isinstance(error, Bb3Error):
            self._tell(str(error))
        else:
            log.error("A part of the turn failed.", exc_info=error)
            self._tell(f"{type(error).__name__}: {error}")
        return True
