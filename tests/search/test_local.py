"""The local index: building, resuming, searching, and what can break."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bb3.core.errors import ModelError, SearchError
from bb3.core.ports import Progress
from bb3.core.types import Document
from bb3.search import index_file
from bb3.search.local import BATCH, LocalIndex
from tests.search.conftest import WordEmbedder


def doc(title: str, text: str) -> Document:
    return Document(title=title, text=text, url=f"http://x.org/{title.replace(' ', '_')}")


NORWAY = doc("Norway", "Norway is a country in Northern Europe. Its capital is Oslo.")
CORPUS = [
    NORWAY,
    doc("Oslo", "Oslo is the capital and most populous city of Norway."),
    doc("Sweden", "Sweden is a country in Northern Europe. Its capital is Stockholm."),
    doc("Jazz", "Jazz is a music genre that originated in New Orleans."),
    doc("Jazz dance", "Jazz dance is a dance style that grew with jazz music."),
    doc("Dog", "The dog is a domesticated descendant of the wolf. It barks."),
    doc("My Way", "My Way is a song made popular by Frank Sinatra."),
    doc("Apollo 8", "Apollo 8 was the first crewed spacecraft to leave low Earth orbit."),
    doc("Café Müller", "Café Müller is a dance piece by Pina Bausch."),
    doc("Hamlet", "Hamlet is a tragedy by William Shakespeare, set in Denmark."),
    doc("C++", 'C++ is a language. Its "AND" operator is written &&, its NOT is !.'),
]


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[LocalIndex]:
    index = await LocalIndex.create(tmp_path / "sub" / "a.db", attribution="ours")
    await index.add(CORPUS)
    yield index
    await index.aclose()


async def titles(index: LocalIndex, query: str, k: int = 5) -> list[str]:
    return [d.title for d in await index.search(query, k)]


# --- searching ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("What is the capital of Norway?", "Norway"),
        ("capital of norway", "Norway"),
        ("NORWAY'S CAPITAL", "Norway"),
        ("Norway’s capitals", "Norway"),
        ("tell me about jazz", "Jazz"),
        ("jazz dancing", "Jazz dance"),
        ("who wrote hamlet", "Hamlet"),
        ("cafe muller", "Café Müller"),
        ("ｃａｆé müller", "Café Müller"),
        ("apollo 8", "Apollo 8"),
        ("who sings My Way?", "My Way"),
        ("do dogs bark", "Dog"),
        ("c++ language", "C++"),
    ],
)
async def test_finds(index: LocalIndex, query: str, first: str) -> None:
    assert (await titles(index, query))[:1] == [first]


@pytest.mark.parametrize(
    "query",
    [
        "What is my dog called?",
        "did you feed the dog",
        "capital of Zanthoria",
        "who is Zorblax Quinto",
        "news from Norway today",
        "how are you",
        "the weather in Oslo tomorrow",
    ],
)
async def test_finds_nothing_rather_than_something(index: LocalIndex, query: str) -> None:
    assert await titles(index, query) == []


@pytest.mark.parametrize(
    "query",
    [
        "",
        " \n\t",
        "?!",
        '"',
        '"""',
        "'",
        "*",
        "jazz*",
        "title : jazz",
        "{title} : jazz",
        "-jazz",
        "^jazz",
        "jazz AND",
        "OR NOT NEAR",
        "NEAR(jazz dance, 5)",
        "NEAR(",
        ") OR (",
        "_ __ jazz_dance",
        "jazz\0dance",
        "\ud800jazz",
        "🙂",
        "東京の天気",
        "a" * 1_000_000,
        "jazz " * 100_000,
        " ".join(f"word{i}" for i in range(100_000)),
        "'; DROP TABLE documents; --",
        "\u0301\u0301\u0301",
    ],
)
async def test_no_query_breaks_it(index: LocalIndex, query: str) -> None:
    assert isinstance(await index.search(query, 5), list)
    assert await titles(index, "hamlet") == ["Hamlet"]


