"""Dialect ``chat``: instruction and examples as chat messages, for instruction-tuned models.

The messages that never change come first, then the conversation, then what was found for this
turn: from one turn to the next only the end of a prompt is new, and an engine with a prefix
cache evaluates only that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import Literal

from bb3.core.ports import Message, Prompt
from bb3.core.types import Memory, Speaker, Turn
from bb3.modules.catalog import KNOWLEDGE_ORDER, MODULES, Kind, Module, Sight
from bb3.modules.context import Context, one_line
from bb3.modules.dialects.examples import lesson

PROMPT_LIMIT = 1912
RECENT_TURNS = 6
"""How far back modules look that serve the last turn (query, knowledge)."""

NOTHING = "nothing"
GREETING = "Hello!"
YOURS = "You said of yourself:"
"""Before a memory of the bot: its own taste is not to be told to the user as theirs."""
ANSWERS = {"sdm": ("fact", "chat"), "mdm": ("user", "world")}
"""Labels that small models tell apart well; chosen by measurement (docs/decisions.md)."""

_SPEAKER = {Speaker.USER: "User", Speaker.BOT: "You"}
_NOTE = {"ckm": "Topic", "mkm": "Remember", "skm": "Fact"}
_LABEL = re.compile(r"^(?:user|you|assistant|bot|answer|query|search query|note|fact)\s*:\s*", re.I)
_LIST_MARK = re.compile(r"^(?:[-*•]|\d+[.)])\s+")
_CUT_OFF = re.compile(r'\{\s*"\w+"\s*:\s*"([^"\\]*)$')
_FENCE = re.compile(r"^```\w*\s*|\s*```$")


class ChatDialect:
    """Chat messages in, short lines out."""

    name = "chat"
    trained = False
    tells_persona = True
    drop_turns = 8

    def render(self, module: Module, context: Context) -> Prompt:
        """System message, examples, then one message for the task (or the conversation)."""
        told = _background(context) if module.kind is Kind.RESPONSE else ()
        system = Message(role="system", content=" ".join((_instruction(module.tag), *told)))
        if module.kind is Kind.RESPONSE and module.sight is Sight.CONVERSATION:
            asked = tuple(_conversation(context))
        else:
            asked = (Message(role="user", content=_task(module, context)),)
        return Prompt(messages=(system, *_examples(module.tag), *asked))

    def limit(self, module: Module) -> int:
        """As the large models, so that presets fit both."""
        return PROMPT_LIMIT

    def answers(self, module: Module) -> tuple[str, str]:
        """Labels of one word each."""
        return ANSWERS[module.tag]

    def quote(self, memory: Memory) -> str:
        """The bare sentence; the bot's own is marked as such."""
        return _quote(memory)

    def read(self, module: Module, text: str) -> str:
        """One line, out of whatever an eager model wraps around it: code fences, a JSON object
        with one text, quotes, list marks, labels. "Nothing" is read as nothing."""
        line = _FENCE.sub("", text.strip()).strip()
        if line.startswith(("{", "[")):
            line = _only_text_of(line)
        if module.kind is Kind.RESPONSE:
            return _LABEL.sub("", one_line(line))
        line = _LIST_MARK.sub("", line.split("\n", 1)[0].strip())
        line = _LABEL.sub("", line)
        if len(line) > 1 and line[0] in "\"'“" and line[-1] in "\"'”":
            line = line[1:-1].strip()
        if module.kind is not Kind.DECISION and line.lower().strip(" .!\"'") in (NOTHING, "none"):
            return ""
        return line


def _only_text_of(line: str) -> str:
    """The one text of a JSON object, or the first of a list; nothing where it is not clear
    which is meant. What is no JSON stays as it is, but for an object that was cut off."""
    try:
        data = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        found = _CUT_OFF.match(line)
        return found[1] if found else line
    if isinstance(data, dict):
        texts = [value for value in data.values() if isinstance(value, str)]
        return texts[0] if len(texts) == 1 else ""
    return next((value for value in data if isinstance(value, str)), "")


@cache
def _instruction(tag: str) -> str:
    module = MODULES[tag]
    instruction = lesson(module).instruction
    if module.kind is Kind.DECISION:
        yes, no = ANSWERS[tag]
        return instruction.format(yes=yes, no=no)
    return instruction


@cache
def _examples(tag: str) -> tuple[Message, ...]:
    module = MODULES[tag]
    messages: list[Message] = []
    for example in lesson(module).examples:
        if module.kind is Kind.DECISION:
            yes, no = ANSWERS[tag]
            answer = yes if example.answer else no
        else:
            answer = str(example.answer) or NOTHING
        if module.kind is Kind.RESPONSE and module.sight is Sight.CONVERSATION:
            messages.extend(_conversation(example.context))
        else:
            messages.append(Message(role="user", content=_task(module, example.context)))
        messages.append(Message(role="assistant", content=answer))
    return tuple(messages)


def _background(context: Context) -> Iterator[str]:
    if context.persona:
        yield "About you: " + " ".join(one_line(line) for line in context.persona)
    if context.style:
        yield f"Your manner is {one_line(context.style)}."
    if context.today:
        yield f"Today is {context.today}."


def _conversation(context: Context) -> Iterator[Message]:
    """The turns as messages, beginning with the user's and taking turns, as the templates of
    many models want it; what was found stands in brackets under the last one."""
    said = list(_in_alternation(context.turns))
    notes = [
        f"({_NOTE[tag]}: {one_line(context.knowledge[tag])})"
        for tag in KNOWLEDGE_ORDER
        if context.knowledge.get(tag)
    ]
    for index, (speaker, texts) in enumerate(said):
        lines = [*texts, *notes] if index == len(said) - 1 else texts
        role: Literal["user", "assistant"] = "user" if speaker is Speaker.USER else "assistant"
        yield Message(role=role, content="\n".join(lines))


def _in_alternation(turns: Sequence[Turn]) -> Iterator[tuple[Speaker, list[str]]]:
    """The texts of turns in a row of one speaker together. Where the bot spoke first, or nobody
    did, the user is taken to have greeted it."""
    if not turns or turns[0].speaker is Speaker.BOT:
        yield Speaker.USER, [GREETING]
    for speaker, group in groupby(turns, key=lambda turn: turn.speaker):
        yield speaker, [turn.text for turn in group]


def _quote(memory: Memory) -> str:
    return memory.text if memory.speaker is Speaker.USER else f"{YOURS} {memory.text}"


def _task(module: Module, context: Context) -> str:
    """What the module is shown, in one message; the last turn stands last."""
    lines = []
    if module.documents:
        lines += [f"{one_line(d.title)}: {one_line(d.text)}" for d in context.documents]
    elif module.memories and module.kind is not Kind.DECISION:
        lines += [f"- {one_line(_quote(memory))}" for memory in context.memories]
    if module.sight is Sight.LAST_TURN:
        lines.append(one_line(context.last_turn.text))
    elif module.sight is Sight.CONVERSATION:
        turns = context.turns[-RECENT_TURNS:]
        lines += [f"{_SPEAKER[turn.speaker]}: {one_line(turn.text)}" for turn in turns]
    return "\n".join(lines)
