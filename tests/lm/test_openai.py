"""Against the HTTP server of llama.cpp, and against servers that answer as others do."""

import asyncio
import json
from contextlib import aclosing
from pathlib import Path

import pytest

from bb3.core.errors import ModelError, ModelTimeout
from bb3.core.ports import GenerationRequest, Message, Prompt, Sampling
from bb3.lm.openai import OpenAIModel
from tests.lm.conftest import API_KEY, response, serve, sse

NORWAY = Prompt(text="The capital of Norway is")
CHAT = Prompt(messages=(Message(role="user", content="What is the capital of Norway?"),))
HI = Prompt(messages=(Message(role="user", content="Hi"),))


def ask(prompt: Prompt = NORWAY, **fields) -> GenerationRequest:
    outer = {k: fields.pop(k) for k in ("seed", "grammar", "deadline_s") if k in fields}
    return GenerationRequest(prompt=prompt, module="vrm", sampling=Sampling(**fields), **outer)


@pytest.fixture
async def model(llama_server):
    model = OpenAIModel(llama_server.url, api_key=API_KEY)
    yield model
    await model.aclose()


# --- a real server ----------------------------------------------------------------------------


@pytest.mark.model
async def test_finds_out_what_the_server_is(model, llama_server):
    await model.probe()
    assert model.flavour == "llamacpp"
    assert model.name == llama_server.name
    assert model.context_tokens == llama_server.context_tokens
    assert "top_k" not in model.unsupported


@pytest.mark.model
async def test_completes_and_chats(model, llama_server):
    results = await model.generate([ask(max_tokens=2), ask(CHAT, max_tokens=30)])
    assert results[0].text == " Oslo."
    assert results[0].finish_reason == "length"
    assert results[0].tokens.prompt == 5
    assert results[0].tokens.generated == 2
    assert "Oslo" in results[1].text
    assert results[1].finish_reason == "stop"
    own = await llama_server.generate([ask(max_tokens=2)])
    assert results[0].logprob == pytest.approx(own[0].logprob, abs=0.02)


@pytest.mark.model
async def test_streams(model):
    *pieces, result = [piece async for piece in model.stream(ask(CHAT, max_tokens=30))]
    assert len(pieces) > 3
    assert "".join(pieces) == result.text
    assert result.logprob < 0


@pytest.mark.model
async def test_scores_like_the_embedded_model(model, llama_server):
    for prompt in (NORWAY, CHAT):
        over_http = await model.score(ask(prompt), [" Oslo", " the city of Paris", ""])
        embedded = await llama_server.score(ask(prompt), [" Oslo", " the city of Paris", ""])
        assert over_http.logprobs == pytest.approx(embedded.logprobs, abs=0.02)
        assert await model.count_tokens(prompt) == await llama_server.count_tokens(prompt)


@pytest.mark.model
async def test_scores_the_first_token_where_that_is_all_there_is(llama_server):
    name = llama_server.name
    model = OpenAIModel(llama_server.url, name, api_key=API_KEY, flavour="openai")
    plain = await model.score(ask(), [" Oslo", " the city"])
    exact = await llama_server.score(ask(), [" Oslo", " the"])
    assert plain.logprobs == pytest.approx(exact.logprobs, abs=0.02)
    chat = await model.score(ask(CHAT), ["The capital", "Norway"])
    assert chat.logprobs[0] > chat.logprobs[1]
    with pytest.raises(ModelError, match="apart"):
        await model.score(ask(), [" Oslo is", " Oslo was"])
    await model.aclose()


@pytest.mark.model
async def test_sampling_reaches_the_server(model):
    nucleus = {"method": "nucleus", "max_tokens": 8, "temperature": 2.0}
    # Few tokens: in a batch the server's numbers wobble, and at a near tie another one wins.
    greedy, top_1, stopped, yes = await model.generate(
        [
            ask(max_tokens=4),
            ask(**nucleus | {"max_tokens": 4}, top_k=1, seed=3),
            ask(max_tokens=8, stop=(".",)),
            ask(CHAT, max_tokens=8, grammar='root ::= "yes"'),
        ]
    )
    assert top_1.text == greedy.text
    assert stopped.text == " Oslo"
    assert yes.text == "yes"
    same = await model.generate([ask(**nucleus, seed=5)])
    again = await model.generate([ask(**nucleus, seed=5)])
    assert same[0].text == again[0].text


@pytest.mark.model
async def test_leaving_a_stream_stops_the_server(model, llama_server):
    counting = ask(Prompt(text="1, 2, 3,"), max_tokens=800)
    async with aclosing(model.stream(counting)) as pieces:
        async for _ in pieces:
            break
    with pytest.raises(ModelTimeout):
        await model.generate([ask(Prompt(text="4, 5, 6,"), max_tokens=800, deadline_s=0.3)])
    async with asyncio.timeout(5):
        while any(s["is_processing"] for s in (await llama_server._client.get("/slots")).json()):
            await asyncio.sleep(0.02)


