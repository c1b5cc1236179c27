"""How well the score of a hunk and a comment's category are told, beside simple ways.

`python -m benchmarks.necessity DATA [--embedding] [--write]`, or `python -m benchmarks necessity` where `BENCH_DATA`
names its folder. DATA is `crc_py_manual.json`; `benchmarks.necessity_data` says how pieces that drew no comment come
of it. What is printed is of pull requests that were not fitted on. `--write` ships the weights.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from benchmarks.necessity_data import Piece, group_of, read_comments, read_pieces
from tidemill.analysis.hunk_features import FEATURES, hunk_features
from tidemill.analysis.necessity import made_model, model_json
from tidemill.analysis.necessity_training import (
    FOLDS,
    Fitted,
    Floats,
    Sample,
    area,
    calibration_error,
    fit,
    fold_of,
    held_out,
    interval_of_gain,
    matrix,
    quality,
    reliability,
)
from tidemill.analysis.paths import kind_of
from tidemill.analysis.syntax import Language, language_of
from tidemill.core.change import Line, LineKind
from tidemill.core.embedding import EmbeddingRequest
from tidemill.core.json import Json
from tidemill.llm.embedding_catalog import E5
from tidemill.llm.embeddings_e5 import E5Encoder
from tidemill.llm.embeddings_local import LocalEmbedder

WRITTEN = Path("src/tidemill/review/necessity.json")
_TOKEN = r"[A-Za-z_]\w*|[^\s\w]"
_VECTORS = 16
"""Directions of the embeddings that are kept: more than the examples can carry fits noise."""
BY_HAND = {
    "size": 0.45,
    "risky code": 0.9,
    "error handling": 0.5,
    "control flow": 0.4,
    "only removed": -0.6,
    "only comments": -2.5,
    "only spacing": -3.0,
    "only imports": -1.5,
    "moved": -1.0,
}
"""The weights that were set by hand before there were fitted ones."""
_BASE_BY_HAND = -1.6

Score = Callable[[Sequence[int], Sequence[int]], Floats]


def run() -> None:
    """All tables."""
    named = os.environ.get("BENCH_REVIEWS")
    if named is None:
        print("necessity: not measured. Set BENCH_REVIEWS to the crc_py_manual.json of busraicoz/crc-py-dataset.")
        return
    measure(Path(named))


def measure(path: Path, *, embedding: bool = False, write: bool = False) -> None:
    """All tables; ships the weights where asked to."""
    pieces, left = read_pieces(path)
    samples = [sample_of(piece) for piece in pieces]
    _introduce(pieces, left)
    scores = _necessity(pieces, samples, embedding=embedding)["fitted features"]
    _reliability(samples, scores)
    _places(pieces, scores)
    fitted = fit(samples, FEATURES)
    _weights(fitted)
    if write:
        _write(fitted, samples, scores, path)
    _categories(path)


def sample_of(piece: Piece) -> Sample:
    """The piece's features, as a hunk's are counted."""
    python = language_of(piece.path) is Language.PYTHON
    return Sample(hunk_features(piece.lines, python=python), piece.needed, piece.group)


def _introduce(pieces: Sequence[Piece], left: Counter[str]) -> None:
    needed = sum(piece.needed for piece in pieces)
    print(f"\nNecessity: {len(pieces)} pieces of {left['used']} hunks, {needed} with a comment")
    print("Records: " + ", ".join(f"{count} {reason}" for reason, count in left.most_common()))


def _necessity(pieces: Sequence[Piece], samples: Sequence[Sample], *, embedding: bool) -> Mapping[str, Floats]:
    labels, groups = [one.needed for one in samples], [one.group for one in samples]
    truth = np.array(labels)
    lengths = np.array([[np.log2(1 + len(piece.lines))] for piece in pieces])
    ways: dict[str, Score] = {
        "always yes": lambda _, test: np.full(len(test), truth.mean()),
        "changed lines": _regressed(lengths, truth),
        "TF-IDF + logistic regression": _words([piece.text for piece in pieces], truth),
        "weights by hand (before)": lambda _, test: _by_hand([samples[at] for at in test]),
        "fitted features": _fitted(samples),
    }
    if embedding:
        vectors = asyncio.run(_embedded([piece.text for piece in pieces]))
        ways["fitted features + embedding"] = _with_vectors(samples, vectors)
    found: dict[str, Floats] = {}
    coin = np.zeros(len(samples))
    print(f"\n{'':30} {'AUC':>6} {'95 %':>14} {'within':>7} {'AP':>6} {'ECE':>6}")
    for name, way in ways.items():
        found[name] = held_out(samples, way)
        one = quality(labels, found[name], groups)
        low, high = interval_of_gain(labels, found[name], coin, groups)
        shown = f"{one.auc:6.3f} {0.5 + low:6.3f}…{0.5 + high:6.3f} {one.within:7.3f} {one.precision:6.3f}"
        print(f"{name:30} {shown} {one.calibration_error:6.3f}")
    print("within: AUC among the pieces of one pull request. 95 %: by drawing pull requests again, 500 times.")
    for name in list(ways)[1:4]:
        low, high = interval_of_gain(labels, found["fitted features"], found[name], groups)
        print(f"fitted features over {name}: AUC {low:+.3f}…{high:+.3f} (95 %)")
    for name in list(ways)[5:]:
        low, high = interval_of_gain(labels, found[name], found["fitted features"], groups)
        print(f"{name} over fitted features: AUC {low:+.3f}…{high:+.3f} (95 %)")
    return found


def _regressed(values: Floats, truth: np.ndarray) -> Score:
    def score(train: Sequence[int], test: Sequence[int]) -> Floats:
        found: Floats = (
            LogisticRegression().fit(values[list(train)], truth[list(train)]).predict_proba(values[list(test)])
        )
        return found[:, 1]

    return score


def _words(texts: Sequence[str], truth: np.ndarray) -> Score:
    def score(train: Sequence[int], test: Sequence[int]) -> Floats:
        words = TfidfVectorizer(token_pattern=_TOKEN, ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        inputs = words.fit_transform([texts[at] for at in train])
        model = LogisticRegression(C=3.0, max_iter=1000).fit(inputs, truth[list(train)])
        found: Floats = model.predict_proba(words.transform([texts[at] for at in test]))
        return found[:, 1]

    return score


def _by_hand(samples: Sequence[Sample]) -> Floats:
    sums = [
        _BASE_BY_HAND
        + sum(BY_HAND.get(name, 0) * (bool(value) if name != "size" else value) for name, value in one.features.items())
        for one in samples
    ]
    found: Floats = 1 / (1 + np.exp(-np.array(sums)))
    return found


def _fitted(samples: Sequence[Sample]) -> Score:
    def score(train: Sequence[int], test: Sequence[int]) -> Floats:
        return fit([samples[at] for at in train], FEATURES).scores([samples[at] for at in test])

    return score


def _with_vectors(samples: Sequence[Sample], vectors: Floats) -> Score:
    """The directions are those of what is fitted on."""

    def score(train: Sequence[int], test: Sequence[int]) -> Floats:
        mean = vectors[list(train)].mean(0)
        directions = np.linalg.svd(vectors[list(train)] - mean, full_matrices=False)[2][:_VECTORS]
        reduced = (vectors - mean) @ directions.T
        names = [f"vector {number}" for number in range(_VECTORS)]
        rows = [
            Sample({**one.features, **dict(zip(names, map(float, row), strict=True))}, one.needed, one.group)
            for one, row in zip(samples, reduced, strict=True)
        ]
        return fit([rows[at] for at in train], [*FEATURES, *names]).scores([rows[at] for at in test])

    return score


async def _embedded(texts: Sequence[str]) -> Floats:
    embedder = LocalEmbedder(E5Encoder, name=E5, max_queue=1, at_once=2)
    found: dict[str, Floats] = {}
    for start in range(0, len(texts), 32):
        batch = [text[:700] for text in texts[start : start + 32]]
        made = await embedder.embed(EmbeddingRequest(E5, batch))
        found |= {
            text: np.frombuffer(one, "<f4").astype(float)
            for text, one in zip(texts[start : start + 32], made.vectors, strict=True)
        }
    embedder.close()
    return np.stack([found[text] for text in texts])


def _reliability(samples: Sequence[Sample], scores: Floats) -> None:
    print(f"\nReliability of the fitted features\n{'pieces':>7} {'said':>6} {'was':>6}")
    for one in reliability(np.array([sample.needed for sample in samples]), scores):
        print(f"{one.count:7} {one.said:6.3f} {one.was:6.3f}")


def _places(pieces: Sequence[Piece], scores: Floats) -> None:
    """Among pieces that are not a hunk's first: a hunk's first piece is never the one with the comment here."""
    later = [at for at, piece in enumerate(pieces) if piece.place]
    truth = np.array([pieces[at].needed for at in later])
    print(f"Without each hunk's first piece: AUC {area(truth, scores[later]):.3f} of {len(later)} pieces")


def _weights(fitted: Fitted) -> None:
    print(f"\nWeights on all pieces: base {fitted.base:+.2f}")
    print(", ".join(f"{name} {weight:+.2f}" for name, weight in fitted.weights.items()))


def _write(fitted: Fitted, samples: Sequence[Sample], scores: Floats, path: Path) -> None:
    groups = [one.group for one in samples]
    labels = [one.needed for one in samples]
    digest = sha256(path.read_bytes()).hexdigest()
    trained: dict[str, Json] = {
        "how": "logistic regression with a ridge on standardized features (tidemill.analysis.necessity_training)",
        "from": f"{path.name} of https://github.com/busraicoz/crc-py-dataset, MIT; sha256 {digest}",
        "pieces": len(samples),
        "needed": sum(labels),
        "groups": len(set(groups)),
        "held out": {name: round(value, 4) for name, value in asdict(quality(labels, scores, groups)).items()},
        "reliability": [
            {"count": one.count, "said": round(one.said, 4), "was": round(one.was, 4)}
            for one in reliability(np.array(labels), scores)
        ],
    }
    model = made_model(fitted, trained)
    WRITTEN.write_text(json.dumps(model_json(model), indent=2, ensure_ascii=False) + "\n")
    print(f"\nWritten to {WRITTEN}: {model.version}")


def _categories(path: Path) -> None:
    """What a comment will be about, told from the hunk before there is one; and from the comment, once there is."""
    rows = [(record, lines) for record, lines in read_comments(path)[0] if record["category"] != "false positive"]
    groups = [group_of(record) for record, _ in rows]
    truth = np.array([record["category"] for record, _ in rows])
    hunks = ["\n".join(_marked(line) for line in lines[-40:]) for _, lines in rows]
    comments = [record["comment"] for record, _ in rows]
    samples = [
        Sample(hunk_features(lines[-40:], python=record["file_path"].endswith(".py")), True, group)
        for (record, lines), group in zip(rows, groups, strict=True)
    ]
    kinds = [kind_of(record["file_path"]).value for record, _ in rows]
    values = np.c_[matrix(samples, FEATURES), np.array([[kind == one for one in sorted(set(kinds))] for kind in kinds])]
    ways: dict[str, Callable[[Sequence[int], Sequence[int]], tuple[Sequence[str], Floats]]] = {
        "majority": lambda train, test: _majority(truth, train, test),
        "hunk: TF-IDF + LR": lambda train, test: _told([_tfidf()], [hunks], truth, train, test),
        "hunk: features + kind of file": lambda train, test: _told_by_values(values, truth, train, test),
        "hunk: features + kind + words": lambda train, test: _told([_tfidf()], [hunks], truth, train, test, values),
        "comment: TF-IDF + LR": lambda train, test: _told([_tfidf()], [comments], truth, train, test),
        "comment: words + letters + hunk": lambda train, test: _told(
            [_tfidf(), _letters()], [comments, comments], truth, train, test, values
        ),
    }
    folds = np.array(fold_of(groups))
    print(f"\nCategory: {len(rows)} comments, " + ", ".join(f"{n} {c}" for c, n in Counter(truth).most_common()))
    print(f"{'':34} {'accuracy':>9} {'macro F1':>9} {'ECE':>6}")
    for name, way in ways.items():
        said = np.empty(len(rows), dtype=object)
        sure = np.zeros(len(rows))
        for part in range(FOLDS):
            train, test = np.nonzero(folds != part)[0], np.nonzero(folds == part)[0]
            said[test], sure[test] = way(train.tolist(), test.tolist())
        right = said == truth
        error = calibration_error(right, sure)
        print(f"{name:34} {right.mean():9.3f} {f1_score(truth, list(said), average='macro'):9.3f} {error:6.3f}")


def _marked(line: Line) -> str:
    return {LineKind.ADDED: "+", LineKind.REMOVED: "-"}.get(line.kind, " ") + line.text


def _tfidf() -> TfidfVectorizer:
    return TfidfVectorizer(token_pattern=_TOKEN, ngram_range=(1, 2), min_df=2, sublinear_tf=True)


def _letters() -> TfidfVectorizer:
    return TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=3, sublinear_tf=True)


def _majority(truth: Any, train: Sequence[int], test: Sequence[int]) -> tuple[Sequence[str], Floats]:
    (name, count), *_ = Counter(truth[list(train)]).most_common(1)
    return [name] * len(test), np.full(len(test), count / len(train))


def _told(
    words: Sequence[TfidfVectorizer],
    texts: Sequence[Sequence[str]],
    truth: Any,
    train: Sequence[int],
    test: Sequence[int],
    values: Floats | None = None,
) -> tuple[Sequence[str], Floats]:
    fitted = [one.fit_transform([text[at] for at in train]) for one, text in zip(words, texts, strict=True)]
    asked = [one.transform([text[at] for at in test]) for one, text in zip(words, texts, strict=True)]
    if values is not None:
        scale = StandardScaler().fit(values[list(train)])
        fitted.append(csr_matrix(scale.transform(values[list(train)]) / 5))
        asked.append(csr_matrix(scale.transform(values[list(test)]) / 5))
    model = LogisticRegression(C=3.0, max_iter=2000).fit(hstack(fitted), truth[list(train)])
    chances = model.predict_proba(hstack(asked))
    return list(model.classes_[chances.argmax(1)]), chances.max(1)


def _told_by_values(
    values: Floats, truth: Any, train: Sequence[int], test: Sequence[int]
) -> tuple[Sequence[str], Floats]:
    scale = StandardScaler().fit(values[list(train)])
    model = LogisticRegression(C=0.1, max_iter=2000).fit(scale.transform(values[list(train)]), truth[list(train)])
    chances = model.predict_proba(scale.transform(values[list(test)]))
    return list(model.classes_[chances.argmax(1)]), chances.max(1)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("Name crc_py_manual.json: python -m benchmarks.necessity DATA [--embedding] [--write]")
    measure(Path(sys.argv[1]), embedding="--embedding" in sys.argv, write="--write" in sys.argv)
