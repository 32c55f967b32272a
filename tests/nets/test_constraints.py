from __future__ import annotations

import torch

from bb3.nets.constraints import NEVER, ban_ngrams, penalise

INPUTS, BEAMS, VOCAB = 3, 4, 7


def banned_naively(history: list[int], source: list[int], size: int) -> set[int]:
    tail = history[len(history) - size + 1 :]
    return {
        source[i + size - 1]
        for i in range(len(source) - size + 1)
        if source[i : i + size - 1] == tail
    }


def test_ban_ngrams_forbids_what_a_plain_loop_forbids() -> None:
    generator = torch.Generator().manual_seed(0)
    for size in (1, 2, 3, 4):
        history = torch.randint(0, VOCAB, (INPUTS, BEAMS, 9), generator=generator)
        context = torch.randint(0, VOCAB, (INPUTS, 1, 30), generator=generator)
        context[1, 0, 12:] = -1
        where = torch.tensor([True, True, False])
        for source in (history, context):
            logits = torch.zeros(INPUTS, BEAMS, VOCAB)
            ban_ngrams(logits, history, source, size, where)
            for number in range(INPUTS):
                for beam in range(BEAMS):
                    row = source[number, beam if source is history else 0]
                    expected: set[int] = set()
                    if where[number]:
                        known = [token for token in row.tolist() if token >= 0]
                        expected = banned_naively(history[number, beam].tolist(), known, size)
                    found = (logits[number, beam] == NEVER).nonzero()[:, 0].tolist()
                    assert set(found) == expected, (size, number, beam)


def test_short_histories_and_contexts_forbid_nothing() -> None:
    logits = torch.zeros(1, 1, VOCAB)
    everywhere = torch.tensor([True])
    ban_ngrams(
        logits, torch.zeros(1, 1, 1, dtype=torch.long), torch.zeros(1, 1, 9).long(), 3, everywhere
    )
    ban_ngrams(logits, torch.zeros(1, 1, 5).long(), torch.empty(1, 1, 0).long(), 3, everywhere)
    assert not logits.any()


def test_penalties_count_tokens() -> None:
    logits = torch.zeros(2, 1, VOCAB)
    tokens = torch.tensor([[[3, 3, 5, -1]], [[0, 0, 0, 0]]])
    penalise(logits, tokens, torch.tensor([0.5, 0.0]), torch.tensor([0.25, 1.0]))
    assert logits[0, 0].tolist() == [0, 0, 0, -1.0, 0, -0.75, 0]
    assert logits[1, 0].tolist() == [-4.0, 0, 0, 0, 0, 0, 0]
