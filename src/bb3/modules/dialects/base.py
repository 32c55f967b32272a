"""What a dialect is: the words in which the modules are asked, and how answers are read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Protocol

from bb3.core.ports import Prompt
from bb3.core.types import Memory
from bb3.modules.catalog import Kind, Module, Sight
from bb3.modules.context import Context

CountTokens = Callable[[Prompt], Awaitable[int]]


class Dialect(Protocol):
    """How to speak to one family of models about the 14 modules.

    Attributes:
        name: ``opt``, ``fewshot``, ``chat`` or ``r2c2``; also the family of sampling parameters.
        trained: the models were trained on these modules, so that their answers are taken at
            their word; answers of others must be grounded in what they were shown.
        tells_persona: replies are told the lines about the bot; for others those lines are
            memories of the bot.
        drop_turns: how many of the oldest turns go at once when a prompt is too long. More
            than one keeps the beginning of the prompt the same for several turns, so that an
            engine's prefix cache still holds.
    """

    name: str
    trained: bool
    tells_persona: bool
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
    last turn alone is too much, the least of the documents and memories, lines of the persona,
    then the beginning of that turn.

    Args:
        count: counts a prompt's tokens as the model does.
        room: tokens that the model has for prompts of this module; the dialect's own limit
            holds too.
    """
    limit = min(room, dialect.limit(module))

    async def fits(prompt: Prompt) -> bool:
        return _surely_fits(prompt, limit) or await count(prompt) <= limit

    best = dialect.render(module, context)
    if await fits(best):
        return best
    shorter = list(_shorter(dialect, module, context))
    low, high = 0, len(shorter)  # each is shorter than the one before: look for the first that fits
    while low < high:
        middle = (low + high) // 2
        prompt = dialect.render(module, shorter[middle])
        if await fits(prompt):
            best, high = prompt, middle
        else:
            low = middle + 1
    if low == len(shorter) and shorter:
        return dialect.render(module, shorter[-1])
    return best


def _surely_fits(prompt: Prompt, limit: int) -> bool:
    """No tokenizer makes more tokens than bytes, but for a template's few per message."""
    size = len(prompt.written_out().encode()) + 8 * len(prompt.messages)
    return size <= limit


def _shorter(dialect: Dialect, module: Module, context: Context) -> Iterator[Context]:
    """The context with ever less in it."""
    while module.sight is Sight.CONVERSATION and len(context.turns) > 1:
        drop = dialect.drop_turns if len(context.turns) > dialect.drop_turns else 1
        context = replace(context, turns=context.turns[drop:])
        yield context
    while module.documents and context.documents:
        context = replace(context, documents=context.documents[:-1])
        yield context
    # Best first, or as they were written: then the oldest go.
    best_first = module.kind is Kind.KNOWLEDGE and not dialect.trained
    while module.memories and context.memories:
        left = context.memories[:-1] if best_first else context.memories[1:]
        context = replace(context, memories=left)
        yield context
    while module.kind is Kind.RESPONSE and context.persona:
        context = replace(context, persona=context.persona[:-1])
        yield context
    while context.turns and len(context.last_turn.text) > 200:
        text = context.last_turn.text
        turn = replace(context.last_turn, text=text[len(text) // 2 :])
        context = replace(context, turns=(turn,))
        yield context
