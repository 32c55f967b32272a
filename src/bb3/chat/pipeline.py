"""The settings of the turn: which modules run, when, and how their answers are decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from bb3.core.ports import Sampling
from bb3.modules.sampling import family

Choice = Literal["always", "never", "compute"]
Conditioning = Literal["combined", "separate", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """How a turn goes. Presets (``bb3.app.presets``) are named values of this.

    Attributes:
        search, memory: make the decision by the module, or force it.
        entity: extract an entity when neither search nor memory runs (compute), always, never.
        conditioning: one reply from all knowledge, one per kind of which the likeliest wins,
            or both ways.
        combined_response: whose sampling parameters a combined reply takes; empty: those of
            the last kind of knowledge in it. The released systems take srm's.
        opening: answer the text ``Opening`` with a first message made from memories.
        remember, remember_own: write memories from the user's turns, from the bot's replies.
        own_words: where the model's memory rests on a sentence of the speaker, keep that sentence.
        verbatim: a memory that a model trained on the modules did not quote word for word is
            dropped; off, its wording is used as it is.
        documents: how many documents to ask of the search.
        append_to_query: text appended to every query.
        window: most turns of the conversation that modules look at.
        thresholds: log-odds that a decision (sdm, mdm) must exceed to count as yes.
        sampling: parameters by tag.
        style: manner of the reply; not empty: replies are made by grm.
        module_deadline_s, find_deadline_s, turn_deadline_s: seconds for one module's answer,
            for all that goes before the reply, and to the end of the reply.
    """

    search: Choice = "compute"
    memory: Choice = "compute"
    entity: Choice = "compute"
    conditioning: Conditioning = "combined"
    combined_response: str = ""
    opening: bool = True
    remember: bool = True
    remember_own: bool = True
    own_words: bool = False
    verbatim: bool = True
    documents: int = 5
    append_to_query: str = ""
    window: int = 64
    thresholds: Mapping[str, float] = field(default_factory=dict)
    sampling: Mapping[str, Sampling] = field(default_factory=lambda: family("chat"))
    style: str = ""
    module_deadline_s: float = 60.0
    find_deadline_s: float = 90.0
    turn_deadline_s: float = 180.0

    @classmethod
    def restored(cls, data: Mapping[str, Any], base: Pipeline) -> Pipeline:
        """The pipeline of a trace, from its plain data; what is not there is as in ``base``."""
        known = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        sampling = {
            tag: Sampling(**values | {"stop": tuple(values.get("stop", ()))})
            for tag, values in data.get("sampling", {}).items()
        }
        return replace(base, **known | {"sampling": {**base.sampling, **sampling}})

    def data(self) -> dict[str, Any]:
        """As plain data, for traces."""
        return asdict(self) | {
            "sampling": {tag: asdict(sampling) for tag, sampling in self.sampling.items()},
            "thresholds": dict(self.thresholds),
        }
