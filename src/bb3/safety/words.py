"""The word list: a phrase trie over word tokens, and the disguises that it sees through.

``WordMatcher`` is the plain matcher, with the behaviour of the reference's (word prefixes or
suffixes, a short list of allowed words). ``WordList`` is the classifier of that name: it first
undoes what people do to get a word past a matcher. What it does not see: docs/safety.md.
"""

from __future__ import annotations

import asyncio
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby, pairwise

from bb3.core.errors import UsageError
from bb3.core.ports import Verdict

# fmt: off
PREFIXES = ("anti", "counter", "de", "dis", "ex", "mega", "mis", "non", "out", "over", "post",
            "pre", "pro", "pseudo", "re", "semi", "sub", "super", "ultra", "un", "under")
SUFFIXES = ("a", "able", "as", "dom", "ed", "en", "er", "ers", "ery", "es", "est", "ful", "fy",
            "ies", "ified", "ify", "in", "ing", "ings", "ish", "less", "ly", "s", "ty",
            "y")
# fmt: on
TOKEN = re.compile(r"\w+(?:[-'’]\w+)*")


class _Node:
    """A step in the trie: the words that may come next; ``end`` when a phrase stops here."""

    __slots__ = ("end", "following")

    def __init__(self) -> None:
        self.following: dict[str, _Node] = {}
        self.end = False


class WordMatcher:
    """Finds listed words and phrases among word tokens, in one pass.

    Args:
        words: words and phrases; each also with one of ``PREFIXES`` (with or without a hyphen)
            before its first word or one of ``SUFFIXES`` after its last.
        exact: words and phrases that take neither.
        allowed: words and phrases that are not reported, nor anything shorter inside them.
    """

    def __init__(
        self, words: Iterable[str], *, exact: Iterable[str] = (), allowed: Iterable[str] = ()
    ) -> None:
        self._banned, self._allowed = _Node(), _Node()
        for word in words:
            for form in _forms(word.lower()):
                _insert(self._banned, form)
        for phrase in exact:
            _insert(self._banned, phrase.lower())
        for phrase in allowed:
            _insert(self._allowed, phrase.lower())

    def find(self, text: str) -> str | None:
        """The first match, its tokens joined by blanks; None when there is none."""
        tokens = TOKEN.findall(text.lower())
        at = 0
        while at < len(tokens):
            banned = _longest(self._banned, tokens, at)
            allowed = _longest(self._allowed, tokens, at)
            if banned > allowed:
                return " ".join(tokens[at : at + banned])
            at += max(allowed, 1)
        return None

    def has(self, word: str) -> bool:
        """Whether this one lower-cased token is listed and not allowed."""
        banned = self._banned.following.get(word)
        if banned is None or not banned.end:
            return False
        allowed = self._allowed.following.get(word)
        return allowed is None or not allowed.end


def _insert(root: _Node, phrase: str) -> None:
    node = root
    for token in TOKEN.findall(phrase):
        node = node.following.setdefault(token, _Node())
    node.end = node is not root


def _forms(word: str) -> Iterator[str]:
    yield word
    for prefix in PREFIXES:
        yield prefix + word
        yield f"{prefix}-{word}"
    for suffix in SUFFIXES:
        yield word + suffix


def _longest(root: _Node, tokens: Sequence[str], at: int) -> int:
    """Tokens in the longest phrase that starts here; 0: none."""
    node: _Node | None = root
    best = 0
    for length, token in enumerate(tokens[at : at + 12], start=1):
        node = node.following.get(token) if node is not None else None
        if node is None:
            break
        if node.end:
            best = length
    return best


# --- disguises --------------------------------------------------------------------------

LOOKALIKES = str.maketrans(
    "абвгеёзікмнорстухуѕјԁԛԝһαβγεηικνορτυχωıɑɡℓ",
    "abbreezikmhopctyxysjdqwhabyenikvoptuxwiagl",
)
"""Letters of other scripts (and a few symbols) that pass for Latin ones, after case folding."""
# fmt: off
LEET = str.maketrans({"@": "a", "4": "a", "3": "e", "€": "e", "1": "i", "!": "i", "|": "i",
                      "0": "o", "5": "s", "$": "s", "7": "t", "+": "t", "8": "b", "¢": "c"})
