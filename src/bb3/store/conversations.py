"""Conversations, their turns and the traces of them, within a session of the caller."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from bb3.core.errors import StoreError
from bb3.core.types import Conversation, Speaker, Trace, Turn, TurnStatus, now
from bb3.store.codec import dump, dump_trace, load_trace
from bb3.store.models import Base, ConversationRow, TraceRow, TurnRow

FORGOTTEN = "[forgotten]"
"""Stands in traces for the words of a memory that was forgotten."""


async def start(session: AsyncSession, user: str) -> Conversation:
    """A new conversation."""
    conversation = Conversation(user=user)
    session.add(
        ConversationRow(
            id=conversation.id,
            user=user,
            started_at=conversation.started_at,
            active_at=conversation.started_at,
        )
    )
    return conversation


async def latest(session: AsyncSession, user: str) -> Conversation | None:
    """The conversation that ``user`` last began or spoke in."""
    newest = ConversationRow.active_at.desc(), ConversationRow.started_at.desc()
    query = select(ConversationRow).where(ConversationRow.user == user).order_by(*newest).limit(1)
    row = await session.scalar(query)
    return None if row is None else _conversation(row)


async def of_user(session: AsyncSession, user: str) -> list[Conversation]:
    """All conversations of a user, oldest first."""
    query = select(ConversationRow).where(ConversationRow.user == user)
    rows = await session.scalars(query.order_by(ConversationRow.started_at))
    return [_conversation(row) for row in rows]


async def turns(session: AsyncSession, conversation: str, limit: int | None = None) -> list[Turn]:
    """The newest ``limit`` turns, oldest first."""
    query = select(TurnRow).where(TurnRow.conversation == conversation)
    rows = await session.scalars(query.order_by(TurnRow.seq.desc()).limit(limit))
    return [_turn(row) for row in reversed(rows.all())]


async def save_turn(session: AsyncSession, conversation: str, turn: Turn) -> None:
    """Insert a turn or let it grow: one statement, for it runs at the pace of tokens."""
    row = {
        "id": turn.id,
        "conversation": conversation,
        "speaker": turn.speaker.value,
        "text": turn.text,
        "status": turn.status.value,
        "at": turn.at,
    }
    await _upsert(session, TurnRow, row, ("text", "status", "at"))
    if turn.speaker is Speaker.USER:
        spoke = update(ConversationRow).where(ConversationRow.id == conversation)
        await session.execute(spoke.values(active_at=now()))


async def save_trace(session: AsyncSession, trace: Trace) -> None:
    """Insert a trace, or overwrite the one with its id."""
    row = {
        "id": trace.id,
        "conversation": trace.conversation,
        "saved_at": now(),
        "data": dump_trace(trace),
    }
    await _upsert(session, TraceRow, row, ("saved_at", "data"))


async def trace(session: AsyncSession, trace_id: str) -> Trace | None:
    """The trace with this id."""
    text = await session.scalar(select(TraceRow.data).where(TraceRow.id == trace_id))
    return None if text is None else load_trace(text)


async def latest_trace(session: AsyncSession, conversation: str) -> Trace | None:
    """The trace that was added last."""
    query = select(TraceRow.data).where(TraceRow.conversation == conversation)
    text = await session.scalar(query.order_by(TraceRow.seq.desc()).limit(1))
    return None if text is None else load_trace(text)


async def traces(session: AsyncSession, conversation: str) -> list[Trace]:
    """All traces of a conversation, oldest first."""
    query = select(TraceRow.data).where(TraceRow.conversation == conversation)
    return [load_trace(text) for text in await session.scalars(query.order_by(TraceRow.seq))]


async def forget_in_traces(session: AsyncSession, user: str, texts: Collection[str]) -> None:
    """Cut texts out of what the user's turns looked at and wrote. What was said stays: the
    conversation is not unsaid by forgetting a memory."""
    mine = select(ConversationRow.id).where(ConversationRow.user == user)
    query = select(TraceRow).where(TraceRow.conversation.in_(mine))
    if len(texts) == 1:  # JSON writes it in one way only
        written = json.dumps(next(iter(texts)))[1:-1]
        query = query.where(TraceRow.data.contains(written, autoescape=True))
    for row in await session.scalars(query):
        data = json.loads(row.data)
        kept = {name: data[name] for name in ("user", "history", "reply") if name in data}
        row.data = dump({**_without(data, texts), **kept})


def _without(value: Any, texts: Collection[str]) -> Any:
    if isinstance(value, str):
        for text in texts:
            value = value.replace(text, FORGOTTEN)
        return value
    if isinstance(value, list):
        return [_without(item, texts) for item in value]
    if isinstance(value, dict):
        return {key: _without(item, texts) for key, item in value.items()}
    return value


async def _upsert(
    session: AsyncSession, table: type[Base], row: dict[str, Any], grows: tuple[str, ...]
) -> None:
    """Insert ``row``, or overwrite its columns ``grows`` where its id is known.

    Raises:
        StoreError: the id is taken within another conversation.
    """
    columns = table.__table__.c
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    insert = dialect.insert(table)
    statement = insert.on_conflict_do_update(
        index_elements=["id"],
        set_={name: insert.excluded[name] for name in grows},
        where=columns.conversation == insert.excluded.conversation,
    ).returning(columns.id)
    if (await session.execute(statement, row)).first() is None:
        raise StoreError(f"{row['id']!r} is already taken within another conversation.")


def _conversation(row: ConversationRow) -> Conversation:
    return Conversation(user=row.user, id=row.id, started_at=row.started_at)


def _turn(row: TurnRow) -> Turn:
    return Turn(
        speaker=Speaker(row.speaker),
        text=row.text,
        id=row.id,
        at=row.at,
        status=TurnStatus(row.status),
    )
