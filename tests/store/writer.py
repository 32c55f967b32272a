"""A process of its own that writes to a store and prints each thing once it is committed.

    python writer.py WHERE USER [COUNT]

Without COUNT it goes on until it is killed. Not a test: ``test_sql_processes.py`` runs it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from array import array
from dataclasses import replace
from itertools import count

from bb3.core.types import Memory, Speaker, Trace, Turn, TurnStatus
from bb3.store import open_store


def tell(kind: str, **what: object) -> None:
    sys.stdout.write(json.dumps({"kind": kind, **what}) + "\n")
    sys.stdout.flush()


async def main(where: str, user: str, rounds: int | None) -> None:
    store = await open_store(where)
    conversation = await store.start_conversation(user)
    tell("conversation", id=conversation.id)
    for n in count() if rounds is None else range(rounds):
        asked = Turn(speaker=Speaker.USER, text=f"question {n}")
        await store.save_turn(conversation.id, asked)
        tell("turn", id=asked.id, text=asked.text)
        reply = Turn(speaker=Speaker.BOT, text="", status=TurnStatus.DRAFT)
        for word in range(8):
            reply = replace(reply, text=f"{reply.text} word{word}")
            await store.save_turn(conversation.id, reply)
            tell("turn", id=reply.id, text=reply.text)
        memory = Memory(
            speaker=Speaker.USER, text=f"I am {user} {n}.", vector=array("f", [n] * 384)
        )
        old = [m.id for m in await store.memories(user)][-1:]
        memory = await store.add_memory(user, memory, supersedes=old)
        tell("memory", id=memory.id, text=memory.text)
        trace = Trace(conversation=conversation.id, user=asked, reply=reply)
        await store.save_trace(trace)
        tell("trace", id=trace.id)
    await store.aclose()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None))
