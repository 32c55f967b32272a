"""The OpenAI API's words: what is sent, and how the answers of different servers are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from bb3.core.ports import GenerationResult, Prompt, Sampling
from bb3.core.types import TokenCounts

_NOWHERE = frozenset(
    {
        "beam_size",
        "length_penalty",
        "lambda_decay",
        "omega_bound",
        "source_presence_penalty",
        "source_frequency_penalty",
        "block_ngram",
        "block_context_ngram",
    }
)
UNSUPPORTED: Mapping[str, frozenset[str]] = {
    "openai": _NOWHERE | {"top_k", "min_tokens"},
    "llamacpp": _NOWHERE | {"min_tokens"},
    "vllm": _NOWHERE,
}


def prompt_fields(prompt: Prompt) -> dict[str, Any]:
    """``messages`` or ``prompt``."""
    if prompt.messages:
        return {"messages": [{"role": m.role, "content": m.content} for m in prompt.messages]}
    return {"prompt": prompt.text}


def continuing(prompt: Prompt) -> dict[str, Any]:
    """What tells vLLM to go on with the assistant's last message instead of beginning one."""
    if not prompt.messages or prompt.messages[-1].role != "assistant":
        return {}
    return {"continue_final_message": True, "add_generation_prompt": False}


def sampling_fields(sampling: Sampling) -> dict[str, Any]:
    """The fields that every server knows."""
    fields: dict[str, Any] = {"max_tokens": sampling.max_tokens, "temperature": 0.0}
    if sampling.method in ("nucleus", "factual_nucleus"):
        fields |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if sampling.presence_penalty:
        fields["presence_penalty"] = sampling.presence_penalty
    if sampling.frequency_penalty:
        fields["frequency_penalty"] = sampling.frequency_penalty
    return fields


class GrowingAnswer:
    """An answer put together from the events of a stream."""

    def __init__(self) -> None:
        self.text = ""
        self.finish: Literal["stop", "length"] = "stop"
        self.logprobs: list[float] = []
        self.usage: Mapping[str, Any] = {}

    def take(self, event: Mapping[str, Any]) -> str:
        """Add an event, return its text. Raises KeyError, TypeError on what is no such event."""
        self.usage = event.get("usage") or self.usage
        piece = ""
        for choice in event["choices"][:1]:
            delta = choice.get("delta") or {}
            piece = choice.get("text") or delta.get("content") or ""
            if not isinstance(piece, str):
                raise TypeError(piece)
            self.logprobs += token_logprobs(choice.get("logprobs"))
            if choice.get("finish_reason") == "length":
                self.finish = "length"
        self.text += piece
        return piece

    def result(self) -> GenerationResult:
        details = self.usage.get("prompt_tokens_details") or {}
        return GenerationResult(
            text=self.text,
            logprob=sum(self.logprobs) if self.logprobs else None,
            tokens=TokenCounts(
                prompt=self.usage.get("prompt_tokens") or 0,
                cached=details.get("cached_tokens") or 0,
                generated=self.usage.get("completion_tokens") or len(self.logprobs),
            ),
            finish_reason=self.finish,
        )


def token_logprobs(logprobs: Any) -> list[float]:
    """Log-probabilities of an answer's tokens, in either of the two shapes in use."""
    if not logprobs:
        return []
    if "content" in logprobs:
        return [float(entry["logprob"]) for entry in logprobs["content"] or ()]
    return [float(number) for number in logprobs.get("token_logprobs") or () if number is not None]


def likeliest(logprobs: Any) -> dict[str, float]:
    """The likeliest first tokens of an answer, in either of the two shapes in use."""
    if not logprobs:
        return {}
    if "content" in logprobs:
        first = (logprobs["content"] or [{}])[0]
        return {entry["token"]: float(entry["logprob"]) for entry in first.get("top_logprobs", ())}
    first = (logprobs.get("top_logprobs") or [{}])[0]
    return {token: float(logprob) for token, logprob in first.items()}


def told_apart(top: Mapping[str, float], continuations: Sequence[str]) -> tuple[float, ...] | None:
    """A log-probability for each continuation from those of likely first tokens.

    A continuation without a token among them gets that of the least likely one, which it cannot
    exceed. None when two continuations begin with the same token, or none is among the likely.
    """
    found = [_beginning(top, text) for text in continuations]
    known = [token for token in found if token is not None]
    if not known or len(set(known)) < len(known):
        return None
    least = min(top.values())
    return tuple(least if token is None else top[token] for token in found)


def _beginning(top: Mapping[str, float], text: str) -> str | None:
    """The longest of the tokens that the text begins with, spaces apart."""
    text = text.lstrip()
    fitting = [token for token in top if token.strip() and text.startswith(token.lstrip())]
    return max(fitting, key=lambda token: (len(token.lstrip()), top[token]), default=None)


def echoed(logprobs: Mapping[str, Any], begin: int, end: int) -> list[float]:
    """Log-probabilities of an echoed prompt's tokens from begin to end. The very first has none
    and counts 0. Raises IndexError when there are fewer tokens than that.
    """
    numbers = logprobs["token_logprobs"]
    return [float(numbers[n] or 0.0) for n in range(begin, end)]
