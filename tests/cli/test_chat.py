"""``bb3 chat`` in a pseudo-terminal: Ctrl-C at every moment, and where what was typed is kept."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE

import pexpect
import pytest

from tests.cli.conftest import CODE, User

ROOT = Path(__file__).parents[2]
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")
PROMPT = "You:"
NO_MODEL = ("-m", "metaseq:http://127.0.0.1:9", "-s", "none", "--set", "offline=1")
"""Asked only when there is a message."""


class Pseudo:
    """A program behind a pseudo-terminal."""

    def __init__(self, *args: str) -> None:
        self.process = pexpect.spawn(
            sys.executable, list(args), cwd=str(ROOT), encoding="utf-8", timeout=30,
            env={**os.environ, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"},
            dimensions=(40, 120), echo=False,
        )  # fmt: skip
        self.process.delaybeforesend = 0.1

    def until(self, text: str) -> str:
        self.process.expect_exact(text)
        return ANSI.sub("", self.process.before)

    def say(self, line: str) -> None:
        self.process.send(line + "\r")

    def stop(self) -> None:
        """Ctrl-C stops what is going on; the program asks for the next line."""
        self.process.sendintr()
        self.until("stopped")
        self.until(PROMPT)

    def end(self) -> int | None:
        self.process.expect(pexpect.EOF)
        self.process.close()
        return self.process.exitstatus


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Pseudo]:
    """A conversation with a model that tells long stories, and takes notes for long."""
    pseudo = Pseudo("-m", "tests.cli.storyteller", str(tmp_path))
    pseudo.until(PROMPT)
    yield pseudo
    pseudo.process.close(force=True)


def test_ctrl_c_stops_a_reply_and_the_next_one_is_shown_once(talk: Pseudo) -> None:
    for _ in range(2):
        talk.say("Tell me a story.")
        talk.until("Bot: Once")
        talk.stop()
        talk.say("Hello!")
        before = talk.until("Bot: ")
        assert "How" not in before
        assert talk.until(PROMPT).strip() == "How nice to hear that."


def test_ctrl_c_while_memories_are_written(talk: Pseudo) -> None:
    talk.say("A note, please.")
    talk.until("How nice to hear that.")
    talk.until(PROMPT)
    talk.say("Hello!")
    talk.until("taking notes")
    talk.stop()
    talk.say("A note, please.")
    talk.until("How nice to hear that.")
    talk.until(PROMPT)
    talk.process.sendeof()
    talk.until("taking notes")
    talk.process.sendintr()
    assert talk.end() == 0


def test_ctrl_c_stops_a_command(talk: Pseudo) -> None:
    talk.say("Hello!")
    talk.until("How nice")
    talk.until(PROMPT)
    talk.say("/rerun orm=Other words.")
    talk.until("orm did not run")
    talk.until(PROMPT)
    talk.say("/rerun vrm=Other words.")
    talk.until("Other words. (edited)")
    talk.until(PROMPT)
    talk.say("/rerun ckm=a story")
    talk.until("writing")
    talk.stop()
    talk.say("/quit")
    assert talk.end() == 0


def test_ctrl_c_again_and_again(talk: Pseudo) -> None:
    talk.process.sendintr()
    talk.until("/quit leaves")
    talk.until(PROMPT)
    talk.say("Tell me a story.")
    talk.until("Bot: Once")
    for _ in range(3):
        talk.process.sendintr()
    talk.until("stopped")
    talk.until(PROMPT)
    talk.process.sendeof()
    assert talk.end() == 0


def test_a_path_that_is_none(talk: Pseudo) -> None:
    talk.say("/export ~nosuch/x")
    talk.until("no such user")
    talk.until(PROMPT)
    talk.say("/export " + "x" * 300)
    talk.until("File name too long")
    talk.until(PROMPT)


def test_an_export_is_for_its_owner_only_and_overwrites_nothing(
    talk: Pseudo, tmp_path: Path
) -> None:
    path = tmp_path / "mine.json"
    talk.say("/remember I live in Oslo.")
    talk.until("[1] I live in Oslo.")
    talk.say(f"/export {path}")
    talk.until("Everything kept")
    assert S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text(encoding="utf-8")
    assert "I live in Oslo." in before and json.loads(before)
    talk.say(f"/export {path}")
    talk.until("File exists")
    assert path.read_text(encoding="utf-8") == before


def test_what_was_typed_is_for_its_owner_only(talk: Pseudo, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    talk.say("/memories")
    talk.until("Nothing is remembered yet.")
    talk.until(PROMPT)
    assert "/memories" in (folder / "history").read_text()
    assert S_IMODE(folder.stat().st_mode) == 0o700
    assert S_IMODE((folder / "history").stat().st_mode) == 0o600
    (folder / "history").unlink()
    folder.rmdir()
    talk.say("Hello!")
    talk.until("How nice to hear that.")
    talk.until(PROMPT)


def test_a_history_of_before_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    history = tmp_path / "made" / "history"
    history.write_text("\n# before\n+/memories\n")
    history.chmod(0o644)
    talk = Pseudo("-m", "tests.cli.storyteller", str(tmp_path))
    talk.until(PROMPT)
    assert S_IMODE(history.stat().st_mode) == 0o600
    talk.process.send("\x1b[A\r")
    talk.until("Nothing is remembered yet.")
    talk.process.close(force=True)


def test_where_no_history_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "made").touch()
    talk = Pseudo("-m", "tests.cli.storyteller", str(tmp_path))
    talk.until(PROMPT)
    talk.say("/memories")
    talk.until("Nothing is remembered yet.")
    talk.until(PROMPT)
    talk.process.send("\x1b[A\r")
    talk.until("Nothing is remembered yet.")
    talk.process.close(force=True)


def test_ctrl_c_ends_a_conversation_for_scripts(bb3: User) -> None:
    pseudo = Pseudo("-c", CODE, "chat", "--json", *NO_MODEL)
    pseudo.until("go by words alone")
    pseudo.process.expect(pexpect.TIMEOUT, timeout=1)  # it waits for a line
    pseudo.process.sendintr()
    assert "Fatal" not in pseudo.until("Interrupted.")
    pseudo.process.timeout = 5
    assert pseudo.end() == 130


def test_without_a_standard_input(bb3: User) -> None:
    for closed in ("<&-", "</dev/null"):
        ended = pexpect.run(
            f"sh -c '{sys.executable} -c \"{CODE}\" chat {' '.join(NO_MODEL)} {closed}'",
            withexitstatus=True, encoding="utf-8", env=dict(os.environ),
        )  # fmt: skip
        assert ended[1] == 0 and "Traceback" not in ended[0], ended
