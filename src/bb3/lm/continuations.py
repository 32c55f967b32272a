"""Prompts with a piece of the answer written into them, as ``score`` needs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from bb3.core.ports import Message, Prompt


def extended(prompt: Prompt, text: str) -> Prompt:
    """The prompt with the beginning of the answer."""
    if not prompt.messages:
        return replace(prompt, text=prompt.text + text)
    *before, last = prompt.messages
    if last.role == "assistant":
        last = replace(last, content=last.content + text)
        return replace(prompt, messages=(*before, last))
    return replace(prompt, messages=(*prompt.messages, Message(role="assistant", content=text)))


async def joined(
    tokens_of: Callable[[Prompt], Awaitable[list[int]]],
    prompt: Prompt,
    continuations: Sequence[str],
) -> tuple[list[int], list[list[int]], int]:
    """The prompt's tokens, those of the prompt with each continuation, and how many all share.

    Where a continuation's first letters melt into one token with the prompt's last, less than the
    prompt is shared: what comes after counts for all continuations, so that their log-probabilities
    stay comparable.
    """
    given = await tokens_of(prompt)
    whole = [await tokens_of(extended(prompt, text)) for text in continuations]
    return given, whole, min((common_prefix(given, tokens) for tokens in whole), default=0)


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences share from the start."""
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


def only(tokens: Sequence[int]) -> str:
    """A grammar (llama.cpp's GBNF) that allows exactly these tokens."""
    return "root ::= " + " ".join(f"<[{token}]>" for token in tokens)
