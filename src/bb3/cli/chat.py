"""``bb3 chat``: a conversation in the terminal, through a pipe, or as JSON for scripts."""

from __future__ import annotations

import asyncio
import getpass
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Annotated

import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.formatted_text import HTML
from prompt_toolkit.history import FileHistory
from prompt_toolkit.patch_stdout import patch_stdout
from rich.console import Console
from rich.text import Text

from bb3 import __version__
from bb3.app.build import build_agent, prepare
from bb3.chat.agent import checked
from bb3.chat.turn import OPENING
from bb3.cli.look import trace_view
from bb3.cli.screen import JsonScreen, LiveScreen, PlainScreen, Screen
from bb3.cli.search import attribution
from bb3.cli.slash import SLASH, Talk
from bb3.cli.terminal import (
    ModelOption,
    SearchOption,
    SetOption,
    errors,
    flags,
    progress_bars,
    quiet_logs,
    run,
)
from bb3.core.errors import Bb3Error, InputError, UsageError
from bb3.core.events import Done, Event, Reply, Working

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})

WEAK_MODEL = "smollm2-135m"


@app.command()
def chat(
    user: Annotated[
        str | None, typer.Option("--user", "-u", help="Whose memories; your login name if absent.")
    ] = None,
    model: ModelOption = None,
    search: SearchOption = None,
    persona: Annotated[
        str | None, typer.Option(help="A text file with a line per fact about the bot.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", "-p", help="bb3, bb2, seeker or bb1.")
    ] = None,
    safety: Annotated[str | None, typer.Option(help="none, words or all.")] = None,
    look_inside: Annotated[
        bool, typer.Option("--look-inside", help="Show after each reply how it came about.")
    ] = False,
    message: Annotated[
        list[str] | None,
        typer.Option("--message", help="Say this and leave; may be given several times."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a turn, for scripts.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--continue", "-c", help="Take up the last conversation again.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Makes replies reproducible.", min=0, max=2**31 - 1)
    ] = None,
    sets: SetOption = None,
) -> None:
    """Talk with the bot.

    In a terminal type and read; /help lists the commands. Without one, each line of standard
    input is a message, and the replies are plain text.
    """
    quiet_logs()

    async def work() -> int:
        given = flags(sets, model=model, search=search, persona=persona, preset=preset,
                      safety=safety)  # fmt: skip
        live = not (message or as_json) and sys.stdin.isatty() and sys.stdout.isatty()
        with progress_bars() as report:
            parts = prepare(given, report)
            agent = await build_agent(parts)
        try:
            name = _user_name(user)
            screen: Screen
            if live:
                screen = LiveScreen(Console(highlight=False))
            else:
                screen = JsonScreen() if as_json else PlainScreen()
            session = await agent.open(name, resume=resume)
            talk = Talk(agent, name, session, screen.show)
            conversation = Conversation(talk, screen, look_inside=look_inside, seed=seed)
            if isinstance(screen, LiveScreen):
                return await conversation.live(screen, parts.settings.data_dir / "history")
            return await conversation.scripted(message)
        finally:
            await agent.aclose()

    if code := run(work):
        raise typer.Exit(code)


def _user_name(given: str | None) -> str:
    if given is None:
        try:
            return getpass.getuser()
        except (KeyError, OSError):  # a container without a user database
            return "user"
    if not given.strip() or len(given) > 64 or not given.isprintable():
        raise UsageError(f"{given[:80]!r} cannot be a user's name: 1 to 64 visible characters.")
    return given.strip()


class Conversation:
    """Messages in, turns on the screen."""

    def __init__(self, talk: Talk, screen: Screen, *, look_inside: bool, seed: int | None) -> None:
        self._talk, self._screen = talk, screen
        self._look_inside, self._seed = look_inside, seed
        self._after: asyncio.Task[None] | None = None

    # --- without a terminal -----------------------------------------------------------------

    async def scripted(self, messages: list[str] | None) -> int:
        """The given messages, or standard input's lines. Returns the exit code: a message that
        was refused is told and passed over, and makes it 1."""
        code = 0
        async with aclosing(_lines(messages)) as lines:
            async for line in lines:
                if not line.strip():
                    continue
                try:
                    await self._say(_text(line).rstrip("\r\n"))
                except (InputError, UsageError) as error:
                    errors.print(f"bb3: {error}", markup=False)
                    code = error.exit_code
                if self._talk.over:
                    break
        return code

    async def _say(self, line: str) -> None:
        if line.startswith("/"):
            await self._talk.command(line)
            return
        if isinstance(self._screen, PlainScreen):
            self._screen.show(Text(f"You: {checked(line)}"))
        async with aclosing(self._events(line)) as events:
            async for event in events:
                self._screen.event(event)
                if isinstance(event, Done):
                    self._ended(event)
        self._screen.end(await self._talk.session.book.known())

    def _events(self, line: str) -> AsyncGenerator[Event, None]:
        return self._talk.agent.chat(self._talk.session, line, seed=self._seed)

    def _ended(self, event: Done) -> None:
        self._talk.trace = event.trace
        if self._look_inside:
            self._screen.show(trace_view(event.trace))

    # --- in a terminal ----------------------------------------------------------------------

    async def live(self, screen: LiveScreen, history: Path) -> int:
        """Prompt, reply, prompt ... What comes after a reply goes on while the reader types."""
        await self._greet(screen)
        prompt: PromptSession[str] = PromptSession(
            history=FileHistory(str(history)),
            completer=WordCompleter([f"/{name}" for name in SLASH], sentence=True),
            complete_while_typing=False,
        )
        warming = asyncio.create_task(self._talk.agent.warm())  # while the reader types
        while not self._talk.over:
            try:
                with patch_stdout(raw=True):
                    line = await prompt.prompt_async(HTML("<b>You:</b> "))
            except KeyboardInterrupt:
                continue
            except EOFError:
                break
            if line.strip():
                warming.cancel()
                await self._live_line(line, screen)
        warming.cancel()
        await self._settle()
        return 0

    async def _greet(self, screen: LiveScreen) -> None:
        agent, talk = self._talk.agent, self._talk
        known = await talk.session.book.known()
        where = agent.search.name if agent.search is not None else "no search"
        talk.show(Text(f"bb3 {__version__} · {agent.model.name} · {where} · "
                       f"{len(known)} memories of {talk.user} · /help", style="dim"))  # fmt: skip
        if agent.search is not None and (source := await attribution(agent.search)):
            talk.show(Text(f"Search: {source}", style="dim"))
        if WEAK_MODEL in agent.model.name.lower():
            talk.show(Text("This model is small enough for any machine, and talks like it. A better"
                           " one: bb3 chat --model FILE.gguf, or --model openai:URL#NAME.",
                           style="dim"))  # fmt: skip
        if known and agent.pipeline.opening and not talk.session.turns:
            await self._live_turn(OPENING, screen)

    async def _live_line(self, line: str, screen: LiveScreen) -> None:
        try:
            await self._settle()
            if line.startswith("/"):
                await self._talk.command(line)
            else:
                await self._live_turn(line, screen)
        except Bb3Error as error:
            screen.show(Text(str(error), style="red"))

    async def _live_turn(self, line: str, screen: LiveScreen) -> None:
        """Show the turn up to its reply; Ctrl-C stops it. The rest is left to ``_after``."""
        events = self._events(line)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, stop.set)
        stopping = asyncio.create_task(stop.wait())
        try:
            while True:
                coming = asyncio.ensure_future(anext(events, None))
                await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if stop.is_set():
                    coming.cancel()
                    with suppress(asyncio.CancelledError):
                        await coming
                    await events.aclose()
                    screen.stopped()
                    return
                if (event := coming.result()) is None:
                    return
                screen.event(event)
                if isinstance(event, Reply) and not self._look_inside:
                    self._after = asyncio.create_task(self._rest(events, screen))
                    return
                if isinstance(event, Done):
                    self._ended(event)
        finally:
            stopping.cancel()
            loop.remove_signal_handler(signal.SIGINT)
            screen.end([])

    async def _rest(self, events: AsyncGenerator[Event, None], screen: LiveScreen) -> None:
        async with aclosing(events):
            async for event in events:
                if not isinstance(event, Working):  # no spinner beside the prompt
                    screen.event(event)
                if isinstance(event, Done):
                    self._ended(event)

    async def _settle(self) -> None:
        """The turn before is over, memories written, before the next begins."""
        if self._after is not None:
            after, self._after = self._after, None
            await after


async def _lines(messages: list[str] | None) -> AsyncGenerator[str | bytes, None]:
    if messages is not None:
        for message in messages:
            yield message
        return
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        yield line


def _text(line: str | bytes) -> str:
    try:
        return line if isinstance(line, str) else line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"A line of standard input is not UTF-8 (byte {error.start + 1}).",
            remedy="Convert the text, for instance with iconv.",
        ) from error
