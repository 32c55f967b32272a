"""What a reader sees of a turn, by a terminal that does as real ones do."""

from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.text import Text

from bb3.cli.look import plain
from bb3.cli.output import Out, console
from bb3.cli.screen import LiveScreen, PlainScreen
from bb3.core.events import Blocked, Degraded, Reply, Token, Working
from bb3.core.types import Speaker, Turn

WIDTH, HEIGHT = 20, 10
STEER = "\x1b]0;title\x07\x1b]52;c;aGFjaw==\x07\x1b[2J\x9b2Jx"
CONTROL = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[\?25[lh]|(\r)|(\n)|([^\x1b\r\n])")


def seen(written: str) -> list[str]:
    """The lines that stand on a screen of ``WIDTH`` after all this was written."""
    lines: list[dict[int, str]] = [{}]
    row = column = 0
    for count, letter, back, feed, char in CONTROL.findall(written):
        wide = cell_len(char)
        if back:
            column = 0
        elif letter == "A":
            row = max(0, row - int(count))
        elif letter == "K":
            assert count == "2"
            lines[row].clear()
        elif feed or (char and column + wide > WIDTH):
            row, column = row + 1, 0
            if row == len(lines):
                lines.append({})
        if char:
            lines[row][column] = char
            column += wide
    return ["".join(cells.get(n, " ") for n in range(max(cells, default=-1) + 1)).rstrip()
            for cells in lines]  # fmt: skip


class Terminal:
    """A LiveScreen and what stands on it."""

    def __init__(self, **options: object) -> None:
        self.out = io.StringIO()
        shape = {"file": self.out, "force_terminal": True, "width": WIDTH, "height": HEIGHT}
        self.screen = LiveScreen(Out(highlight=False, emoji=False, **(shape | options)))

    def tell(self, *pieces: str) -> None:
        for piece in pieces:
            self.screen.event(Token(text=piece))

    def reply(self, text: str) -> None:
        turn = Turn(speaker=Speaker.BOT, text=text)
        self.screen.event(Reply(turn=turn, module="vrm"))

    @property
    def lines(self) -> list[str]:
        return seen(self.out.getvalue())


BLOCKED = Blocked(side="bot", label="insult", by="words")


def test_a_reply_is_shown_once() -> None:
    terminal = Terminal()
    terminal.tell("Hello ", "there.")
    terminal.reply("Hello there.")
    terminal.screen.end()
    assert terminal.lines == ["Bot: Hello there.", ""]
    terminal.reply("Once more.")
    assert terminal.lines == ["Bot: Hello there.", "Bot: Once more.", ""]


def test_a_reply_after_one_that_was_stopped() -> None:
    terminal = Terminal()
    terminal.tell("Once upon")
    terminal.screen.stopped()
    terminal.screen.event(Working(step="ckm"))
    assert terminal.out.getvalue().endswith("\x1b[?25l"), "a spinner turns again"
    terminal.tell("Hello ", "there.")
    terminal.reply("Hello there.")
    terminal.screen.end()
    shown = [line for line in terminal.lines if line]
    assert shown == ["Bot: Once upon", "  · stopped", "Bot: Hello there."]


@pytest.mark.parametrize(
    "pieces",
    [("Well, you ",), ("You", " are", " one ", "of those ", "people who ", "always "), ("x" * 15,),
     ("one\ntwo\n\nthree ",), ("日本" * 12,), ("日" * 40,), ("x" * 35,), ("x" * 36,)],
)  # fmt: skip
def test_a_beginning_that_is_held_back_is_wiped_out(pieces: tuple[str, ...]) -> None:
    terminal = Terminal()
    terminal.screen.show("What stood before.")
    terminal.tell(*pieces)
    terminal.screen.event(BLOCKED)
    terminal.reply("Other things?")
    terminal.screen.end()
    shown = [line for line in terminal.lines if line]
    assert shown == ["What stood before.", "  · reply held back", "(insult)", "Bot: Other things?"]


@pytest.mark.parametrize("why", ["too long", "something between", "no such terminal"])
def test_a_beginning_that_cannot_be_wiped_out_does_not_count(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "no such terminal":
        monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    terminal.tell("Well, you " * (20 if why == "too long" else 1))
    if why == "something between":
        terminal.screen.event(Degraded(step="guard", reason="slow"))
    terminal.screen.event(BLOCKED)
    terminal.reply("Other things?")
    terminal.screen.end()
    shown = " ".join(line for line in terminal.lines if line)
    assert shown.startswith("Bot: Well, you")
    assert "what you saw of it" in shown and "does not count" in shown
    assert shown.endswith("Bot: Other things?")


def test_nothing_steers_the_terminal() -> None:
    terminal = Terminal()
    terminal.screen.show(Text(STEER))
    terminal.screen.show(STEER)
    terminal.tell(STEER)
    terminal.reply(STEER + "other")
    terminal.screen.event(Degraded(step="search", reason=STEER))
    shown = re.sub(r"\x1b\[[\d;]*m", "", terminal.out.getvalue())
    assert not set(shown) & {"\x1b", "\x07", "\x9b"}
    written: list[str] = []
    PlainScreen(written.append).show(Text(STEER))
    assert not set("".join(written) + plain(STEER)) & {"\x1b", "\x07", "\x9b"}


def test_nothing_is_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("[red]10.0.0.1:100:[/] :smile: [link=http://x]y[/link]")
    assert capsys.readouterr().out == "[red]10.0.0.1:100:[/] :smile: [link=http://x]y[/link]\n"
