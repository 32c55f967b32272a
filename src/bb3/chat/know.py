"""Step: from what was found to the sentence the reply is made of.

Models that were trained on the modules are taken at their word, as in the released systems,
except that a memory must be quoted from the store. Others must quote what they were shown: an
answer without support gives way to the best line of the material itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bb3.chat.decide import Decisions
from bb3.chat.recall import recall
from bb3.chat.search import search
from bb3.chat.state import TurnState
from bb3.core.events import Degraded, Knowledge
from bb3.core.text import content_words, coverage, overlap_f1, sentences, words
from bb3.core.types import Document, Memory
from bb3.modules.dialects import Dialect

SUPPORTED = 0.8
"""Share of a knowledge sentence's content words that its document must have."""
SAME_MEMORY = 0.6
"""Word overlap (F1) from which an answer counts as a quotation of a memory."""
ENTITY_WORDS = 4


async def know(state: TurnState, decisions: Decisions) -> None:
    """Search knowledge, memory knowledge and, where neither was asked for, an entity, all at
    once. A search that finds nothing gives way to an entity."""
    branches = []
    if decisions.search:
        branches.append(_from_search(state))
    if decisions.memory:
        branches.append(_from_memories(state))
    entity = state.pipeline.entity
    if entity == "always" or (entity == "compute" and not branches):
        branches.append(_entity(state))
    await asyncio.gather(*branches)
    searched = decisions.search or decisions.memory
    if entity == "compute" and searched and not _asked_any(state):
        await _entity(state)


def _asked_any(state: TurnState) -> bool:
    """Whether a knowledge module was asked: one that failed is not made up for, as in the
    released system; one that had no material is."""
    return any(call.module in ("ckm", "mkm", "skm") for call in state.asker.calls)


def _settle(state: TurnState, tag: str, text: str) -> None:
    if text:
        state.knowledge[tag] = text
        state.emit(Knowledge(module=tag, text=text))


async def _from_search(state: TurnState) -> None:
    documents = await search(state)
    if not documents:
        return
    context = state.context(documents=documents, earlier=state.earlier.get("skm", ()))
    call = await state.asker.generate("skm", context)
    if state.asker.dialect.trained or (call is not None and call.edited):
        _settle(state, "skm", call.output if call is not None else "")
        return
    answer = call.output if call is not None else ""
    asked = f"{state.user.text} {state.query}"
    _settle(state, "skm", supported(answer, documents) or best_sentence(asked, documents))


async def _from_memories(state: TurnState) -> None:
    memories = await recall(state)
    if not memories:
        return
    context = state.context(memories=memories, earlier=state.earlier.get("mkm", ()))
    call = await state.asker.generate("mkm", context)
    dialect = state.asker.dialect
    if call is None and dialect.trained:
        return
    answer, edited = (call.output, call.edited) if call is not None else ("", False)
    memory = quoted(answer, memories, dialect, exactly=dialect.trained or edited)
    if memory is None and not (dialect.trained or edited):
        memory = memories[0]
    if memory is not None:
        state.used = (memory,)
        _settle(state, "mkm", dialect.quote(memory))
    elif edited or not state.pipeline.verbatim:
        _settle(state, "mkm", answer)
    else:
        reason = f"mkm answered {answer!r}, which is none of the memories it was shown."
        state.emit(Degraded(step="mkm", reason=reason))


async def _entity(state: TurnState) -> None:
    call = await state.asker.generate("ckm", state.context(earlier=state.earlier.get("ckm", ())))
    if call is None:
        return
    entity = call.output
    if not (state.asker.dialect.trained or call.edited):
        said = " ".join(turn.text for turn in state.context().turns[-4:])
        few = 0 < len(words(entity)) <= ENTITY_WORDS and content_words(entity)
        entity = entity if few and coverage(entity, said) == 1.0 else ""
    _settle(state, "ckm", entity)


def quoted(
    answer: str, memories: Sequence[Memory], dialect: Dialect, *, exactly: bool
) -> Memory | None:
    """The memory that an answer quotes: with or without whose it is; ``exactly``: word for word."""
    said = answer.strip()
    for spoken in (dialect.quote, lambda memory: memory.text):
        for memory in memories:
            if said == spoken(memory):
                return memory
    for memory in memories:  # whose it is was got wrong
        if said.endswith(f"ersona: {memory.text}"):
            return memory
    if exactly or not said:
        return None
    score, best = max(((overlap_f1(said, m.text), m) for m in memories), key=lambda pair: pair[0])
    return best if score >= SAME_MEMORY else None


def supported(answer: str, documents: Sequence[Document]) -> str:
    """The answer, if one of the documents says it; else nothing."""
    if not content_words(answer):
        return ""
    if any(coverage(answer, f"{d.title} {d.text}") >= SUPPORTED for d in documents):
        return answer
    return ""


def best_sentence(asked: str, documents: Sequence[Document]) -> str:
    """The sentence of the best document that has most of what was asked; the first, which in
    most texts says what the matter is, when none stands out."""
    lines = sentences(documents[0].text)
    if not lines:
        return ""
    return max(lines, key=lambda line: coverage(asked, line))
