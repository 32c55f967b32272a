import json

import pytest

from bb3.core.errors import ModelError
from bb3.core.ports import GenerationRequest, Message, Prompt, Sampling
from bb3.lm.metaseq import MetaseqModel
from tests.lm.conftest import API_KEY, response, serve

DECISION = Sampling(min_tokens=1, max_tokens=10, stop=("\n",))
REPLY = Sampling(
    method="factual_nucleus",
    top_p=0.9,
    min_tokens=20,
    max_tokens=128,
    stop=("\n",),
    presence_penalty=0.5,
    frequency_penalty=0.5,
    source_presence_penalty=0.5,
    source_frequency_penalty=0.5,
)
BY_LAST_LINE = {
    "Search Decision:": ("sdm", DECISION),
    "Memory Decision:": ("mdm", DECISION),
    "Query:": ("sgm", Sampling(min_tokens=1, max_tokens=32, stop=("\n",))),
    "Memory:": ("mgm", Sampling(min_tokens=1, max_tokens=32, stop=("\n",))),
}


def ask(text: str, sampling: Sampling, module: str = "srm", **prompt) -> GenerationRequest:
    return GenerationRequest(
        prompt=Prompt(text=text, **prompt), module=module, sampling=sampling, deadline_s=5
    )


def answer(text: str, *logprobs: float, offsets: tuple[int, ...] = ()) -> bytes:
    given = {"tokens": [], "token_logprobs": logprobs, "text_offset": offsets}
    return response({"choices": [{"text": text, "logprobs": given}]})


def test_bodies_equal_the_recorded_ones(shared):
    """Every recorded request whose settings need no more than its last line to be known."""
    compared = 0
    model = MetaseqModel("http://localhost", count=lambda text: recorded_end)
    for path in sorted((shared / "golden" / "opt").glob("*.json")):
        for turn in json.loads(path.read_text())["turns"]:
            for recorded in turn["requests"]:
                body = recorded["body"]
                text, recorded_end = body["prompt"], body["alpha_src_penalty_end_idx"]
                last = text.split("\n")[-1]
                if last in BY_LAST_LINE:
                    module, sampling = BY_LAST_LINE[last]
                    request = ask(text, sampling, module)
                elif recorded_end > 0:
                    end = text.rindex("Interesting Fact:")
                    request = ask(text, REPLY, source_end=end)
                else:
                    continue
                assert model.body(request) == body
                assert list(model.body(request)) == list(body)
                compared += 1
    assert compared > 100


def test_the_source_ends_where_its_tokens_do():
    counted = []

    def count(text: str) -> int:
        counted.append(text)
        return 8

    text = "Person 1: what is mars ?\nInteresting Fact: it is red.\nPerson 2:"
    model = MetaseqModel("http://localhost", count=count)
    end = text.index("Interesting")
    assert model.body(ask(text, REPLY, source_end=end))["alpha_src_penalty_end_idx"] == 8
    assert counted == ["Person 1: what is mars ?\n"]
    assert model.body(ask(text, REPLY))["alpha_src_penalty_end_idx"] == -1
    assert model.body(ask(text, DECISION, source_end=end))["alpha_src_penalty_end_idx"] == -1


def test_without_a_count_the_source_has_no_end():
    text = "Person 1: what is mars ?\nInteresting Fact: it is red.\nPerson 2:"
    model = MetaseqModel("http://localhost")
    assert "source_end" in model.unsupported
    assert "source_end" not in MetaseqModel("http://localhost", count=len).unsupported
    body = model.body(ask(text, REPLY, source_end=text.index("Interesting")))
    assert body["alpha_src_penalty_end_idx"] == -1


def test_methods():
    body = MetaseqModel("http://localhost").body
    greedy = body(ask("a", Sampling()))
    assert (greedy["top_p"], greedy["lambda_decay"], greedy["best_of"]) == (-1, -1, 1)
    beam = body(ask("a", Sampling(method="beam", beam_size=3, stop=("x", "y"))))
    assert (beam["top_p"], beam["best_of"], beam["stop"]) == (-1, 3, ["x", "y"])
    nucleus = body(ask("a", Sampling(method="nucleus", top_p=0.8)))
    assert (nucleus["top_p"], nucleus["lambda_decay"]) == (0.8, -1)


async def test_answers():
    async with serve(lambda n, request: answer(" do not search", -0.25, -0.5, -0.75)) as server:
        model = MetaseqModel(server.url, api_key=API_KEY)
        [result] = await model.generate([ask("Person 1: hi\nSearch Decision:", DECISION)])
        pieces = [piece async for piece in model.stream(ask("a", DECISION))]
        await model.aclose()
    assert result.text == " do not search"
    assert result.logprob == -1.5
    assert result.tokens.generated == 3
    assert pieces[0] == " do not search"
    assert server.requests[0]["path"] == "/completions"
    assert server.requests[0]["headers"]["authorization"] == f"Bearer {API_KEY}"


async def test_scores_by_echo():
    def handler(n, request):
        prompt = request["body"]["prompt"]
        assert request["body"]["echo"]
        assert request["body"]["max_tokens"] == 0
        last = -1.0 if prompt.endswith("yes") else -2.0
        return answer(prompt, 0.0, -9.0, last, -0.5, offsets=(0, 2, 3, 5))

    async with serve(handler) as server:
        model = MetaseqModel(server.url)
        score = await model.score(ask("a b", DECISION), ["yes", " no"])
        await model.aclose()
    assert score.logprobs == (-1.5, -2.5)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"error": {"message": "overloaded", "code": 7}}, "overloaded"),
        ({"error": "out of memory"}, "out of memory"),
        ({"choices": []}, "nothing readable"),
        ({"choices": [{"text": 7}]}, "nothing readable"),
        ({"choices": ["a"]}, "nothing readable"),
        ([1], "nothing readable"),
        ({"choices": [{"text": "a", "logprobs": {"token_logprobs": ["x"]}}]}, "nothing readable"),
    ],
)
async def test_answers_that_are_wrong(content, said):
    async with serve(lambda n, request: response(content)) as server:
        model = MetaseqModel(server.url)
        with pytest.raises(ModelError, match=said):
            await model.generate([ask("a", DECISION)])
        with pytest.raises(ModelError):
            await model.score(ask("a", DECISION), ["b"])
        await model.aclose()


async def test_messages_are_not_its_own():
    model = MetaseqModel("http://localhost")
    prompt = Prompt(messages=(Message(role="user", content="hi"),))
    with pytest.raises(ModelError, match="opt or fewshot"):
        await model.generate([GenerationRequest(prompt=prompt, module="vrm")])
    await model.aclose()
