"""Dialect ``r2c2``: control tokens and documents, for the 3B encoder-decoder.

The turns stand one a line without names; a control token after the last turn asks for the
module; memories and documents are read by Fusion-in-Decoder (``Prompt.documents``).
"""

from __future__ import annotations

import re

from bb3.core.ports import Prompt
from bb3.core.types import Document, Memory, Speaker
from bb3.modules.catalog import KNOWLEDGE_ORDER, MODULES, Kind, Module, Sight
from bb3.modules.context import Context, one_line

PERSONA = {Speaker.BOT: "your persona", Speaker.USER: "partner's persona"}
DOCUMENT_CHARACTERS = 500
SILENCE = "__SILENCE__"
_CONTROL = re.compile(r"__[A-Za-z_\-]*[A-Za-z\d]+__")


class R2C2Dialect:
    """What the 3B model (and its siblings) read."""

    name = "r2c2"
    trained = True
    tells_persona = False
    drop_turns = 1

    def render(self, module: Module, context: Context) -> Prompt:
        """Text with its control token or knowledge; documents for knowledge modules.

        ``block_text`` is the text and behind it earlier answers of skm and mkm, which they may
        not repeat; as in the released system a token for silence goes before them.
        """
        if module.sight is Sight.CONVERSATION:
            lines = [one_line(turn.text) for turn in context.turns]
        elif module.sight is Sight.LAST_TURN and context.turns:
            lines = [one_line(context.last_turn.text)]
        else:
            lines = []
        if module.tag == "mdm" and context.memories:
            lines = [_all_of(context, Speaker.BOT), _all_of(context, Speaker.USER), *lines]
        text = "\n".join(lines)
        if module.kind is Kind.RESPONSE:
            return Prompt(text=f"{text}\n{_knowledge(context)}")
        documents: tuple[str, ...] = ()
        block_text = ""
        if module.kind is Kind.KNOWLEDGE:
            if module.documents:
                documents = tuple(document_text(d) for d in context.documents)
            elif module.memories:
                documents = tuple(memory_text(m) for m in context.memories)
        text = f"{text} {module.r2c2_token}"
        if documents:
            block_text = text + " ".join((SILENCE, *context.earlier))
        return Prompt(text=text, documents=documents, block_text=block_text)

    def limit(self, module: Module) -> int:
        """Learned positions of the encoder."""
        return 1024

    def answers(self, module: Module) -> tuple[str, str]:
        """The control tokens of yes and no."""
        yes, no = module.r2c2_answers
        return yes, no

    def quote(self, memory: Memory) -> str:
        """With whose it is."""
        return f"{PERSONA[memory.speaker]}: {one_line(memory.text)}"

    def read(self, module: Module, text: str) -> str:
        """Without control tokens, except that a decision is one."""
        line = text.strip()
        if module.kind is Kind.DECISION:
            return line
        return one_line(without_control(line))


def without_control(text: str) -> str:
    """The text with a space for each control token."""
    return _CONTROL.sub(" ", text)


def document_text(document: Document) -> str:
    """``title_0 / text``, cut at the first space after 500 characters (chunk 0)."""
    text = document.text
    if len(text) > DOCUMENT_CHARACTERS:
        space = text.find(" ", DOCUMENT_CHARACTERS)
        text = text if space < 0 else text[:space]
    return f"{document.title}_0 / {text}"


def memory_text(memory: Memory) -> str:
    """`` / your persona: text``: a document without a title."""
    return f" / {R2C2Dialect().quote(memory)}"


def _all_of(context: Context, speaker: Speaker) -> str:
    texts = (one_line(m.text) for m in context.memories_of(speaker))
    return f"{PERSONA[speaker]}: {' '.join(texts)}"


def _knowledge(context: Context) -> str:
    """Several kinds of knowledge stand without a separator; none leaves an empty line."""
    parts = []
    for tag in KNOWLEDGE_ORDER:
        if knowledge := context.knowledge.get(tag):
            start, end = MODULES[tag].r2c2_wrap
            parts.append(f"{start} {one_line(knowledge)} {end}")
    if context.style:
        start, end = MODULES["grm"].r2c2_wrap
        parts.append(f"{start} {one_line(context.style)} {end}")
    return "".join(parts)
