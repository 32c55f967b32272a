"""The 14 modules of BlenderBot 3, one row each.

Source: Shuster et al. 2022 (arXiv:2208.03188), section 3.2; tags, tokens, labels and prompt
limits as in the released 3B (R2C2) and 30B/175B (OPT) systems.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """What a module's answer is for."""

    DECISION = "decision"
    QUERY = "query"
    MEMORY = "memory"
    KNOWLEDGE = "knowledge"
    RESPONSE = "response"


class Sight(StrEnum):
    """How much of the conversation a module looks at."""

    LAST_TURN = "last turn"
    CONVERSATION = "conversation"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One row of the catalogue.

    Attributes:
        tag: three letters: in settings, traces, metrics and file names.
        r2c2_token: control token that asks an R2C2 model for this module; empty for responses.
        opt_label: last line of the prompt for an OPT model, without its colon.
        opt_limit: most tokens of the OPT prompt; the oldest lines are dropped above it.
        r2c2_answers, opt_answers: (yes, no) of a decision; (nothing,) of the memory generator.
        response: for a knowledge module, the tag of the response made from its answer.
        knowledge: for a response, the tag of the knowledge module that feeds it.
        r2c2_wrap: tokens around this knowledge in the input of a response.
    """

    tag: str
    name: str
    kind: Kind
    sight: Sight
    memories: bool = False
    documents: bool = False
    r2c2_token: str = ""
    opt_label: str = "Person 2"
    opt_limit: int = 1912
    r2c2_answers: tuple[str, ...] = ()
    opt_answers: tuple[str, ...] = ()
    response: str = ""
    knowledge: str = ""
    r2c2_wrap: tuple[str, str] = ("", "")


_ROWS = (
    Module(
        tag="sdm",
        name="search decision",
        kind=Kind.DECISION,
        sight=Sight.LAST_TURN,
        r2c2_token="__is-search-required__",
        r2c2_answers=("__do-search__", "__do-not-search__"),
        opt_label="Search Decision",
        opt_answers=("search", "do not search"),
    ),
    Module(
        tag="mdm",
        name="memory decision",
        kind=Kind.DECISION,
        sight=Sight.LAST_TURN,
        memories=True,
        r2c2_token="__is-memory-required__",
        r2c2_answers=("__do-access-memory__", "__do-not-access-memory__"),
        opt_label="Memory Decision",
        opt_answers=("access memory", "do not access memory"),
    ),
    Module(
        tag="sgm",
        name="search query",
        kind=Kind.QUERY,
        sight=Sight.CONVERSATION,
        r2c2_token="__generate-query__",
        opt_label="Query",
    ),
    Module(
        tag="mgm",
        name="memory generator",
        kind=Kind.MEMORY,
        sight=Sight.LAST_TURN,
        r2c2_token="__generate-memory__",
        r2c2_answers=("__NOPERSONA__", "__NO__PERSONA__BEAM__MIN__LEN__20__"),
        opt_label="Memory",
        opt_answers=("no persona",),
    ),
    Module(
        tag="ckm",
        name="contextual knowledge",
        kind=Kind.KNOWLEDGE,
        sight=Sight.CONVERSATION,
        r2c2_token="__extract-entity__",
        opt_label="Previous Topic",
        opt_limit=1812,
        response="crm",
        r2c2_wrap=("__entity__", "__endentity__"),
    ),
    Module(
        tag="mkm",
        name="memory knowledge",
        kind=Kind.KNOWLEDGE,
        sight=Sight.CONVERSATION,
        memories=True,
        r2c2_token="__access-memory__",
        opt_label="Personal Fact",
        opt_limit=1412,
        response="mrm",
        r2c2_wrap=("__memory__", "__endmemory__"),
    ),
    Module(
        tag="skm",
        name="search knowledge",
        kind=Kind.KNOWLEDGE,
        sight=Sight.CONVERSATION,
        documents=True,
        r2c2_token="__generate-knowledge__",
        opt_label="Interesting Fact",
        opt_limit=1412,
        response="srm",
        r2c2_wrap=("__knowledge__", "__endknowledge__"),
    ),
    Module(
        tag="crm",
        name="contextual response",
        kind=Kind.RESPONSE,
        sight=Sight.CONVERSATION,
        opt_limit=1880,
        knowledge="ckm",
    ),
    Module(
        tag="mrm",
        name="memory response",
        kind=Kind.RESPONSE,
        sight=Sight.CONVERSATION,
        opt_limit=1848,
        knowledge="mkm",
    ),
    Module(
        tag="srm",
        name="search response",
        kind=Kind.RESPONSE,
        sight=Sight.CONVERSATION,
        opt_limit=1784,
        knowledge="skm",
    ),
    Module(
        tag="vrm",
        name="vanilla response",
        kind=Kind.RESPONSE,
        sight=Sight.CONVERSATION,
    ),
    Module(
        tag="grm",
        name="grounded (style) response",
        kind=Kind.RESPONSE,
        sight=Sight.CONVERSATION,
        opt_limit=1880,
        r2c2_wrap=("__style__", "__end-style__"),
    ),
    Module(
        tag="orm",
        name="opening response",
        kind=Kind.RESPONSE,
        sight=Sight.NOTHING,
        memories=True,
        opt_label="Opening",
        opt_limit=1412,
    ),
    Module(
        tag="brm",
        name="bot response",
        kind=Kind.RESPONSE,
        sight=Sight.CONVERSATION,
    ),
)

MODULES = MappingProxyType({row.tag: row for row in _ROWS})
"""All modules by tag, in the order of the catalogue."""

KNOWLEDGE_ORDER = ("ckm", "mkm", "skm")
"""The order in which several kinds of knowledge stand in one prompt."""
