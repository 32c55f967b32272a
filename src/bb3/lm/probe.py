"""Trying a model file in a child process first.

llama.cpp ends the whole process over some damaged files (a failed assertion, a bad allocation),
which no exception handler can catch. So a file whose hash nobody has checked is loaded, and asked
for one token, where that does no harm.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx

from bb3.core.errors import ModelError
from bb3.lm.engine import Engine, EngineOptions

_CODE = "import sys; from bb3.lm.probe import load_once; load_once(sys.stdin.read())"
_SMALL = EngineOptions(threads=1, slots=1, context_tokens=64, cache_tokens=256)
_START_S = 300.0
_SLOWEST_DISK = 10e6  # bytes per second


def longest_s(path: Path) -> float:
    """Seconds that loading a file may take, from the slowest of disks."""
    return _START_S + path.stat().st_size / _SLOWEST_DISK


def probe(path: Path) -> None:
    """Load a model in a child process. Takes as long as loading it does.

    Raises:
        ModelError: the child failed, crashed or did not end in time.
    """
    timeout_s = longest_s(path)
    try:
        done = subprocess.run(  # noqa: S603  our own code; the path is data on its stdin
            # -P: nothing is imported from the working folder, which may be a stranger's.
            [sys.executable, "-P", "-c", _CODE],
            input=str(path),
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            env=os.environ | {"GGML_NO_BACKTRACE": "1", "PYTHONFAULTHANDLER": ""},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(
            f"llama.cpp does not load {path} within {timeout_s:.0f} s.",
            remedy="The file may be damaged, or too big for this machine.",
        ) from None
    if done.returncode:
        crashed = done.returncode < 0
        raise ModelError(
            f"llama.cpp {'crashes when it loads' if crashed else 'cannot load'} {path}.",
            remedy="The file may be damaged, of a kind this llama.cpp does not know, or too big "
            "for this machine's memory. Fetch it again, or compare its hash with the source's.",
        )


def load_once(path: str) -> None:
    """What the child does."""
    engine = Engine(Path(path), _SMALL)
    transport = httpx.HTTPTransport(uds=engine.socket, trust_env=False)
    timeout_s = longest_s(Path(path))
    with httpx.Client(base_url=engine.url, transport=transport, timeout=timeout_s) as client:
        client.post("/completion", json={"prompt": "a", "n_predict": 1}).raise_for_status()
    engine.close()
