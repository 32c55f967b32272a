"""An agent with a scripted model and search, a real store, and short ways to run turns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bb3.chat.agent import Agent
from bb3.chat.pipeline import Pipeline
from bb3.chat.state import Session
from bb3.core.events import Event
from bb3.core.types import Document, Trace
from bb3.lm.scripted import ScriptedModel
from bb3.modules.catalog import MODULES
from bb3.modules.dialects import dialect
from bb3.modules.sampling import family
from bb3.safety.guard import build_guard
from bb3.search.scripted import ScriptedSearch
from bb3.store.sql import open_store

OSLO = Document(
    title="Oslo", text="Oslo is the capital of Norway. It has many trams.", url="http://a.example"
)
SCRIPT = {
    "sgm": "capital of Norway",
    "skm": "Oslo is the capital of Norway.",
    "mkm": "I have a dog called Bubbles.",
    "ckm": "Norway",
    "srm": "It is Oslo, the capital of Norway.",
    "mrm": "Your dog is called Bubbles.",
    "crm": "Norway is a fine topic.",
    "vrm": "How nice to hear that.",
    "grm": "In style, then.",
    "orm": "Hello! How is Bubbles?",
    "mgm": "nothing",
}
ASK = "What is the capital of Norway?"
"""A message for which every module of the script has a fitting answer."""


def scores(*, search: bool = False, memory: bool = False, name: str = "chat") -> dict[Any, float]:
    """Log-probabilities that make the decisions come out so."""
    said = {}
    for tag, yes in (("sdm", search), ("mdm", memory)):
        labels = dialect(name).answers(MODULES[tag])
        said |= {(tag, labels[0]): -1.0 if yes else -3.0, (tag, labels[1]): -2.0}
    return said


@dataclass
class House:
    """An agent and what it is made of, for tests to look at."""

    agent: Agent
    model: ScriptedModel
    search: ScriptedSearch
    sessions: dict[str, Session] = field(default_factory=dict)

    async def session(self, user: str = "ann", *, resume: bool = True) -> Session:
        if user not in self.sessions:
            self.sessions[user] = await self.agent.open(user, resume=resume)
        return self.sessions[user]

    async def say(self, text: str, user: str = "ann", seed: int | None = 1) -> list[Event]:
        return await told(self.agent, await self.session(user), text, seed)

    async def trace(self, text: str, user: str = "ann", seed: int | None = 1) -> Trace:
        return (await self.say(text, user, seed))[-1].trace

    async def remember(self, text: str, user: str = "ann") -> None:
        admission = await (await self.session(user)).book.remember(text)
        assert admission.memory, admission.reason


async def told(agent: Agent, session: Session, text: str, seed: int | None = 1) -> list[Event]:
    async with aclosing(agent.chat(session, text, seed=seed)) as events:
        return [event async for event in events]


def kinds(events: list[Event]) -> list[str]:
    """The kinds of events in order, repeats together."""
    order: list[str] = []
    for event in events:
        if not order or order[-1] != event.kind:
            order.append(event.kind)
    return order


def of_kind(events: list[Event], kind: str) -> list[Any]:
    return [event for event in events if event.kind == kind]


@pytest.fixture
async def build(tmp_path: Path) -> AsyncIterator[Any]:
    """Makes a House; what it opened is closed after the test."""
    houses: list[House] = []

    async def make(
        script: Any = SCRIPT,
        *,
        name: str = "chat",
        finds: Any = (OSLO,),
        search_delay_s: float = 0.0,
        safety: str = "none",
        where: str = "bb3.sqlite",
        agent: dict[str, Any] | None = None,
        model: dict[str, Any] | None = None,
        guard: Any = None,
        **pipeline: Any,
    ) -> House:
        scripted = ScriptedModel(script, **{"dialect": name, **(model or {})})
        provider = ScriptedSearch(otherwise=finds, delay_s=search_delay_s)
        built = Agent(
            model=scripted,
            dialect=dialect(name),
            guard=guard or build_guard(safety),
            pipeline=Pipeline(**{"sampling": family(name), **pipeline}),
            search=provider,
            **{"store": await open_store(tmp_path / where), **(agent or {})},
        )
        houses.append(House(built, scripted, provider))
        return houses[-1]

    yield make
    for house in houses:
        await house.agent.aclose()
