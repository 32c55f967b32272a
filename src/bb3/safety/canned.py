"""What the bot says in place of something that was held back: a change of subject, our own."""

from __future__ import annotations

import random
import tomllib
from dataclasses import dataclass
from importlib import resources

from bb3.core.errors import UsageError
from bb3.core.events import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Canned:
    """Replies for a message of the user, and for a reply of the bot, that was held back."""

    user: tuple[str, ...]
    bot: tuple[str, ...]

    def reply(self, side: Side, seed: int) -> str:
        """The reply that goes with a turn's seed: the same one when the turn is replayed."""
        choices = self.user if side == "user" else self.bot
        return random.Random(f"{side}:{seed}").choice(choices)  # noqa: S311 - not a secret


def load_canned(text: str | None = None, *, where: str = "canned.toml") -> Canned:
    """The built-in replies, or those of TOML text with the lists ``user`` and ``bot``.

    Raises:
        UsageError: not TOML, or a list is missing or empty.
    """
    if text is None:
        text = resources.files(__package__).joinpath("canned.toml").read_text(encoding="utf-8")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The canned replies in {where} are not valid TOML: {error}.") from error
    for side in ("user", "bot"):
        replies = table.get(side)
        if (
            not isinstance(replies, list)
            or not replies
            or not all(isinstance(reply, str) and reply.strip() for reply in replies)
        ):
            raise UsageError(
                f"The canned replies in {where} have no usable list {side!r}.",
                remedy='Write them as: user = ["..."] and bot = ["..."].',
            )
    return Canned(user=tuple(table["user"]), bot=tuple(table["bot"]))
