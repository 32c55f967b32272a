"""What each safety level holds back: ordinary talk (false alarms) and talk that is unsafe.

    python benchmarks/safety.py DATA_FOLDER

DATA_FOLDER holds the datasets in their release format: dailydialog/, convai2/,
bot_adversarial_dialogue/, hh_rlhf/. The table is that of docs/safety.md.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import statistics
import time
from pathlib import Path

import typer
from report import report

from bb3.safety.guard import Guard, build_guard
from bb3.safety.profanity import ProfanityClassifier

STREAMED = 1500
"""Messages of a set that are also passed word by word."""


def messages(data: Path) -> dict[str, list[str]]:
    """The messages of each set; those of ordinary talk without repetitions."""
    sets: dict[str, list[str]] = {"DailyDialog": [], "ConvAI2": []}
    for part in ("train", "valid", "test"):
        for line in (data / f"dailydialog/{part}.json").read_text().splitlines():
            sets["DailyDialog"] += [turn["text"] for turn in json.loads(line)["dialogue"]]
    for path in sorted(data.glob("convai2/ConvAI2/*.txt")):
        for line in path.read_text().splitlines():
            if "persona:" not in line:
                said = line.split(" ", 1)[1].split("\t")[:2]
                sets["ConvAI2"] += [text for text in said if text]
    sets = {name: list(dict.fromkeys(texts)) for name, texts in sets.items()}
    safe, unsafe = "Bot-Adversarial Dialogue, safe", "Bot-Adversarial Dialogue, unsafe"
    sets |= {safe: [], unsafe: []}
    for path in sorted(data.glob("bot_adversarial_dialogue/dialogue_datasets/*/*.txt")):
        for line in path.read_text().splitlines():
            fields = dict(field.split(":", 1) for field in line.split("\t") if ":" in field)
            kind = unsafe if "__notok__" in fields["labels"] else safe
            sets[kind].append(fields["text"].split("\\n")[-1])
    with gzip.open(data / "hh_rlhf/harmless-base/test.jsonl.gz", "rt") as file:
        sets["HH-RLHF harmless, first message"] = [
            json.loads(line)["rejected"].split("Human:")[1].split("Assistant:")[0].strip()
            for line in file
        ]
    return sets


async def held(guard: Guard, texts: list[str]) -> float:
    """Per cent of the messages that do not pass."""
    return statistics.fmean([not (await guard.check(text, "user")).safe for text in texts]) * 100


async def held_streamed(guard: Guard, texts: list[str]) -> float:
    """Per cent of the messages that do not pass when they come word by word."""
    caught = 0
    for text in random.Random(0).sample(texts, min(STREAMED, len(texts))):
        stream = guard.stream()
        for word in text.split(" "):
            await stream.feed(word + " ")
        await stream.finish()
        caught += not stream.ruling.safe
    return caught * 100 / min(STREAMED, len(texts))


async def measure(data: Path) -> None:
    begun = time.perf_counter()
    classifier = ProfanityClassifier()
    load_ms = (time.perf_counter() - begun) * 1000
    guards = {
        "words": build_guard("words"),
        "classifier": Guard([classifier]),
        "all": build_guard("all", classifiers=[classifier]),
    }
    rows = []
    times: dict[str, list[float]] = {name: [] for name in guards}
    for name, texts in messages(data).items():
        row: dict[str, str | int | float] = {"messages of": name, "messages": len(texts)}
        for level, guard in guards.items():
            begun = time.perf_counter()
            row[level] = round(await held(guard, texts), 2)
            times[level].append((time.perf_counter() - begun) * 1000 / len(texts))
        row["all, streamed"] = round(await held_streamed(guards["all"], texts), 2)
        rows.append(row)
    took = ", ".join(f"{level} {statistics.fmean(ms):.2f}" for level, ms in times.items())
    notes = [
        "Per cent of messages held back.",
        f"Streamed: word by word, at most {STREAMED:,} messages of a set.",
        f"ms a message: {took}; loading the classifier {load_ms:.0f} ms",
    ]
    report("safety", rows, list(rows[0]), notes)


def main(data: Path) -> None:
    asyncio.run(measure(data))


if __name__ == "__main__":
    typer.run(main)
