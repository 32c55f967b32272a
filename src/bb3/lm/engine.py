"""Starting llama.cpp's server inside this process, without its side effects.

The engine is reached over HTTP on a Unix socket in a private folder: unlike its callback interface
this gives tokenising and templates too, and a connection that is closed stops a generation.
"""

from __future__ import annotations

import ctypes
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import xllamacpp

from bb3.core.errors import ModelError, UsageError

_SIBLINGS = "topology/thread_siblings_list"
_MOST_THREADS = 8
_LONGEST_SOCKET_PATH = 100  # 104 bytes on macOS, 108 on Linux
_READ_AT_ONCE = 256  # tokens; between batches the engine notices that nobody listens any more


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How the engine is laid out.

    Attributes:
        threads: threads that write; None: one less than there are cores, at most 8. They wait for
            each other after every layer, and when another program takes one's core, all of them
            stand still: with two threads on two cores a few tokens a second are left of a hundred.
        read_threads: threads that read the prompt, which does not suffer so; None: all cores,
            or ``threads`` if that is given.
        context_tokens: prompt plus answer of one call.
        slots: prompts kept in the cache at a time.
        cache_tokens: tokens that all slots hold together. 12,288 take 280 MB with SmolLM2-135M
            (30 layers, 3 key-value heads). The fuller, the slower: with that model an empty
            cache writes 95 tokens a second, a full one 76.
        reuse: False: read every prompt anew (to measure what reuse spares).
        listen: ``host:port`` to serve llama.cpp's HTTP API on (port 0: any free one) in place of
            the private socket.
        api_key: key that the HTTP API asks for; empty: none.
    """

    threads: int | None = None
    read_threads: int | None = None
    context_tokens: int = 2048
    slots: int = 16
    cache_tokens: int = 12_288
    reuse: bool = True
    listen: str = ""
    api_key: str = ""


def cores() -> int:
    """Physical cores that this process may use (affinity, container quota), at least 1."""
    try:
        logical = os.sched_getaffinity(0)
    except AttributeError:  # macOS
        return os.cpu_count() or 1
    physical = len({_read(f"/sys/devices/system/cpu/cpu{n}/{_SIBLINGS}") or n for n in logical})
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    allowed = int(quota) // int(period) if quota.isdigit() and period.isdigit() else physical
    return max(1, min(physical, allowed))


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


class Engine:
    """A running server. ``url`` is where its HTTP API answers, over the Unix socket ``socket``
    unless that is None.

    Raises:
        ModelError: llama.cpp refuses the model or the layout.
    """

    socket: str | None

    def __init__(self, path: Path, options: EngineOptions) -> None:
        most = min(_MOST_THREADS, cores())
        self.threads = options.threads or max(1, most - 1)
        self.read_threads = options.read_threads or options.threads or most
        params = _params(path, options)
        params.cpuparams.n_threads = self.threads
        params.cpuparams_batch.n_threads = self.read_threads
        if options.listen:
            params.hostnames, params.port = _address(options.listen)
        self._folder = _private_folder()
        params.slot_save_path = self._folder.name  # without one, slots cannot be emptied
        self.socket = None
        if not options.listen:
            self.socket = str(Path(self._folder.name) / "engine.sock")
            params.hostnames = [self.socket]
        try:
            with _own_signals():
                self._server: Any = xllamacpp.Server(params)
        except RuntimeError as error:
            self.close()
            at = f" and serve it at {options.listen}" if options.listen else ""
            raise ModelError(
                f"llama.cpp cannot load {path}{at}.",
                remedy="The file may be damaged, of a kind this llama.cpp does not know, or too "
                "big for this machine's memory" + (", or the port is taken." if at else "."),
            ) from error
        self.url = "http://engine" if self.socket else str(self._server.listening_address)

    def transport(self) -> httpx.AsyncHTTPTransport:
        """How to reach it. Connections are not kept: each is bound to one event loop, and a
        kept one takes one of the engine's threads.
        """
        return httpx.AsyncHTTPTransport(
            uds=self.socket, limits=httpx.Limits(max_keepalive_connections=0), trust_env=False
        )

    def close(self) -> None:
        """Stop the engine and wait for its threads; safe to call twice."""
        self._server = None
        self._folder.cleanup()


def _params(path: Path, options: EngineOptions) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {path.stem}
    params.n_ctx = max(options.cache_tokens, options.context_tokens)
    params.n_parallel = options.slots
    params.kv_unified = True
    params.kv_unified_per_slot = options.context_tokens
    params.n_batch = params.n_ubatch = _READ_AT_ONCE
    # SlotBook decides what is kept; the engine's own second cache would copy it about.
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.ctx_shift = False
    params.warmup = False
    params.verbosity = 0
    params.ui = False
    params.cors_origins = ""
    if options.api_key:
        params.api_keys = [options.api_key]
    return params


def _address(listen: str) -> tuple[list[str], int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(
            f"{listen!r} is no address to listen at.", remedy="Write host:port, as 127.0.0.1:8080."
        )
    return [host], int(port)


def _private_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder only we can enter, with a path short enough for a socket."""
    root = tempfile.gettempdir()
    short = len(os.fsencode(root)) + len("/bb3-12345678/engine.sock") <= _LONGEST_SOCKET_PATH
    try:
        return tempfile.TemporaryDirectory(prefix="bb3-", dir=root if short else "/tmp")  # noqa: S108
    except OSError as error:
        raise ModelError(
            f"There is no place for the engine's socket in {root}: {error.strerror}.",
            remedy="Make room there, or point TMPDIR to a folder that can be written.",
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's signal handlers: the engine installs its own for Ctrl-C while it
    starts. CPython's own accessors work in any thread, ``signal.signal`` only in the first.
    """
    api = ctypes.pythonapi
    api.PyOS_getsig.restype = ctypes.c_void_p
    api.PyOS_setsig.argtypes = [ctypes.c_int, ctypes.c_void_p]
    api.PyOS_setsig.restype = ctypes.c_void_p
    kept = {number: api.PyOS_getsig(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            api.PyOS_setsig(int(number), handler)
