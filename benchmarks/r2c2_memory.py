"""How much memory the true 3B shape takes: loading, and a turn's heaviest calls.

    python benchmarks/r2c2_memory.py [--shape 3b] [--dtypes bfloat16,int8]

Random weights are written to a temporary folder (5.7 GB in bfloat16), then loaded by a process of
its own for each number format, which finds knowledge in five documents of full length and replies
with ten beams. Needs the extra ``torch``.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from r2c2_models import DOCUMENTS, MEDIUM, MESSAGES, TRUE_3B, caps, write_network
from report import peak_mb, report

from bb3.core.ports import GenerationRequest, Prompt
from bb3.lm.r2c2 import load
from bb3.modules.dialects.r2c2 import document_text

HERE = Path(__file__)


async def one(folder: Path, dtype: str, threads: int, tokens: int) -> dict[str, float]:
    """What that process does."""
    before, began = peak_mb() / 1000, time.perf_counter()
    model = load(folder, dtype=dtype, device="cpu", threads=threads)
    found = {"libraries GB": before, "load s": time.perf_counter() - began}
    found["loaded GB"] = peak_mb() / 1000
    sampling = caps()
    text = "\n".join(MESSAGES * 10)
    documents = tuple(document_text(document) * 4 for document in DOCUMENTS)
    for tag, prompt in (
        ("skm", Prompt(text=f"{text} __generate-knowledge__", documents=documents)),
        ("srm", Prompt(text=f"{text}\n")),
    ):
        short = replace(sampling[tag], max_tokens=tokens, min_tokens=tokens)
        began = time.perf_counter()
        await model.generate([GenerationRequest(prompt=prompt, module=tag, sampling=short)])
        found[f"{tag} s"] = time.perf_counter() - began
    await model.aclose()
    return found | {"peak GB": peak_mb() / 1000}


def apart(*args: str) -> dict[str, Any]:
    """Run this script as a process of its own; its last line is the answer."""
    command = [sys.executable, str(HERE), *args]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(
    shape: Annotated[str, typer.Option(help="102m or 3b.")] = "3b",
    dtypes: str = "bfloat16,int8",
    threads: int = 2,
    tokens: Annotated[int, typer.Option(help="Tokens of each answer.")] = 4,
    write: Annotated[Path | None, typer.Option(hidden=True)] = None,
    folder: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    if write is not None:
        write_network(write, {"102m": MEDIUM, "3b": TRUE_3B}[shape], "bfloat16")
        print("{}")
        return
    if folder is not None:
        print(json.dumps(asyncio.run(one(folder, dtypes, threads, tokens))))
        return
    with tempfile.TemporaryDirectory() as place:
        made = f"{place}/random-{shape}"
        apart("--write", made, "--shape", shape)
        size = sum(file.stat().st_size for file in Path(made).glob("*.safetensors")) / 1e9
        rows = [
            {"numbers": dtype}
            | apart("--folder", made, "--dtypes", dtype, "--threads", str(threads),
                    "--tokens", str(tokens))
            for dtype in dtypes.split(",")
        ]  # fmt: skip
    report(
        "r2c2_memory",
        rows,
        ("numbers", "libraries GB", "loaded GB", "peak GB", "load s", "skm s", "srm s"),
        (
            f"shape {shape}, weights of {size:.1f} GB in bfloat16 on the disk; {threads} threads",
            f"skm: five documents of full rows; srm: ten beams; {tokens} tokens each",
        ),
    )


if __name__ == "__main__":
    typer.run(main)
