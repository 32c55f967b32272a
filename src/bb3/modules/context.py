"""What a module may look at, before a dialect turns it into a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bb3.core.types import Document, Memory, Speaker, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The material of one module call.

    Attributes:
        turns: the conversation, oldest first, ending with the turn the module is about.
        memories, documents: as found for this turn, best first; for decisions, openings and
            models trained on them so, memories in the order in which they were written.
        knowledge: answers of knowledge modules by tag (ckm, mkm, skm), for responses.
        earlier: answers this module gave on earlier turns; they are not to be repeated.
        style: for grm.
        persona: lines about the bot that the operator wrote.
        today: the date, written out, for models that can use it; empty: not told.
    """

    turns: tuple[Turn, ...] = ()
    memories: tuple[Memory, ...] = ()
    documents: tuple[Document, ...] = ()
    knowledge: Mapping[str, str] = field(default_factory=dict)
    earlier: tuple[str, ...] = ()
    style: str = ""
    persona: tuple[str, ...] = ()
    today: str = ""

    @property
    def last_turn(self) -> Turn:
        """The turn the module is about."""
        return self.turns[-1]

    def memories_of(self, speaker: Speaker) -> tuple[Memory, ...]:
        """The memories about one speaker, in order."""
        return tuple(m for m in self.memories if m.speaker is speaker)


def one_line(text: str) -> str:
    """The text with its line breaks made spaces; other white space stays as it was written.

    In the line-based dialects a line break begins a new speaker's turn, so that a message with
    one could put words into the bot's mouth.
    """
    return " ".join(line for part in text.splitlines() if (line := part.strip()))
