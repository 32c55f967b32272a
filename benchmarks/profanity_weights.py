"""Writes src/bb3/safety/profanity.tsv from the package alt-profanity-check, and compares the two.

    pip install alt-profanity-check==1.9.1
    python benchmarks/profanity_weights.py [DATA_FOLDER] [--write]

The package is a scikit-learn pipeline in joblib files: TF-IDF over single words, then five linear
SVMs, each with a sigmoid that makes a probability of its margin, averaged. Here the five are
averaged before the sigmoid, which leaves one weight a word. DATA_FOLDER holds the datasets of
benchmarks/safety.py, on which both are compared.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Annotated

import joblib
import profanity_check
import typer
from report import report

from bb3.safety.profanity import ProfanityClassifier
from bb3.safety.sentences import sentences
from safety import messages

TARGET = Path(__file__).parents[1] / "src/bb3/safety/profanity.tsv"
HEAD = """\
# The model of profanity.py: word, inverse document frequency, weight; first, with no word: bias.
# From alt-profanity-check 1.9.1, Copyright (c) 2018 Victor Zhou, 2021 Menelaos Kotoglou and
# Dimitrios Mistriotis, MIT licence (THIRD_PARTY.md). Written by benchmarks/profanity_weights.py.
"""


def main(
    data: Annotated[Path | None, typer.Argument(help="Folder of the datasets.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the table anew.")] = False,
) -> None:
    folder = Path(profanity_check.__file__).parent / "data"
    if write:
        TARGET.write_text(table(folder), encoding="utf-8")
        print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")
    if data:
        compare(data)


def table(folder: Path) -> str:
    """The text of profanity.tsv."""
    vectorizer = joblib.load(folder / "vectorizer.joblib")
    folds = [
        (one.estimator, one.calibrators[0])
        for one in joblib.load(folder / "model.joblib").calibrated_classifiers_
    ]
    weights = sum(-sigmoid.a_ * svm.coef_[0] for svm, sigmoid in folds) / len(folds)
    bias = statistics.fmean(-sigmoid.a_ * svm.intercept_[0] - sigmoid.b_ for svm, sigmoid in folds)
    rows = [
        f"{word}\t{vectorizer.idf_[at]:.4g}\t{weights[at]:.3g}"
        for word, at in sorted(vectorizer.vocabulary_.items())
    ]
    return HEAD + "\n".join([f"\t0\t{bias:.6g}", *rows]) + "\n"


def compare(data: Path) -> None:
    """How far the probabilities are apart, and how many verdicts differ."""
    ours = ProfanityClassifier(neutral=())
    rows = []
    for name, texts in messages(data).items():
        parts = [part for text in texts for part in sentences(text)]
        theirs = profanity_check.predict_prob(parts).tolist()
        mine = [ours.probability(part) for part in parts]
        apart = [abs(a - b) for a, b in zip(theirs, mine, strict=True)]
        rows.append({
            "messages of": name,
            "sentences": len(parts),
            "largest difference": round(max(apart), 3),
            "mean": round(statistics.fmean(apart), 5),
            "verdicts that differ at 0.95": sum(
                (a >= ours.threshold) != (b >= ours.threshold)
                for a, b in zip(theirs, mine, strict=True)
            ),
            "held back": sum(a >= ours.threshold for a in theirs),
        })  # fmt: skip
    report("profanity_weights", rows, list(rows[0]))


if __name__ == "__main__":
    typer.run(main)
