"""Step: the reply, conditioned on what was found, streamed through the guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

from bb3.chat.keep import Draft
from bb3.chat.state import TurnState
from bb3.core.events import Blocked, Degraded, Reply, Token
from bb3.core.ports import Sampling
from bb3.core.types import ModuleCall, Turn, TurnStatus
from bb3.modules.catalog import KNOWLEDGE_ORDER, MODULES
from bb3.modules.context import Context

CANNED = "canned"
"""Stands as the module of a reply that no module wrote."""


_WRAPPINGS = "{[`"
"""What an answer begins with that is wrapped into JSON or a code fence."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to reply: a response module, its knowledge and its sampling parameters."""

    tag: str
    knowledge: Mapping[str, str]
    sampling: Sampling


async def respond(state: TurnState) -> Turn:
    """Write the reply: at best the one that was asked for, then one without knowledge, at last
    a canned one. The reply that is returned has been shown, told as an event and stored."""
    return await _in_time(state, _reply)


async def open_conversation(state: TurnState) -> Turn:
    """Write a first message made from memories; at last a canned one. As ``respond``."""
    return await _in_time(state, _opening)


async def _in_time(
    state: TurnState, write: Callable[[TurnState, Draft], Awaitable[Turn | None]]
) -> Turn:
    """What was shown of a reply that is late or stopped is kept as the reply."""
    draft = Draft(state)
    try:
        async with asyncio.timeout(state.pipeline.turn_deadline_s - state.asker.elapsed_ms() / 1e3):
            if reply := await write(state, draft):
                return reply
    except TimeoutError:
        reason = f"The reply was not complete within {state.pipeline.turn_deadline_s:g} s."
        state.emit(Degraded(step="turn", reason=reason))
        if draft.text.strip():
            return await _interrupted(state, draft)
    except asyncio.CancelledError:
        shown = await asyncio.shield(draft.close(TurnStatus.INTERRUPTED))
        state.reply = shown if shown.text else None
        raise
    return await _canned(state, draft)


async def _reply(state: TurnState, draft: Draft) -> Turn | None:
    for candidates in _ways(state):
        if reply := await _written(state, candidates, draft):
            return reply
    return None


def _ways(state: TurnState) -> list[list[Candidate]]:
    """The candidates to try together; then, should all fail, those to try next."""
    plain = [Candidate("vrm", {}, _sampling(state, "vrm"))]
    if state.pipeline.style:
        return [[Candidate("grm", {}, _sampling(state, "grm"))], plain]
    if not state.knowledge:
        return [plain]
    separate = [
        Candidate(
            MODULES[tag].response, {tag: text}, state.pipeline.sampling[MODULES[tag].response]
        )
        for tag, text in _in_order(state.knowledge)
    ]
    last = separate[-1].tag
    combined = [Candidate(last, state.knowledge, _sampling(state, last))]
    ways = {
        "combined": combined,
        "separate": separate,
        "both": combined + (separate if len(separate) > 1 else []),
    }
    return [ways[state.pipeline.conditioning], plain]


def _in_order(knowledge: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(tag, knowledge[tag]) for tag in KNOWLEDGE_ORDER if tag in knowledge]


def _sampling(state: TurnState, tag: str) -> Sampling:
    """Combined replies take the parameters of the module named for them, plain ones included;
    a pipeline that never looks for knowledge has no combined replies."""
    pipeline = state.pipeline
    vanilla = (pipeline.search, pipeline.memory, pipeline.entity) == ("never",) * 3
    combined = pipeline.conditioning != "separate" and not vanilla and tag != "grm"
    return pipeline.sampling[(combined and pipeline.combined_response) or tag]


async def _written(state: TurnState, candidates: list[Candidate], draft: Draft) -> Turn | None:
    """The reply of the likeliest candidate; None when none of them wrote anything."""
    if len(candidates) == 1:
        tag, pieces = candidates[0].tag, _asked(state, candidates[0])
    else:
        calls = await asyncio.gather(
            *(state.asker.generate(c.tag, _context(state, c), c.sampling) for c in candidates)
        )
        wrote = [
            (_likelihood(call, candidate.sampling), call)
            for call, candidate in zip(calls, candidates, strict=True)
            if call is not None and call.output
        ]
        if not wrote:
            return None
        likeliest = max(wrote, key=lambda pair: pair[0])[1]
        tag, pieces = likeliest.module, _already(likeliest)
    return await _streamed(state, tag, pieces, draft)


def _context(state: TurnState, candidate: Candidate) -> Context:
    return state.context(knowledge=dict(_in_order(candidate.knowledge)))


