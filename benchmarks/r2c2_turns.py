"""Turns, conversations at once, and tokens a second of an R2C2 network on this machine.

    python benchmarks/r2c2_turns.py [--part turns|many|tokens] [--threads 2] [--conversations 16]

Ours and the reference's way (``r2c2_reference.py``) run in the same process, one after the other,
over the same weights and inputs. Needs the extra ``torch``.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from r2c2_models import (
    DOCUMENTS,
    KNOWN,
    MESSAGES,
    PLAN,
    Planned,
    caps,
    write_network,
)
from r2c2_reference import Reference, totals
from report import report, resident_mb

from bb3.chat.agent import Agent
from bb3.chat.pipeline import Pipeline
from bb3.core.events import Done
from bb3.core.ports import GenerationRequest, Prompt, Sampling
from bb3.core.types import Speaker, Trace
from bb3.lm import desk
from bb3.lm.r2c2 import R2C2Model, load
from bb3.memory.rules import MemoryRules
from bb3.modules.dialects import dialect
from bb3.safety.guard import build_guard
from bb3.search.scripted import ScriptedSearch
from bb3.store.sql import open_store

STEPS = 64
TURNS = range(2, 5)  # of each of many conversations
RULES = MemoryRules(refine=False, replace=False)
# What the reference took on two cores of another machine, for the same shape, plan and caps.
RECORDED = {"s a turn": 13.35, "greedy": 54.05, "beam 10": 22.97}


async def open_agent(model: R2C2Model, folder: Path) -> tuple[Agent, Planned]:
    planned = Planned(model)
    agent = Agent(
        model=planned,
        dialect=dialect("r2c2"),
        store=await open_store(folder / "bb3.sqlite"),
        guard=build_guard("none"),
        pipeline=Pipeline(sampling=caps(), combined_response="srm"),
        rules=RULES,
        search=ScriptedSearch(otherwise=DOCUMENTS),
    )
    return agent, planned


Measured = tuple[float, float, Trace]  # seconds to the reply, to the end; what was done


async def converse(
    agent: Agent, planned: Planned, turns: Sequence[int], number: int
) -> list[Measured]:
    """These turns of the plan, one after another. No two conversations have an input in common,
    as each message names the conversation's number.
    """
    session = await agent.open(f"user {number}", resume=False)
    for text, speaker in zip(KNOWN, Speaker, strict=False):
        await session.book.remember(text, speaker=speaker)
    measured = []
    for turn in turns:
        planned.search, planned.memory = (bool(choice) for choice in PLAN[turn])
        began = time.perf_counter()
        message = f"{MESSAGES[turn]} this is talk {number} ."
        async with aclosing(agent.chat(session, message, seed=1)) as events:
            told = [event async for event in events]
        whole = time.perf_counter() - began
        assert isinstance(told[-1], Done)
        trace: Trace = told[-1].trace
        assert not [call.error for call in trace.calls if call.error]
        measured.append((trace.ms / 1000, whole, trace))
    return measured


async def measure_turns(folder: Path, threads: int) -> None:
    model = load(folder, dtype="float32", device="cpu", threads=threads)
    with tempfile.TemporaryDirectory() as place:
        agent, planned = await open_agent(model, Path(place))
        await converse(agent, planned, range(2), 0)  # to warm up
        measured = await converse(agent, planned, range(len(PLAN)), 1)
        await agent.aclose()
    memory = resident_mb()
    reference = Reference(folder, caps())
    rows = []
    shares: dict[str, float] = {}
    for turn, (replied, whole, trace) in enumerate(measured):
        took = totals(reference.replay(trace))
        print(f"turn {turn + 1}: {whole:.2f} s, reference {took}", file=sys.stderr, flush=True)
        shares = {name: shares.get(name, 0) + took.get(name, 0) for name in {*shares, *took}}
        rows.append(_row(f"turn {turn + 1}", PLAN[turn], replied, whole, sum(took.values())))
    replied, whole, theirs = (
        statistics.mean(row[name] for row in rows) for name in ("reply s", "turn s", "reference s")
    )
    rows.append(_row("mean", ("", ""), replied, whole, theirs) | {"reference by module": shares})
    report(
        "r2c2_turns",
        rows,
        ("what", "search", "memory", "reply s", "turn s", "reference s", "turn x", "reply x"),
        (
            f"102M parameters, random, float32, {threads} threads; presets as released",
            "reference: benchmarks/r2c2_reference.py, the same calls in the reference's way",
            f"the reference itself, on two cores elsewhere: {RECORDED['s a turn']} s a turn",
            f"memory of this process with our model alone: {memory:.0f} MB",
        ),
    )


def _row(
    what: str, plan: Sequence[Any], replied: float, whole: float, theirs: float
) -> dict[str, Any]:
    return {
        "what": what, "search": plan[0], "memory": plan[1],
        "reply s": replied, "turn s": whole, "reference s": theirs,
        "turn x": theirs / whole, "reply x": theirs / replied,
    }  # fmt: skip


@contextmanager
def counted() -> Iterator[list[int]]:
    """How many inputs each pass of the encoder reads from now on."""
    passes: list[int] = []
    encode = desk.encode

    def note(network: Any, inputs: Any) -> Any:
        passes.append(len(inputs))
        return encode(network, inputs)

    desk.encode = note
    try:
        yield passes
    finally:
        desk.encode = encode


async def talk(
    folder: Path, threads: int, conversations: int, *, together: bool
) -> tuple[float, int]:
    """Seconds that the conversations take, and how many inputs are encoded in them."""
    model = load(folder, dtype="float32", device="cpu", threads=threads)  # knows no input yet
    with tempfile.TemporaryDirectory() as place, counted() as passes:
        # An agent for each, so that each can have its plan; the model is the same.
        agents = [await open_agent(model, Path(place)) for _ in range(conversations)]
        await converse(*agents[0], TURNS, conversations)  # to warm up
        passes.clear()
        began = time.perf_counter()
        talks = [converse(*agent, TURNS, number) for number, agent in enumerate(agents)]
        if together:
            await asyncio.gather(*talks)
        else:
            for each in talks:
                await each
        took = time.perf_counter() - began
        for agent, _ in agents:
            await agent.aclose()
    return took, sum(passes)


async def measure_many(folder: Path, threads: int, conversations: int) -> None:
    rows: list[dict[str, Any]] = []
    for what, together in (("one after another", False), ("all at once", True)):
        took, encoded = await talk(folder, threads, conversations, together=together)
        speed = conversations * len(TURNS) / took
        rows.append({"what": what, "turns a second": speed, "inputs encoded": encoded})
        rows[-1]["x"] = speed / rows[0]["turns a second"]
    report(
        "r2c2_many",
        rows,
        ("what", "turns a second", "x", "inputs encoded"),
        (f"{conversations} conversations of {len(TURNS)} turns, {threads} threads",),
    )


async def measure_tokens(folder: Path, threads: int) -> None:
    model = load(folder, dtype="float32", device="cpu", threads=threads)
    reference = Reference(folder, caps())
    text = " ".join(MESSAGES)[:300]
    ids = torch.tensor([reference._layout.context(text)])
    blocks = {"block_ngram": 3, "block_context_ngram": 3}
    rows = []
    for name, sampling in (
        ("greedy", Sampling(max_tokens=STEPS - 1, min_tokens=STEPS - 1)),
        (
            "beam 10",
            Sampling(
                method="beam", beam_size=10, max_tokens=STEPS - 1, min_tokens=STEPS - 1, **blocks
            ),
        ),
    ):
        ours, theirs = [], []
        for round_ in range(4):
            began = time.perf_counter()
            # A text of its own, so that its encoding is not at hand.
            prompt = Prompt(text=f"{text} {name} {round_}")
            request = GenerationRequest(prompt=prompt, module="srm", sampling=sampling)
            await model.generate([request])
            ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            with torch.inference_mode():
                reference._model.generate(
                    ids,
                    decoder_input_ids=torch.tensor([[2, 1]]),
                    do_sample=False,
                    num_beams=sampling.beam_size,
                    min_new_tokens=STEPS,
                    max_new_tokens=STEPS,
                    max_length=None,
                    length_penalty=sampling.length_penalty,
                    no_repeat_ngram_size=sampling.block_ngram,
                    encoder_no_repeat_ngram_size=sampling.block_context_ngram,
                )
            theirs.append(time.perf_counter() - began)
        best, other = min(ours[1:]), min(theirs[1:])
        rows.append(
            {
                "what": name,
                "tokens a second": STEPS / best,
                "transformers": STEPS / other,
                "x": other / best,
                "reference elsewhere": RECORDED[name],
            }
        )
    await model.aclose()
    report(
        "r2c2_tokens",
        rows,
        ("what", "tokens a second", "transformers", "x", "reference elsewhere"),
        (f"{ids.shape[1]} tokens in, {STEPS} steps, best of 3, {threads} threads; 102M, float32",),
    )


def main(
    part: Annotated[str, typer.Option(help="turns, many, tokens; all three if absent.")] = "",
    threads: Annotated[int, typer.Option(min=1)] = 2,
    conversations: Annotated[int, typer.Option(min=1)] = 16,
) -> None:
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as place:
        folder = write_network(Path(place) / "random-102m")
        if part in ("", "turns"):
            asyncio.run(measure_turns(folder, threads))
        if part in ("", "many"):
            asyncio.run(measure_many(folder, threads, conversations))
        if part in ("", "tokens"):
            asyncio.run(measure_tokens(folder, threads))


if __name__ == "__main__":
    typer.run(main)
