"""All that is kept about a user, within a session of the caller."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from bb3.core.types import now
from bb3.store import conversations, memories
from bb3.store.codec import plain


async def of_user(session: AsyncSession, user: str) -> dict[str, Any]:
    """Conversations with turns and traces, and memories with the replaced ones, as JSON-able
    data. Vectors are left out: they are made from the texts.
    """
    talks = [
        plain(talk)
        | {
            "turns": plain(await conversations.turns(session, talk.id)),
            "traces": plain(await conversations.traces(session, talk.id)),
        }
        for talk in await conversations.of_user(session, user)
    ]
    return {
        "user": user,
        "exported_at": now().isoformat(),
        "conversations": talks,
        "memories": plain(await memories.of_user(session, user, superseded=True)),
    }
