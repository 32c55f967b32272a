"""Attributes of a person that have one value at a time, read off a statement by patterns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bb3.memory.words import NUMBERS, SPELLINGS, expand, stem, word_set

NOW = r"(?:(?:now|currently|just|recently|have|had|finally|actually|still|then|also) )*"
STOPS = (
    r" and | but | with | because | since | where | near | for | from | after | now\b|"
    r" these days|[.,;!]|$"
)
END = rf"(?={STOPS})"
END_JOB = rf"(?= at | in |{STOPS})"
BEST = r"(?:all[- ]time |absolute |current |new )?favorite"
OWN = (
    "wife|husband|spouse|mother|mom|father|dad|boyfriend|girlfriend|fiancee?|partner|boss|"
    "dog|cat|puppy|kitten|horse|parrot|hamster|rabbit|bird|pet|turtle|snake|pony|car|boat"
)
"""Of these a person mostly has one; brothers and friends are several."""

MOVED = re.compile(rf"^i {NOW}(?:moved|relocated) ")
NO_PLACE = re.compile(r"^(?:a|an|the|my|our|this|that|some|his|her|their|one|two|another|town)\b")
NO_EMPLOYER = re.compile(
    r"^(?:night|home|day|weekends?|the weekend|least|my|myself|him|her|them)\b"
)
ONE_OF_SEVERAL = re.compile(
    r"\b(?:also|second|another|other|part[- ]time|on the side|two|both|too)\b"
)
JOBLESS = re.compile(
    rf"^i {NOW}(?:quit my job|lost my job|left my job|got fired|was fired|retired|am retired|"
    r"am unemployed|am out of work|do not work(?: any ?more)?$|no longer work$|stopped working$)"
)
OCCUPATIONS = word_set(
    "accountant actor actress analyst architect artist attorney author baker banker barber "
    "barista bartender biologist bookkeeper builder butcher carpenter cashier chef chemist "
    "cleaner coach consultant contractor cook dentist designer developer dietitian doctor "
    "driver economist editor electrician engineer farmer firefighter fisherman gardener "
    "geologist guard hairdresser historian housewife illustrator inspector janitor journalist "
    "judge lawyer lecturer librarian lifeguard manager mechanic midwife model musician nanny "
    "nurse optician paralegal paramedic pharmacist photographer physicist physiotherapist "
    "pilot plumber policeman policewoman postman principal producer professor programmer "
    "psychiatrist psychologist realtor receptionist reporter researcher sailor salesman "
    "salesperson saleswoman scientist secretary singer soldier surgeon surveyor tailor "
    "teacher therapist translator tutor vet veterinarian waiter waitress welder writer "
    "student"
)

SKILLED = word_set("good great bad terrible better decent amazing avid natural born big huge")
"""A good cook need not be a cook."""


def _table(*rows: tuple[str, str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((key, re.compile(pattern)) for key, pattern in rows)


PATTERNS = _table(
    (
        "home",
        (
            rf"^i {NOW}(?:(?:moved|relocated) (?:from .+? )?(?:back |over |out )?to|"
            r"(?:am )?liv(?:e|ing)(?: now| currently)? (?:in|at)|reside in|"
            rf"(?:am )?(?:based|located) in) (?P<value>.+?){END}"
        ),
    ),
    (
        "age",
        (
            rf"^i {NOW}(?:am|turned|became) (?P<value>\d{{1,3}}|[a-z]+(?:[- ][a-z]+)?)"
            r"(?: years? old| years? of age| yo|"
            r"(?: now| today| this year| last \w+| yesterday)*[.!]?$)"
        ),
    ),
    ("name", rf"^my (?:first |full |real )?name is (?P<value>.+?){END}"),
    ("name", rf"^i (?:am called|go by) (?P<value>.+?){END}"),
    ("nickname", rf"^(?:my nickname is|(?:my )?friends call me) (?P<value>.+?){END}"),
    ("birthday", rf"^my birthday is (?:on |in )?(?P<value>.+?){END}"),
    ("birth year", r"^i was born in (?P<value>\d{4})\b"),
    ("height", r"^i am (?P<value>\d.*?) tall\b"),
    ("weight", rf"^i {NOW}weigh (?P<value>\d+)\b"),
    ("employer", rf"^i {NOW}(?:am )?(?:work|working) (?:at|for) (?P<value>.+?){END}"),
    (
        "diet",
        (
            rf"^i {NOW}(?:am|became|turned) (?:an? )?"
            r"(?P<value>vegan|vegetarian|pescatarian|carnivore|omnivore)\b"
        ),
    ),
    (
        "job",
        (
            rf"^i {NOW}(?:am )?(?:work|working|started(?: working)?|got a job|employed) as "
            r"(?:an? )?"
            rf"(?P<value>.+?){END_JOB}"
        ),
    ),
    (
        "job",
        (
            r"^my (?:new |current )?(?:job|profession|occupation) is (?:an? |as )?"
            rf"(?P<value>.+?){END}"
        ),
    ),
    (
        "occupation",
        rf"^i {NOW}(?:am|became) (?:an? )(?P<value>(?:\w+ ){{0,2}}?\w+){END_JOB}",
    ),
    (
        "favourite {what}",
        rf"^my {BEST} (?P<what>.+?) (?:of all time )?(?:is|are) (?:the )?(?P<value>.+?){END}",
    ),
    (
        "favourite {what}",
        rf"^(?P<value>[^,;]+?) (?:is|are) my {BEST} (?P<what>.+?){END}",
    ),
    (
        "name of {what}",
        (
            rf"^my (?P<what>{OWN})(?: is (?:called|named)|'s name is|s name is| name is) "
            rf"(?P<value>.+?){END}"
        ),
    ),
    ("name of {what}", rf"^the name of my (?P<what>{OWN}) is (?P<value>.+?){END}"),
    (
        "one {what}",
        (
            rf"^i {NOW}(?:have|own|got) an? (?:\w+ )?(?P<what>{OWN}) (?:called|named) "
            rf"(?P<value>.+?){END}"
        ),
    ),
    (
        "number of {what}",
        (
            rf"^i {NOW}have (?P<value>\d+|{'|'.join(NUMBERS)}) (?:\w+ )?"
            r"(?P<what>\w+s|\w*children|people|mice)(?=[ .,!]|$)"
        ),
    ),
)
WEDLOCK = _table(
    ("married", rf"^i {NOW}(?:(?:am |got |have been )+(?:happily |re)?married\b|married )"),
    ("engaged", rf"^i {NOW}(?:am|got) engaged\b(?! in)"),
    ("divorced", rf"^i {NOW}(?:am |got )?(?:a )?divorced?\b"),
    ("widowed", rf"^i {NOW}am (?:a )?widow(?:ed|er)?\b"),
    ("single", rf"^i {NOW}(?:am single|am not married|never got married|broke up)\b"),
    ("a couple", rf"^i {NOW}am (?:in a (?:new )?relationship|dating|seeing someone)\b"),
)


@dataclass(frozen=True, slots=True)
class Attribute:
    """A property that has one value at a time. ``firm``: it may replace another value; not so
    "I have a dog called Rex", for there may be two dogs.
    """

    key: str
    value: str
    firm: bool = True


def attributes(text: str) -> Iterator[Attribute]:
    """The attributes that a statement in the first person gives a value."""
    said = plain(text)
    for state, pattern in WEDLOCK:
        if pattern.match(said):
            yield Attribute("wedlock", state)
            break
    if JOBLESS.match(said):
        yield Attribute("job", "jobless")
        yield Attribute("employer", "jobless")
    for key, pattern in PATTERNS:
        if (found := pattern.match(said)) and (attribute := _read(key, found, said)):
            yield attribute


def plain(text: str) -> str:
    """Lower case, contractions written out, "we" as "I", British spelling as American."""
    said = re.sub(r"^we (are )?", lambda we: "i am " if we[1] else "i ", expand(text))
    return " ".join(SPELLINGS.get(word, word) for word in said.split())


def _read(key: str, found: re.Match[str], said: str) -> Attribute | None:
    value = " ".join(w.strip("'\"()").removesuffix("'s") for w in found["value"].split())
    if "{what}" in key:
        what = " ".join(sorted(stem(word) for word in found["what"].split()))
        if key == "one {what}":
            return Attribute(f"name of {what}", value, firm=False)
        return Attribute(key.format(what=what), NUMBERS.get(value, value))
    if key == "age":
        years = _years(value)
        return Attribute(key, years) if years else None
    if key == "home" and NO_PLACE.match(value):
        return None
    if key == "employer" and NO_EMPLOYER.match(value):
        return None
    if key in ("job", "occupation", "employer") and ONE_OF_SEVERAL.search(said):
        return None
    if key == "occupation":
        *qualities, trade = value.split()
        if trade not in OCCUPATIONS or SKILLED & set(qualities):
            return None
        return Attribute("job", value)
    return Attribute(key, value) if value else None


def _years(text: str) -> str:
    values = [NUMBERS.get(part, part) for part in re.split(r"[- ]", text)]
    if not all(value.isdigit() for value in values):
        return ""
    total = sum(int(value) for value in values)
    return str(total) if 0 < total < 130 else ""
