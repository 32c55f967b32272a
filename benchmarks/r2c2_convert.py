"""Converting a ParlAI checkpoint: peak memory, and speed against a plain copy of the file.

    python benchmarks/r2c2_convert.py [--layers 6] [--dtype float16]

The checkpoint is written here, in ParlAI's format, with random weights: by default of the 102M
shape (410 MB); ``--shape 3b`` is the true size (11 GB, and as much disk again). The conversion
runs in a process of its own, whose peak is told. Needs the extra ``torch``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from r2c2_models import MEDIUM, TRUE_3B, VOCABULARY
from report import peak_mb, report

from bb3.checkpoints.parlai import convert
from bb3.nets.tokenizer import SPECIAL_TOKENS, byte_alphabet

HERE = Path(__file__)


def write_checkpoint(folder: Path, shape: dict[str, int]) -> Path:
    """``model``, ``model.opt`` and ``model.dict`` of random weights in float32."""
    width, feed, layers = shape["d_model"], shape["ffn"], shape["layers"]
    state: dict[str, Any] = {"embeddings.weight": torch.randn(VOCABULARY, width)}
    attentions = {"encoder": ("attention",), "decoder": ("self_attention", "encoder_attention")}
    for side in ("encoder", "decoder"):
        stem = f"seq2seq_{side}"
        state[f"{stem}.embeddings.weight"] = state["embeddings.weight"]
        state[f"{stem}.position_embeddings.weight"] = torch.randn(1024, width)
        shapes: dict[str, tuple[int, ...]] = {f"{stem}.norm_embeddings": (width,)}
        for layer in range(layers):
            block = f"{stem}.layers.{layer}"
            norms = 2 if side == "encoder" else 3
            shapes |= {f"{block}.norm{number + 1}": (width,) for number in range(norms)}
            shapes |= {
                f"{block}.{attention}.{part}": (width, width)
                for attention in attentions[side]
                for part in ("q_lin", "k_lin", "v_lin", "out_lin")
            }
            shapes |= {f"{block}.ffn.lin1": (feed, width), f"{block}.ffn.lin2": (width, feed)}
        for name, size in shapes.items():
            state[f"{name}.weight"] = torch.randn(*size)
            state[f"{name}.bias"] = torch.randn(size[0])
    folder.mkdir()
    torch.save({"model": state}, folder / "model")
    options = {
        "model": "projects.seeker.agents.seeker:ComboFidGoldDocumentAgent",
        "generation_model": "bart",
        "embedding_size": width, "ffn_size": feed, "n_heads": shape["heads"],
        "n_layers": layers, "n_encoder_layers": layers, "n_decoder_layers": layers,
        "n_positions": 1024, "n_segments": 0, "n_docs": 5,
        "variant": "prelayernorm", "activation": "gelu", "embeddings_scale": True,
        "output_scaling": 1, "share_word_embeddings": True, "learn_positional_embeddings": True,
        "dict_tokenizer": "gpt2", "history_add_global_end_token": "end",
        "text_truncate": 1024, "label_truncate": 128,
    }  # fmt: skip
    (folder / "model.opt").write_text(json.dumps(options), encoding="utf-8")
    pieces = [*SPECIAL_TOKENS, *(_escaped(piece) for piece in byte_alphabet())]
    pieces += [f"__FP16_PAD_{number}__" for number in range(VOCABULARY - len(pieces))]
    (folder / "model.dict").write_text("".join(f"{p}\t1\n" for p in pieces), encoding="utf-8")
    return folder


def _escaped(piece: str) -> str:
    return "".join(f"\\x{byte:02x}" if byte > 127 else chr(byte) for byte in piece.encode())


def converted(source: Path, out: Path, dtype: str) -> dict[str, float]:
    """Seconds and megabytes, measured in a process of its own."""
    command = [sys.executable, str(HERE), "--one", str(source), "--into", str(out)]
    done = subprocess.run(
        [*command, "--dtype", dtype], check=True, stdout=subprocess.PIPE, text=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def one(source: Path, out: Path, dtype: str) -> None:
    """What that process does."""
    before = peak_mb()
    began = time.perf_counter()
    convert(source, out, dtype=dtype)
    print(json.dumps({"s": time.perf_counter() - began, "before": before, "peak": peak_mb()}))


def copied(source: Path, to: Path) -> float:
    """Seconds of a plain copy, on the disk."""
    began = time.perf_counter()
    shutil.copyfile(source, to)
    with to.open("rb+") as file:
        os.fsync(file.fileno())
    return time.perf_counter() - began


def main(
    shape: Annotated[str, typer.Option(help="102m or 3b.")] = "102m",
    layers: Annotated[int, typer.Option(help="0: the shape's own.")] = 0,
    dtype: str = "float16",
    one_: Annotated[Path | None, typer.Option("--one", hidden=True)] = None,
    into: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    if one_ is not None and into is not None:
        one(one_, into, dtype)
        return
    sizes = dict({"102m": MEDIUM, "3b": TRUE_3B}[shape])
    sizes["layers"] = layers or sizes["layers"]
    with tempfile.TemporaryDirectory() as place:
        folder = write_checkpoint(Path(place) / "released", sizes)
        size = (folder / "model").stat().st_size / 1e6
        rows: list[dict[str, Any]] = []
        for number in (dtype, "float32"):
            took = converted(folder, Path(place) / number, number)
            rows.append(
                {"what": f"convert to {number}", "s": took["s"], "MB a second": size / took["s"],
                 "peak MB": took["peak"], "above libraries MB": took["peak"] - took["before"]}
            )  # fmt: skip
        seconds = copied(folder / "model", Path(place) / "copy")
        rows.append({"what": "plain copy", "s": seconds, "MB a second": size / seconds})
    report(
        "r2c2_convert",
        rows,
        ("what", "s", "MB a second", "peak MB", "above libraries MB"),
        (f"a checkpoint of {size:.0f} MB in float32; both written through to the disk",),
    )


if __name__ == "__main__":
    typer.run(main)
