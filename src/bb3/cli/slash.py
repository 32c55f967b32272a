"""The commands that begin with a slash, inside a conversation."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from bb3.app.places import path_of
from bb3.chat.agent import Agent
from bb3.chat.state import Session
from bb3.cli.look import call_view, memories_view, trace_view
from bb3.core.errors import InputError, UsageError
from bb3.core.events import Done, Working
from bb3.core.types import Trace

Show = Callable[[RenderableType], None]


@dataclass(slots=True)
class Talk:
    """A conversation at the terminal, and what its commands can reach. ``watch`` is told of the
    steps of a command that takes long."""

    agent: Agent
    user: str
    session: Session
    show: Show
    watch: Callable[[Working], None] | None = None
    trace: Trace | None = None
    over: bool = False

    async def command(self, line: str) -> None:
        """Run ``/name argument``. Raises UsageError for one that does not exist."""
        name, _, argument = line[1:].strip().partition(" ")
        if name not in SLASH:
            raise UsageError(f"There is no command /{name}.", remedy="/help lists them.")
        await SLASH[name].act(self, argument.strip())


@dataclass(frozen=True, slots=True)
class Slash:
    """A command: its argument and its purpose for the help, and what it does."""

    argument: str
    purpose: str
    act: Callable[[Talk, str], Awaitable[None]]


async def _help(talk: Talk, _: str) -> None:
    table = Table(box=None, padding=(0, 2), show_header=False)
    for name, slash in SLASH.items():
        table.add_row(f"/{name} {slash.argument}".rstrip(), slash.purpose)
    talk.show(table)


async def _why(talk: Talk, module: str) -> None:
    trace = _last_trace(talk)
    if not module:
        talk.show(trace_view(trace))
        return
    calls = [call for call in trace.calls if call.module == module]
    if not calls:
        ran = ", ".join(dict.fromkeys(call.module for call in trace.calls))
        raise UsageError(f"{module!r} did not run in the last turn.", remedy=f"These did: {ran}.")
    for call in calls:
        talk.show(call_view(call))


def _last_trace(talk: Talk) -> Trace:
    if talk.trace is None:
        raise UsageError("There is no turn to look into yet.")
    return talk.trace


async def _rerun(talk: Talk, edit: str) -> None:
    """The last turn again; nothing of it is kept."""
    name, equals, text = edit.partition("=")
    if edit and not equals:
        raise UsageError(f"{edit!r} is not of the form MODULE=ANSWER.")
    edits = {name.strip(): text.strip()} if edit else {}
    async for event in talk.agent.replay(_last_trace(talk), edits):
        if isinstance(event, Working) and talk.watch is not None:
            talk.watch(event)
        if isinstance(event, Done):
            reply = event.trace.reply
            talk.show(Text(reply.text if reply else "", style="cyan"))
            talk.show(trace_view(event.trace))
            ran = {call.module for call in event.trace.calls}
            for tag in edits.keys() - ran:
                talk.show(Text(f"{tag} did not run: its answer changed nothing.", style="dim"))


async def _memories(talk: Talk, _: str) -> None:
    talk.show(memories_view(await talk.session.book.known()))


async def _remember(talk: Talk, text: str) -> None:
    if not text:
        raise UsageError("/remember needs a text.", remedy="Such as: /remember I live in Oslo.")
    admission = await talk.agent.remember(talk.session, text)
    if admission.memory is None:
        raise InputError(f"This is not kept: {admission.reason}.")
    talk.show(Text(f"[{admission.memory.id}] {admission.memory.text}"))
    for old in admission.replaced:
        talk.show(Text(f"in place of [{old.id}] {old.text}", style="dim"))


async def _edit(talk: Talk, argument: str) -> None:
    number, _, text = argument.partition(" ")
    memory = await talk.agent.edit_memory(talk.session, _number(number), text)
    if memory is None:
        raise UsageError(f"There is no memory {number}.", remedy="/memories lists them.")
    talk.show(Text(f"[{memory.id}] {memory.text}"))


async def _forget(talk: Talk, argument: str) -> None:
    if argument == "all":
        count = await talk.session.book.forget_all()
        talk.show(Text(f"Forgotten: {count}."))
        return
    if not await talk.session.book.forget(_number(argument)):
        raise UsageError(f"There is no memory {argument}.", remedy="/memories lists them.")
    talk.show(Text("Forgotten."))


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is not the number of a memory.", remedy="/memories lists them."
        ) from None


async def _reset(talk: Talk, _: str) -> None:
    talk.session = await talk.agent.open(talk.user, resume=False)
    talk.trace = None
    talk.show(Text("A new conversation. What is remembered stays; /forget all deletes it."))


async def _export(talk: Talk, name: str) -> None:
    data = await talk.agent.store.export_user(talk.user)
    path = _export_path(name, talk.user)
    try:
        path.touch(mode=0o600, exist_ok=False)
        text = json.dumps(data, ensure_ascii=False, indent=1, default=str)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}.",
            remedy="Name another file: /export FILE.",
        ) from error
    talk.show(Text(f"Everything kept about {talk.user} is in {path}."))


def _export_path(name: str, user: str) -> Path:
    return path_of(name or f"bb3-{''.join(c if c.isalnum() else '_' for c in user)}.json")


async def _quit(talk: Talk, _: str) -> None:
    talk.over = True


SLASH = {
    "why": Slash("[MODULE]", "how the last reply came about; all of one module", _why),
    "rerun": Slash("[MODULE=ANSWER]", "the last turn again, with another answer", _rerun),
    "memories": Slash("", "what is remembered", _memories),
    "remember": Slash("TEXT", "remember this about you", _remember),
    "edit": Slash("N TEXT", "change memory N", _edit),
    "forget": Slash("N | all", "forget memory N, or all of them", _forget),
    "reset": Slash("", "begin a new conversation", _reset),
    "export": Slash("[FILE]", "write everything kept about you into a file", _export),
    "help": Slash("", "this list", _help),
    "quit": Slash("", "leave", _quit),
}
