from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bb3.nets.decoding import Ask, Decoding, Hypothesis, Settings, decode
from bb3.nets.layout import SourceLayout
from bb3.nets.r2c2 import R2C2Config, R2C2ForConditionalGeneration, encode
from bb3.nets.tokenizer import TextCodec

END, START = 2, 1
SOURCES = [
    [[1, 5, 9, 30, 2, 2]],
    [[1, 7, 8, 2, 2], [1, 30, 31, 32, 33, 8, 2, 2]],
    [[1, 11, 12, 13, 14, 15, 16, 17, 18, 2, 2]],
]


def asks(model: R2C2ForConditionalGeneration, *settings: Settings) -> list[Ask]:
    rows = [SOURCES[number % len(SOURCES)] for number in range(len(settings))]
    return [
        Ask(encoded=states, settings=each, context=group[0], source=group[0])
        for states, each, group in zip(encode(model, rows), settings, rows, strict=True)
    ]


def plain_beam_search(
    model: R2C2ForConditionalGeneration, ask: Ask
) -> list[tuple[list[int], float]]:
    """The rules in plain loops, without cache, batch or tensors of beams."""
    settings, width = ask.settings, ask.settings.beam_size
    beams: list[tuple[list[int], float]] = [([START], 0.0)]
    finished: list[tuple[list[int], float]] = []
    best_ended = False
    for step in range(settings.max_steps):
        options: list[tuple[float, list[int]]] = []
        for tokens, total in beams:
            if tokens[-1] == END and step:
                continue
            with torch.inference_mode():
                logits = model(
                    encoder_outputs=(ask.encoded[None],),
                    decoder_input_ids=torch.tensor([[END, *tokens]]),
                ).logits[0, -1]
            logprobs = logits.log_softmax(-1).tolist()
            for token, logprob in enumerate(logprobs):
                path = [*tokens, token]
                if token == END and step < settings.min_tokens:
                    continue
                if repeats(path, tokens, settings.block_ngram):
                    continue
                if repeats(path, list(ask.context), settings.block_context_ngram):
                    continue
                options.append((total + logprob, path))
        options.sort(key=lambda option: -option[0])
        beams = [(path, total) for total, path in options[:width]]
        for path, total in beams:
            if path[-1] == END:
                length = ((1 + len(path)) / 6) ** settings.length_penalty
                finished.append((path[1:-1], total / length))
        best_ended = best_ended or beams[0][0][-1] == END
        if best_ended and len(finished) >= width:
            break
    if not finished:
        path, total = beams[0]
        length = ((1 + len(path)) / 6) ** settings.length_penalty
        finished.append((path[1:-1], total / length))
    return sorted(finished, key=lambda answer: -answer[1])


def repeats(path: list[int], source: list[int], size: int) -> bool:
    ngrams = [source[i : i + size] for i in range(len(source) - size + 1)]
    return size > 0 and len(path) >= size and path[-size:] in ngrams


def assert_same(found: list[Hypothesis], expected: list[tuple[list[int], float]]) -> None:
    assert [list(answer.tokens) for answer in found] == [tokens for tokens, _ in expected]
    for answer, (_, score) in zip(found, expected, strict=True):
        assert answer.score == pytest.approx(score, abs=1e-4)


VARIETY = [
    Settings(max_steps=12),
    Settings(max_steps=12, min_tokens=4, block_ngram=2),
    Settings(beam_size=3, max_steps=10),
    Settings(beam_size=3, max_steps=14, min_tokens=5, block_ngram=3),
    Settings(beam_size=3, max_steps=14, block_ngram=1, block_context_ngram=1),
    Settings(beam_size=6, max_steps=12, block_context_ngram=2, length_penalty=1.5),
    Settings(beam_size=6, max_steps=3, min_tokens=3),
    Settings(beam_size=6, max_steps=9, block_ngram=2, block_context_ngram=3),
]


@pytest.mark.parametrize("settings", VARIETY)
def test_results_are_those_of_plain_loops(
    model: R2C2ForConditionalGeneration, settings: Settings
) -> None:
    for ask in asks(model, settings, settings, settings):
        assert_same(decode(model, [ask])[0], plain_beam_search(model, ask))


def test_inputs_of_all_settings_in_one_batch_are_decoded_as_if_alone(
    model: R2C2ForConditionalGeneration,
) -> None:
    together = asks(model, *VARIETY, *reversed(VARIETY))
    for ask, found in zip(together, decode(model, together), strict=True):
        alone = decode(model, [ask])[0]
        assert [answer.tokens for answer in found] == [answer.tokens for answer in alone]
        assert found[0].logprob == pytest.approx(alone[0].logprob, abs=1e-4)


