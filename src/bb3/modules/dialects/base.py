"""What a dialect is: the words in which the modules are asked, and how answers are read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from bb3.core.ports import Prompt
from bb3.core.types import Memory
from bb3.modules.catalog import Module
from bb3.modules.context import Context

CountTokens = Callable[[Prompt], Awaitable[int]]


class Dialect(Protocol):
    """How to speak to one family of models about the 14 modules.

    Attributes:
        name: ``opt``, ``fewshot``, ``chat`` or ``r2c2``; also the family of sampling parameters.
        trained: the models were trained on these modules, so that their answers are taken at
            their word; answers of others must be grounded in what they were shown.
        drop_turns: how many of the oldest turns go at once when a prompt is too long. More
            than one keeps the beginning of the prompt the same for several turns, so that an
            engine's prefix cache still holds.
    """

    name: str
    trained: bool
    drop_turns: int

    def render(self, module: Module, context: Context) -> Prompt:
        """The prompt of a module. Pure: the same context gives the same prompt."""
        ...

    def limit(self, module: Module) -> int:
        """Most tokens of the module's prompt."""
        ...

    def answers(self, module: Module) -> tuple[str, str]:
        """(yes, no) of a decision, as continuations of its prompt."""
        ...

    def quote(self, memory: Memory) -> str:
        """A memory as a response is shown it."""
        ...

    def read(self, module: Module, text: str) -> str:
        """A model's raw answer, cleaned: one line, no labels, no control tokens; empty when
        it says "nothing"."""
        ...


async def fit(
    dialect: Dialect, module: Module, context: Context, count: CountTokens, room: int
) -> Prompt:
    """The prompt, with the oldest turns left out until it is short enough; then, if even the
    last turn alone is too much, the least of the documents and memories, then the beginning
    of that turn.

    Args:
        count: counts a prompt's tokens as the model does.
        room: tokens that the model has for prompts of this module; the dialect's own limit
            holds too.
    """
    limit = min(room, dialect.limit(module))
    prompt = dialect.render(module, context)
    while not _surely_fits(prompt, limit) and await count(prompt) > limit:
        less = _shorter(context, dialect.drop_turns)
        if less is None:
            break
        context, prompt = less, dialect.render(module, less)
    return prompt


def _surely_fits(prompt: Prompt, limit: int) -> bool:
    """No tokenizer makes more tokens than bytes, but for a template's few per message."""
    size = len(prompt.written_out().encode()) + 8 * len(prompt.messages)
    return size <= limit


def _shorter(context: Context, drop_turns: int) -> Context | None:
    turns = context.turns
    if len(turns) > 1:
        drop = drop_turns if len(turns) > drop_turns else 1
        return replace(context, turns=turns[drop:])
    if context.documents:
        return replace(context, documents=context.documents[:-1])
    if context.memories:
        return replace(context, memories=context.memories[:-1])
    if turns and len(turns[0].text) > 200:
        half = turns[0].text[len(turns[0].text) // 2 :]
        return replace(context, turns=(replace(turns[0], text=half),))
    return None
