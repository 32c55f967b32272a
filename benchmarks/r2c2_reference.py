"""The reference's way of doing the same work, for comparison: same weights, same inputs.

Modules run one after another through Transformers' ``generate``; every document is padded to the
longest row the model has, and there are at least five, blank ones among them; the memory written
from the bot's reply is retrieved for, over all memories; decisions are decoded.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from r2c2_models import CAPS, REPLY_CAP
from transformers.modeling_outputs import BaseModelOutput

from bb3.core.ports import Sampling
from bb3.core.types import ModuleCall, Trace
from bb3.modules.catalog import MODULES, Kind
from bb3.modules.dialects.r2c2 import memory_text
from bb3.nets.layout import SourceLayout
from bb3.nets.r2c2 import R2C2Config, R2C2ForConditionalGeneration
from bb3.nets.tokenizer import TextCodec

FEWEST_ROWS = 5
BLANK = " / "
ORDER = ("sdm", "mdm", "sgm", "mgm", "ckm", "skm", "mkm", "crm", "mrm", "srm", "vrm")


class Reference:
    """The same network, run as the reference runs it."""

    def __init__(self, folder: Path, sampling: dict[str, Sampling]) -> None:
        self._model = R2C2ForConditionalGeneration.from_pretrained(folder).eval()
        self._codec = TextCodec.load(folder)
        self._config: R2C2Config = self._model.config
        self._layout = SourceLayout(self._codec, self._config)
        self._sampling = sampling

    def replay(self, trace: Trace) -> Iterator[tuple[str, float]]:
        """Each call of a recorded turn once more: module and seconds, in the reference's order;
        the memory of the bot's own reply, ``mgm_self``, comes last.
        """
        said = f"{trace.reply.text} " if trace.reply else "?"
        own = [c for c in trace.calls if c.module == "mgm" and c.prompt.startswith(said)]
        others = [c for c in trace.calls if c not in own]
        if not any(call.module == "mdm" for call in others):
            raise ValueError("the conversation has memories from its beginning")
        for call in sorted(others, key=lambda call: ORDER.index(call.module)):
            yield call.module, self._time(call, call.documents)
        memories = tuple(memory_text(memory) for memory in trace.memories)
        for call in own:
            yield "mgm_self", self._time(call, memories or (BLANK,))

    @torch.inference_mode()
    def _time(self, call: ModuleCall, documents: tuple[str, ...]) -> float:
        began = time.perf_counter()
        context = self._layout.context(call.prompt)
        rows = [self._layout.document(document, context) for document in documents]
        if rows:
            blank = self._layout.document(BLANK, context)
            rows += [blank] * (FEWEST_ROWS - len(rows))
            states, mask = self._fused(rows)
        else:
            ids = torch.tensor([context])
            states = self._model.model.encoder(ids).last_hidden_state
            mask = torch.ones_like(ids)
        self._generate(states, mask, call.module)
        return time.perf_counter() - began

    def _fused(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """(1, R * longest, D) and its mask: every row as long as the model's longest."""
        length = self._config.source_length
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
        mask = (ids != 0).long()
        states = self._model.model.encoder(ids, attention_mask=mask).last_hidden_state
        return states.flatten(0, 1)[None], mask.flatten()[None]

    def _generate(self, states: torch.Tensor, mask: torch.Tensor, module: str) -> None:
        sampling = self._sampling[module]
        cap = CAPS.get(module, REPLY_CAP)
        decided = MODULES[module].kind is Kind.DECISION
        self._model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask,
            decoder_input_ids=torch.tensor([list(self._config.decoder_prefix)]),
            do_sample=False,
            num_beams=sampling.beam_size,
            length_penalty=sampling.length_penalty,
            min_new_tokens=cap if not decided else None,
            max_new_tokens=cap,
            no_repeat_ngram_size=sampling.block_ngram,
            max_length=None,
        )


def totals(timed: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Seconds by module."""
    found: dict[str, float] = {}
    for module, seconds in timed:
        found[module] = found.get(module, 0.0) + seconds
    return found
