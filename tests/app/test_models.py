"""Models that stand in for others, and what counts tokens for a metaseq server."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE

from bb3.app.models import open_model
from bb3.app.settings import Settings, load
from bb3.assets.registry import load_registry
from bb3.core.errors import AssetError, ModelError, UsageError
from bb3.core.ports import GenerationRequest, Message, Prompt, Sampling
from bb3.lm.fallback import FallbackModel
from tests.lm.conftest import response, serve, sse
from tests.lm.test_gguf import gguf

Make = Callable[..., Settings]
HI = GenerationRequest(prompt=Prompt(messages=(Message(role="user", content="Hi"),)), module="vrm")


@pytest.fixture
def settings_of(tmp_path: Path) -> Make:
    """Settings with flags, in folders of their own; servers are not asked twice."""

    def make(**flags: object) -> Settings:
        dotted = {name.replace("__", "."): value for name, value in flags.items()}
        home = {"data_dir": str(tmp_path), "cache_dir": str(tmp_path), "server.retries": 0}
        return load(home | dotted, {}, []).settings

    return make


@pytest.fixture
def away() -> str:
    """The address of a server that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


async def no_fetch(asset):
    raise AssetError(f"{asset.name} is not here.")


async def opened(settings: Settings):
    return await open_model(settings, load_registry(), no_fetch)


def saying(text: str, name: str):
    """Handler of a server that says one thing."""

    def handler(n, request):
        if request["path"] == "/v1/models":
            return response({"data": [{"id": name, "owned_by": "someone"}]})
        return sse({"choices": [{"delta": {"content": text}}]})

    return handler


async def said(model) -> str:
    return (await model.generate([HI]))[0].text


class TestFallback:
    async def test_stands_in_for_a_server_that_is_away_until_it_is_back(self, settings_of, away):
        async with serve(saying("second", "b")) as server:
            model = await opened(
                settings_of(model=f"openai:{away}#a", fallback_model=f"openai:{server.url}#b")
            )
            assert isinstance(model, FallbackModel)
            assert await said(model) == "second"
            assert await model.count_tokens(HI.prompt) > 0
            async with serve(saying("first", "a"), port=int(away.rpartition(":")[2])):
                assert await said(model) == "first"
            assert await said(model) == "second"
            await model.aclose()
            for each in (model.first, model.second):
                with pytest.raises(RuntimeError, match="closed"):  # httpx says so
                    await each.generate([HI])

    async def test_stands_in_for_a_model_that_does_not_load(self, settings_of, tmp_path, caplog):
        (tmp_path / "tiny.gguf").write_bytes(gguf())
        async with serve(saying("second", "b")) as server:
            model = await opened(
                settings_of(
                    model=str(tmp_path / "tiny.gguf"), fallback_model=f"openai:{server.url}"
                )
            )
            assert await said(model) == "second"
            assert "tiny.gguf" in caplog.text
            await model.aclose()

    async def test_both_speak_one_dialect(self, settings_of, away):
        async with serve(saying("second", "b")) as server:
            names = {"model": f"metaseq:{away}", "fallback_model": f"openai:{server.url}#b"}
            with pytest.raises(UsageError, match=r"metaseq speaks .* opt, its fallback b chat\."):
                await opened(settings_of(**names))
            model = await opened(settings_of(**names, dialect="opt"))
            text = GenerationRequest(prompt=Prompt(text="Hi"), module="vrm")
            assert (await model.generate([text]))[0].text == "second"
            await model.aclose()

    async def test_one_that_is_nowhere_is_told_at_once(self, settings_of, away):
        async with serve(saying("first", "a")) as server:
            first = f"openai:{server.url}#a"
            with pytest.raises(UsageError, match="There is no model 'nope'"):
                await opened(settings_of(model=first, fallback_model="nope"))
            with pytest.raises(UsageError, match="There is no model 'nope'"):
                await opened(settings_of(model="nope", fallback_model=first))
            with pytest.raises(ModelError, match="cannot be reached"):
                await opened(settings_of(model=first, fallback_model=f"openai:{away}#b"))


class TestTokenizer:
    async def test_counts_where_the_source_ends(self, settings_of, tmp_path, away):
        Tokenizer(BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])).save(str(tmp_path / "t.json"))
        model = await opened(
            settings_of(model=f"metaseq:{away}", server__tokenizer=str(tmp_path / "t.json"))
        )
        assert "source_end" not in model.unsupported
        request = GenerationRequest(
            prompt=Prompt(text="ababaaaa", source_end=5),
            module="srm",
            sampling=Sampling(source_presence_penalty=0.5),
        )
        assert model.body(request)["alpha_src_penalty_end_idx"] == 3
        await model.aclose()

    async def test_one_that_is_damaged(self, settings_of, tmp_path, away):
        (tmp_path / "t.json").write_text(json.dumps({"model": 7}))
        for name, message in (("t.json", "is damaged"), ("none.json", "cannot be read")):
            with pytest.raises(AssetError, match=message):
                await opened(
                    settings_of(model=f"metaseq:{away}", server__tokenizer=str(tmp_path / name))
                )
