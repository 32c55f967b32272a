import asyncio
import math
import time
from array import array

import pytest

from bb3.core.errors import AssetError
from bb3.lm.minilm import MiniLMEmbedder

pytestmark = pytest.mark.assets


@pytest.fixture(scope="module")
def embedder(minilm_paths):
    return MiniLMEmbedder(*minilm_paths)


def dot(a, b) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


async def test_similar_sentences_are_near(embedder):
    pairs = [
        ("I have a dog called Bubbles.", "My dog's name is Bubbles.", "The train is late again."),
        ("What is the capital of Norway?", "Oslo is Norway's capital.", "I like jazz music."),
        ("She moved to Paris last year.", "Her home is in Paris now.", "Pizza needs good cheese."),
    ]
    for text, near, far in pairs:
        a, b, c = await embedder.embed([text, near, far])
        assert dot(a, b) > 0.6 > 0.3 > dot(a, c)


async def test_vectors_are_float32_and_unit_length(embedder):
    texts = ["one", "", " ", "🙂", "x" * 1_000_000, "\ud800\u0000", "word " * 5000]
    vectors = await embedder.embed(texts)
    assert len(vectors) == len(texts)
    for vector in vectors:
        assert isinstance(vector, array)
        assert vector.typecode == "f"
        assert len(vector) == embedder.dim == 384
        assert math.isclose(dot(vector, vector), 1.0, abs_tol=1e-4)
    assert await embedder.embed([]) == []


async def test_company_in_the_batch_makes_no_difference(embedder):
    texts = [f"sentence number {n} " * (n % 7 + 1) for n in range(70)]
    together = await embedder.embed(texts)
    for n in (0, 33, 69):
        [alone] = await embedder.embed([texts[n]])
        assert dot(together[n], alone) > 0.999


async def test_what_is_beyond_256_tokens_makes_no_difference(embedder):
    a, b = await embedder.embed(["word " * 300 + "jazz", "word " * 300 + "pizza"])
    assert dot(a, b) > 0.9999


async def test_the_loop_goes_on_meanwhile(embedder):
    task = asyncio.create_task(embedder.embed(["a long enough text " * 40] * 32))
    longest, last = 0.0, time.monotonic()
    while not task.done():
        await asyncio.sleep(0.001)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert len(await task) == 32
    assert longest < 1.0


def test_files_that_are_missing_or_damaged(tmp_path, minilm_paths):
    model, tokenizer = minilm_paths
    with pytest.raises(AssetError, match="no model file"):
        MiniLMEmbedder(tmp_path / "missing.onnx", tokenizer)
    with pytest.raises(AssetError, match="no tokenizer file"):
        MiniLMEmbedder(model, tmp_path / "missing.json")
    damaged = tmp_path / "damaged"
    for content in (b"", b"garbage" * 100, model.read_bytes()[: 1 << 20]):
        damaged.write_bytes(content)
        with pytest.raises(AssetError, match="damaged"):
            MiniLMEmbedder(damaged, tokenizer)
        with pytest.raises(AssetError, match="damaged"):
            MiniLMEmbedder(model, damaged)
    damaged.write_text('{"version": "1.0"}')
    with pytest.raises(AssetError, match="damaged"):
        MiniLMEmbedder(model, damaged)
    with pytest.raises(AssetError):
        MiniLMEmbedder(tmp_path, tokenizer)
    with pytest.raises(AssetError):
        MiniLMEmbedder(model, tmp_path)
