"""The r2c2 dialect against the recorded inputs of the reference's 3B model, and own examples."""

from __future__ import annotations

import json

import pytest

from bb3.core.types import Document, Memory, Speaker, Turn
from bb3.modules.catalog import MODULES, Kind
from bb3.modules.context import Context
from bb3.modules.dialects import dialect
from bb3.modules.dialects.r2c2 import SILENCE
from bb3.search.best import cut

R2C2 = dialect("r2c2")
CHATS = ["r2c2_chat", "r2c2_never", "r2c2_all_combined", "r2c2_all_separate"]
PERSONA = {"your persona: ": Speaker.BOT, "partner's persona: ": Speaker.USER}
BLANK = " / "


def bare(text: str) -> str:
    return text.removeprefix("<START>").removesuffix("<END><END>")


def remembered(texts) -> tuple[Memory, ...]:
    return tuple(
        Memory(speaker=whose, text=text.removeprefix(prefix))
        for text in texts
        for prefix, whose in PERSONA.items()
        if text.startswith(prefix)
    )


def user(text: str) -> Turn:
    return Turn(speaker=Speaker.USER, text=text)


def bot(text: str) -> Turn:
    return Turn(speaker=Speaker.BOT, text=text)


@pytest.mark.parametrize("name", CHATS)
async def test_inputs_equal_the_recorded_ones(shared, name):
    chat = json.loads((shared / "golden" / "r2c2" / f"{name}.json").read_text())
    history: list[Turn] = []
    known: tuple[Memory, ...] = ()
    searches = iter(chat["search_requests"])
    compared = 0
    for index, turn in enumerate(chat["turns"]):
        calls = [c for c in chat["calls"] if c["turn"] == index and "input_text" in c]
        searched = any(c["module"] == "sgm" for c in calls)
        found = next(searches)["response"] if searched else []
        replies = [c["module"] for c in calls if MODULES[c["module"]].kind is Kind.RESPONSE]
        separate = len(replies) > 1
        own = [c for c in calls if c["module"] == "mgm"][1:]
        for call in calls:
            module = MODULES[call["module"]]
            context = await material(call, turn, history, known, found, own, separate)
            prompt = R2C2.render(module, context)
            if module.kind is Kind.RESPONSE and not context.knowledge:
                assert prompt.text == bare(call["input_text"][0]).rstrip("\n") + "\n"
            else:
                assert prompt.text == bare(call["input_text"][0])
            if call["module"] in ("skm", "mkm"):
                prior = call["prior_knowledge_responses"][0]
                assert prompt.block_text.startswith(prompt.text)
                assert prompt.block_text.removeprefix(prompt.text).split() == prior.split()
            else:
                assert prompt.block_text == ""
            if module.kind is Kind.KNOWLEDGE and "fid_inputs" in call:
                rows = [bare(row) for row in call["fid_inputs"]["texts"]]
                ours = [f"{d} // {prompt.text}" for d in prompt.documents]
                rest = rows[len(ours) :]
                assert rows[: len(ours)] == ours
                assert all(row == f"{BLANK} // {prompt.text}" for row in rest)
            compared += 1
        history += [user(turn["user"]), bot(R2C2.read(MODULES["srm"], turn["message"]["text"]))]
        known = remembered(turn["memories_after"])
    assert compared == sum("input_text" in c for c in chat["calls"])


async def material(call, turn, history, known, found, own, separate) -> Context:
    """What the module saw, taken from the record of the turn, not from its input."""
    tag, message = call["module"], turn["message"]
    if call in own:
        return Context(turns=(bot(message["text"]),))
    module = MODULES[tag]
    documents: tuple[Document, ...] = ()
    if module.documents:
        results = [Document(title=r["title"], text=r["content"], url=r["url"]) for r in found]
        documents = tuple(await cut("", results, "r2c2"))
    knowledge = {}
    if module.kind is Kind.RESPONSE:
        knowledge = {
            "ckm": message.get("contextual_knowledge", ""),
            "mkm": message.get("memory_knowledge", ""),
            "skm": message.get("search_knowledge", ""),
        }
        if tag != "srm" or separate:
            knowledge = {k: v for k, v in knowledge.items() if MODULES[k].response == tag}
    earlier = [text for text in turn["prior"].get(tag, ["", ""])[1:-1] if text]
    return Context(
        turns=(*history, user(turn["user"])),
        memories=known if module.memories else (),
        documents=documents,
        knowledge=knowledge,
        earlier=tuple(earlier),
    )


