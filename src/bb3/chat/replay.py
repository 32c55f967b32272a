"""A recorded turn, run again with some answers changed.

A module whose prompt comes out as recorded gives its recorded answer; an edited module gives
the edit; every module whose prompt the edit changed is asked anew, with the same seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bb3.core.errors import UsageError
from bb3.core.types import Document, ModuleCall, Trace
from bb3.modules.catalog import MODULES


@dataclass(frozen=True, slots=True)
class Recording:
    """The answers that are known before they are asked for.

    Args:
        trace: the recorded turn; None: nothing is known.
        edits: tag to the answer that is to stand instead. A decision's is ``yes`` or ``no``.
    """

    trace: Trace | None = None
    edits: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for tag, text in self.edits.items():
            if tag not in MODULES:
                raise UsageError(f"There is no module {tag!r}.", remedy=f"Known: {list(MODULES)}.")
            if MODULES[tag].kind == "decision" and text not in ("yes", "no"):
                raise UsageError(f"{tag} decides: its answer is yes or no, not {text!r}.")

    def answer(self, call: ModuleCall) -> ModuleCall | None:
        """The call with its known answer; None when the model has to be asked."""
        edit = self.edits.get(call.module)
        if edit is not None:
            return replace(call, output=edit, raw=edit, edited=True)
        asked = (call.module, call.prompt, call.documents)
        same = [
            known
            for known in (self.trace.calls if self.trace else ())
            if (known.module, known.prompt, known.documents) == asked and known.error is None
        ]
        # A module may be asked the same twice in a turn: the seed says which time it is.
        same.sort(key=lambda known: known.seed != call.seed)
        return replace(same[0], started_ms=call.started_ms) if same else None

    def documents(self, query: str) -> tuple[Document, ...] | None:
        """The recorded search results, if this was a recorded query: the last one found them,
        those before it nothing."""
        if self.trace is None:
            return None
        if self.trace.query == query:
            return self.trace.documents
        told = [event.get("text") for event in self.trace.events if event.get("kind") == "query"]
        return () if query in told else None
