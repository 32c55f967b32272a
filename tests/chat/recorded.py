"""A scenario of the reference, served over loopback: its completions and its search results.

Requests are matched by turn and prompt, not by order, since independent modules run together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

PIZZA = ("Person 1 likes pizza the most.", "I like pizza the most.")
ANSWERS = (" do not search", " search", " do not access memory", " access memory")
SOURCE = ("alpha_presence_src", "alpha_frequency_src")


@dataclass
class Recorded:
    """The server's side of one scenario.

    Attributes:
        turn: the turn that is running.
        canned: what the bot said where the reference failed.
        matched: requests of ours that equal a recorded one, by turn.
        unexpected: requests of ours that equal none, with the reason.
        met: names of the knowing differences that occurred.
    """

    scenario: Mapping[str, Any]
    turn: int = 0
    canned: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    met: set[str] = field(default_factory=set)
    seen: list[set[int]] = field(default_factory=list)
    searches: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seen = [set() for _ in self.scenario["turns"]]
        self.searches = [[] for _ in self.scenario["turns"]]

    @property
    def requests(self) -> list[dict[str, Any]]:
        return self.scenario["turns"][self.turn]["requests"]

    def as_recorded(self, prompt: str) -> str:
        """Our prompt with the knowing differences undone."""
        for text in self.canned:
            if (line := f"Person 2: {text}\n") in prompt:
                self.met.add("canned-reply-kept")
                prompt = prompt.replace(line, "")
        theirs, ours = PIZZA
        if prompt.endswith("Memory Decision:") and ours in prompt:
            self.met.add("mdm-sees-all")
            only = f"Personal Fact: Person 1's Persona: {ours}\n"
            return prompt.replace(only, "").replace(f" {ours}\n", "\n")
        if (line := f"Person 1's Persona: {ours}") in prompt:
            self.met.add("first-person-memories")
            prompt = prompt.replace(line, theirs)
        first = prompt.split("\n", 1)[0].removeprefix("Person 1: ")
        if prompt.endswith("\nMemory:") and "Person 1" in first:
            self.met.add("own-turn-labelled")
            prompt = prompt.removeprefix("Person 1: ")
        return prompt

    # --- the servers ---------------------------------------------------------------------

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/completions", self.complete, methods=["POST"]),
                Route("/search", self.search, methods=["POST"]),
            ]
        )

    async def complete(self, request: Request) -> JSONResponse:
        body = await request.json()
        if body.get("echo"):
            return JSONResponse(self._score(body))
        prompt = self.as_recorded(body["prompt"])
        for index, recorded in enumerate(self.requests):
            if index not in self.seen[self.turn] and recorded["body"]["prompt"] == prompt:
                self.seen[self.turn].add(index)
                self._compare(body | {"prompt": prompt}, recorded["body"])
                return JSONResponse(recorded["response"])
        if self.scenario["scenario"] == "fail_dialogue" and prompt.endswith("\nPerson 2:"):
            self.met.add("plain-reply-before-canned")
            return JSONResponse({"error": {"message": "down"}})
        self.unexpected.append(f"turn {self.turn}: no request was recorded with {prompt!r}")
        return JSONResponse({"error": {"message": "not recorded"}})

    def _compare(self, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        separate = self.scenario["overrides"].get("knowledge_conditioning") == "separate"
        if separate and [theirs[name] for name in SOURCE] == [0.5, 0.5] != [
            ours[n] for n in SOURCE
        ]:
            self.met.add("separate-parameters")
            assert not any(ours[name] for name in SOURCE)
            ours = ours | dict.fromkeys(SOURCE, 0.5)
        if ours != theirs or list(ours) != list(theirs):
            self.unexpected.append(f"turn {self.turn}: {ours} is not {theirs}")

    def _score(self, body: dict[str, Any]) -> dict[str, Any]:
        """The recorded answer of a decision is likely, the other is not."""
        text = next(answer for answer in ANSWERS if body["prompt"].endswith(f":{answer}"))
        prompt = self.as_recorded(body["prompt"].removesuffix(text))
        for index, recorded in enumerate(self.requests):
            if recorded["body"]["prompt"] != prompt:
                continue
            self.seen[self.turn].add(index)
            if "choices" not in recorded["response"]:
                return recorded["response"]
            said = recorded["response"]["choices"][0]["text"]
            start = len(body["prompt"]) - len(text)
            logprobs = {
                "token_logprobs": [-1.0, -0.25 if text == said else -9.0],
                "text_offset": [0, start],
            }
            return {"choices": [{"text": body["prompt"], "logprobs": logprobs}]}
        self.unexpected.append(f"turn {self.turn}: nothing was recorded for {body['prompt']!r}")
        return {"error": {"message": "not recorded"}}

    async def search(self, request: Request) -> JSONResponse:
        form = {
            name: values[0] for name, values in parse_qs((await request.body()).decode()).items()
        }
        self.searches[self.turn].append(form["q"])
        for recorded in self.scenario["turns"][self.turn]["search_requests"]:
            if recorded["form"] == form:
                return JSONResponse({"response": recorded["response"]})
        self.unexpected.append(f"turn {self.turn}: no search was recorded for {form}")
        return JSONResponse({"response": []})
