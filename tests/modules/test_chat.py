"""The chat dialect: messages in, and one clean line out of whatever a model makes of them."""

from __future__ import annotations

import pytest

from bb3.core.types import Document, Memory, Speaker, Turn
from bb3.modules.catalog import MODULES, Kind
from bb3.modules.context import Context
from bb3.modules.dialects import dialect

CHAT = dialect("chat")
USER = Turn(speaker=Speaker.USER, text="Where is Oslo?")
BOT = Turn(speaker=Speaker.BOT, text="In Norway.")


@pytest.mark.parametrize(
    ("tag", "raw", "read"),
    [
        ("sgm", "capital of Norway", "capital of Norway"),
        ("sgm", '"capital of Norway"', "capital of Norway"),
        ("sgm", "“capital of Norway”", "capital of Norway"),
        ("sgm", "Query: capital of Norway", "capital of Norway"),
        ("sgm", "search query:  capital", "capital"),
        ("sgm", '{"query": "capital of Norway"}', "capital of Norway"),
        ("sgm", '```json\n{"query": "capital of Norway"}\n```', "capital of Norway"),
        ("sgm", '{"query": "capital", "k": 5}', "capital"),
        ("sgm", "- capital of Norway\n- Oslo", "capital of Norway"),
        ("sgm", "1. capital of Norway\n2. Oslo", "capital of Norway"),
        ("sgm", "* Query: capital", "capital"),
        ("sgm", "capital of Norway\n\nI chose this query because", "capital of Norway"),
        ("sgm", "nothing", ""),
        ("sgm", "Nothing.", ""),
        ("sgm", "None", ""),
        ("sgm", '{"query": ""}', ""),
        ("sgm", '{"query": null}', ""),
        ("sgm", "{}", ""),
        ("sgm", "[]", ""),
        ("sgm", '["capital of Norway", "Oslo"]', "capital of Norway"),
        ("sgm", '{"query": "a", "other": "b"}', ""),
        ("sgm", '{"query": {"text": "deep"}}', ""),
        ("sgm", "{smiles} capital", "{smiles} capital"),
        ("sgm", "[" * 100_000, "[" * 100_000),
        ("sgm", '{"query": "capital', "capital"),
        ("vrm", "[waves] Hello!", "[waves] Hello!"),
        ("sgm", "```", ""),
        ("sgm", "", ""),
        ("sgm", "   \n\t ", ""),
        ("sgm", '"', '"'),
        ("mgm", "nothing", ""),
        ("mgm", "Note: I have a dog.", "I have a dog."),
        ("skm", "Fact: Oslo is the capital.", "Oslo is the capital."),
        ("ckm", "'Oslo'", "Oslo"),
        ("vrm", "You: Hello there!", "Hello there!"),
        ("vrm", "Assistant: Hello\nthere!", "Hello there!"),
        ("vrm", "Nothing much, and you?", "Nothing much, and you?"),
        ("vrm", "None", "None"),
        ("vrm", '"To be" is a quote', '"To be" is a quote'),
        ("vrm", "He said: yes", "He said: yes"),
        ("vrm", '{"reply": "Hello!"}', "Hello!"),
        ("sdm", "fact", "fact"),
        ("sdm", "Answer: chat", "chat"),
        ("sdm", "nothing", "nothing"),
    ],
)
def test_reading_nasty_answers(tag, raw, read):
    assert CHAT.read(MODULES[tag], raw) == read


@pytest.mark.parametrize("tag", MODULES)
def test_messages_take_turns_and_end_with_the_user(tag):
    """Templates of many models refuse anything else; a last assistant message would be taken
    for the beginning of the answer."""
    for turns in (
        (USER,),
        (USER, BOT, USER),
        (BOT, USER),
        (USER, USER),
        (USER, BOT, BOT, USER, USER),
        (),
    ):
        if not turns and MODULES[tag].kind is not Kind.RESPONSE:
            continue
        roles = [m.role for m in CHAT.render(MODULES[tag], Context(turns=turns)).messages]
        assert roles[0] == "system"
        assert roles[1:] == ["user", "assistant"] * (len(roles) // 2 - 1) + ["user"]


def test_the_beginning_stays_the_same_from_turn_to_turn():
    for tag in MODULES:
        one = CHAT.render(MODULES[tag], Context(turns=(USER,))).messages
        two = CHAT.render(MODULES[tag], Context(turns=(USER, BOT, USER))).messages
        assert one[: len(one) - 1] == two[: len(one) - 1]


def test_findings_stand_with_the_last_turn():
    context = Context(turns=(USER, BOT, USER), knowledge={"skm": "Oslo\nis far.", "mkm": "I ski."})
    *_, last = CHAT.render(MODULES["srm"], context).messages
    assert last.content == "Where is Oslo?\n(Remember: I ski.)\n(Fact: Oslo is far.)"


def test_material_of_the_knowledge_modules():
    context = Context(
        turns=(USER,),
        memories=(Memory(speaker=Speaker.USER, text="I ski."),),
        documents=(Document(title="Oslo", text="The capital\nof Norway."),),
    )
    last = {tag: CHAT.render(MODULES[tag], context).messages[-1].content for tag in ("mkm", "skm")}
    assert last["mkm"] == "- I ski.\nUser: Where is Oslo?"
    assert last["skm"] == "Oslo: The capital of Norway.\nUser: Where is Oslo?"


def test_persona_style_and_date_are_told():
    context = Context(turns=(USER,), persona=("I am Bo.",), style="Dry", today="Monday")
    system = CHAT.render(MODULES["grm"], context).messages[0].content
    assert system.endswith("About you: I am Bo. Your manner is Dry. Today is Monday.")
