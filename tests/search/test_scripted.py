"""The test double keeps its promises."""

from __future__ import annotations

import pytest

from bb3.core.errors import SearchError
from bb3.core.types import Document
from bb3.search.scripted import ScriptedSearch

JAZZ = Document(title="Jazz", text="Music.")


async def test_answers_from_its_table() -> None:
    search = ScriptedSearch({"jazz": [JAZZ, JAZZ], "bad": SearchError("no")}, otherwise=[JAZZ])
    assert await search.search("jazz", 1) == [JAZZ]
    assert await search.search("else", 5) == [JAZZ]
    assert await search.search("jazz", -1) == []
    with pytest.raises(SearchError, match="no"):
        await search.search("bad", 5)
    assert search.queries == [("jazz", 1), ("else", 5), ("jazz", -1), ("bad", 5)]
    await search.aclose()
    assert search.closed
