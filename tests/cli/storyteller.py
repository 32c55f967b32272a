"""``bb3 chat`` in a terminal with a scripted model: ``python -m tests.cli.storyteller FOLDER``.

It tells a long story when that is asked for, and takes long for a note when that is.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bb3.chat.agent import Agent
from bb3.chat.pipeline import Pipeline
from bb3.cli.chat import Conversation
from bb3.cli.output import console
from bb3.cli.screen import LiveScreen
from bb3.cli.slash import Talk
from bb3.core.ports import GenerationRequest
from bb3.lm.scripted import ScriptedModel
from bb3.modules.dialects import dialect
from bb3.modules.sampling import family
from bb3.safety.guard import build_guard
from bb3.store.sql import open_store


class Storyteller(ScriptedModel):
    """Slow where it is told to be."""

    def __init__(self) -> None:
        super().__init__(self.answer)

    def answer(self, request: GenerationRequest) -> str:
        asked = request.prompt.messages[-1].content
        self.delay_s = 0.0
        match request.module:
            case "mgm":
                self.delay_s = 20.0 if "note" in asked else 0.0
                return "nothing"
            case "ckm":
                return "kettles"
            case _ if "story" in asked:
                self.delay_s = 0.1
                return "Once upon a time there was a ship. " * 40
            case _:
                return "How nice to hear that."


async def main(folder: Path) -> int:
    agent = Agent(
        model=Storyteller(),
        dialect=dialect("chat"),
        guard=build_guard("none"),
        pipeline=Pipeline(sampling=family("chat"), search="never", memory="never", entity="always"),
        store=await open_store(folder / "store.sqlite"),
    )
    session = await agent.open("ann")
    screen = LiveScreen(console(color_system=None))
    talk = Talk(agent, "ann", session, screen.show, screen.event)
    conversation = Conversation(talk, screen, look_inside=False, seed=1)
    try:
        return await conversation.live(screen, folder / "made" / "history")
    finally:
        await agent.aclose()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]))))