async def _asked(state: TurnState, candidate: Candidate) -> AsyncGenerator[str | ModuleCall, None]:
    """The pieces as the model writes them. A model that wraps its answer into something is waited
    for: what is in there is shown, not the wrapping."""
    begun = wrapped = False
    async with aclosing(
        state.asker.stream(candidate.tag, _context(state, candidate), candidate.sampling)
    ) as pieces:
        async for piece in pieces:
            if isinstance(piece, ModuleCall):
                if wrapped:
                    yield piece.output
                yield piece
            elif begun:
                if not wrapped:
                    yield piece
            elif text := piece.lstrip():
                begun, wrapped = True, text[0] in _WRAPPINGS
                if not wrapped:
                    yield text


async def _already(call: ModuleCall) -> AsyncGenerator[str | ModuleCall, None]:
    yield call.output
    yield call


def _likelihood(call: ModuleCall, sampling: Sampling) -> float:
    """A beam search's own score (Wu et al. 2016, arXiv:1609.08144, start and end token counted);
    else the mean log-probability of a token: sums would favour the shortest reply."""
    if call.logprob is None:
        return float("-inf")
    length = max(call.tokens.generated, 1)
    beam = sampling.method == "beam"
    divisor: float = ((length + 3) / 6) ** sampling.length_penalty if beam else length
    return call.logprob / divisor


async def _streamed(
    state: TurnState, tag: str, pieces: AsyncGenerator[str | ModuleCall, None], draft: Draft
) -> Turn | None:
    """Show the pieces that the guard lets through; the whole is what is kept."""
    draft.module = tag
    context = [turn.text for turn in state.history[-4:]] + [state.user.text]
    guarded = state.guard.stream("bot", context)
    done: ModuleCall | None = None
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, ModuleCall):
                done = piece
            else:
                await _show(state, draft, await guarded.feed(piece))
            if not guarded.ruling.safe:
                break
    await _show(state, draft, await guarded.finish())
    shown = draft.text.strip()
    text = done.output if done is not None else shown
    ruling = guarded.ruling
    if ruling.safe and text != shown:  # reading made another text of it
        ruling = await state.guard.check(text, "bot", context)
    if ruling.degraded:
        state.emit(Degraded(step="guard", reason=ruling.degraded))
    if not ruling.safe:
        state.emit(Blocked(side="bot", label=ruling.label, by=ruling.by))
        return await _canned(state, draft)
    if not text:
        await draft.discard()
        return None
    if done is None:
        return await _interrupted(state, draft)
    return await _complete(state, draft, text, tag)


async def _show(state: TurnState, draft: Draft, text: str) -> None:
    """Keep a piece, then show it: what was shown is never lost."""
    if not draft.text:
        text = text.lstrip()
    if not text:
        return
    await draft.grow(text)
    if state.first_token_ms is None:
        state.first_token_ms = state.asker.elapsed_ms()
    state.emit(Token(text=text))


async def _interrupted(state: TurnState, draft: Draft) -> Turn:
    """What was shown of a reply that did not come to its end."""
    text, cut = draft.text.strip(), TurnStatus.INTERRUPTED
    return await _complete(state, draft, text, draft.module, status=cut)


async def _complete(
    state: TurnState,
    draft: Draft,
    text: str,
    module: str,
    *,
    status: TurnStatus = TurnStatus.COMPLETE,
) -> Turn:
    turn = await draft.close(status, text)
    state.reply, state.replied_by, state.ms = turn, module, state.asker.elapsed_ms()
    state.emit(Reply(turn=turn, module=module))
    return turn


async def _canned(state: TurnState, draft: Draft) -> Turn:
    """What is said when the guard objected or no module had an answer."""
    text = state.guard.canned_reply("bot", state.seed)
    return await _complete(state, draft, text, CANNED)


async def respond_canned(state: TurnState) -> Turn:
    """The reply to a message that the guard held back."""
    text = state.guard.canned_reply("user", state.seed)
    return await _complete(state, Draft(state), text, CANNED)


async def _opening(state: TurnState, draft: Draft) -> Turn | None:
    """Up to three tries for a message without a speaker's label, which is otherwise cut out."""
    text = ""
    for attempt in range(3):
        context = Context(memories=state.known, persona=state.session.persona)
        call = await state.asker.generate("orm", context)
        if call is None:
            break
        text = call.output
        if not _labelled(text):
            break
        state.emit(Degraded(step="orm", reason=f"Try {attempt + 1} spoke for both speakers."))
    for label in _LABELS:
        text = text.replace(label, " ")
    text = " ".join(text.split())
    if not text:
        return None
    call = replace(state.asker.calls[-1], output=text)
    return await _streamed(state, "orm", _already(call), draft)


_LABELS = ("Person 1:", "Person 2:", "Person 1", "Person 2")


def _labelled(text: str) -> bool:
    return any(label in text for label in _LABELS)
