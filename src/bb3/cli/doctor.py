"""``bb3 doctor``: what works here, and how to mend what does not."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import platform
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from importlib import metadata
from typing import Annotated

import typer
from rich.text import Text

from bb3.cli.finding import Finding
from bb3.cli.output import JsonOption, console, print_json, say
from bb3.cli.terminal import ModelOption, SearchOption, SetOption, errors, flags, run

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

CHECKS = ("settings", "folders", "index", "assets", "model", "speed", "embedder", "search",
          "store", "safety")  # fmt: skip
"""Of ``bb3.cli.checkup``, in this order; ``python`` and ``extras`` go before them."""
EXTRAS = {"torch": ("torch", "transformers", "safetensors"), "postgres": ("psycopg",)}
USES = {"torch": "R2C2 models", "postgres": "a PostgreSQL store"}
MARKS = {
    "ok": ("✓", "green"),
    "note": ("!", "yellow"),
    "bad": ("✗", "red"),
    "skipped": ("-", "dim"),
}
TIMEOUT_S = 180.0
REINSTALL = "Install bb3 again: pip install --force-reinstall bb3"


@app.command()
def doctor(
    model: ModelOption = None,
    search: SearchOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Do not measure the speed.")] = False,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds that one check may take.")
    ] = TIMEOUT_S,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what works here, and how to mend what does not.

    Nothing is fetched. The exit code is 0 when all is well, 1 when something does not work.
    """

    async def work() -> list[Finding]:
        given = flags(sets, model=model, search=search)
        checks = [check for check in CHECKS if not (quick and check == "speed")]
        found: list[Finding] = []
        looking = errors.status("looking ...")
        async with aclosing(examine(checks, given, timeout)) as findings:
            with looking:
                async for finding in findings:
                    found.append(finding)
                    if not as_json:
                        looking.stop()  # it has the line that the finding goes to
                        show(finding)
                        looking.start()
        return found

    found = run(work)
    bad = [finding.check for finding in found if finding.state == "bad"]
    if as_json:
        print_json({"well": not bad, "checks": [asdict(finding) for finding in found]})
    else:
        say()
        say(f"Not well: {', '.join(bad)}." if bad else "All well.")
    if bad:
        raise typer.Exit(1)


def show(finding: Finding) -> None:
    """A line of the report, and its remedy below."""
    mark, style = MARKS[finding.state]
    console().print(Text(f"{mark} {finding.check:<10}", style=style), end="")
    say(finding.text)
    if finding.remedy:
        say(f"{'':<12}→ {finding.remedy}")


async def examine(
    checks: Sequence[str], given: dict[str, object], timeout_s: float
) -> AsyncGenerator[Finding, None]:
    """The findings as they come. The checks run in a child process: one that hangs is ended after
    ``timeout_s``, one that crashes is told, and a new child goes on with the rest.
    """
    yield _python()
    yield _extras()
    left = list(checks)
    while left:
        async with aclosing(_child(left, given, timeout_s)) as findings:
            async for finding in findings:
                left.remove(finding.check)
                yield finding
                if finding.check == "settings" and finding.state == "bad":
                    return  # nothing can be looked at without them


async def _child(
    checks: list[str], given: dict[str, object], timeout_s: float
) -> AsyncGenerator[Finding, None]:
    """Findings of one child process; the last one says so if it does not come to its end."""
    left = list(checks)
    with tempfile.TemporaryFile() as complaints:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "bb3.cli.checkup", *checks,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=complaints,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None  # noqa: S101
        try:
            process.stdin.write(json.dumps(given, default=str).encode())
            process.stdin.close()
            while left:
                try:
                    line = await asyncio.wait_for(process.stdout.readline(), timeout_s)
                except TimeoutError:
                    yield Finding(
                        check=left[0],
                        state="bad",
                        text=f"no answer within {timeout_s:g} s.",
                        remedy="See what the machine is busy with, or give it more --timeout.",
                    )
                    return
                if not line:
                    code = await process.wait()
                    complaints.seek(0)
                    yield _died(left[0], code, complaints.read().decode("utf-8", "replace"))
                    return
                finding = Finding(**json.loads(line))
                left.remove(finding.check)
                yield finding
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def _died(check: str, code: int, complaints: str) -> Finding:
    last = (complaints.strip().splitlines() or [""])[-1][:300]
    if code == -signal.SIGKILL:
        return Finding(check=check, state="bad", text="killed, most likely for want of memory.",
                       remedy="Take a smaller model, or end other programs.")  # fmt: skip
    if code == -signal.SIGILL:
        return Finding(check=check, state="bad", text="this processor lacks an instruction.",
                       remedy="Use a model server: --model openai:URL#name.")  # fmt: skip
    how = f"crashed with {signal.Signals(-code).name}" if code < 0 else "failed"
    # Without a module or with a broken one, bb3 itself is not whole.
    return Finding(check=check, state="bad", text=f"{how}: {last or 'without a word'}.",
                   remedy=REINSTALL)  # fmt: skip


def _python() -> Finding:
    version = platform.python_version()
    system = f"{platform.system()} {platform.machine()}"
    text = f"{version} on {system}, bb3 {metadata.version('bb3')}"
    data = {"python": version, "system": system, "executable": sys.executable}
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding(check="python", state="bad", text=text, data=data,
                       remedy="Use Python 3.11, 3.12 or 3.13.")  # fmt: skip
    if platform.system() not in ("Linux", "Darwin"):
        return Finding(check="python", state="note", text=text, data=data,
                       remedy="bb3 is tried on Linux and macOS only.")  # fmt: skip
    return Finding(check="python", state="ok", text=text, data=data)


def _extras() -> Finding:
    """Which optional parts are installed; none is needed."""
    told, data = [], {}
    for extra, modules in EXTRAS.items():
        absent = [module for module in modules if importlib.util.find_spec(module) is None]
        data[extra] = not absent
        told.append(
            f"{extra}: not installed (for {USES[extra]}: pip install 'bb3[{extra}]')"
            if absent
            else f"{extra} {_version(modules[0])}"
        )
    return Finding(check="extras", state="ok", text="; ".join(told), data=data)


def _version(module: str) -> str:
    try:
        return metadata.version(module)
    except metadata.PackageNotFoundError:
        return "(version unknown)"
