"""Where we knowingly differ from the recorded reference; docs/dialects.md gives the same list.

Each has a name and a reason; ``Recorded`` (recorded.py) notes which of them it met, and the test
fails when one that is listed never occurs, so that the list stays true.
"""

from __future__ import annotations

DIFFERENCES = {
    "no-memory-no-decision": "mdm is not asked when there is no memory to decide about.",
    "one-try": "An answer that reports an error is not asked for a second time at once; only "
    "servers that are busy or away are, with pauses and under a deadline.",
    "plain-reply-before-canned": "When the reply with knowledge fails, one without is tried.",
    "canned-reply-kept": "A reply that could not be made is a canned one that the user sees, so "
    "it stays in the conversation; the reference shows its failure text and forgets it.",
    "memories-survive-failure": "A memory of the user's turn is kept although the reply failed.",
    "first-person-memories": "Memories are kept as their speaker would say them, so that every "
    "model can share them: 'Person 1 likes pizza' becomes 'I like pizza'.",
    "mdm-sees-all": "The reference's mdm forgets memories that begin with a speaker's name.",
    "own-turn-labelled": "The reference's mgm loses the speaker of a reply in which 'Person 1' "
    "or 'Person 2' stands.",
    "bare-opening": "An opening without memories asks for a plain reply only: there is nothing "
    "to decide about, to look for or to remember in an empty conversation.",
    "separate-parameters": "Separate replies are decoded with the parameters of their own "
    "modules, which the presets give but the reference never uses.",
    "duplicate-survives": "The reference ends with an assertion when a memory comes twice.",
}
