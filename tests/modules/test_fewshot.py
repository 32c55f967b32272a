"""The fewshot dialect is the opt dialect after a lesson."""

from __future__ import annotations

import pytest

from bb3.core.types import Memory, Speaker, Turn
from bb3.modules.catalog import MODULES
from bb3.modules.context import Context
from bb3.modules.dialects import dialect

FEWSHOT, OPT = dialect("fewshot"), dialect("opt")
CONTEXT = Context(
    turns=(Turn(speaker=Speaker.USER, text="Where is Oslo?"),),
    memories=(Memory(speaker=Speaker.USER, text="I ski."),),
    knowledge={"skm": "Oslo is in Norway."},
)


@pytest.mark.parametrize("tag", MODULES)
def test_ends_with_the_prompt_of_opt(tag):
    prompt, plain = FEWSHOT.render(MODULES[tag], CONTEXT), OPT.render(MODULES[tag], CONTEXT)
    lesson, end = prompt.text[: -len(plain.text)], prompt.text[-len(plain.text) :]
    assert end == plain.text
    assert lesson.endswith("\n\n")
    examples = lesson.strip().split("\n\n")[1:]
    assert examples
    label = f"{MODULES[tag].opt_label}: "
    assert all(example.split("\n")[-1].startswith(label) for example in examples)


def test_source_end_counts_the_lesson():
    prompt = FEWSHOT.render(MODULES["srm"], CONTEXT)
    assert prompt.text[prompt.source_end :].startswith("Interesting Fact: Oslo is in Norway.")


@pytest.mark.parametrize("tag", ["sdm", "mdm"])
def test_examples_of_decisions_show_both_answers(tag):
    lesson = FEWSHOT.render(MODULES[tag], CONTEXT).text
    yes, no = FEWSHOT.answers(MODULES[tag])
    assert lesson.count(f":{yes}\n") >= 2
    assert lesson.count(f":{no}\n") >= 2


def test_memories_are_quoted_bare():
    assert FEWSHOT.quote(CONTEXT.memories[0]) == "I ski."
    assert not FEWSHOT.trained
