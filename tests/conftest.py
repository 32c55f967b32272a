"""Fixtures that every room's tests share."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

from bb3.assets.index import index_config
from bb3.assets.pull import Puller
from bb3.assets.registry import load_registry
from bb3.assets.simple import Unreachable

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A background job of a script ignores interrupts, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Recorded material of the reference, beside the checkout; tests skip where it is absent."""
    if not (SHARED / "golden").is_dir():
        pytest.skip("no recorded material beside this checkout (../shared)")
    return SHARED


@pytest.fixture(scope="session")
def asset_path() -> Callable[[str], Path]:
    """Where an asset of the registry lies: in the folder BB3_TEST_ASSETS by its file name, else
    in the user's cache, pulled if need be. Skips only when no source can be reached.
    """
    puller = Puller(platformdirs.user_cache_path("bb3") / "assets", index=index_config(os.environ))

    def find(name: str) -> Path:
        asset = load_registry().find(name)
        given = Path(os.environ.get("BB3_TEST_ASSETS", "/nonexistent")) / asset.filename
        if given.is_file():
            return given
        try:
            return asyncio.run(puller.pull(asset))
        except Unreachable as error:
            pytest.skip(str(error))

    return find


@pytest.fixture(scope="session")
def smollm_path(asset_path: Callable[[str], Path]) -> Path:
    """The embedded language model, a GGUF file."""
    return asset_path("smollm2-135m")


@pytest.fixture(scope="session")
def minilm_paths(asset_path: Callable[[str], Path]) -> tuple[Path, Path]:
    """The embedding model (ONNX) and its tokenizer (JSON)."""
    return asset_path("minilm-l6-v2-onnx"), asset_path("minilm-l6-v2-tokenizer")


@pytest.fixture(scope="session")
def wiki_path(asset_path: Callable[[str], Path]) -> Path:
    """The demo corpus: summaries of Wikipedia's vital articles, JSON."""
    return asset_path("wikipedia-vital-en")
