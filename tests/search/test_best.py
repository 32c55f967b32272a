"""One chunk of each document: our rule and the reference's two."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from bb3.core.errors import ModelError
from bb3.core.types import Document
from bb3.search.best import ChunkRule, bm25, char_chunks, cut, distinct, first_chunk, first_words
from tests.search.conftest import WordEmbedder

FILLER = "This sentence is only here to make the text rather long, it says nothing at all. " * 20
MOON = Document(
    title="Moon",
    text=f"{FILLER}The moon is 384,400 km away from Earth. {FILLER}",
    url="http://x.org/moon",
)
SUN = Document(title="Sun", text="The sun is a star.", url="http://x.org/sun")


def test_duplicates_go() -> None:
    again = Document(title="Other", text=SUN.text.upper() + "!", url="http://y.org/copy")
    same_url = Document(title="Moon", text="New text.", url="https://www.x.org/moon/#top")
    no_url = [Document(title=str(i), text=f"text {i}") for i in range(2)]
    empty = [Document(title="a", text=""), Document(title="b", text="")]
    assert distinct([MOON, SUN, again, same_url, *no_url]) == [MOON, SUN, *no_url]
    assert distinct(empty) == empty[:1]
    files = [Document(title="l", text=f"line {i}", url=f"file:///a.jsonl#L{i}") for i in (1, 2)]
    assert distinct(files) == files


@pytest.mark.parametrize("with_embedder", [False, True])
async def test_the_best_chunk_of_the_best_document_comes_first(
    embedder: WordEmbedder, with_embedder: bool
) -> None:
    found = await cut(
        "how far away is the moon", [SUN, MOON, MOON], "best", embedder if with_embedder else None
    )
    assert [d.title for d in found] == ["Moon", "Sun"]
    assert "384,400" in found[0].text
    assert len(found[0].text.split()) <= 120
    assert 1 >= found[0].score > found[1].score >= 0
    assert found[0].url == MOON.url


async def test_a_failing_embedder_leaves_the_words(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(WordEmbedder):
        async def embed(self, texts: Any) -> Any:
            raise ModelError("no model here")

    found = await cut("how far away is the moon", [SUN, MOON], "best", Broken())
    assert [d.title for d in found] == ["Moon", "Sun"]
    assert "no model here" in caplog.text


async def test_so_many_chunks_are_embedded_and_no_more(embedder: WordEmbedder) -> None:
    huge = Document(title="Huge", text=FILLER * 50 + "The moon is far away.")
    [found] = await cut("how far away is the moon", [huge], "best", embedder)
    assert "moon is far" in found.text
    assert len(embedder.texts) == 33


async def test_a_long_page_leaves_the_others_their_place(embedder: WordEmbedder) -> None:
    """The query is one that no general index answers: no word of it is counted there."""
    page = " ".join(f"Romans eat dish{i} in Rome with dish{i + 1} and wine." for i in range(2000))
    documents = [
        Document(title="A", text=page, url="http://x/a"),
        Document(title="B", text="What to eat in Rome: supplì.", url="http://x/b"),
        Document(title="C", text="Oslo is cold.", url="http://x/c"),
    ]
    found = await cut("what should I eat in Rome", documents, "best", embedder)
    assert [d.title for d in found][-1] == "C" and len(found) == 3
    assert len(embedder.texts) == 33
    by_words = await cut("what should I eat in Rome", documents)
    assert sorted(d.title for d in by_words) == ["A", "B", "C"]
    assert by_words[0].score > by_words[-1].score == 0


@pytest.mark.parametrize("with_embedder", [False, True])
async def test_documents_without_names_are_told_apart(
    embedder: WordEmbedder, with_embedder: bool
) -> None:
    documents = [Document(title="", text=f"jazz text{i}") for i in range(40)]
    found = await cut("jazz", documents, "best", embedder if with_embedder else None)
    assert {d.text for d in found} == {d.text for d in documents}


@pytest.mark.parametrize("rule", ["best", "opt", "r2c2"])
async def test_huge_titles_and_texts_take_no_time(rule: ChunkRule) -> None:
    huge = Document(title="title " * 300_000, text="some text " * 200_000)
    begun = time.monotonic()
    [found] = await cut("text", [huge], rule)
    assert time.monotonic() - begun < 10
    assert len(found.title) == 300


async def test_nothing_in_nothing_out(embedder: WordEmbedder) -> None:
    assert await cut("q", [], "best", embedder) == []
    assert await cut("q", [Document(title="t", text=" ")], "best", embedder) == []
    assert len(await cut("", [SUN], "best", embedder)) == 1
    assert len(await cut("the of", [SUN, MOON])) == 2
    assert (await cut("q", [Document(title="t", text="")], "r2c2"))[0].text == ""


def test_bm25() -> None:
    texts = ["cats and dogs", "jazz is music", "music is good"]
    scores = bm25("Jazz musical!", texts)
    assert scores[1] > scores[2] > scores[0] == 0
    assert bm25("", texts) == [0, 0, 0]
    assert all(0 <= score <= 1 for score in bm25("jazz jazz jazz", ["jazz " * 1000, "x"]))


def test_char_chunks_equal_the_reference(shared: Path) -> None:
    cases = json.loads((shared / "golden/r2c2/utils.json").read_text())["chunk_docs"]
    assert len(cases) >= 7
    for case in cases:
        ours = list(char_chunks(case["text"], case["size"]))
        theirs = case["chunks"]
        cuts = len(theirs) - 1
        assert ours[:cuts] == theirs[:cuts]
        rest = " ".join(ours[cuts:])  # of which the reference loses a character for each cut
        assert theirs[cuts] == rest[: len(rest) - cuts]


def test_first_chunk_equals_the_reference(shared: Path) -> None:
    cases = json.loads((shared / "golden/r2c2/utils.json").read_text())["chunk_ranker_woi"]
    for case in cases:
        assert [first_chunk(Document(title="", text=case["text"])).text] == case["top1"]


def test_first_words_equal_the_reference(shared: Path) -> None:
    """The external-knowledge lines of recorded prompts against the recorded search answers."""
    compared = 0
    for turn in json.loads((shared / "golden/opt/chat.json").read_text())["turns"]:
        asked = json.dumps(turn)
        for request in turn["search_requests"]:
            for hit in request["response"]:
                document = first_words(Document(title=hit["title"], text=hit["content"]))
                line = json.dumps(f"External Knowledge: {document.title} | {document.text}\n")
                assert line[1:-1] in asked
                compared += 1
    assert compared >= 5