@pytest.mark.model
async def test_what_the_server_refuses(llama_server):
    unknown = OpenAIModel(llama_server.url, "no-such-model", api_key=API_KEY)
    with pytest.raises(ModelError, match=f"no-such-model.*{llama_server.name}"):
        await unknown.generate([ask()])
    keyless = OpenAIModel(llama_server.url, llama_server.name, flavour="openai", retries=0)
    with pytest.raises(ModelError, match="401"):
        await keyless.generate([ask()])
    known = OpenAIModel(llama_server.url, api_key=API_KEY)
    with pytest.raises(ModelError, match="context"):
        await known.generate([ask(Prompt(text="word " * 3000))])
    with pytest.raises(ModelError, match="documents"):
        await known.generate([ask(Prompt(text="a", documents=("b",)))])
    for model in (unknown, keyless, known):
        await model.aclose()


# --- servers of other makes -------------------------------------------------------------------


def listed(owner: str, **more) -> bytes:
    return response({"data": [{"id": "m", "owned_by": owner, **more}]})


@pytest.fixture
async def vllm():
    """A server that repeats what vLLM 0.32.0 answered, with a tiny random model whose tokenizer
    begins every prompt with a token of its own. What was never asked is refused.
    """
    recorded = json.loads(Path(__file__).with_name("vllm.json").read_text(encoding="utf-8"))

    def handler(n, request):
        for one in recorded:
            if (one["path"], one["asked"]) == (request["path"], request["body"]):
                if "events" in one:
                    return sse(*one["events"])
                return response(one["answer"], f"{one['status']} Recorded")
        return response({"error": f"never recorded: {request['body']}"}, "418 Unknown")

    async with serve(handler) as server:
        model = OpenAIModel(server.url + "/v1/")
        yield model
        await model.aclose()


async def test_finds_out_that_it_is_vllm(vllm):
    await vllm.probe()
    assert (vllm.name, vllm.flavour, vllm.context_tokens) == ("tiny", "vllm", 2048)
    assert {"top_k", "min_tokens"}.isdisjoint(vllm.unsupported)


async def test_vllm_scores_by_echo(vllm):
    begun = Prompt(messages=(*HI.messages, Message(role="assistant", content="It is")))
    plain, chat, goes_on = [
        await vllm.score(ask(prompt), [" yes", " no"]) for prompt in (NORWAY, HI, begun)
    ]
    assert plain.logprobs == pytest.approx((-24.348, -17.184), abs=1e-3)
    assert chat.logprobs == pytest.approx((-13.733, -25.514), abs=1e-3)
    assert goes_on.logprobs == pytest.approx((-37.441, -13.379), abs=1e-3)
    assert [scores.tokens.prompt for scores in (plain, chat, goes_on)] == [8, 14, 16]
    assert [await vllm.count_tokens(prompt) for prompt in (NORWAY, HI, begun)] == [8, 14, 16]


async def test_vllm_gets_its_own_fields_and_nothing_of_the_models_folder(vllm):
    """``min_tokens`` within ``max_tokens``, ``top_k`` and the like said even when they are off:
    the recorded requests have them so.
    """
    cut = {"max_tokens": 3, "min_tokens": 8, "seed": 1}
    yes_or_no = ask(HI, max_tokens=8, grammar='root ::= "yes" | "no"')
    plain, chat, no = await vllm.generate([ask(**cut), ask(HI, **cut), yes_or_no])
    assert (plain.text, plain.finish_reason) == ("avyacebookication", "length")
    assert plain.logprob == pytest.approx(-1.878, abs=1e-3)
    assert (chat.text, chat.tokens.prompt, chat.tokens.generated) == (" evidenceuntvere", 14, 3)
    assert chat.logprob == pytest.approx(-2.495, abs=1e-3)
    assert (no.text, no.finish_reason) == ("no", "stop")


async def test_what_vllm_refuses(vllm):
    with pytest.raises(ModelError, match="Invalid grammar"):
        await vllm.generate([ask(max_tokens=64, grammar="root :: bad")])
    with pytest.raises(ModelError, match=r"400.*max_model_len=2048"):
        await vllm.generate([ask(Prompt(text="x"), max_tokens=4000)])


@pytest.mark.parametrize(
    "echo",
    [
        {},
        {"choices": []},
        {"choices": [{"index": 0, "logprobs": None}]},
        {"choices": [{"index": 0, "logprobs": {"token_logprobs": [None, -1.0]}}]},
        {"choices": [{"index": 0, "logprobs": {"token_logprobs": [None, -1.0, "a"]}}]},
    ],
)
async def test_an_echo_that_is_wrong(echo):
    def handler(n, request):
        if request["path"] == "/v1/models":
            return listed("vllm")
        if request["path"] == "/tokenize":
            return response({"tokens": [1, 2, 3] if " yes" in request["body"]["prompt"] else [1]})
        return response(echo)

    async with serve(handler) as server:
        model = OpenAIModel(server.url)
        with pytest.raises(ModelError, match="nothing readable"):
            await model.score(ask(), [" yes"])
        await model.aclose()