async def test_k_is_kept(index: LocalIndex) -> None:
    assert len(await index.search("jazz", 1)) == 1
    assert len(await index.search("jazz", 10**9)) == 2
    assert await index.search("jazz", 0) == []
    assert await index.search("jazz", -1) == []


async def test_a_document_comes_once_by_its_best_passage(index: LocalIndex) -> None:
    filler = "The chapter goes on and says nothing of the matter at all, sadly. " * 30
    long = doc("Book", f"{filler} The quokka lives on Rottnest Island. {filler} A quokka jumps.")
    await index.add([long])
    [found] = await index.search("where on Rottnest does the quokka live", 5)
    assert "Rottnest" in found.text
    assert len(found.text.split()) <= 120


async def test_many_searches_at_once(index: LocalIndex) -> None:
    found = await asyncio.gather(*(titles(index, "hamlet") for _ in range(50)))
    assert found == [["Hamlet"]] * 50


# --- with an embedder -----------------------------------------------------------------------


async def test_embeds_only_what_it_looks_at_and_only_once(
    tmp_path: Path, embedder: WordEmbedder
) -> None:
    index = await LocalIndex.create(tmp_path / "a.db", embedder=embedder)
    await index.add(CORPUS)
    assert embedder.texts == []
    assert (await titles(index, "jazz music genre"))[0] == "Jazz"
    once = len(embedder.texts)
    assert 1 < once < len(CORPUS)
    await index.aclose()
    index = await LocalIndex.open(tmp_path / "a.db", embedder=embedder)
    assert (await titles(index, "jazz music genre"))[0] == "Jazz"
    assert len(embedder.texts) == once + 1  # the query again
    assert (await index.stats()).vectors == once - 1
    await index.add([doc("Jazz", "Jazz is a music genre of the city of New Orleans.")])
    assert (await index.stats()).vectors < once - 1  # what changed is embedded anew
    await index.aclose()


async def test_vectors_of_another_size_are_not_used(tmp_path: Path, embedder: WordEmbedder) -> None:
    index = await LocalIndex.create(tmp_path / "a.db", embedder=embedder)
    await index.add(CORPUS)
    await titles(index, "jazz music genre")
    embedder.dim = 32
    assert (await titles(index, "jazz music genre"))[0] == "Jazz"
    await index.aclose()


