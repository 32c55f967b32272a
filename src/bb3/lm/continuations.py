"""Prompts with a piece of the answer written into them, as ``score`` needs them."""

from __future__ import annotations

from collections.abc import Sequence
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
