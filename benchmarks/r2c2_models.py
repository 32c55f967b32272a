"""What the R2C2 benchmarks share: a random network of a given shape, and a conversation.

Shape, plan and caps are those the reference was measured with: 102M parameters, six turns, search
and memory in some of them, and a cap on every module's answer. A random network never ends an
answer by itself, so each runs to its cap; what it says is replaced by texts that follow from what
was asked, so that every run reads the same, whatever else is answered meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from bb3.core.ports import GenerationRequest, GenerationResult, Prompt, Sampling, ScoreResult
from bb3.core.types import Document
from bb3.lm.r2c2 import R2C2Model
from bb3.modules.sampling import family
from bb3.nets.r2c2 import R2C2Config, R2C2ForConditionalGeneration
from bb3.nets.tokenizer import SPECIAL_TOKENS, build_tokenizer, byte_alphabet, save_tokenizer

MEDIUM = {"d_model": 640, "ffn": 2560, "heads": 10, "layers": 6}  # 102M parameters
TRUE_3B = {"d_model": 2048, "ffn": 8192, "heads": 32, "layers": 22}
VOCABULARY = 50264
PLAN = ((0, 0), (0, 0), (1, 0), (0, 1), (1, 1), (0, 0))  # search, memory
CAPS = {"sdm": 8, "mdm": 8, "sgm": 8, "mgm": 24, "ckm": 8, "skm": 32, "mkm": 24}
REPLY_CAP = 32
THINGS = (
    "bridge garden violin kettle harbour lantern orchard compass blanket rocket teapot meadow "
    "puzzle ladder mirror saddle candle button anchor helmet basket pillow hammer needle"
).split()
MESSAGES = (
    "hello there , how are you doing on this fine day ?",
    "i really love to play the violin in the garden .",
    "can you tell me something about the harbour of my town ?",
    "do you remember what i told you about my violin ?",
    "what is the most famous bridge , and do i like it ?",
    "that was interesting , thank you very much for it .",
)
KNOWN = ("I keep a saddle and a mirror at home.", "I would like to see a rocket one day.")
DOCUMENTS = tuple(
    Document(
        title=f"{thing} page",
        text=" ".join(
            f"This is sentence {n} of the page about the {thing} , its {other} and its maker ."
            for n, other in enumerate(THINGS[:9])
        ),
        url=f"http://example.org/{thing}",
    )
    for thing in THINGS[:5]
)


def caps() -> dict[str, Sampling]:
    """The released parameters with the plan's caps, in which the end token counts."""
    found = {}
    for tag, sampling in family("r2c2").items():
        most = CAPS.get(tag, REPLY_CAP) - 1
        found[tag] = replace(sampling, max_tokens=most, min_tokens=min(sampling.min_tokens, most))
    return found


def write_network(folder: Path, shape: Mapping[str, int] = MEDIUM, dtype: str = "float32") -> Path:
    """A network of random weights and a tokenizer whose words are those of the conversation."""
    torch.manual_seed(1)
    config = R2C2Config(
        vocab_size=VOCABULARY,
        d_model=shape["d_model"],
        encoder_layers=shape["layers"],
        decoder_layers=shape["layers"],
        encoder_ffn_dim=shape["ffn"],
        decoder_ffn_dim=shape["ffn"],
        encoder_attention_heads=shape["heads"],
        decoder_attention_heads=shape["heads"],
    )
    default = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        R2C2ForConditionalGeneration(config).save_pretrained(folder)
    finally:
        torch.set_default_dtype(default)
    save_tokenizer(_tokenizer(), folder, max_length=1024)
    return folder


def _tokenizer() -> Tokenizer:
    lines = [*MESSAGES, *KNOWN, *(document.text for document in DOCUMENTS)]
    lines += [reply(n) for n in range(len(THINGS))] + [memory(n) for n in range(len(THINGS))]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=8000, initial_alphabet=byte_alphabet(), show_progress=False
    )
    learner.train_from_iterator([line for text in lines for line in (text, f"x\n{text}")], trainer)
    learnt = sorted(learner.get_vocab().items(), key=lambda item: item[1])
    alphabet = byte_alphabet()
    merged = [piece for piece, _ in learnt if piece not in alphabet]
    pieces = [*SPECIAL_TOKENS, *alphabet, *merged]
    padding = [f"__FP16_PAD_{n}__" for n in range(VOCABULARY - len(pieces))]
    return build_tokenizer([*pieces, *padding])


def reply(number: int) -> str:
    """A reply of some 25 words, unlike all others."""
    one, two, three = (THINGS[(number * step + step) % len(THINGS)] for step in (1, 3, 5))
    return (
        f"i did not know that about the {one} , but i have always wanted to see a {two} next to "
        f"a {three} in room {number} . what would you like to talk about now ?"
    )


def memory(number: int) -> str:
    """A memory unlike all others."""
    return f"I have a {THINGS[number % len(THINGS)]} in room {number} of my house."


@dataclass
class Planned:
    """A model that takes the time it takes and says what was planned.

    Attributes:
        search, memory: what is to be decided on this turn.
    """

    model: R2C2Model
    search: bool = False
    memory: bool = False

    dialect = "r2c2"
    can_score = True
    unsupported: frozenset[str] = frozenset()
    name = "planned"

    @property
    def context_tokens(self) -> int:
        return self.model.context_tokens

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        results = await self.model.generate(requests)
        return [
            replace(result, text=self._text(request))
            for request, result in zip(requests, results, strict=True)
        ]

    async def stream(
        self, request: GenerationRequest
    ) -> AsyncGenerator[str | GenerationResult, None]:
        async for piece in self.model.stream(request):
            if isinstance(piece, GenerationResult):
                text = self._text(request)
                yield text
                yield replace(piece, text=text)

    async def score(self, request: GenerationRequest, continuations: Sequence[str]) -> ScoreResult:
        result = await self.model.score(request, continuations)
        yes = {"sdm": self.search, "mdm": self.memory}[request.module]
        return replace(result, logprobs=(0.0, -1.0) if yes else (-1.0, 0.0))

    async def count_tokens(self, prompt: Prompt) -> int:
        return await self.model.count_tokens(prompt)

    async def aclose(self) -> None:
        await self.model.aclose()

    def _text(self, request: GenerationRequest) -> str:
        number = crc32(f"{request.module} {request.prompt.text}".encode()) % 100_000
        match request.module:
            case "mgm":
                return memory(number)
            case "mkm":
                return request.prompt.documents[0].removeprefix(" / ")
            case "skm":
                return DOCUMENTS[number % len(DOCUMENTS)].text[:150]
            case "ckm" | "sgm":
                return THINGS[number % len(THINGS)]
            case _:
                return reply(number)
