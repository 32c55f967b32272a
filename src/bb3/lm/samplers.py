"""Our ``Sampling`` in llama.cpp's words.

What the engine cannot do as asked, and what it does instead:

- ``factual_nucleus``: nucleus with the same ``top_p`` (no decay within a sentence).
- ``beam``: greedy.
- ``block_ngram``, ``block_context_ngram``: the DRY sampler with a penalty no token survives. It
  looks at the prompt and the answer alike, so either one blocks repeats of both; ``block_text``
  is not looked at, nor are n-grams across a newline.
- ``presence_penalty``, ``frequency_penalty``: llama.cpp counts the prompt's tokens too. A bias
  takes the prompt's share back, exactly for the frequency part; a token that stands in the prompt
  gets no presence penalty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bb3.core.ports import Sampling

UNSUPPORTED = frozenset(
    {"beam_size", "length_penalty", "lambda_decay", "omega_bound", "block_context_ngram"}
)

_DRY_MULTIPLIER = 100.0


def fields(
    sampling: Sampling,
    *,
    prompt: Sequence[int],
    source: Sequence[int],
    seed: int | None = None,
    grammar: str | None = None,
) -> dict[str, Any]:
    """Fields of a ``/completion`` request.

    Args:
        sampling: what is asked.
        prompt: the prompt's tokens.
        source: those that the source penalties cover.
        seed: seed of the sampler.
        grammar: GBNF.
    """
    body: dict[str, Any] = {
        "n_predict": sampling.max_tokens,
        "stop": list(sampling.stop),
        # Temperature before top-p, as everybody but llama.cpp has it, and no min-p.
        "samplers": ["penalties", "dry", "temperature", "top_k", "top_p"],
    }
    if sampling.method in ("greedy", "beam"):
        body["temperature"] = 0.0
    else:
        body |= {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
        }
    if seed is not None:
        body["seed"] = seed & 0xFFFF_FFFF
    if grammar:
        body["grammar"] = grammar
    body |= _penalties(sampling, prompt, source)
    if n := max(sampling.block_ngram, sampling.block_context_ngram):
        body |= {
            "dry_multiplier": _DRY_MULTIPLIER,
            "dry_base": 1.75,
            "dry_allowed_length": max(1, n - 1),
            "dry_penalty_last_n": len(prompt) + sampling.max_tokens,
            "dry_sequence_breakers": ["\n"],
        }
    return body


def _penalties(sampling: Sampling, prompt: Sequence[int], source: Sequence[int]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    bias: Counter[int] = Counter()
    presence, frequency = sampling.presence_penalty, sampling.frequency_penalty
    if presence or frequency:
        body |= {
            "presence_penalty": presence,
            "frequency_penalty": frequency,
            "repeat_last_n": len(prompt) + sampling.max_tokens,
        }
        for token, count in Counter(prompt).items():
            bias[token] += presence + count * frequency  # type: ignore[assignment]
    presence, frequency = sampling.source_presence_penalty, sampling.source_frequency_penalty
    if presence or frequency:
        for token, count in Counter(source).items():
            bias[token] -= presence + count * frequency  # type: ignore[assignment]
    if pairs := [[token, value] for token, value in bias.items() if value]:
        body["logit_bias"] = pairs
    return body