def test_an_answer_that_never_ends_gives_its_last_step_to_the_end_token(
    model: R2C2ForConditionalGeneration,
) -> None:
    [answer] = decode(model, asks(model, Settings(max_steps=5, min_tokens=5)))[0]
    assert len(answer.tokens) == 4
    assert not answer.ended


def test_greedy_equals_the_librarys_generate(model: R2C2ForConditionalGeneration) -> None:
    rows = SOURCES[2]
    expected = model.generate(
        torch.tensor(rows),
        decoder_input_ids=torch.tensor([[END, START]]),
        max_new_tokens=11,
        min_new_tokens=11,
        do_sample=False,
    )
    ask = Ask(encoded=encode(model, [rows])[0], settings=Settings(max_steps=12, min_tokens=12))
    assert list(decode(model, [ask])[0][0].tokens) == expected[0, 2:].tolist()


def test_suppressed_tokens_never_come(model: R2C2ForConditionalGeneration) -> None:
    config = model.config
    ask = asks(model, Settings(max_steps=20, min_tokens=20))[0]
    usual = decode(model, [ask])[0][0].tokens
    try:
        config.suppressed = [usual[0]]
        assert usual[0] not in decode(model, [ask])[0][0].tokens
    finally:
        config.suppressed = []


def test_penalties_end_repetition(model: R2C2ForConditionalGeneration) -> None:
    free = Settings(max_steps=30, min_tokens=30)
    held = replace(free, frequency_penalty=1e4)
    source = replace(free, source_presence_penalty=1e4)
    results = decode(model, asks(model, free, held, source))
    usual, varied, foreign = (result[0].tokens for result in results)
    assert len(set(usual)) < len(usual)
    assert len(set(varied)) == len(varied)
    assert not set(foreign) & set(SOURCES[2][0])


def test_a_seed_makes_sampling_repeatable(model: R2C2ForConditionalGeneration) -> None:
    settings = Settings(max_steps=30, min_tokens=30, sample=True, temperature=3.0, seed=3)
    first, second = asks(model, settings, replace(settings, seed=4))
    together = decode(model, [first, second])
    assert decode(model, [first])[0][0].tokens == together[0][0].tokens
    assert decode(model, [second])[0][0].tokens == together[1][0].tokens
    other = decode(model, [replace(first, settings=replace(settings, seed=9))])
    assert other[0][0].tokens != together[0][0].tokens


def test_sampling_the_likeliest_is_greedy(model: R2C2ForConditionalGeneration) -> None:
    greedy = Settings(max_steps=12)
    [one], [other] = (
        decode(model, asks(model, greedy)),
        decode(model, asks(model, replace(greedy, sample=True, top_k=1))),
    )
    assert one[0].tokens == other[0].tokens
    assert one[0].logprob == pytest.approx(other[0].logprob, abs=1e-4)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_what_is_settled_stays(model: R2C2ForConditionalGeneration, beam_size: int) -> None:
    settings = Settings(beam_size=beam_size, max_steps=16, min_tokens=6)
    decoding = Decoding(model, asks(model, settings, settings, settings))
    seen: list[list[tuple[int, ...]]] = [[], [], []]
    while True:
        going = decoding.step()
        for number in range(3):
            seen[number].append(decoding.settled(number))
        if not going:
            break
    for number, answers in enumerate(decoding.answers()):
        for prefix in seen[number]:
            assert answers[0].tokens[: len(prefix)] == prefix
        assert seen[number][-1] == answers[0].tokens


def test_a_cancelled_input_stops_and_the_others_go_on(
    model: R2C2ForConditionalGeneration,
) -> None:
    settings = Settings(beam_size=3, max_steps=16, min_tokens=6)
    together = asks(model, settings, settings, settings)
    decoding = Decoding(model, together)
    decoding.step()
    decoding.cancel(1)
    decoding.cancel(1)
    while decoding.step():
        pass
    answers = decoding.answers()
    assert answers[1] == []
    for number in (0, 2):
        alone = decode(model, [together[number]])[0]
        assert [a.tokens for a in answers[number]] == [a.tokens for a in alone]