# fmt: on
CHUNK = re.compile(r"\S+")
LETTERS = re.compile(r"[^\W\d_]")
PARTS = re.compile(r"[^\W_]+")
SPACED = re.compile(r"(?<![^\W_])[^\W_](?:[\s._*~/\\|-]{1,3}[^\W_](?![^\W_])){2,}")
MASK = re.compile(r"[*#]")
LONGEST_WORD = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The list as data. ``anywhere``: found inside any run of letters."""

    words: tuple[str, ...]
    exact: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    anywhere: tuple[str, ...] = ()


def load_words(text: str | None = None, *, where: str = "words.toml") -> Words:
    """The built-in list, or one from TOML text with keys words, exact, allowed, anywhere.

    Raises:
        UsageError: not TOML, or not lists of texts.
    """
    if text is None:
        text = resources.files(__package__).joinpath("words.toml").read_text(encoding="utf-8")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The word list {where} is not valid TOML: {error}.") from error
    known = ("words", "exact", "allowed", "anywhere")
    for key, value in table.items():
        good = isinstance(value, list) and all(isinstance(v, str) and v.strip() for v in value)
        if key not in known or not good:
            raise UsageError(
                f"The word list {where}: {key!r} is not a list of words.",
                remedy=f"It may hold the lists {', '.join(known)}.",
            )
    return Words(**{key: tuple(table.get(key, ())) for key in known})


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, words)) or r"(?!)")


def plain_letters(text: str) -> str:
    """Lower-cased text without accents, invisible characters and letters of other scripts that
    look Latin.
    """
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKD", text).casefold()
    unseen = {ord(c): "" for c in set(folded) if unicodedata.category(c) in ("Mn", "Me", "Cf")}
    return folded.translate(unseen).translate(LOOKALIKES)


class WordList:
    """The word list as a classifier: certain of what it finds, blind to everything else."""

    name = "words"

    def __init__(self, words: Words | None = None) -> None:
        given = words if words is not None else load_words()
        self._matcher = WordMatcher(given.words, exact=given.exact, allowed=given.allowed)
        self._allowed = frozenset(given.allowed)
        single = sorted(word for word in {*given.words, *given.exact} if word.isalpha())
        self._anywhere = _any_of(given.anywhere)
        self._run_together = _any_of(word for word in single if len(word) > 2)
        self._by_length: dict[int, list[str]] = {}
        for word in single:
            self._by_length.setdefault(len(word), []).append(word)

    async def classify(
        self, texts: Sequence[str], contexts: Sequence[Sequence[str]] | None = None
    ) -> list[Verdict]:
        """Verdicts in the order of the texts. Long texts are read in a thread."""
        if sum(map(len, texts)) < 4096:
            return [self.verdict(text) for text in texts]
        return await asyncio.to_thread(lambda: [self.verdict(text) for text in texts])

    def verdict(self, text: str) -> Verdict:
        """The verdict on one text, at once: time grows linearly with its length."""
        if self.find(text) is None:
            return Verdict(safe=True, by=self.name)
        return Verdict(safe=False, label="offensive", score=1.0, by=self.name)

    def find(self, text: str) -> str | None:
        """The first listed word or phrase, also in disguise; None when there is none."""
        text = plain_letters(text)
        if found := self._matcher.find(text):
            return found
        chunks = CHUNK.findall(text)
        for chunk in dict.fromkeys(chunks):  # each once: long floods repeat themselves
            if found := self._in_chunk(chunk):
                return found
        undone = " ".join(map(_symbols_read, chunks))
        return self._matcher.find(undone) or self._spelled_out(text)

    def _in_chunk(self, chunk: str) -> str | None:
        """A listed word among what one run of non-blanks may stand for."""
        if MASK.search(chunk) and (masked := self._masked(chunk)) is not None:
            return masked
        plain = TOKEN.findall(chunk)  # the matcher has seen these, and what stood around them
        if any(token in self._allowed for token in plain):
            return None
        for reading in _readings(chunk):
            if inside := self._anywhere.search(reading):
                return inside.group()
            parts: list[str] = PARTS.findall(reading)
            for part in parts:
                if part not in plain and self._matcher.has(part):
                    return part
        return None

    def _masked(self, chunk: str) -> str | None:
        """A listed word whose letters were partly replaced by * or #, its first one shown."""
        core = chunk.strip(".,;:!?\"'()[]")
        if len(core) > LONGEST_WORD or not core[:1].isalpha() or not LETTERS.search(core[1:]):
            return None
        for word in self._by_length.get(len(core), ()):
            if all(c in (w, "*", "#") for c, w in zip(core, word, strict=True)):
                return word
        return None

    def _spelled_out(self, text: str) -> str | None:
        """A listed word in letters that stand alone: ``b a d``, ``b.a.d``, ``b-a-d``."""
        for run in SPACED.finditer(text):
            letters = "".join(PARTS.findall(run.group())).translate(LEET)
            if found := self._run_together.search(letters):
                return found.group()
        return None


def _symbols_read(chunk: str) -> str:
    """A chunk as it stands in a phrase: symbols as letters, long runs shortened."""
    return _shortened(chunk.rstrip("!").translate(LEET), 2) if LETTERS.search(chunk) else chunk


def _readings(chunk: str) -> Iterator[str]:
    """What a chunk may stand for, lower-cased: as it is, symbols as letters, runs shortened."""
    # Symbols that end a chunk are punctuation, those inside or before a word may be letters.
    core = chunk.rstrip(".,;:!?\"')]}").lstrip(".,;:?\"'([{")
    if not LETTERS.search(core):
        return
    seen = {core}
    yield core
    symbols = core.translate(LEET) if not core.isalpha() else core
    for reading in (symbols, symbols.replace("i", "l") if "1" in core else symbols):
        for keep in (2, 1):
            short = _shortened(reading, keep)
            if short not in seen:
                seen.add(short)
                yield short


def _shortened(word: str, keep: int) -> str:
    """Runs of a repeated letter cut to ``keep`` of it: ``baaaad`` -> ``baad`` or ``bad``."""
    if not any(a == b for a, b in pairwise(word)):
        return word
    return "".join(letter * min(keep, sum(1 for _ in run)) for letter, run in groupby(word))
