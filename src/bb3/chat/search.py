"""Step: a query, and the documents it finds."""

from __future__ import annotations

from bb3.chat.state import TurnState
from bb3.core.events import Documents, Query, Working
from bb3.core.text import content_words, words
from bb3.core.types import Document

QUERY_WORDS = 24
"""A longer query is a model that rambles."""


async def search(state: TurnState) -> tuple[Document, ...]:
    """Ask for a query, search with it; where it finds nothing, search with the keywords of the
    user's message. Never raises: no documents is an answer."""
    query = await _query(state)
    keywords = " ".join(content_words(state.user.text)[:QUERY_WORDS])
    tried = []
    for text, fallback in ((query, False), (keywords, True)):
        if not text or text in tried:
            continue
        if fallback and state.asker.dialect.trained and query:
            break
        tried.append(text)
        text = f"{text} {state.pipeline.append_to_query}".strip()
        state.query = text
        state.emit(Query(text=text, fallback=fallback))
        documents = await _documents(state, text)
        if documents is None:  # the provider failed: another query will not mend it
            break
        if documents:
            state.documents = documents
            break
    state.emit(Documents(documents=state.documents))
    return state.documents


async def _query(state: TurnState) -> str:
    """The module's query, or nothing when it is unusable."""
    call = await state.asker.generate("sgm", state.context())
    if call is None:
        return ""
    query = call.output
    if state.asker.dialect.trained or call.edited:
        return query
    said = {word for turn in state.context().turns[-4:] for word in words(turn.text)}
    topical = content_words(query)
    invented = [word for word in topical if word not in said]
    usable = topical and len(words(query)) <= QUERY_WORDS and len(invented) * 2 < len(topical) + 1
    return query if usable else ""


async def _documents(state: TurnState, query: str) -> tuple[Document, ...] | None:
    recorded = state.recording.documents(query)
    if recorded is not None:
        return recorded
    if state.search is None:
        return None
    state.emit(Working(step="search"))
    with state.tolerate("search"):
        return tuple(await state.search.search(query, state.pipeline.documents))
    return None
