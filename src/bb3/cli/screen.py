"""Showing a turn while it happens: to a person, as plain text, as JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rich.cells import chop_cells
from rich.console import Console, RenderableType
from rich.control import Control
from rich.segment import ControlType
from rich.status import Status
from rich.text import Text

from bb3.cli.look import plain, turn_data
from bb3.cli.output import json_text
from bb3.core.events import (
    Blocked,
    Degraded,
    Documents,
    Done,
    Event,
    Query,
    Recalled,
    Remembered,
    Reply,
    Token,
    Working,
    event_data,
)
from bb3.core.text import printable
from bb3.core.types import Memory

_DOING = {
    "sdm": "deciding",
    "mdm": "deciding",
    "sgm": "thinking of a query",
    "search": "searching",
    "skm": "reading",
    "mkm": "remembering",
    "ckm": "thinking",
    "mgm": "taking notes",
    "orm": "thinking of you",
} | dict.fromkeys(("crm", "mrm", "srm", "vrm", "grm"), "writing")

_NAME = Text("Bot: ", style="bold")


class Screen(Protocol):
    """Where a turn is shown."""

    def event(self, event: Event) -> None:
        """Show a step of the turn."""
        ...

    def show(self, view: RenderableType) -> None:
        """Show something that is no event."""
        ...

    def end(self, memories: list[Memory]) -> None:
        """The turn is over; ``memories`` are all that are known now."""
        ...


def note(event: Event) -> str:
    """What a reader wants to be told of an event, in a line; empty: nothing."""
    return printable(_note(event))


def _note(event: Event) -> str:
    match event:
        case Query(text=text):
            return f"searching “{text}”"
        case Documents(documents=()):
            return "found nothing that fits"
        case Documents(documents=documents):
            return "reading " + ", ".join(d.title or d.url for d in documents)
        case Recalled(memories=()):
            return ""
        case Recalled(memories=memories):
            more = f" and {len(memories) - 1} more" if len(memories) > 1 else ""
            return f"recalling “{memories[0].text}”{more}"
        case Remembered(memory=memory, replaced=replaced):
            old = "".join(f" (in place of “{m.text}”)" for m in replaced)
            return f"remembered [{memory.id}] “{memory.text}”{old}"
        case Blocked(side="user", label=label):
            return f"message held back ({label})"
        case Blocked(label=label):
            return f"reply held back ({label})"
        case Degraded(step=step, reason=reason):
            return f"without {step}: {reason}"
        case _:
            return ""


class PlainScreen:
    """Lines of text, for pipes."""

    def __init__(self, write: Callable[[str], None] | None = None) -> None:
        self._write = write or _to_stdout

    def event(self, event: Event) -> None:
        if isinstance(event, Reply):
            self._write(f"Bot: {printable(event.turn.text)}\n")
        elif text := note(event):
            self._write(f"  ({text})\n")

    def show(self, view: RenderableType) -> None:
        self._write(plain(view) + "\n")

    def end(self, memories: list[Memory]) -> None:
        """Plain text has no end of turn."""


def _to_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


class JsonScreen:
    """One JSON object a turn and line."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._done: Done | None = None

    def event(self, event: Event) -> None:
        if isinstance(event, Done):
            self._done = event
        if not isinstance(event, Token):
            self._events.append(event_data(event))

    def show(self, view: RenderableType) -> None:
        """What is said beside the turns goes to stderr, so that stdout is JSON alone."""
        sys.stderr.write(plain(view) + "\n")

    def end(self, memories: list[Memory]) -> None:
        if self._done is not None:
            data = turn_data(self._done.trace, memories, self._events)
            _to_stdout(json_text(data) + "\n")
        self._events, self._done = [], None


class LiveScreen:
    """A terminal: a line that tells what is going on, then the reply as it is written."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._reply = ""
        """What was shown of the reply."""
        self._line = ""
        """What stands before the cursor: since the last line break that was made here."""

    def event(self, event: Event) -> None:
        match event:
            case Working(step=step) if step in _DOING:
                self._busy(_DOING[step])
            case Token(text=text):
                self._piece(printable(text))
            case Reply(turn=turn):
                self._whole(printable(turn.text))
            case Blocked(side="bot"):
                gone = not self._reply or self._unsay()
                self._note(note(event) + ("" if gone else "; what you saw of it does not count"))
            case _:
                if text := note(event):
                    self._note(text)
                if isinstance(event, Done):
                    self._idle()

    def show(self, view: RenderableType) -> None:
        self._idle()
        self._break()
        self._console.print(view)

    def end(self, memories: Sequence[Memory] = ()) -> None:
        self._idle()
        self._break()
        self._reply = ""

    def stopped(self) -> None:
        """The reader interrupted the reply."""
        self.end()
        self._note("stopped")

    def _busy(self, doing: str) -> None:
        if self._reply or self._line:
            return
        if self._status is None:
            self._status = self._console.status(Text(doing, style="dim"), spinner="dots")
            self._status.start()
        else:
            self._status.update(Text(doing, style="dim"))

    def _idle(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _note(self, text: str) -> None:
        self._idle()
        self._break()
        self._console.print(Text(f"  · {text}", style="dim"))

    def _piece(self, text: str) -> None:
        self._idle()
        if not self._reply:
            self._write(_NAME)
        self._write(Text(text, style="cyan"))
        self._reply += text

    def _whole(self, text: str) -> None:
        """The reply as it is kept; shown again only where it is not what was streamed."""
        if self._reply.strip() != text.strip():
            self._idle()
            self._break()
            self._write(_NAME)
            self._write(Text(text, style="cyan"))
        self._break()
        self._reply = ""

    def _write(self, text: Text) -> None:
        self._console.print(text, end="", soft_wrap=True)
        self._line += text.plain

    def _unsay(self) -> bool:
        """Wipe out the beginning of a reply, if it stands before the cursor with nothing between
        and is on the screen as a whole."""
        width = self._console.width
        rows = sum(len(chop_cells(line, width)) or 1 for line in self._line.split("\n"))
        wiped = (
            self._line == f"{_NAME.plain}{self._reply}"
            and rows < self._console.height
            and not self._console.is_dumb_terminal
        )
        if wiped:
            up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2))
            here = (ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))
            self._console.control(Control(*here, *up * (rows - 1)))
            self._line = ""
        else:
            self._break()
        self._reply = ""
        return wiped

    def _break(self) -> None:
        if self._line:
            self._console.print()
            self._line = ""