@pytest.mark.parametrize("owner", ["vllm", "llamacpp"])
@pytest.mark.parametrize("answer", [{}, [], {"tokens": None}, {"tokens": 7}])
async def test_tokens_that_are_wrong(owner, answer):
    def handler(n, request):
        return listed(owner) if request["path"] == "/v1/models" else response(answer)

    async with serve(handler) as server:
        model = OpenAIModel(server.url)
        for prompt in (NORWAY, CHAT):
            with pytest.raises(ModelError, match="nothing readable"):
                await model.count_tokens(prompt)
        await model.aclose()


async def test_others_get_the_standard_only():
    def handler(n, request):
        if request["path"] == "/v1/models":
            return listed("someone")
        return sse({"choices": [{"delta": {"content": "hi"}, "finish_reason": "length"}]})

    async with serve(handler) as server:
        model = OpenAIModel(server.url)
        request = ask(CHAT, min_tokens=4, top_k=5, grammar="x", frequency_penalty=0.5)
        [result] = await model.generate([request])
        assert (result.text, result.logprob, result.finish_reason) == ("hi", None, "length")
        sent = server.requests[-1]["body"]
        assert {"min_tokens", "top_k", "grammar"}.isdisjoint(sent)
        assert {"min_tokens", "top_k"} <= model.unsupported
        assert sent["frequency_penalty"] == 0.5
        assert await model.count_tokens(CHAT) >= 9
        await model.aclose()


async def test_a_server_without_logprobs_cannot_score():
    def handler(n, request):
        if request["path"] == "/v1/models":
            return listed("someone")
        return response({"choices": [{"message": {"content": "yes"}}]})

    async with serve(handler) as server:
        model = OpenAIModel(server.url)
        assert model.can_score
        with pytest.raises(ModelError, match="no log-probabilities"):
            await model.score(ask(CHAT), ["yes", "no"])
        assert not model.can_score
        await model.aclose()


@pytest.mark.parametrize(
    "event", [{}, {"choices": 7}, {"choices": ["a"]}, {"choices": [{"text": 7}]}]
)
async def test_answers_that_are_wrong(event):
    def handler(n, request):
        return listed("someone") if request["path"] == "/v1/models" else sse(event)

    async with serve(handler) as server:
        model = OpenAIModel(server.url)
        with pytest.raises(ModelError, match="nothing readable"):
            await model.generate([ask()])
        await model.aclose()


@pytest.mark.parametrize("models", [{}, {"data": []}, {"data": [{}]}, [], {"data": None}])
async def test_a_list_of_models_that_is_wrong(models):
    async with serve(lambda n, request: response(models)) as server:
        model = OpenAIModel(server.url)
        with pytest.raises(ModelError, match="nothing readable"):
            await model.generate([ask()])
        await model.aclose()


async def test_asks_once_what_the_server_is_but_again_after_a_failure():
    def handler(n, request):
        if request["path"] != "/v1/models":
            return sse({"choices": [{"text": "hi"}]})
        return response(b"no", "404 Not Found") if n == 0 else listed("someone")

    async with serve(handler) as server:
        model = OpenAIModel(server.url)
        with pytest.raises(ModelError, match="404"):
            await model.generate([ask()])
        await model.generate([ask(), ask(), ask()])
        asked = [request["path"] for request in server.requests]
        assert asked.count("/v1/models") == 2
        await model.aclose()


# --- deadlines --------------------------------------------------------------------------------


async def test_waiting_for_a_place_counts():
    def handler(n, request):
        return listed("someone") if request["path"] == "/v1/models" else b"hang"

    async with serve(handler) as server:
        model = OpenAIModel(server.url, concurrency=1)
        await model.probe()
        long = asyncio.ensure_future(model.generate([ask(deadline_s=0.8)]))
        while len(server.requests) < 2:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(0.5):
            with pytest.raises(ModelTimeout):
                await model.generate([ask(deadline_s=0.1)])
        with pytest.raises(ModelTimeout):
            await long
        await model.aclose()


@pytest.mark.parametrize("silent", ["/v1/models", "/apply-template", "/tokenize"])
async def test_a_server_that_falls_silent_before_the_answer(silent):
    def handler(n, request):
        if request["path"] == silent:
            return b"hang"
        return response({"prompt": "a"}) if "template" in request["path"] else listed("llamacpp")

    async with serve(handler) as server:
        model = OpenAIModel(server.url, timeout_s=2)
        async with asyncio.timeout(1):
            with pytest.raises(ModelTimeout):
                await model.score(ask(CHAT, deadline_s=0.1), [" yes"])
        await model.aclose()


async def test_one_deadline_for_all_requests_of_a_call():
    """Five requests of a tenth of a second each do not fit into a quarter of one."""

    async def answer(reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.1)
            models = b"/v1/models" in head
            writer.write(listed("llamacpp") if models else response({"tokens": [1, 2]}))
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    model = OpenAIModel(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(ModelTimeout):
        await model.score(ask(deadline_s=0.25), [" yes", " no"])
    await model.aclose()
    server.close()
