"""What the README promises of a conversation, said to the real program."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import Home

pytestmark = pytest.mark.model


def test_remembers_searches_and_recalls_in_another_process(home: Home) -> None:
    """The README's session, word for word."""
    first = home.run(
        "chat", "--user", "demo", "--look-inside",
        text="Hi! I have a dog called Bubbles.\nWhat is the capital of Norway?\n",
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    assert "remembered [1] “I have a dog called Bubbles.”" in first.stdout
    assert "searching “" in first.stdout
    assert "https://en.wikipedia.org/wiki/Norway" in first.stdout
    assert "Oslo" in first.stdout
    assert "search decision" in first.stdout, "--look-inside shows the modules"

    (turn,) = home.turns("What is my dog called?", user="demo")
    assert turn["recalled"] == ["I have a dog called Bubbles."]
    assert "Bubbles" in turn["reply"]
    asked = {call["module"]: call for call in turn["trace"]["modules"]}
    assert "I have a dog called Bubbles." in asked["mkm"]["prompt"]
    assert "Bubbles" in asked["mrm"]["prompt"]


def test_json_has_what_scripts_were_promised(home: Home) -> None:
    one, two = home.turns("I live in Bergen.", "Who wrote Hamlet?")
    assert set(one) >= {
        "user", "reply", "documents", "memories", "recalled", "written", "events", "trace",
    }  # fmt: skip
    assert one["user"] == "I live in Bergen."
    (memory,) = one["memories"]
    assert set(memory) == {"id", "speaker", "text", "source"}
    assert memory["speaker"] == "user"
    assert "Bergen" in memory["text"]
    assert memory["source"]["message"] and memory["source"]["conversation"]
    assert one["written"] == [memory["text"]]
    assert two["documents"] and set(two["documents"][0]) == {"title", "url", "text"}
    for turn in (one, two):
        assert turn["trace"]["seed"] == 7
        assert turn["trace"]["ms"] > 0
        for call in turn["trace"]["modules"]:
            assert set(call) >= {
                "module", "dialect", "prompt", "documents", "output", "logprob", "ms", "tokens",
            }  # fmt: skip
            assert set(call["tokens"]) == {"prompt", "cached", "generated"}
            assert call["tokens"]["prompt"] > 0 and call["ms"] > 0
    kinds = [event["kind"] for event in two["events"]]
    assert kinds.index("decision") < kinds.index("query") < kinds.index("documents")
    assert kinds.index("documents") < kinds.index("reply") < kinds.index("done")


def test_prompts_keep_their_beginning_from_turn_to_turn(home: Home) -> None:
    """By the engine's own counts: in a second turn most of each prompt comes from the cache."""
    _, two = home.turns("I like long walks.", "I also like short walks.")
    for call in two["trace"]["modules"]:
        if call["module"] in ("sdm", "mgm"):
            assert call["tokens"]["cached"] > 0.8 * call["tokens"]["prompt"], call["module"]


def test_the_same_seed_gives_the_same_conversation(home: Home) -> None:
    say = ("Hello, I am Maria.", "What is a volcano?")
    one = home.turns(*say, user="one", args=("--preset", "bb1"))
    two = home.turns(*say, user="two", args=("--preset", "bb1"))
    assert [turn["reply"] for turn in one] == [turn["reply"] for turn in two]


def test_users_are_apart(home: Home) -> None:
    home.turns("I have a dog called Bubbles.", user="anna")
    (turn,) = home.turns("What is my dog called?", user="ben")
    assert turn["memories"] == []
    assert turn["recalled"] == []


def test_newer_facts_replace_older_ones(home: Home) -> None:
    _, second = home.turns("I live in Bergen.", "I moved to Oslo.")
    texts = [memory["text"] for memory in second["memories"]]
    assert len(texts) == 1 and "Oslo" in texts[0]


def test_what_is_not_in_the_index_gives_no_documents(home: Home) -> None:
    (turn,) = home.turns("Who is Qwertina Blorfenstein of Zmarg?")
    assert turn["documents"] == []
    assert turn["reply"]


def test_presets_are_pipelines(home: Home) -> None:
    (vanilla,) = home.turns("Who wrote Hamlet?", args=("--preset", "bb1"))
    assert [call["module"] for call in vanilla["trace"]["modules"]] == ["vrm"]
    (seeker,) = home.turns("Who wrote Hamlet?", args=("--preset", "seeker"))
    assert {"sdm", "sgm", "skm", "srm"} == {c["module"] for c in seeker["trace"]["modules"]}


def test_settings_reach_the_model(home: Home) -> None:
    (turn,) = home.turns("Hello there!", args=("--preset", "bb1", "--set", "vrm.max_tokens=5"))
    (call,) = [c for c in turn["trace"]["modules"] if c["module"] == "vrm"]
    assert call["tokens"]["generated"] <= 5


def test_a_blocked_message_is_answered_and_never_remembered(home: Home) -> None:
    first, second = home.turns("I live in Bergen, you fucking bitch", "Where do I live?")
    assert [event["kind"] for event in first["events"]].count("blocked") == 1
    assert first["trace"]["modules"] == []
    assert first["reply"]
    assert second["memories"] == []
    assert not any("bitch" in call["prompt"] for call in second["trace"]["modules"])


def test_slash_commands_work_through_a_pipe(home: Home) -> None:
    done = home.run(
        "chat", "--user", "anna",
        text="/remember I live in Oslo.\n/memories\n/edit 1 I live in Rome.\n/memories\n/forget 1\n"
        "/memories\n/export out.json\n/help\n/quit\nnever said\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "[1] I live in Oslo." in done.stdout
    assert "I live in Rome." in done.stdout
    assert "Nothing is remembered yet." in done.stdout
    assert "never said" not in done.stdout
    assert json.loads((home.data_dir / "out.json").read_text(encoding="utf-8"))["user"] == "anna"


def test_forgotten_is_gone(home: Home) -> None:
    home.turns("I have a dog called Bubbles.")
    assert home.run("chat", "--user", "anna", text="/forget 1\n").returncode == 0
    (turn,) = home.turns("What is my dog called?")
    assert turn["memories"] == [] and turn["recalled"] == []
    assert not any("Bubbles" in call["prompt"] for call in turn["trace"]["modules"])


def test_why_and_rerun_look_inside(home: Home) -> None:
    done = home.run(
        "chat", "--user", "anna",
        text="What is the capital of Norway?\n/why skm\n/rerun sgm=the Moon\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Copy the one sentence" in done.stdout, "the whole prompt of skm"
    assert "the Moon (edited)" in done.stdout
    assert "https://en.wikipedia.org/wiki/Moon" in done.stdout


def test_a_persona_is_told_to_the_model(home: Home) -> None:
    persona = home.data_dir / "persona.txt"
    persona.write_text("My name is Ada.\nI collect stamps.\n", encoding="utf-8")
    (turn,) = home.turns("Good evening!", args=("--preset", "bb1", "--persona", str(persona)))
    prompts = [c["prompt"] for c in turn["trace"]["modules"] if c["module"].endswith("rm")]
    assert any("My name is Ada." in prompt for prompt in prompts)


def test_continue_takes_up_the_last_conversation(home: Home) -> None:
    home.turns("My favourite colour is teal.", args=("--preset", "bb1"))
    (turn,) = home.turns("I said something about a colour.", args=("--continue", "--preset", "bb1"))
    prompts = [c["prompt"] for c in turn["trace"]["modules"] if c["module"].endswith("rm")]
    assert any("My favourite colour is teal." in prompt for prompt in prompts)