TALK = (user("I moved to Turin."), bot("Nice! Do you like it?"), user("I do.\nIt has  trams."))
MISO = Memory(speaker=Speaker.USER, text="I have a cat called Miso.")
TEA = Memory(speaker=Speaker.BOT, text="I like tea.")
FACT = Document(title="Turin", text="Turin is a city in Italy.", url="http://example.org/t")


@pytest.mark.parametrize(
    ("tag", "fields", "text", "documents"),
    [
        ("sdm", {}, "I do. It has  trams. __is-search-required__", ()),
        ("mdm", {}, "I do. It has  trams. __is-memory-required__", ()),
        (
            "mdm",
            {"memories": (MISO, TEA)},
            (
                "your persona: I like tea.\npartner's persona: I have a cat called Miso.\n"
                "I do. It has  trams. __is-memory-required__"
            ),
            (),
        ),
        (
            "sgm",
            {},
            "I moved to Turin.\nNice! Do you like it?\nI do. It has  trams. __generate-query__",
            (),
        ),
        (
            "mkm",
            {"memories": (MISO, TEA)},
            "I moved to Turin.\nNice! Do you like it?\nI do. It has  trams. __access-memory__",
            (" / partner's persona: I have a cat called Miso.", " / your persona: I like tea."),
        ),
        (
            "skm",
            {"documents": (FACT,)},
            "I moved to Turin.\nNice! Do you like it?\nI do. It has  trams. __generate-knowledge__",
            ("Turin_0 / Turin is a city in Italy.",),
        ),
        (
            "srm",
            {"knowledge": {"skm": "s", "ckm": "c", "mkm": "m"}},
            (
                "I moved to Turin.\nNice! Do you like it?\nI do. It has  trams.\n"
                "__entity__ c __endentity__"
                "__memory__ m __endmemory__"
                "__knowledge__ s __endknowledge__"
            ),
            (),
        ),
        ("vrm", {}, "I moved to Turin.\nNice! Do you like it?\nI do. It has  trams.\n", ()),
        (
            "grm",
            {"style": "Calm"},
            (
                "I moved to Turin.\nNice! Do you like it?\nI do. It has  trams.\n"
                "__style__ Calm __end-style__"
            ),
            (),
        ),
    ],
)
def test_rendering(tag, fields, text, documents):
    prompt = R2C2.render(MODULES[tag], Context(turns=TALK, **fields))
    assert (prompt.text, prompt.documents) == (text, documents)


def test_earlier_knowledge_is_blocked_after_silence():
    context = Context(turns=(user("Hi."),), documents=(FACT,), earlier=("old one", "older"))
    prompt = R2C2.render(MODULES["skm"], context)
    assert prompt.block_text == f"Hi. __generate-knowledge__{SILENCE} old one older"
    for tag in ("ckm", "mgm", "vrm"):
        assert R2C2.render(MODULES[tag], context).block_text == ""


@pytest.mark.parametrize(
    ("length", "cut_at"), [(499, 499), (500, 500), (501, 501), (502, 501), (900, 501)]
)
def test_documents_are_cut_at_the_first_space_after_500(length, cut_at):
    text = ("x" * 501 + " " + "y" * 500)[:length]
    (document,) = R2C2.render(
        MODULES["skm"], Context(turns=TALK, documents=(Document(title="T", text=text),))
    ).documents
    assert document == "T_0 / " + text[:cut_at]


@pytest.mark.parametrize(
    ("tag", "raw", "read"),
    [
        ("sdm", " __do-search__ ", "__do-search__"),
        ("mgm", "__NOPERSONA__", ""),
        ("mgm", "__NO__PERSONA__BEAM__MIN__LEN__20__", ""),
        ("mgm", " I have a cat. ", "I have a cat."),
        ("srm", "__NO__PERSONA__BEAM__MIN__LEN__20__", ""),
        ("srm", "Yes__NO__PERSONA__BEAM__MIN__LEN__20__", "Yes"),
        ("srm", "a\nb", "a b"),
        ("skm", "2_000 people, snake_case stays", "2_000 people, snake_case stays"),
    ],
)
def test_reading(tag, raw, read):
    assert R2C2.read(MODULES[tag], raw) == read
