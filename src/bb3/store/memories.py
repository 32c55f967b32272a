"""The memories of one user, within a session of the caller.

Every statement names the user: nothing here reads or writes another's memories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import case, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bb3.core.types import Memory, MemoryOrigin, Speaker, Vector, now
from bb3.store.conversations import forget_in_traces
from bb3.store.models import MemoryRow


async def of_user(session: AsyncSession, user: str, *, superseded: bool = False) -> list[Memory]:
    """The user's memories, oldest first; with ``superseded`` the replaced ones too."""
    query = select(MemoryRow).where(MemoryRow.user == user).order_by(MemoryRow.id)
    if not superseded:
        query = query.where(MemoryRow.superseded_by.is_(None))
    return [_memory(row) for row in await session.scalars(query)]


async def add(
    session: AsyncSession, user: str, memory: Memory, supersedes: Sequence[int] = ()
) -> Memory:
    """Store a memory and mark those it replaces. What another process has just written, word
    for word, is not written twice."""
    if session.get_bind().dialect.name == "postgresql":  # SQLite has one writer at a time anyway
        await session.execute(select(func.pg_advisory_xact_lock(func.hashtext(user))))
    same = select(MemoryRow).where(
        MemoryRow.user == user,
        MemoryRow.speaker == memory.speaker.value,
        MemoryRow.text == memory.text,
        MemoryRow.superseded_by.is_(None),
    )
    if written := await session.scalar(same.limit(1)):
        return _memory(written)
    row = MemoryRow(
        user=user,
        speaker=memory.speaker.value,
        text=memory.text,
        origin=memory.origin.value,
        conversation=memory.conversation,
        message=memory.message,
        created_at=memory.created_at,
        updated_at=memory.updated_at,
        turns_since_used=memory.turns_since_used,
        vector=memory.vector,
    )
    session.add(row)
    await session.flush()
    if supersedes := _possible(supersedes):
        old = update(MemoryRow).where(
            MemoryRow.user == user,
            MemoryRow.id.in_(supersedes),
            MemoryRow.id != row.id,
            MemoryRow.superseded_by.is_(None),
        )
        await session.execute(old.values(superseded_by=row.id))
    return replace(memory, id=row.id, superseded_by=None)


async def edit(
    session: AsyncSession, user: str, memory_id: int, text: str, vector: Vector[float] | None
) -> Memory | None:
    """Change a memory's text and vector."""
    row = await _one(session, user, memory_id)
    if row is None:
        return None
    row.text, row.vector, row.updated_at = text, vector, now()
    return _memory(row)


async def forget(session: AsyncSession, user: str, memory_id: int) -> bool:
    """Delete a memory, out of the traces too; those it replaced go with it by the foreign key."""
    row = await _one(session, user, memory_id)
    if row is None:
        return False
    gone = {row.id: row.text}
    for old in reversed(await of_user(session, user, superseded=True)):  # the newer first
        if old.superseded_by in gone:
            gone[old.id] = old.text
    await session.execute(delete(MemoryRow).where(MemoryRow.id == row.id))
    await forget_in_traces(session, user, set(gone.values()))
    return True


async def forget_all(session: AsyncSession, user: str) -> int:
    """Delete all memories of a user; counts the current ones and the replaced."""
    gone = await of_user(session, user, superseded=True)
    await session.execute(delete(MemoryRow).where(MemoryRow.user == user))
    await forget_in_traces(session, user, {memory.text for memory in gone})
    return len(gone)


async def age(session: AsyncSession, user: str, used: Sequence[int]) -> None:
    """Counters of current memories grow by one, those of ``used`` become 0."""
    used = _possible(used)
    counter = MemoryRow.turns_since_used
    grown = case((MemoryRow.id.in_(used), 0), else_=counter + 1) if used else counter + 1
    current = update(MemoryRow).where(MemoryRow.user == user, MemoryRow.superseded_by.is_(None))
    await session.execute(current.values(turns_since_used=grown))


async def _one(session: AsyncSession, user: str, memory_id: int) -> MemoryRow | None:
    if not _possible([memory_id]):
        return None
    query = select(MemoryRow).where(MemoryRow.user == user, MemoryRow.id == memory_id)
    row: MemoryRow | None = await session.scalar(query)
    return row


def _possible(ids: Sequence[int]) -> list[int]:
    """Those that fit the column; a user may type any number after ``/forget``."""
    return [number for number in ids if 0 < number < 2**63]


def _memory(row: MemoryRow) -> Memory:
    return Memory(
        speaker=Speaker(row.speaker),
        text=row.text,
        id=row.id,
        origin=MemoryOrigin(row.origin),
        conversation=row.conversation,
        message=row.message,
        created_at=row.created_at,
        updated_at=row.updated_at,
        turns_since_used=row.turns_since_used,
        superseded_by=row.superseded_by,
        vector=row.vector,
    )
