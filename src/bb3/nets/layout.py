"""How texts become the encoder's rows (REFERENCE section 13, "R2C2 inputs")."""

from __future__ import annotations

from bb3.nets.r2c2 import R2C2Config, end_token
from bb3.nets.tokenizer import TextCodec


class SourceLayout:
    """Contexts and documents as encoder rows of one model.

    Attributes:
        end: id of the end token.
    """

    def __init__(self, codec: TextCodec, config: R2C2Config) -> None:
        self._codec = codec
        self._prefix = list(config.source_prefix)
        self._suffix = list(config.source_suffix)
        self.end = end_token(config)
        self._delimiter = config.delimiter
        self._length = min(config.source_length, config.max_position_embeddings)
        self._document_room = config.document_room
        self._document_limit = config.document_limit

    def rows(self, text: str, documents: tuple[str, ...] = ()) -> list[list[int]]:
        """The rows of one input: the context alone, or a row for each document that is not
        blank (at most the model's limit of them), the context behind it.
        """
        context = self.context(text)
        found = [document for document in documents if document.strip(" /")]
        if not found:
            return [context]
        return [self.document(each, context) for each in found[: self._document_limit]]

    def context(self, text: str) -> list[int]:
        """START, the lines, END END; a text that is too long loses its beginning."""
        ids = self._codec.encode_lines(text, self._delimiter) + self._suffix
        return self._prefix + ids[-(self._length - len(self._prefix)) :]

    def document(self, document: str, context: list[int]) -> list[int]:
        """START, the document (``title / text``), ``//``, the context without its START.

        A long context keeps its end and leaves ``document_room`` tokens; what is left of the
        document's end is cut.
        """
        rest = context[len(self._prefix) :]
        room = self._length - self._document_room
        if len(context) > room:
            rest = rest[-(room - len(self._prefix)) :]
        ids = self._prefix + self._codec.encode(f"{document} // ")
        return ids[: self._length - len(rest)] + rest

    def blocked(self, text: str) -> list[int]:
        """The ids whose n-grams context blocking keeps out: the whole text, uncut, and the
        end of the history, but not what the architecture adds.
        """
        ends = self._suffix[: len(self._suffix) - len(self._prefix)]
        return self._codec.encode_lines(text, self._delimiter) + ends
