"""The exception tree.

    Bb3Error
    ├── UsageError      argv, settings, files the operator wrote
    ├── InputError      a message, document or request from outside
    ├── AssetError      a model, corpus or index that cannot be had
    ├── ModelError      a language model that cannot load or answer
    │   └── ModelTimeout
    ├── SearchError     a search provider that cannot answer
    └── StoreError      the database cannot be read or written

Every error says what was wrong (naming the value) and, where there is one, the remedy.
A front end prints ``str(error)``; nothing here ever becomes a reply of the bot.
"""


class Bb3Error(Exception):
    """Base of all errors that a person may see.

    Args:
        message: what is wrong, naming the offending value.
        remedy: what the reader can do about it; empty when there is nothing.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class UsageError(Bb3Error):
    """A mistake of the operator: argv, settings, a file they named."""

    exit_code = 2


class InputError(Bb3Error):
    """Something from outside that cannot be accepted: too long, not text, malformed."""


class AssetError(Bb3Error):
    """A model, corpus or index is missing, damaged or cannot be fetched."""


class ModelError(Bb3Error):
    """The language model cannot be loaded, reached or does not answer sensibly."""


class ModelTimeout(ModelError):
    """The language model did not answer within its deadline."""


class SearchError(Bb3Error):
    """A search provider cannot be reached or answered something unreadable."""


class StoreError(Bb3Error):
    """The database cannot be opened, read or written."""
