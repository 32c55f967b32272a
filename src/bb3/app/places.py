"""Paths and addresses as people write them: read, and shown without their passwords."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from bb3.core.errors import UsageError

_BEGIN = re.compile(r"(?:openai|metaseq|parlai|searxng):(?:\w{1,20}://)?|://")
"""Where the user's name stands, if there is one; after some of ours ``http://`` may be absent."""
_NEXT = re.compile(rf"(?<=,)(?=\s*\w{{0,20}}(?:{_BEGIN.pattern}))")
"""Between two addresses of a list; other commas may belong to a password."""


def path_of(text: str | Path) -> Path:
    """The absolute path that someone wrote, ``~`` expanded; there need not be anything.

    Raises:
        UsageError: it can be no path, or one may not look there.
    """
    try:
        path = Path(text).expanduser().absolute()
        with suppress(FileNotFoundError, NotADirectoryError):
            path.stat()
    except RuntimeError as error:
        raise UsageError(
            f"{str(text)!r} cannot be used: there is no such user.",
            remedy="For a name that begins with ~, write ./~name.",
        ) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{str(text)[:200]!r} cannot be used: {why}.", remedy="Check the path."
        ) from error
    return path


def shown(address: str) -> str:
    """An address, or several with commas between them, fit to be shown: stars for user name and
    password. A text that is no address stays as it is."""
    return "".join(map(_hidden, _NEXT.split(address)))


def shown_in(sentence: str) -> str:
    """A sentence with its addresses fit to be shown, such as an error's."""
    return " ".join(map(shown, sentence.split(" ")))


def _hidden(address: str) -> str:
    begin = _BEGIN.search(address)
    if begin is None or "@" not in address[begin.end() :]:
        return address
    return f"{address[: begin.end()]}**********@{address.rpartition('@')[2]}"
