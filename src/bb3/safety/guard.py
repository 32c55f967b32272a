"""The guard: what the user says and what the bot says pass through it, on the way in and out.

A hit on either side ends in a canned change of subject; a blocked turn is no source of
memories (that is the turn's business). A classifier that fails does not stop the conversation:
the word list, which cannot fail, still judges, and the ruling says so (``degraded``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bb3.core.errors import UsageError
from bb3.core.events import Side
from bb3.core.ports import Classifier, Verdict
from bb3.safety.canned import Canned, load_canned
from bb3.safety.sentences import last_sentences
from bb3.safety.words import WordList, Words

Level = Literal["none", "words", "all"]

HELD = 64
"""Characters without a blank after which a stream no longer waits for the word's end."""
LOOK_BACK = 400
"""Characters of a stream that are looked at again with each new word, for phrases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling(Verdict):
    """A verdict of the guard. ``degraded``: which classifier failed and how; empty: none did."""

    degraded: str = ""


class Guard:
    """Asks the word list, then the classifiers.

    Args:
        classifiers: asked in order, the first one that objects decides; none: all passes.
        canned: the replies given instead.
        timeout_s: for each classifier; a slower one counts as failed.
    """

    def __init__(
        self,
        classifiers: Sequence[Classifier],
        canned: Canned | None = None,
        *,
        timeout_s: float = 10.0,
    ) -> None:
        self._classifiers = tuple(classifiers)
        self._timeout_s = timeout_s
        self.canned = canned if canned is not None else load_canned()

    @property
    def active(self) -> bool:
        """Whether anything is looked at."""
        return bool(self._classifiers)

    async def check(self, text: str, side: Side, context: Sequence[str] = ()) -> Ruling:
        """Whether a text may pass.

        Args:
            text: what was said.
            side: who said it.
            context: the turns before it, oldest first.
        """
        degraded = ""
        for classifier in self._classifiers:
            try:
                async with asyncio.timeout(self._timeout_s):
                    (verdict,) = await classifier.classify([text], [context])
            except Exception as error:  # noqa: BLE001 - whatever it dies of, the list still judges
                degraded = f"{classifier.name}: {type(error).__name__}: {error}"[:200]
                continue
            if not verdict.safe:
                return Ruling(
                    safe=False,
                    label=verdict.label,
                    score=verdict.score,
                    by=verdict.by or classifier.name,
                    degraded=degraded,
                )
        return Ruling(safe=True, by="guard", degraded=degraded)

    def stream(self, side: Side = "bot", context: Sequence[str] = ()) -> GuardedStream:
        """A reply on its way out, to be passed piece by piece."""
        return GuardedStream(self, side, context)

    def canned_reply(self, side: Side, seed: int) -> str:
        """What to say instead of something held back on that side."""
        return self.canned.reply(side, seed)


class GuardedStream:
    """Lets a text through as it grows, a whole word at a time.

    ``feed`` gives back what may be shown. Before that, the sentence so far (with the one before
    it, for phrases) is checked, so every beginning that was shown was found safe. Once
    ``ruling`` is not safe nothing more comes out; what was shown earlier is the caller's to hide.
    """

    def __init__(self, guard: Guard, side: Side, context: Sequence[str]) -> None:
        self._guard, self._side, self._context = guard, side, context
        self._recent = ""  # the end of what was let through
        self._held = ""  # the word that is still being written
        self.ruling = Ruling(safe=True, by="guard")

    async def feed(self, piece: str) -> str:
        """Add a piece; returns the part that may be shown now, often empty."""
        if not self._guard.active:
            return piece
        self._held += piece
        cut = _last_blank(self._held) + 1
        if len(self._held) - cut > HELD:
            cut = len(self._held) - HELD // 2  # no blank in sight: some scripts have none
        return await self._release(cut) if cut else ""

    async def finish(self) -> str:
        """The text is complete; returns the rest that may be shown."""
        return await self._release(len(self._held)) if self._held else ""

    async def _release(self, cut: int) -> str:
        if not self.ruling.safe:
            return ""
        fresh, rest = self._held[:cut], self._held[cut:]
        # A word cut in two by force is judged whole: what is held of it counts too.
        ahead = "" if fresh[-1:].isspace() else rest
        ruling = await self._guard.check(self._recent + fresh + ahead, self._side, self._context)
        self.ruling = replace(ruling, degraded=ruling.degraded or self.ruling.degraded)
        if not ruling.safe:
            self._held = ""
            return ""
        self._held = rest
        self._recent = last_sentences(self._recent + fresh, LOOK_BACK)
        return fresh


def _last_blank(text: str) -> int:
    return max(text.rfind(blank) for blank in " \n\t\r")


def build_guard(
    level: Level,
    *,
    classifiers: Sequence[Classifier] = (),
    words: Words | None = None,
    canned: Canned | None = None,
) -> Guard:
    """The guard of a safety level.

    Args:
        level: ``none``: nothing is checked; ``words``: the word list; ``all``: the classifiers too.
        classifiers: what ``all`` adds to the word list.
        words: the word list's words; None: the built-in ones.
        canned: the replies given instead; None: the built-in ones.

    Raises:
        UsageError: there is no such level.
    """
    match level:
        case "none":
            return Guard((), canned)
        case "words":
            return Guard([WordList(words)], canned)
        case "all":
            return Guard([WordList(words), *classifiers], canned)
        case _:
            raise UsageError(
                f"No safety level is called {level!r}.", remedy="There are: none, words, all."
            )
