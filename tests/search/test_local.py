"""The local index: building, resuming, searching."""

from __future__ import annotations

from pathlib import Path

from bb3.core.types import Document
from bb3.search.local import LocalIndex

NORWAY = Document(title="Norway", text="Norway is a country. Its capital is Oslo.", url="x:norway")
JAZZ = Document(title="Jazz", text="Jazz is a music genre from New Orleans.", url="x:jazz")


async def test_builds_searches_and_opens_again(tmp_path: Path) -> None:
    index = await LocalIndex.create(tmp_path / "a.db", attribution="ours")
    changes = await index.add([NORWAY, JAZZ])
    assert (changes.added, changes.unchanged) == (2, 0)
    await index.aclose()
    index = await LocalIndex.open(tmp_path / "a.db")
    [found] = await index.search("What is the capital of Norway?", 5)
    assert found.title == "Norway"
    assert "Oslo" in found.text
    assert (await index.stats()).attribution == "ours"
    await index.aclose()
