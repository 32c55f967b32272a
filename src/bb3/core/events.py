"""What a turn tells while it happens. Every front end consumes these and nothing else.

Order in an ordinary turn: ``Decision`` ×2, then any of ``Query``, ``Documents``, ``Recalled``,
``Knowledge``; then ``Token`` …, ``Reply``; then ``Remembered`` …, ``Done``. ``Working`` goes
before every step. ``Degraded`` may come anywhere, ``Blocked`` instead of (or before the canned)
``Reply``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from bb3.core.types import Document, Memory, Trace, Turn

Side = Literal["user", "bot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """A step begins: a module's tag, or ``search``. For a line that tells what is going on."""

    kind: ClassVar[str] = "working"
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A module decided (``module`` is sdm or mdm). ``margin``: log-odds over the threshold,
    None where the answer was forced or generated rather than scored.
    """

    kind: ClassVar[str] = "decision"
    module: str
    yes: bool
    forced: bool = False
    margin: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The search is about to be made with this query. ``fallback``: keywords of the
    conversation, because the module's own query was unusable.
    """

    kind: ClassVar[str] = "query"
    text: str
    fallback: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The search answered; an empty tuple when it found nothing that fits."""

    kind: ClassVar[str] = "documents"
    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """Memories that the turn will look at, best first."""

    kind: ClassVar[str] = "recalled"
    memories: tuple[Memory, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """A knowledge module (ckm, mkm or skm) settled on this."""

    kind: ClassVar[str] = "knowledge"
    module: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """The next piece of the reply, already passed by the guard."""

    kind: ClassVar[str] = "token"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The reply is out. ``module``: the response module that wrote it, or ``canned``;
    ``turn.status`` tells one that was cut short.
    """

    kind: ClassVar[str] = "reply"
    turn: Turn
    module: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """A memory was written; ``replaced`` are older ones it supersedes."""

    kind: ClassVar[str] = "remembered"
    memory: Memory
    replaced: tuple[Memory, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """The guard held back the user's message or the bot's reply. Pieces of the reply that
    were already shown are to be hidden.
    """

    kind: ClassVar[str] = "blocked"
    side: Side
    label: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Degraded:
    """A part failed and the turn goes on without it. ``step``: a module's tag, ``search``,
    ``memory``, ``guard``, ``store``, or ``turn`` (out of time); ``reason`` is for operators,
    never shown as a reply.
    """

    kind: ClassVar[str] = "degraded"
    step: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The turn is over, memories written and trace saved."""

    kind: ClassVar[str] = "done"
    trace: Trace


Event = (
    Working
    | Decision
    | Query
    | Documents
    | Recalled
    | Knowledge
    | Token
    | Reply
    | Remembered
    | Blocked
    | Degraded
    | Done
)


def event_data(event: Event) -> dict[str, Any]:
    """An event as plain data for JSON: ``{"kind": ..., fields}``, vectors left out."""
    data: dict[str, Any] = {"kind": event.kind}
    match event:
        case Done(trace=trace):
            data["trace"] = trace.id
        case Recalled(memories=memories):
            data["memories"] = [memory.id for memory in memories]
        case Remembered(memory=memory, replaced=replaced):
            data["memory"] = {"id": memory.id, "speaker": memory.speaker, "text": memory.text}
            data["replaced"] = [old.id for old in replaced]
        case Reply(turn=turn, module=module):
            data |= {"text": turn.text, "module": module}
        case _:
            data |= asdict(event)
    return data
