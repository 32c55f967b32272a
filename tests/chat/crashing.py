"""A process that talks slowly and tells what it shows, to be killed in any phase of a turn.

``python -m tests.chat.crashing DATABASE``: prints one JSON line an event.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing

from bb3.chat.agent import Agent
from bb3.chat.pipeline import Pipeline
from bb3.core.events import event_data
from bb3.lm.scripted import ScriptedModel
from bb3.modules.dialects import dialect
from bb3.safety.guard import build_guard
from bb3.search.scripted import ScriptedSearch
from bb3.store.sql import open_store
from tests.chat.conftest import OSLO, SCRIPT, scores

MESSAGES = ("I live in Turin.", "What is the capital of Norway?", "I have a dog called Bubbles.")


async def main(database: str) -> None:
    def answer(request):
        if request.module == "mgm":  # every statement becomes a memory
            return request.prompt.messages[-1].content
        return SCRIPT[request.module]

    agent = Agent(
        model=ScriptedModel(answer, scores=scores(search=True, memory=True), delay_s=0.004),
        dialect=dialect("chat"),
        store=await open_store(database),
        guard=build_guard("none"),
        pipeline=Pipeline(),
        search=ScriptedSearch(otherwise=(OSLO,), delay_s=0.02),
    )
    session = await agent.open("ann")
    for text in MESSAGES:
        say({"kind": "asked", "text": text})
        async with aclosing(agent.chat(session, text)) as events:
            async for event in events:
                say(event_data(event))
    say({"kind": "end"})
    await agent.aclose()


def say(data: dict) -> None:
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
