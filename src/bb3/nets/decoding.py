"""Batched decoding: greedy, beam, nucleus, top-k and factual nucleus in one loop.

The rules are ParlAI's (REFERENCE section 13), so that greedy and beam results are the same
token by token: the minimum length keeps the end token away; n-grams are blocked within an
answer (its start token included) and against a context; a hypothesis that ends is set aside and
the beam goes on without it; an input is done when its best beam has ended and as many
hypotheses as beams are finished; scores are divided by ((1 + length) / 6) ^ penalty, with start
and end token counted; an answer that reaches its last step gives that step to the end token.

Each input has its own settings; only beam size and whether to sample must be shared, so
``decode`` groups by those. An input that is done leaves the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.models.blenderbot.modeling_blenderbot import (
    BlenderbotForConditionalGeneration,
)

from bb3.nets.constraints import NEVER, ban_ngrams, penalise
from bb3.nets.incremental import IncrementalDecoder
from bb3.nets.r2c2 import end_token
from bb3.nets.sampling import Sampler


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one answer is decoded. ``beam_size`` 1 without ``sample`` is greedy.

    Attributes:
        max_steps: most tokens, the end token counted.
        min_tokens: fewest tokens, the end token not counted.
        sample: draw from the distribution; ``top_p`` and ``top_k`` (0: off) cut it.
        lambda_decay, omega_bound: factual nucleus (arXiv:2206.04624), off at decay 1: top-p is
            ``max(omega_bound, top_p * lambda_decay ** (k - 1))`` at the k-th token since the
            last of ``full_stops``.
        presence_penalty, frequency_penalty: over the answer so far; ``source_*`` over ``source``.
        seed: of the sampler; None: not repeatable.
    """

    beam_size: int = 1
    max_steps: int = 128
    min_tokens: int = 0
    length_penalty: float = 0.65
    block_ngram: int = 0
    block_context_ngram: int = 0
    temperature: float = 1.0
    sample: bool = False
    top_p: float = 1.0
    top_k: int = 0
    lambda_decay: float = 1.0
    omega_bound: float = 0.0
    full_stops: tuple[int, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    source_presence_penalty: float = 0.0
    source_frequency_penalty: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.sample and self.beam_size != 1:
            raise ValueError(f"sampling decodes one beam, not {self.beam_size}")
        if min(self.beam_size, self.max_steps) < 1 or self.temperature <= 0:
            raise ValueError(f"beam_size, max_steps and temperature must be positive: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One input to decode an answer for.

    Attributes:
        encoded: (S, D), the encoder's output.
        context: ids whose n-grams ``block_context_ngram`` keeps out of the answer.
        source: ids that the source penalties count.
    """

    encoded: Tensor
    settings: Settings
    context: Sequence[int] = ()
    source: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """An answer. ``tokens`` without start and end; ``logprob`` is the sum over its tokens,
    natural log; ``score`` the same divided by the length penalty; ``ended`` by its end token.
    """

    tokens: tuple[int, ...]
    logprob: float
    score: float
    ended: bool


def decode(
    model: BlenderbotForConditionalGeneration, asks: Sequence[Ask]
) -> list[list[Hypothesis]]:
    """Answers of each input, best first."""
    groups: dict[tuple[int, bool], list[int]] = {}
    for index, ask in enumerate(asks):
        groups.setdefault((ask.settings.beam_size, ask.settings.sample), []).append(index)
    answers: dict[int, list[Hypothesis]] = {}
    for members in groups.values():
        decoding = Decoding(model, [asks[index] for index in members])
        while decoding.step():
            pass
        answers.update(zip(members, decoding.answers(), strict=True))
    return [answers[index] for index in range(len(asks))]


@dataclass(slots=True)
class _Input:
    """What is known of one input while it is decoded."""

    settings: Settings
    finished: list[Hypothesis] = field(default_factory=list)
    best_ended: bool = False


class Decoding:
    """Inputs of one beam size on their way to their answers, a step at a time.

    Raises:
        ValueError: the settings differ in beam size or in ``sample``, there is no input, or an
            answer may be longer than the model has positions.
    """

    def __init__(self, model: BlenderbotForConditionalGeneration, asks: Sequence[Ask]) -> None:
        if len({(ask.settings.beam_size, ask.settings.sample) for ask in asks}) != 1:
            raise ValueError("inputs decoded together share beam_size and sample")
        config = model.config
        longest = max(ask.settings.max_steps for ask in asks)
        if longest >= config.max_position_embeddings:
            raise ValueError(f"max_steps {longest}: {config.max_position_embeddings} positions")
        self._device = asks[0].encoded.device
        self._dtype = asks[0].encoded.dtype
        self._end = end_token(config)
        self._prefix = list(getattr(config, "decoder_prefix", [config.decoder_start_token_id]))
        self._suppressed = list(getattr(config, "suppressed", ()))
        self._beams = asks[0].settings.beam_size
        self._inputs = [_Input(ask.settings) for ask in asks]
        self._live = list(range(len(asks)))
        self._rules = _Rules(asks, self._device)
        self._sampler = Sampler([ask.settings for ask in asks], self._device)
        self._steps = 0
        with torch.inference_mode():
            self._decoder = IncrementalDecoder(model, [ask.encoded for ask in asks])
        start = self._prefix[-1]
        self._history = torch.full((len(asks), 1, 1), start, device=self._device)
        self._scores = torch.zeros(len(asks), 1, device=self._device)
        self._mask: Tensor | None = None  # (B, K, N): 0 where a beam descends from a slot

    @torch.inference_mode()
    def step(self) -> bool:
        """Decode one more token of every input that is not done; False when all are."""
        if not self._live:
            return False
        logits = self._logits()
        values, parents, tokens = self._select(logits)
        self._steps += 1
        self._scores = values
        self._history = torch.cat([_pick(self._history, parents), tokens[:, :, None]], dim=2)
        if self._mask is not None:
            self._mask = _pick(self._mask, parents)
        self._settle(tokens.tolist(), values.tolist())
        return bool(self._live)

    def answers(self) -> list[list[Hypothesis]]:
        """Per input its finished hypotheses, best first; empty for one that is not done."""
        return [sorted(each.finished, key=lambda h: -h.score) for each in self._inputs]

    @property
    def live(self) -> tuple[int, ...]:
        """The inputs that are not done, by their number."""
        return tuple(self._live)

    def settled(self, index: int) -> tuple[int, ...]:
        """The beginning of an input's answer that no later step can change."""
        if index not in self._live:
            best = self.answers()[index]
            return best[0].tokens if best else ()
        beams = self._history[self._live.index(index), :, 1:].tolist()
        running = [beam for beam in beams if self._end not in beam]
        paths = [*running, *([*h.tokens, self._end] for h in self._inputs[index].finished)]
        agreed: list[int] = []
        for column in zip(*paths, strict=False):
            if len(set(column)) > 1 or column[0] == self._end:
                break
            agreed.append(column[0])
        return tuple(agreed)

    def cancel(self, index: int) -> None:
        """Decode no further for this input."""
        if index in self._live:
            self._keep([place for place, live in enumerate(self._live) if live != index])

    def _logits(self) -> Tensor:
        """(B, K, V) of the newest tokens; K is 1 at the first step."""
        if self._steps == 0:
            ids = torch.tensor(self._prefix, device=self._device)
            causal = torch.full((len(ids), len(ids)), -torch.inf, device=self._device)
            mask = causal.triu_(1).to(self._dtype)
            places = torch.arange(len(ids), device=self._device)
            rows = ids.expand(len(self._live), -1)
            return self._decoder.extend(rows, places, mask[None, None])[:, -1:]
        seen = self._descent()
        places = torch.tensor([len(self._prefix) + self._steps - 1], device=self._device)
        return self._decoder.extend(self._history[:, :, -1], places, seen)

    def _descent(self) -> Tensor | None:
        """(B, 1, K, N + K): which slots each beam sees; None when there is one beam."""
        if self._beams == 1:
            return None
        size = (len(self._live), self._beams)
        if self._mask is None:
            self._mask = torch.zeros(
                *size, self._decoder.slots, dtype=self._dtype, device=self._device
            )
        own = torch.full((self._beams, self._beams), -torch.inf, device=self._device)
        own = own.fill_diagonal_(0).to(self._dtype).expand(size[0], -1, -1)
        self._mask = torch.cat([self._mask, own], dim=2)
        return self._mask[:, None]

    def _select(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, parents and tokens of the next beams, each (B, K)."""
        logits = logits.float()
        if self._suppressed:
            logits[..., self._suppressed] = NEVER
        self._rules.adjust(logits, self._history)
        norm = logits.logsumexp(-1)
        self._rules.forbid(logits, self._history, self._steps, self._end)
        if self._inputs[self._live[0]].settings.sample:
            tokens = self._sampler.draw(logits[:, 0])[:, None]
            gain = logits.gather(2, tokens[:, :, None])[:, :, 0] - norm
            return self._scores + gain, torch.zeros_like(tokens), tokens
        if self._steps:
            ended = self._history[:, :, -1] == self._end
            self._scores = self._scores.masked_fill(ended, NEVER)
        values, tokens = logits.topk(self._beams, dim=-1)  # (B, K, K)
        values = (values - norm[:, :, None]) + self._scores[:, :, None]
        values, best = values.flatten(1).topk(self._beams)
        return values, best // self._beams, tokens.flatten(1).gather(1, best)

    def _settle(self, tokens: list[list[int]], values: list[list[float]]) -> None:
        """Set ended hypotheses aside, and inputs that are done."""
        going: list[int] = []
        for place, index in enumerate(self._live):
            state = self._inputs[index]
            for beam, token in enumerate(tokens[place]):
                if token == self._end and values[place][beam] > NEVER:
                    self._finish(state, place, beam, values[place][beam], ended=True)
            state.best_ended = state.best_ended or tokens[place][0] == self._end
            if state.best_ended and len(state.finished) >= self._beams:
                continue
            if self._steps < state.settings.max_steps:
                going.append(place)
            elif not state.finished:
                self._finish(state, place, 0, values[place][0], ended=False)
        self._keep(going)

    def _finish(self, state: _Input, place: int, beam: int, logprob: float, *, ended: bool) -> None:
        length = self._steps + 1  # the start token counts
        divisor = ((1 + length) / 6) ** state.settings.length_penalty
        ids = self._history[place, beam, 1:-1].tolist()
        state.finished.append(
            Hypothesis(tokens=tuple(ids), logprob=logprob, score=logprob / divisor, ended=ended)
        )

    def _keep(self, places: list[int]) -> None:
        """Go on with the inputs at these places of the batch."""
        if len(places) == len(self._live):
            return
        self._live = [self._live[place] for place in places]
        if not places:
            return
        kept = torch.tensor(places, device=self._device)
        self._decoder.keep(kept)
        self._rules.keep(kept)
        self._sampler.keep(places)
        self._history, self._scores = self._history[kept], self._scores[kept]
        if self._mask is not None:
            self._mask = self._mask[kept]


class _Rules:
    """The inputs' constraints as tensors over the batch."""

    def __init__(self, asks: Sequence[Ask], device: torch.device) -> None:
        settings = [ask.settings for ask in asks]
        self._columns = {
            name: torch.tensor([getattr(each, name) for each in settings], device=device)
            for name in (
                "min_tokens",
                "block_ngram",
                "block_context_ngram",
                "temperature",
                "presence_penalty",
                "frequency_penalty",
                "source_presence_penalty",
                "source_frequency_penalty",
            )
        }
        self._in_use = {name: {getattr(each, name) for each in settings} for name in self._columns}
        self._context = _padded([ask.context for ask in asks], device)
        self._source = _padded([ask.source for ask in asks], device)

    def keep(self, inputs: Tensor) -> None:
        self._columns = {name: column[inputs] for name, column in self._columns.items()}
        self._context, self._source = self._context[inputs], self._source[inputs]

    def adjust(self, logits: Tensor, history: Tensor) -> None:
        """Penalties and temperature: what changes the distribution."""
        for tokens, kind in ((history[:, :, 1:], ""), (self._source, "source_")):
            presence, frequency = f"{kind}presence_penalty", f"{kind}frequency_penalty"
            if self._in_use[presence] | self._in_use[frequency] != {0.0}:
                penalise(logits, tokens, self._columns[presence], self._columns[frequency])
        if self._in_use["temperature"] != {1.0}:
            logits /= self._columns["temperature"][:, None, None]

    def forbid(self, logits: Tensor, history: Tensor, steps: int, end: int) -> None:
        """Minimum length and n-grams: what may not come next."""
        if steps < max(self._in_use["min_tokens"]):
            early = steps < self._columns["min_tokens"]
            logits[..., end].masked_fill_(early[:, None], NEVER)
        for name, source in (("block_ngram", history), ("block_context_ngram", self._context)):
            for size in self._in_use[name]:
                if size > 0:
                    ban_ngrams(logits, history, source, size, self._columns[name] == size)


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """(B, 1, longest), filled up with -1."""
    tensors = [torch.tensor(list(row), dtype=torch.long) for row in rows]
    return pad_sequence(tensors, True, padding_value=-1)[:, None].to(device)


def _pick(states: Tensor, parents: Tensor) -> Tensor:
    """(B, K, X) rows of ``states`` by ``parents`` (B, K)."""
    return states.gather(1, parents[:, :, None].expand(-1, -1, states.shape[2]))
