"""Dialect ``fewshot``: the prompts of ``opt`` after an instruction and examples, for base
language models that were not trained on the modules."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from bb3.core.ports import Prompt
from bb3.core.types import Memory, Speaker
from bb3.modules.catalog import MODULES, Kind, Module
from bb3.modules.context import Context
from bb3.modules.dialects.examples import Example, lesson
from bb3.modules.dialects.opt import OptDialect

PROMPT_LIMIT = 1912


class FewShotDialect(OptDialect):
    """The lesson first, so that an engine keeps it in its cache from turn to turn."""

    name = "fewshot"
    trained = False
    drop_turns = 8

    def render(self, module: Module, context: Context) -> Prompt:
        """``instruction``, examples, then the prompt of ``opt``, set apart by blank lines."""
        prompt = super().render(module, context)
        before = _written_lesson(module.tag)
        end = prompt.source_end
        return replace(
            prompt,
            text=before + prompt.text,
            source_end=None if end is None else len(before) + end,
        )

    def quote(self, memory: Memory) -> str:
        """The bare sentence, as in the examples; the bot's own says whose it is."""
        return memory.text if memory.speaker is Speaker.USER else super().quote(memory)

    def limit(self, module: Module) -> int:
        """The lesson takes the room that trained models keep for long answers."""
        return PROMPT_LIMIT


@cache
def _written_lesson(tag: str) -> str:
    module = MODULES[tag]
    told = lesson(module)
    instruction = told.instruction
    if module.kind is Kind.DECISION:
        yes, no = module.opt_answers
        instruction = instruction.format(yes=yes, no=no)
    parts = [instruction]
    for example in told.examples:
        prompt = OptDialect().render(module, example.context)
        parts.append(f"{prompt.text} {_answer(module, example)}")
    return "\n\n".join(parts) + "\n\n"


def _answer(module: Module, example: Example) -> str:
    if module.kind is Kind.DECISION:
        yes, no = module.opt_answers
        return yes if example.answer else no
    if module.tag == "mkm":
        return f"Person 1's Persona: {example.answer}"
    return str(example.answer) or module.opt_answers[0]
