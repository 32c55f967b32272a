"""The conversation in a real (pseudo) terminal: typed at, read from, interrupted."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pexpect
import pytest

from tests.e2e.conftest import BB3, Home

pytestmark = pytest.mark.model

PROMPT = "You:"
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


class Terminal:
    """A started `bb3 chat` behind a pseudo-terminal."""

    def __init__(self, home: Home, *args: str) -> None:
        self.process = pexpect.spawn(
            str(BB3), ["chat", "--user", "anna", *args],
            env={**home.env(), "TERM": "xterm-256color"}, cwd=str(home.data_dir),
            encoding="utf-8", codec_errors="replace", timeout=90, dimensions=(40, 120), echo=False,
        )  # fmt: skip
        self.process.delaybeforesend = 0.2

    def until(self, text: str) -> str:
        """Everything up to ``text``, without control sequences."""
        self.process.expect_exact(text)
        return ANSI.sub("", self.process.before)

    def say(self, line: str) -> None:
        self.process.send(line + "\r")


@pytest.fixture
def terminal(home: Home) -> Iterator[Terminal]:
    terminal = Terminal(home)
    yield terminal
    terminal.process.close(force=True)


def test_streams_a_reply_looks_inside_and_leaves(terminal: Terminal) -> None:
    greeting = terminal.until(PROMPT)
    assert "SmolLM2" in greeting and "/help" in greeting
    assert "talks like it" in greeting, "the weak default model says so"

    terminal.say("What is the capital of Norway?")
    terminal.until("searching “")
    terminal.until("reading ")
    terminal.until("Bot: ")
    terminal.until("Oslo")
    terminal.until(PROMPT)

    terminal.say("/why")
    table = terminal.until("seed ")
    assert "search decision" in table and "search response" in table
    terminal.say("/nonsense")
    terminal.until("There is no command /nonsense")
    terminal.say("/quit")
    terminal.process.expect(pexpect.EOF)
    terminal.process.close()
    assert terminal.process.exitstatus == 0


def test_ctrl_c_stops_the_reply_and_not_the_program(home: Home) -> None:
    terminal = Terminal(home, "--set", "srm.max_tokens=512", "--set", "srm.min_tokens=400",
                        "--set", "vrm.max_tokens=512", "--set", "vrm.min_tokens=400",
                        "--set", "crm.max_tokens=512", "--set", "crm.min_tokens=400")  # fmt: skip
    terminal.until(PROMPT)
    terminal.say("Please tell me a long story about a ship.")
    terminal.until("Bot: ")
    terminal.process.sendintr()
    terminal.until("stopped")
    terminal.until(PROMPT)
    terminal.say("/memories")
    terminal.until("Nothing is remembered yet.")
    terminal.until(PROMPT)
    terminal.say("What is the capital of Norway?")
    terminal.until("Bot: ")
    terminal.process.sendintr()
    terminal.until("stopped")
    terminal.until(PROMPT)
    terminal.process.sendeof()
    terminal.process.expect(pexpect.EOF)
    terminal.process.close()
    assert terminal.process.exitstatus == 0


def test_arrow_up_brings_back_what_was_said(terminal: Terminal, home: Home) -> None:
    terminal.until(PROMPT)
    terminal.say("/memories")
    terminal.until("Nothing is remembered yet.")
    terminal.until(PROMPT)
    terminal.process.send("\x1b[A")
    terminal.until("/memories")
    terminal.process.send("\r")
    terminal.until("Nothing is remembered yet.")


def test_greets_a_user_it_remembers(home: Home) -> None:
    home.turns("I have a dog called Bubbles.")
    terminal = Terminal(home)
    terminal.until("Bot: ")
    assert terminal.until(PROMPT).strip()
    terminal.process.close(force=True)
