"""Dialect ``opt``: the text prompts on which the 30B and 175B models were fine-tuned.

A prompt is lines: documents or memories, the conversation as ``Person 1: ...`` (user) and
``Person 2: ...`` (bot), knowledge, and a last line that asks for the module and ends with a
colon. Source: REFERENCE of the released system; docs/dialects.md lists the knowing
differences from it.
"""

from __future__ import annotations

from bb3.core.ports import Prompt
from bb3.core.text import first_words
from bb3.core.types import Document, Memory, Speaker, Turn
from bb3.modules.catalog import KNOWLEDGE_ORDER, MODULES, Kind, Module, Sight
from bb3.modules.context import Context, one_line

PERSON = {Speaker.USER: "Person 1", Speaker.BOT: "Person 2"}
DOCUMENT_WORDS = 100
"""The large models read the first hundred words of a document."""


class OptDialect:
    """Byte for byte what the fine-tuned models expect."""

    name = "opt"
    trained = True
    tells_persona = False
    drop_turns = 1

    def render(self, module: Module, context: Context) -> Prompt:
        """Lines as above; ``source_end`` is where the first search knowledge begins."""
        lines = self._before(module, context)
        if module.sight is not Sight.NOTHING:
            lines += self._conversation(module, context)
        source_end = None
        if module.kind is Kind.RESPONSE:
            for tag in KNOWLEDGE_ORDER:
                if knowledge := context.knowledge.get(tag):
                    if tag == "skm":
                        source_end = sum(len(line) + 1 for line in lines)
                    lines.append(f"{MODULES[tag].opt_label}: {one_line(knowledge)}")
            if context.style:
                lines.append(f"Style: {one_line(context.style)}")
        lines.append(f"{module.opt_label}:")
        return Prompt(text="\n".join(lines), source_end=source_end)

    def _before(self, module: Module, context: Context) -> list[str]:
        if module.documents:
            return [document_line(document) for document in context.documents]
        if module.tag == "mdm":
            facts = []
            for speaker in (Speaker.BOT, Speaker.USER):
                if texts := [one_line(m.text) for m in context.memories_of(speaker)]:
                    facts.append(f"Personal Fact: {PERSON[speaker]}'s Persona: {' '.join(texts)}")
            return facts
        if module.memories:
            return [memory_line(memory) for memory in context.memories]
        return []

    def _conversation(self, module: Module, context: Context) -> list[str]:
        if module.sight is Sight.CONVERSATION:
            return [turn_line(turn, turn.speaker) for turn in context.turns]
        if not context.turns:
            return []
        # The memory generator sees either speaker's turn as Person 1's.
        return [turn_line(context.last_turn, Speaker.USER)]

    def limit(self, module: Module) -> int:
        """The limit of the released system."""
        return module.opt_limit

    def answers(self, module: Module) -> tuple[str, str]:
        """With the space that separates them from the prompt's colon."""
        yes, no = module.opt_answers
        return f" {yes}", f" {no}"

    def quote(self, memory: Memory) -> str:
        """With whose it is, whether or not the model wrote that."""
        return memory_line(memory)

    def read(self, module: Module, text: str) -> str:
        """The first line, without a speaker's label; "no persona" is read as nothing."""
        line = text.strip().split("\n", 1)[0].strip()
        if module.kind is Kind.RESPONSE:
            for label in PERSON.values():
                line = line.removeprefix(f"{label}:").strip()
        if module.kind is Kind.MEMORY and line.lower().rstrip(".") in module.opt_answers:
            return ""
        return line


def turn_line(turn: Turn, speaker: Speaker) -> str:
    """``Person 1: text`` on one line."""
    return f"{PERSON[speaker]}: {one_line(turn.text)}"


def document_line(document: Document) -> str:
    """``External Knowledge: title | first hundred words``."""
    text = first_words(document.text, DOCUMENT_WORDS)
    return f"External Knowledge: {one_line(document.title)} | {text}"


def memory_line(memory: Memory) -> str:
    """``Person 1's Persona: text``; a memory that begins with its speaker's name stands as
    it is."""
    text = one_line(memory.text)
    if text.startswith(tuple(PERSON.values())):
        return text
    return f"{PERSON[memory.speaker]}'s Persona: {text}"
