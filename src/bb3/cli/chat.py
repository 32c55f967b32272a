"""``bb3 chat``: a conversation in the terminal, through a pipe, or as JSON for scripts."""

from __future__ import annotations

import asyncio
import getpass
import io
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, TextIO, TypeVar

import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.formatted_text import HTML
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout
from rich.text import Text

from bb3 import __version__
from bb3.app.build import build_agent, prepare
from bb3.app.places import shown_in
from bb3.chat.agent import checked
from bb3.chat.turn import OPENING
from bb3.cli.look import trace_view
from bb3.cli.output import console
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

T = TypeVar("T")

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
        live = not (message or as_json) and _is_terminal(sys.stdin) and _is_terminal(sys.stdout)
        with progress_bars() as report:
            parts = prepare(given, report)
            agent = await build_agent(parts)
        try:
            name = _user_name(user)
            screen: Screen = JsonScreen() if as_json else PlainScreen()
            if live:
                screen = LiveScreen(console())
            session = await agent.open(name, resume=resume)
            talk = Talk(agent, name, session, screen.show, screen.event if live else None)
            conversation = Conversation(talk, screen, look_inside=look_inside, seed=seed)
            if isinstance(screen, LiveScreen):
                return await conversation.live(screen, parts.settings.data_dir / "history")
            return await conversation.scripted(message)
        finally:
            await agent.aclose()

    if code := run(work):
        raise typer.Exit(code)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()  # None: closed before bb3 began


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
        self._now: asyncio.Task[None] | None = None
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
                    errors.print(f"bb3: {shown_in(str(error))}")
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
        """Prompt, reply, prompt ... What comes after a reply goes on while the reader types.
        Ctrl-C stops what is going on, never the program."""
        prompt: PromptSession[str] = PromptSession(
            history=_history(history),
            completer=WordCompleter([f"/{name}" for name in SLASH], sentence=True),
            complete_while_typing=False,
        )
        with _interrupts(self._stop):
            await self._stoppable(self._greet(screen), screen)
            warming = asyncio.create_task(self._talk.agent.warm())  # while the reader types
            while not self._talk.over:
                try:
                    with patch_stdout(raw=True):
                        line = await prompt.prompt_async(HTML("<b>You:</b> "), handle_sigint=False)
                except KeyboardInterrupt:
                    screen.show(Text("Ctrl-D or /quit leaves.", style="dim"))
                    continue
                except EOFError:
                    break
                if line.strip():
                    warming.cancel()
                    await self._stoppable(self._live_line(line, screen), screen)
            warming.cancel()
            await self._stoppable(self._settle(screen), screen)
        return 0

    async def _stoppable(self, work: Coroutine[Any, Any, None], screen: LiveScreen) -> None:
        """Do something that ``_stop`` ends; an error is told."""
        self._now = asyncio.create_task(work)
        try:
            await self._now
        except asyncio.CancelledError:
            screen.stopped()
        except Bb3Error as error:
            screen.show(Text(shown_in(str(error)), style="red"))
        finally:
            self._now = None
            screen.end()

    def _stop(self) -> None:
        if self._now is not None:
            self._now.cancel()

    async def _greet(self, screen: LiveScreen) -> None:
        agent, talk = self._talk.agent, self._talk
        known = await talk.session.book.known()
        memories = "1 memory" if len(known) == 1 else f"{len(known)} memories"
        where = agent.search.name if agent.search is not None else "no search"
        talk.show(Text(f"bb3 {__version__} · {agent.model.name} · {where} · "
                       f"{memories} of {talk.user} · /help", style="dim"))  # fmt: skip
        if agent.search is not None and (source := await attribution(agent.search)):
            talk.show(Text(f"Search: {source}", style="dim"))
        if WEAK_MODEL in agent.model.name.lower():
            talk.show(Text("This model is small enough for any machine, and talks like it. A better"
                           " one: bb3 chat --model FILE.gguf, or --model openai:URL#NAME.",
                           style="dim"))  # fmt: skip
        if known and agent.pipeline.opening and not talk.session.turns:
            await self._live_turn(OPENING, screen)

    async def _live_line(self, line: str, screen: LiveScreen) -> None:
        await self._settle(screen)
        if line.startswith("/"):
            await self._talk.command(line)
        else:
            await self._live_turn(line, screen)

    async def _live_turn(self, line: str, screen: LiveScreen) -> None:
        """Show the turn up to its reply. The rest is left to ``_after``."""
        events = self._events(line)
        async for event in events:  # cancelled, it closes itself
            screen.event(event)
            if isinstance(event, Reply) and not self._look_inside:
                self._after = asyncio.create_task(self._rest(events, screen))
                return
            if isinstance(event, Done):
                self._ended(event)

    async def _rest(self, events: AsyncGenerator[Event, None], screen: LiveScreen) -> None:
        async with aclosing(events):
            async for event in events:
                if not isinstance(event, Working):  # no spinner beside the prompt
                    screen.event(event)
                if isinstance(event, Done):
                    self._ended(event)

    async def _settle(self, screen: LiveScreen) -> None:
        """The turn before is over, memories written, before the next begins."""
        if self._after is not None:
            after, self._after = self._after, None
            if not after.done():
                screen.event(Working(step="mgm"))
            await after


@contextmanager
def _interrupts(act: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C does this, and no more."""
    loop = asyncio.get_running_loop()
    before = signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(act))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _FileHistory(FileHistory):
    """A line that cannot be written (a full disk) is in the history until the end only."""

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            super().store_string(string)


def _history(path: Path) -> History:
    """What was typed, in a file that only its owner can read."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)  # one of before
    except OSError:
        return InMemoryHistory()
    return _FileHistory(str(path))


async def _lines(messages: list[str] | None) -> AsyncGenerator[str | bytes, None]:
    """The messages, else the lines of standard input."""
    if messages is not None:
        for message in messages:
            yield message
    elif sys.stdin is not None:
        # Not sys.stdin's own reader, which Python closes at its end: it would wait for the thread.
        source = io.BufferedReader(io.FileIO(sys.stdin.fileno(), closefd=False))
        while line := await _in_daemon(source.readline):
            yield line


async def _in_daemon(work: Callable[[], T]) -> T:
    """As asyncio.to_thread, in a thread that the end of the program does not wait for."""
    done: Future[T] = Future()

    def run() -> None:
        done.set_running_or_notify_cancel()
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(done)


def _text(line: str | bytes) -> str:
    try:
        return line if isinstance(line, str) else line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"A line of standard input is not UTF-8 (byte {error.start + 1}).",
            remedy="Convert the text, for instance with iconv.",
        ) from error