def test_settings_that_cannot_be_are_refused(model: R2C2ForConditionalGeneration) -> None:
    with pytest.raises(ValueError, match="sampling decodes one beam"):
        Settings(beam_size=2, sample=True)
    with pytest.raises(ValueError, match="positive"):
        Settings(max_steps=0)
    with pytest.raises(ValueError, match="64 positions"):
        Decoding(model, asks(model, Settings(max_steps=64)))
    with pytest.raises(ValueError, match="share"):
        Decoding(model, asks(model, Settings(), Settings(beam_size=2)))


# --- against the recorded reference -----------------------------------------------------------


def recorded_settings(options: dict[str, Any]) -> Settings:
    beam = options["inference"] == "beam"
    return Settings(
        beam_size=options["beam_size"] if beam else 1,
        max_steps=options["label_truncate"],
        min_tokens=options["beam_min_length"] if beam else 0,
        length_penalty=options["beam_length_penalty"],
        block_ngram=max(0, options["beam_block_ngram"]),
        block_context_ngram=max(0, options["beam_context_block_ngram"]),
        temperature=options.get("temperature", 1.0),
    )


def assert_recorded(
    codec: TextCodec, found: Sequence[Hypothesis], expected: list[list[Any]]
) -> None:
    assert [codec.decode(answer.tokens) for answer in found] == [text for text, _ in expected]
    for answer, (_, score) in zip(found, expected, strict=True):
        assert answer.score == pytest.approx(score, abs=1e-4)


def test_recorded_decoding(
    golden_model: R2C2ForConditionalGeneration, golden_codec: TextCodec, golden: Any
) -> None:
    together: list[Ask] = []
    expected: list[list[Any]] = []
    for case in golden("decode"):
        options = case["effective"]
        if options["inference"] not in ("greedy", "beam"):
            continue
        for item in case["items"]:
            ids = golden_codec.encode_lines(item["input"])
            whole = [START, *ids, END, END]
            together.append(
                Ask(
                    encoded=encode(golden_model, [[whole]])[0],
                    settings=recorded_settings(options),
                    context=[*ids, END] if options["beam_block_full_context"] else whole,
                )
            )
            expected.append(item["beam_texts"])
    assert len(together) >= 20
    for found, beams in zip(decode(golden_model, together), expected, strict=True):
        assert_recorded(golden_codec, found, beams)


@pytest.mark.parametrize("name", ["chat", "all_combined", "all_separate", "never"])
def test_recorded_conversations_call_by_call(
    name: str, golden_model: R2C2ForConditionalGeneration, golden_codec: TextCodec, golden: Any
) -> None:
    together: list[Ask] = []
    expected: list[list[Any]] = []
    for call in golden(f"r2c2_{name}")["calls"]:
        for number, ids in enumerate(call.get("input_ids", ())):
            rows = call["fid_inputs"]["ids"] if "fid_inputs" in call else [ids]
            together.append(
                Ask(
                    encoded=encode(golden_model, [rows])[0],
                    settings=recorded_settings(call["gen"]),
                    context=call["context_block_ids"][number],
                )
            )
            expected.append(call["beam_texts"][number])
    assert len(together) >= 18
    for found, beams in zip(decode(golden_model, together), expected, strict=True):
        assert_recorded(golden_codec, found, beams)


def test_recorded_replies_need_neither_blank_documents_nor_retrieval_for_memories(
    golden_folder: Path,
    golden_model: R2C2ForConditionalGeneration,
    golden_codec: TextCodec,
    golden: Any,
) -> None:
    """The reference encodes blank documents, and all memories when it only writes one; its
    texts are the same without.
    """
    layout = SourceLayout(golden_codec, R2C2Config.from_pretrained(golden_folder))
    together: list[Ask] = []
    expected: list[str] = []
    for name in ("chat", "all_combined", "all_separate", "never"):
        for call in golden(f"r2c2_{name}")["calls"]:
            if "fid_inputs" not in call:
                continue
            found = call["fid_inputs"]["docs"][0] if call["module"] != "mgm" else []
            documents = tuple(f"{each['title']} / {each['text']}" for each in found)
            rows = layout.rows(call["observed_full_text"][0], documents)
            together.append(
                Ask(
                    encoded=encode(golden_model, [rows])[0],
                    settings=recorded_settings(call["gen"]),
                    context=call["context_block_ids"][0],
                )
            )
            expected.append(call["output_text"][0])
    assert len(together) >= 40
    for found, text in zip(decode(golden_model, together), expected, strict=True):
        assert golden_codec.decode(found[0].tokens) == text
