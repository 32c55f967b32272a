"""Joining the parts: which implementation a setting means, what cannot be had, and that nothing
stays open when a part fails."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE

import pytest

from bb3.app import build
from bb3.app.build import Parts, build_agent
from bb3.app.models import open_model
from bb3.app.searches import CutSearch, index_path, open_search
from bb3.app.settings import Settings, load
from bb3.assets.index import index_config
from bb3.assets.pull import Puller
from bb3.assets.registry import load_registry
from bb3.core.errors import AssetError, ModelError, UsageError
from bb3.core.types import Document
from bb3.lm.metaseq import MetaseqModel
from bb3.lm.scripted import ScriptedModel
from bb3.search.brave import BraveSearch
from bb3.search.duckduckgo import DuckDuckGoSearch
from bb3.search.local import LocalIndex
from bb3.search.parlai import ParlaiSearch
from bb3.search.searxng import SearxngSearch
from bb3.search.wrappers import CachedSearch, ReadingSearch
from tests.chat.conftest import SCRIPT


@pytest.fixture
def settings_of(tmp_path: Path):
    """Settings with flags, in folders of their own."""

    def make(**flags: object) -> Settings:
        dotted = {name.replace("__", "."): value for name, value in flags.items()}
        home = {"data_dir": str(tmp_path / "data"), "cache_dir": str(tmp_path / "cache")}
        return load(home | dotted, {}, []).settings

    return make


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    yield port


async def no_fetch(asset):
    raise AssetError(f"{asset.name} is not here, and `offline` is set.")


class TestModels:
    @pytest.mark.parametrize(
        ("name", "error", "message"),
        [
            ("no-such-model", UsageError, "There is no model 'no-such-model'. Known are: smollm2"),
            ("nope:thing", UsageError, "There is no model 'nope:thing'."),
            ("openai:", UsageError, "There is no model 'openai:'."),
            ("metaseq:", UsageError, "There is no model 'metaseq:'."),
            ("metaseq:ftp://x", UsageError, "'ftp://x' is not the address of a server."),
            ("openai:localhost", UsageError, "It begins with http:// or https://."),
            ("opena:http://me:pw@x", UsageError, "There is no model 'opena:http://**********@x'."),
            ("~nosuch/x.gguf", UsageError, "'~nosuch/x.gguf' cannot be used: there is no such"),
            ("x" * 300, UsageError, "cannot be used: File name too long."),
            ("{tmp}/loop/x", UsageError, "{tmp}/loop/x' cannot be used: Too many levels"),
            (
                "minilm-l6-v2-onnx",
                UsageError,
                "minilm-l6-v2-onnx is no model that runs as it is (its kind: embedder).",
            ),
            ("wikipedia-vital-en", UsageError, "(its kind: corpus)."),
            ("{tmp}/none.gguf", AssetError, "{tmp}/none.gguf"),
            ("{tmp}/corrupt.gguf", AssetError, "{tmp}/corrupt.gguf"),
            ("{tmp}/empty.gguf", AssetError, "{tmp}/empty.gguf"),
            ("{tmp}/notes.txt", AssetError, "{tmp}/notes.txt"),
            ("{tmp}/folder", UsageError, "The folder {tmp}/folder holds no model"),
            ("smollm2-135m", AssetError, "smollm2-135m is not here"),
        ],
    )
    async def test_what_cannot_be_had(self, settings_of, tmp_path, name, error, message):
        (tmp_path / "corrupt.gguf").write_bytes(b"GGUF\x03\x00\x00\x00" + b"\xff" * 64)
        (tmp_path / "empty.gguf").write_bytes(b"")
        (tmp_path / "notes.txt").write_text("Remember the milk.")
        (tmp_path / "folder").mkdir()
        (tmp_path / "loop").symlink_to("loop")
        settings = settings_of(model=name.format(tmp=tmp_path))
        with pytest.raises(error) as caught:
            await open_model(settings, load_registry(), no_fetch)
        assert message.format(tmp=tmp_path) in str(caught.value)

    async def test_a_server_that_is_away(self, settings_of, free_port):
        settings = settings_of(model=f"openai:http://127.0.0.1:{free_port}#m", server__retries=0)
        with pytest.raises(ModelError, match=rf"127.0.0.1:{free_port}.* cannot be reached"):
            await open_model(settings, load_registry(), no_fetch)

    async def test_secrets_stay_out_of_messages(self, settings_of, free_port):
        url = f"openai:http://me:pass-secret@127.0.0.1:{free_port}/v1?k=url-secret#m"
        settings = settings_of(model=url, server__retries=0, server__api_key="key-secret")
        with pytest.raises(ModelError) as caught:
            await open_model(settings, load_registry(), no_fetch)
        assert "secret" not in str(caught.value)

    async def test_metaseq_is_not_asked_before_it_is_needed(self, settings_of, free_port):
        settings = settings_of(model=f"metaseq:http://127.0.0.1:{free_port}")
        model = await open_model(settings, load_registry(), no_fetch)
        assert isinstance(model, MetaseqModel)
        assert model.dialect == "opt"
        await model.aclose()


class TestSearches:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("telepathy", "There is no search 'telepathy'. Use local, local:NAME, parlai:URL"),
            ("searx:http://me:pw@x", "There is no search 'searx:http://**********@x'."),
            ("parlai", "There is no search 'parlai'."),
            ("parlai:", "There is no search 'parlai:'."),
            ("searxng", "There is no search 'searxng'."),
            ("local:nothing", "There is no index 'nothing'. Make it with `bb3 index PATH --name"),
            ("local:../../etc/passwd", "'../../etc/passwd' cannot name an index."),
            ("local:a/b", "'a/b' cannot name an index."),
            ("local:" + "x" * 100, "cannot name an index."),
        ],
    )
    async def test_what_cannot_be_had(self, settings_of, name, message):
        with pytest.raises(UsageError) as caught:
            await open_search(settings_of(search=name), load_registry(), no_fetch)
        assert message in str(caught.value)

    async def test_the_indexes_that_are_there_are_named(self, settings_of):
        settings = settings_of(search="local:nothing")
        path = index_path(settings, "mine")
        path.parent.mkdir(parents=True)
        await (await LocalIndex.create(path)).aclose()
        with pytest.raises(UsageError, match=r"There are: mine\."):
            await open_search(settings, load_registry(), no_fetch)

    async def test_a_damaged_index(self, settings_of):
        settings = settings_of(search="local:mine")
        path = index_path(settings, "mine")
        path.parent.mkdir(parents=True)
        path.write_bytes(b"this is no database " * 100)
        with pytest.raises(Exception, match=str(path)) as caught:
            await open_search(settings, load_registry(), no_fetch)
        assert type(caught.value).__module__ == "bb3.core.errors"

    async def test_the_next_is_asked_when_one_fails(self, settings_of, free_port):
        away = f"parlai:http://127.0.0.1:{free_port}"
        settings = settings_of(search=f"{away}, local:mine")
        path = index_path(settings, "mine")
        path.parent.mkdir(parents=True)
        index = await LocalIndex.create(path)
        await index.add([Document(title="Kettle", text="The kettle boils water.", url="file:///k")])
        await index.aclose()
        search = await open_search(settings, load_registry(), no_fetch)
        assert [d.title for d in await search.search("kettle", 3)] == ["Kettle"]
        await search.aclose()
        with pytest.raises(UsageError, match="There is no search 'none'"):
            await open_search(settings_of(search=f"{away},none"), load_registry(), no_fetch)

    async def test_none(self, settings_of):
        assert await open_search(settings_of(search="none"), load_registry(), no_fetch) is None

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("parlai:http://localhost:1", ParlaiSearch),
            ("searxng:http://localhost:1", SearxngSearch),
            ("brave", BraveSearch),
            ("duckduckgo", DuckDuckGoSearch),
        ],
    )
    async def test_providers_are_wrapped_as_the_settings_say(self, settings_of, name, kind):
        settings = settings_of(search=name, retrieval__api_key="k")
        search = await open_search(settings, load_registry(), no_fetch)
        assert isinstance(search, CachedSearch)
        inner = search.provider if hasattr(search, "provider") else search._provider
        assert isinstance(inner, CutSearch)
        assert inner.rule == "best"
        reads = isinstance(inner.provider, ReadingSearch)
        assert reads is (kind is not ParlaiSearch)  # its servers send whole texts
        await search.aclose()
        settings = settings_of(
            search=name, retrieval__read_pages="no", retrieval__cache_s=0, retrieval__api_key="k"
        )
        search = await open_search(settings, load_registry(), no_fetch)
        assert isinstance(search, CutSearch)
        assert isinstance(search.provider, kind)
        await search.aclose()

    @pytest.mark.parametrize(
        ("dialect", "chunk", "rule"),
        [("opt", "auto", "opt"), ("r2c2", "auto", "r2c2"), ("chat", "auto", "best"),
         ("opt", "best", "best"), ("chat", "r2c2", "r2c2")],
    )  # fmt: skip
    async def test_documents_are_cut_as_the_dialect_was_trained(
        self, settings_of, dialect, chunk, rule
    ):
        settings = settings_of(
            search="parlai:http://localhost:1", retrieval__chunk=chunk, retrieval__cache_s=0
        )
        search = await open_search(settings, load_registry(), no_fetch, dialect=dialect)
        assert search.rule == rule
        await search.aclose()


CORPUS = {
    "Oslo": {"title": "Oslo", "extract": "Oslo is the capital of Norway."},
    "Turin": {"title": "Turin", "extract": "Turin is a city in Italy."},
    "Nothing": {"title": "Nothing", "extract": ""},
}


class TestDemoIndex:
    @staticmethod
    def fetching(tmp_path: Path, content: str):
        calls = []

        async def fetch(asset):
            calls.append(asset.name)
            path = tmp_path / "corpus.json"
            path.write_text(content)
            return path

        return fetch, calls

    async def test_is_built_once(self, settings_of, tmp_path):
        fetch, calls = self.fetching(tmp_path, json.dumps(CORPUS))
        for _ in range(2):
            search = await open_search(settings_of(), load_registry(), fetch)
            (found, *_) = await search.search("capital of Norway", 5)
            assert (found.title, found.url) == ("Oslo", "https://en.wikipedia.org/wiki/Oslo")
            await search.aclose()
        assert calls == ["wikipedia-vital-en"]
        assert S_IMODE((tmp_path / "data").stat().st_mode) == 0o700

    async def test_an_interrupted_build_is_made_whole(self, settings_of, tmp_path):
        fetch, calls = self.fetching(tmp_path, json.dumps(CORPUS))
        path = index_path(settings_of(), "wikipedia")
        path.parent.mkdir(parents=True)
        index = await LocalIndex.create(path)
        await index.add([Document(title="Oslo", text="Oslo is", url="https://x")])
        await index.aclose()  # and the process died here, without the mark
        search = await open_search(settings_of(), load_registry(), fetch)
        assert [d.title for d in await search.search("Turin", 5)] == ["Turin"]
        await search.aclose()
        assert len(calls) == 1

    @pytest.mark.parametrize("content", ["", "[]", '{"Oslo": 5}', '{"Oslo": {}}', "\x00"])
    async def test_a_corpus_of_another_shape(self, settings_of, tmp_path, content):
        fetch, _ = self.fetching(tmp_path, content)
        with pytest.raises(AssetError, match="is not in the format it should be"):
            await open_search(settings_of(), load_registry(), fetch)

    async def test_a_folder_that_cannot_be_written(self, settings_of, tmp_path):
        fetch, _ = self.fetching(tmp_path, json.dumps(CORPUS))
        (tmp_path / "data").write_text("a file where a folder should be")
        with pytest.raises(AssetError, match="cannot be written"):
            await open_search(settings_of(), load_registry(), fetch)


class TestAgent:
    @pytest.fixture
    def parts(self, tmp_path, monkeypatch):
        """Parts with a scripted model, and a way to see what was closed."""
        closed: list[str] = []

        class Watched(ScriptedModel):
            async def aclose(self):
                closed.append("model")

        async def model(settings, registry, fetch):
            if settings.model == "broken":
                raise ModelError("It will not load.")
            return Watched(SCRIPT, dialect=settings.model)

        monkeypatch.setattr(build, "open_model", model)
        monkeypatch.setattr(build, "settings_files", list)
        monkeypatch.delenv("BB3_DATA_DIR", raising=False)

        def make(**flags):
            dotted = {name.replace("__", "."): value for name, value in flags.items()}
            dotted = {
                "data_dir": str(tmp_path), "cache_dir": str(tmp_path), "model": "chat",
                "search": "none", "offline": True,
            } | dotted  # fmt: skip
            puller = Puller(tmp_path / "assets", index=index_config({}))
            parts = Parts(load(dotted, {}, []), dotted, load_registry(), puller)
            opened = parts.open_store

            async def open_store(_self):
                store = await opened()
                plain = store.aclose

                async def aclose():
                    closed.append("store")
                    await plain()

                monkeypatch.setattr(store, "aclose", aclose)
                return store

            monkeypatch.setattr(Parts, "open_store", open_store)
            return parts, closed

        yield make

    async def test_joined_as_the_settings_say(self, parts, tmp_path):
        persona = tmp_path / "persona.txt"
        persona.write_text("I am Bo.\n\n  I like tea. \n")
        made, closed = parts(
            model="opt", persona=str(persona), tell_date=True, srm__top_p="0.5",
            memory__max_memories="3", safety="none", preset="bb2",
        )  # fmt: skip
        agent = await build_agent(made)
        assert agent.dialect.name == "opt"
        assert agent.persona == ("I am Bo.", "I like tea.")
        assert agent.pipeline.sampling["srm"].top_p == 0.5
        assert agent.pipeline.combined_response == "srm"  # of the dialect's profile
        assert agent.pipeline.entity == "never"
        assert agent.rules.max_memories == 3
        assert agent.tell_date
        assert not agent.guard.active
        assert agent.search is None
        assert agent.embedder is None  # offline, and not in the cache: words alone
        assert closed == []
        await agent.aclose()

    @pytest.mark.parametrize(
        ("flags", "error", "message", "left"),
        [
            ({"model": "broken"}, ModelError, "It will not load.", ["store"]),
            ({"search": "telepathy"}, UsageError, "telepathy", ["model", "store"]),
            ({"search": "local:nothing"}, UsageError, "nothing", ["model", "store"]),
            ({"search": "local"}, AssetError, "wikipedia-vital-en", ["model", "store"]),
            (
                {"pipeline__combined_response": "xyz"}, UsageError, "combined_response",
                ["model", "store"],
            ),
            ({"persona": "/no/such/file"}, UsageError, "/no/such/file", []),
            ({"persona": "~nosuch/x"}, UsageError, "no such user", []),
        ],
    )  # fmt: skip
    async def test_what_was_opened_is_closed_again(self, parts, flags, error, message, left):
        made, closed = parts(**flags)
        with pytest.raises(error, match=message):
            await build_agent(made)
        assert closed == left

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"\xff\xfe", "cannot be read"),
            ("ä".encode() * 100_001, "is too long. Keep it to 50 lines of at most 300 char"),
            (b"I like tea.\n" * 51, "is too long"),
            (b"I am Bo.\n" + b"x" * 301, "is too long"),
            (None, "cannot be read"),
        ],
    )
    async def test_bad_personas(self, parts, tmp_path, content, message):
        path = tmp_path / "persona"
        path.mkdir() if content is None else path.write_bytes(content)
        made, _ = parts(persona=str(path))
        with pytest.raises(UsageError, match=message):
            await build_agent(made)

    async def test_the_longest_persona(self, parts, tmp_path):
        path = tmp_path / "persona"
        path.write_text("\n\n".join(["ä" * 300] * 50), encoding="utf-8-sig")
        made, _ = parts(persona=str(path), model="opt")
        agent = await build_agent(made)
        assert agent.persona == ("ä" * 300,) * 50
        await agent.aclose()

    async def test_offline_names_what_is_missing(self, parts):
        made, _ = parts()
        asset = made.registry.find("smollm2-135m")
        with pytest.raises(AssetError, match="smollm2-135m is not here, and `offline` is set"):
            await made.fetch(asset)
