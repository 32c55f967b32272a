from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    BlenderbotConfig,
    BlenderbotForConditionalGeneration,
)

from bb3.nets.decoding import Ask, Settings, decode
from bb3.nets.r2c2 import R2C2Config, R2C2ForConditionalGeneration, encode, fuse
from bb3.nets.tokenizer import TextCodec

SOURCES = [
    [[1, 5, 9, 30, 2, 2]],
    [[1, 7, 8, 2, 2], [1, 30, 31, 32, 33, 8, 2, 2], [1, 4, 4, 2, 2]],
]
LABELS = [[17, 4, 29, 2], [8, 2]]


def padded(rows: list[list[int]]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [0] * (width - len(row)) for row in rows])


def test_packed_encoding_equals_the_librarys_encoder(
    model: R2C2ForConditionalGeneration,
) -> None:
    found = encode(model, SOURCES)
    for rows, states in zip(SOURCES, found, strict=True):
        with torch.inference_mode():
            alone = [model.model.encoder(torch.tensor([row]))[0][0] for row in rows]
        torch.testing.assert_close(states, torch.cat(alone), atol=1e-5, rtol=1e-5)
    equal = encode(model, [[SOURCES[0][0], SOURCES[0][0]]])
    torch.testing.assert_close(equal[0], found[0].repeat(2, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("row", [[], [5] * 65])
def test_rows_that_cannot_be_encoded(model: R2C2ForConditionalGeneration, row: list[int]) -> None:
    with pytest.raises(ValueError, match="1 to 64 can be"):
        encode(model, [[[1, 2]], [row]])


def test_the_longest_row_and_answer_fit(model: R2C2ForConditionalGeneration) -> None:
    [states] = encode(model, [[[5] * 64]])
    ask = Ask(encoded=states, settings=Settings(max_steps=63, min_tokens=63))
    assert len(decode(model, [ask])[0][0].tokens) == 62


def test_fuse_joins_rows_and_leaves_padding_out() -> None:
    hidden = torch.arange(24.0).view(4, 3, 2)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0]])
    fused, seen = fuse(hidden, mask, torch.tensor([1, 3]))
    assert seen.tolist() == [[1, 1, 0, 0, 0, 0], [1] * 6]
    assert fused[0, :2].tolist() == hidden[0, :2].tolist()
    expected = torch.cat([hidden[1, :1], hidden[2], hidden[3, :2]])
    assert fused[1].tolist() == expected.tolist()


def test_inputs_with_and_without_documents_train_in_one_batch(
    model: R2C2ForConditionalGeneration,
) -> None:
    rows = [row for group in SOURCES for row in group]
    together = model(input_ids=padded(rows), labels=padded(LABELS), row_counts=torch.tensor([1, 3]))
    assert together.logits.shape == (2, 4, 41)
    losses: list[float] = []
    for number, (group, label) in enumerate(zip(SOURCES, LABELS, strict=True)):
        alone = model(
            input_ids=padded(group),
            labels=torch.tensor([label]),
            row_counts=torch.tensor([len(group)]),
        )
        found = together.logits[number, : len(label)]
        torch.testing.assert_close(alone.logits[0], found, atol=1e-5, rtol=1e-5)
        losses += [alone.loss.item()] * len(label)
    assert together.loss.item() == pytest.approx(sum(losses) / len(losses), abs=1e-5)


def test_without_row_counts_each_row_is_an_input(model: R2C2ForConditionalGeneration) -> None:
    plain = model(input_ids=padded(SOURCES[1]), labels=padded([[8, 2]] * 3))
    counted = model(
        input_ids=padded(SOURCES[1]), labels=padded([[8, 2]] * 3), row_counts=torch.ones(3).long()
    )
    torch.testing.assert_close(plain.logits, counted.logits, atol=1e-5, rtol=1e-5)


def test_it_learns(model: R2C2ForConditionalGeneration) -> None:
    torch.manual_seed(0)
    pupil = R2C2ForConditionalGeneration(model.config).train()
    pupil.activation_checkpointing_enable()
    optimizer = torch.optim.AdamW(pupil.parameters(), lr=3e-3)
    rows = padded([row for group in SOURCES for row in group])
    losses = []
    for _ in range(12):
        loss = pupil(input_ids=rows, labels=padded(LABELS), row_counts=torch.tensor([1, 3])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    assert all(
        each.data_ptr() == pupil.model.shared.weight.data_ptr()
        for each in (pupil.lm_head.weight, pupil.model.encoder.embed_tokens.weight)
    )


def test_saved_and_loaded(model: R2C2ForConditionalGeneration, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert isinstance(loaded, R2C2ForConditionalGeneration)
    assert isinstance(loaded.config, R2C2Config)
    assert list(loaded.config.decoder_prefix) == [2, 1]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_a_hub_blenderbot_is_decoded_like_its_own_generate() -> None:
    torch.manual_seed(3)
    config = BlenderbotConfig(
        vocab_size=50,
        d_model=16,
        encoder_layers=2,
        decoder_layers=3,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        init_std=0.4,
        encoder_no_repeat_ngram_size=0,
        forced_eos_token_id=None,
    )
    hub = BlenderbotForConditionalGeneration(config).eval()
    ids = torch.tensor([[5, 6, 7, 8, 2]])
    expected = hub.generate(ids, max_new_tokens=9, min_new_tokens=9, do_sample=False)
    ask = Ask(
        encoded=encode(hub, [ids.tolist()])[0], settings=Settings(max_steps=10, min_tokens=10)
    )
    assert list(decode(hub, [ask])[0][0].tokens) == expected[0, 1:].tolist()


def test_recorded_logits(
    golden_model: R2C2ForConditionalGeneration,
    golden_codec: TextCodec,
    golden: Any,
    shared: Path,
) -> None:
    arrays = np.load(shared / "golden" / "r2c2" / "logits.npz", allow_pickle=False)
    cases = golden("logits")
    for name, case in cases.items():
        inputs: list[list[list[int]]] = []
        ids = arrays[f"{name}.input_ids"].tolist()
        for item, row in zip(case["items"], ids, strict=True):
            context = [token for token in row if token]
            inputs.append(
                [
                    [1, *golden_codec.encode(f"{title} / {text} // "), *context[1:]]
                    for _, title, text in item.get("docs", ())
                ]
                or [context]
            )
        encoded, seen = arrays[f"{name}.encoder_out"], arrays[f"{name}.encoder_mask"]
        for states, expected, mask in zip(encode(golden_model, inputs), encoded, seen, strict=True):
            assert np.abs(states.numpy() - expected[mask]).max() < 1e-4
        labels = torch.tensor(arrays[f"{name}.label_ids"].astype("int64"))
        with torch.inference_mode():
            output = golden_model(
                input_ids=padded([row for rows in inputs for row in rows]),
                labels=labels,
                row_counts=torch.tensor([len(rows) for rows in inputs]),
            )
        expected = torch.tensor(arrays[f"{name}.logits"])[:, 1:]
        assert (output.logits - expected).abs().max() < 1e-4
        if len(inputs) == 1:
            assert float(output.loss) == pytest.approx(case["loss_per_item"][0], abs=1e-5)
    assert {"short", "batch2", "fid3"} <= cases.keys()
