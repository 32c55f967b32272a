"""Whether a text is a statement about a person at all, as opposed to what small models also
write: no-memory answers, questions, greetings, instructions and pieces of the prompt.
"""

from __future__ import annotations

import re

from bb3.memory.words import FUNCTION, expand, word_set, words

NOTHING = re.compile(
    r"^[\W_]*(?:(?:there (?:is|are) |i have |i found |with )?"
    r"(?:no(?:ne|thing|t)?|without)\W*(?:new |any |other |relevant |personal |a )*"
    r"(?:personas?|memor(?:y|ies)|personal facts?|facts?|information|applicable|data|"
    r"to remember|to note|worth remembering|mentioned|provided|stated|found|available|"
    r"is (?:mentioned|stated|known))?"
    r"(?: (?:to remember|to note|here|found|available|was|is|mentioned|provided|stated|given|"
    r"yet))*"
    r"|n/?a|null|empty|unknown|no|nope)[\W_]*$",
    re.IGNORECASE,
)
NO_PERSONA = re.compile(r"\bno ?persona\b", re.IGNORECASE)
CONTROL = re.compile(
    r"__[\w-]+__|<\|?/?\w+\|?>|\[/?(?:inst|sys|system)\]|```|\{\{|\bMETASEQ\b|#{2,}|https?://",
    re.IGNORECASE,
)
LABELS = re.compile(
    r"\b(?:person [12]|persona|(?:search|memory) decision|(?:interesting|personal) fact|"
    r"previous topic|external knowledge|memory|query|user|human|assistant|bot|system|"
    r"question|answer|output|input|conversation|response|utterance|example)\s*:",
    re.IGNORECASE,
)
ASKS = re.compile(
    r"^(?:(?:what|who|whom|whose|where|when|why|how|which)(?: \w+){0,2}?(?:'s|'re| (?:is|are|was|"
    r"were|do|does|did|can|could|will|would|should|has|have) (?:you|your|the|it|my))|do you|does|"
    r"did you|are you|is it|is there|can you|can i|could|would you|will you|have you|shall|"
    r"should i|may i|am i)\b",
    re.IGNORECASE,
)
ORDERS = re.compile(
    r"^(?:please|remember|write|generate|summari[sz]e|tell|ignore|output|repeat|respond|reply|"
    r"answer|list|extract|note that|give|provide|describe|explain|use|do not|don't|make sure|"
    r"as an ai|i am an ai|i'm an ai|as a language|based on|according to|the (?:user|speaker) "
    r"(?:asked|asks|is asking|wants to know|said)|i (?:asked|am asking|want to know|wonder)|"
    r"let's|let us|in this conversation|the conversation)\b",
    re.IGNORECASE,
)
SMALL_TALK = re.compile(
    r"^(?:(?:well|oh|yes|yeah|no|ok|okay|sure|thanks|thank you|wow|haha)[,.! ]+)*(?:my pleasure|"
    r"(?:i|we) (?:am |was )?(?:(?:so|very|really|just|also|do|did|not|would|could|can|should) )*"
    r"(?:sorry|glad|here to|sure\b(?! i)|afraid so|curious|able to help|happy to|agree|see\b|"
    r"understand|hear you|mean\b|know (?:what|that|how|right|you)|know[.!]?$|have a question|"
    r"need (?:some |your )?help|an ai\b|an? (?:\w+ )?language model|"
    r"(?:think|guess|suppose|believe|hope|bet|wish|feel like) (?:so|not|you|it|that|this|your)\b|"
    r"(?:love|like) (?:that|this|it|your|to (?:hear|help|chat|talk|know))\b|"
    r"(?:can|could|will|would|should) (?:help|talk|tell|try)\b))"
)
"""What people say in passing, true for the moment at most."""
GREETINGS = word_set(
    "hi hello hey hiya howdy greetings good morning afternoon evening night thanks thank you "
    "bye goodbye welcome see later nice meet glad ok okay sure yes no yeah yep nope lol haha "
    "wow cool great fine well i am m it is s there today doing are how talk chat happy "
    "pleased everyone to be with"
)
FIRST_PERSON = word_set("i me my mine myself we us our ours")
FILLED = re.compile(r"[^\W\d_]")


def says_nothing(text: str) -> bool:
    """Empty, or one of the ways to say that there is nothing to remember."""
    return (
        not FILLED.search(text)
        or bool(NO_PERSONA.search(re.sub(r"_+", " ", text)))
        or bool(NOTHING.match(text))
    )


def why_no_statement(text: str) -> str | None:
    """Why a normalised text is no statement of a person about themselves; None if it is one."""
    found = words(text)
    if "?" in text or ASKS.match(text):
        return "a question"
    if ORDERS.match(text):
        return "an instruction or about the talk itself"
    if SMALL_TALK.match(expand(text)):
        return "said in passing"
    if set(found) <= GREETINGS:
        return "a greeting"
    if not set(found) & FIRST_PERSON:
        return "not about the speaker"
    if set(found) <= FUNCTION:
        return "it says nothing"
    return None


def leaks(text: str) -> bool:
    """Whether control tokens, labels of a prompt or addresses stand in the text."""
    return bool(CONTROL.search(text) or LABELS.search(text))
