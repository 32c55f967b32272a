from __future__ import annotations

import asyncio
import threading

import pytest

from bb3.safety.lazy import LazyClassifier
from bb3.safety.words import WordList


async def test_loads_once_in_a_thread():
    loads: list[int] = []

    def load() -> WordList:
        loads.append(threading.get_ident())
        return WordList()

    lazy = LazyClassifier("words", load)
    assert not loads
    results = await asyncio.gather(*(lazy.classify(["shit"]) for _ in range(5)))
    assert all(not verdicts[0].safe for verdicts in results)
    assert len(loads) == 1
    assert loads[0] != threading.get_ident()


async def test_a_failed_load_is_tried_again():
    attempts = iter([OSError("no model"), None])

    def load() -> WordList:
        if error := next(attempts):
            raise error
        return WordList()

    lazy = LazyClassifier("words", load)
    with pytest.raises(OSError, match="no model"):
        await lazy.classify(["x"])
    assert (await lazy.classify(["x"]))[0].safe