async def test_a_failing_embedder_leaves_the_words(
    index: LocalIndex, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(WordEmbedder):
        async def embed(self, texts: Any) -> Any:
            raise ModelError("no model here")

    index._embedder = Broken()
    assert (await titles(index, "jazz"))[0] == "Jazz"
    assert "no model here" in caplog.text


async def test_a_full_disk_costs_the_cache_not_the_answer(
    index: LocalIndex, embedder: WordEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    embedder.dim = 4096  # more than fits on the pages that are there
    index._embedder = embedder
    await fill_disk(index)
    assert (await titles(index, "jazz music genre"))[0] == "Jazz"
    assert "not kept" in caplog.text


async def fill_disk(index: LocalIndex) -> None:
    """From now on SQLite finds the disk full, as it would on a real one."""

    def limit() -> None:
        db = index._file.connection
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")

    await index._run(limit)


# --- building -------------------------------------------------------------------------------


async def test_is_there_after_closing(index: LocalIndex) -> None:
    await index.aclose()
    await index.aclose()
    with pytest.raises(SearchError, match="closed"):
        await index.search("jazz", 5)
    again = await LocalIndex.open(index._file.path)
    assert (await titles(again, "jazz"))[0] == "Jazz"
    stats = await again.stats()
    assert (stats.documents, stats.passages, stats.vectors) == (len(CORPUS), len(CORPUS), 0)
    assert stats.attribution == "ours"
    assert stats.bytes > 4096
    await again.aclose()


async def test_only_what_changed_is_written(index: LocalIndex) -> None:
    changes = await index.add(
        [*CORPUS[1:], doc("Norway", "Norway has fjords."), doc("New", "New.")]
    )
    assert (changes.added, changes.changed, changes.unchanged) == (1, 1, len(CORPUS) - 1)
    assert await titles(index, "norway fjords") == ["Norway"]
    assert await titles(index, "northern europe") == ["Sweden"]  # the old text is gone
    assert (await index.stats()).documents == len(CORPUS) + 1


async def test_the_same_key_again_replaces_and_empty_texts_are_left_out(index: LocalIndex) -> None:
    twice = [
        Document(title="Note", text="one penguin"),
        Document(title="Note", text="two penguins"),
    ]
    changes = await index.add([*twice, doc("Void", " \n"), Document(title="", text="untitled gnu")])
    assert (changes.added, changes.changed, changes.empty) == (2, 1, 1)
    assert [d.text for d in await index.search("penguin", 5)] == ["two penguins"]
    assert (await index.search("gnu", 5))[0].title == ""
    changes = await index.add([doc("Dog", "")])
    assert await titles(index, "dog") == []  # what became empty is gone


async def test_odd_characters_are_kept_as_far_as_they_can_be(index: LocalIndex) -> None:
    await index.add([doc("Odd\0title", "A zebra \0 and \ud800 half, 東京 🦓.")])
    [found] = await index.search("zebra", 5)
    assert found.text == "A zebra and ? half, 東京 🦓."
    assert (await index.add([doc("Odd\0title", "A zebra \0 and \ud800 half, 東京 🦓.")])).unchanged


async def test_prune_and_remove(index: LocalIndex) -> None:
    assert (await index.add(CORPUS[:3], prune=True)).removed == len(CORPUS) - 3
    assert await titles(index, "jazz") == []
    assert await index.remove([NORWAY.url, "http://x.org/nothing"]) == 1
    assert await titles(index, "norway") == ["Oslo"]
    assert (await index.stats()).documents == 2


@pytest.mark.parametrize("url", ["http://x/\ud800", "http://x/\0", ""])
async def test_prune_keeps_what_has_odd_characters_in_its_key(index: LocalIndex, url: str) -> None:
    odd = Document(title="Odd\0 \udfff title", text="A zebra.", url=url)
    assert (await index.add([odd], prune=True)).removed == len(CORPUS)
    assert len(await index.search("zebra", 5)) == 1
    assert await index.remove([url or odd.title]) == 1


async def test_a_huge_title_is_kept_once_not_with_every_passage(index: LocalIndex) -> None:
    await index.add([doc("title " * 100_000, "some text of a zebra " * 20_000)])
    assert (await index.stats()).bytes < 10_000_000
    [found] = await index.search("zebra", 5)
    assert len(found.title) == 300


async def test_progress(index: LocalIndex) -> None:
    seen: list[int] = []
    progress = Progress("index", unit="documents", report=lambda p: seen.append(p.done))
    await index.add((doc(str(i), f"text {i}") for i in range(2 * BATCH + 1)), progress)
    assert seen == [BATCH, 2 * BATCH, 2 * BATCH + 1]


async def test_an_interrupted_build_goes_on(index: LocalIndex) -> None:
    def broken(at: int) -> Iterator[Document]:
        for i in range(4 * BATCH):
            if i == at:
                raise RuntimeError("pulled the plug")
            yield doc(f"item {i}", f"text number {i}")

    with pytest.raises(RuntimeError, match="plug"):
        await index.add(broken(3 * BATCH + 10))
    changes = await index.add(broken(-1))
    assert (changes.unchanged, changes.added) == (3 * BATCH, BATCH)


async def test_a_cancelled_build_keeps_whole_batches(index: LocalIndex) -> None:
    def endless() -> Iterator[Document]:
        i = 0
        while True:
            yield doc(f"item {i}", f"text number {i}")
            i += 1

    task = asyncio.create_task(index.add(endless()))
    while (await index.stats()).documents < len(CORPUS) + 2 * BATCH:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ((await index.stats()).documents - len(CORPUS)) % BATCH == 0
    assert (await titles(index, "jazz"))[0] == "Jazz"


KILLED = """
import asyncio, sys
from bb3.core.types import Document
from bb3.search.local import LocalIndex

async def main():
    index = await LocalIndex.create(sys.argv[1])
    def documents():
        i = 0
        while True:
            yield Document(title=f"item {i}", text=f"number {i} of many", url=f"x:{i}")
            i += 1
            if i % 500 == 0:
                print(i, flush=True)
    await index.add(documents())

asyncio.run(main())
"""


async def test_kill_in_the_middle_of_a_build(tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    index = await LocalIndex.open(path)
    stats = await index.stats()
    assert stats.documents >= BATCH
    assert stats.documents % BATCH == 0
    assert stats.passages == stats.documents
    assert len(await index.search("item 7", 5)) >= 1
    await index.aclose()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.execute("INSERT INTO passage_fts (passage_fts) VALUES ('integrity-check')")
    db.close()


# --- what can be wrong with the file ----------------------------------------------------------


async def test_no_index(tmp_path: Path) -> None:
    for path in (tmp_path / "none.db", tmp_path):
        with pytest.raises(SearchError, match=r"There is no search index .*bb3 index"):
            await LocalIndex.open(path)


@pytest.mark.parametrize(
    "content", [b"not a database" * 100, b"notes\n", b"SQLite format 3\0" + b"?" * 99]
)
async def test_not_an_index(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(content)
    for start in (LocalIndex.open, LocalIndex.create):
        with pytest.raises(SearchError, match=r"a\.db cannot be used"):
            await start(path)
    assert path.read_bytes() == content


async def test_another_database(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    with pytest.raises(SearchError, match="no such table"):
        await LocalIndex.open(tmp_path / "a.db")


async def test_another_format(index: LocalIndex) -> None:
    path = index._file.path
    await index.aclose()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'format'")
    db.close()
    with pytest.raises(SearchError, match="format '99', this version reads '1'"):
        await LocalIndex.open(path)


async def test_truncated_and_damaged_files(index: LocalIndex) -> None:
    path = index._file.path
    await index.add(doc(f"item {i}", f"jazz number {i} " * 20) for i in range(500))
    await index.aclose()
    whole = path.read_bytes()
    for damaged in (
        whole[: len(whole) // 2],
        whole[:4096] + os.urandom(len(whole) - 4096),
        whole[:1000],
    ):
        path.write_bytes(damaged)
        with pytest.raises(SearchError, match=r"a\.db cannot be used"):
            opened = await LocalIndex.open(path)
            try:
                await opened.search("jazz number", 5)
                await opened.stats()
            finally:
                await opened.aclose()


async def test_a_full_disk_while_building(index: LocalIndex) -> None:
    await fill_disk(index)
    with pytest.raises(SearchError, match=r"disk is full.*Free some disk space"):
        await index.add(doc(f"item {i}", f"text number {i} " * 200) for i in range(500))
    assert (await titles(index, "jazz"))[0] == "Jazz"
    assert (await index.stats()).documents == len(CORPUS)


async def test_two_writers(index: LocalIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_file, "BUSY_SECONDS", 0.1)
    second = await LocalIndex.open(index._file.path)
    other = sqlite3.connect(index._file.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SearchError, match=r"locked.*Another process"):
        await second.add([doc("New", "new text")])
    assert (await titles(second, "jazz"))[0] == "Jazz"  # reading goes on
    other.execute("ROLLBACK")
    other.close()
    assert (await second.add([doc("New", "new text")])).added == 1
    assert await titles(index, "new text") == ["New"]
    await second.aclose()


async def test_two_processes_may_create_at_once(tmp_path: Path) -> None:
    made = await asyncio.gather(*(LocalIndex.create(tmp_path / "a.db") for _ in range(5)))
    await asyncio.gather(*(index.add(CORPUS) for index in made))
    assert {(await index.stats()).documents for index in made} == {len(CORPUS)}
    for index in made:
        await index.aclose()


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SearchError, match="cannot be used"):
        await LocalIndex.create(tmp_path / "file" / "a.db")
