"""The data on which grounding is fitted and measured, and its vectors, kept in a folder between runs."""

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tidemill.analysis.sentences import sentences
from tidemill.core.embedding import EmbeddingRequest
from tidemill.knowledge.grounding.features import nearest
from tidemill.knowledge.grounding.words import words_of
from tidemill.llm.embedding_catalog import E5
from tidemill.llm.embeddings_e5 import E5Encoder
from tidemill.llm.embeddings_local import LocalEmbedder

NEAR = 10
"""Sentences of a claim's evidence that are embedded: those whose words are nearest."""
LONGEST = 900
"""Characters of a sentence that are embedded; a few rows of tables are longer."""
BATCH = 64
SHORTEST_CLAUSE, LONGEST_CLAUSE = 4, 14
"""Words."""
_BETWEEN = re.compile(r"(?<!\d)[,;:]|[,;:](?!\d)|[()–—]|\b(?:và|nhưng|còn|trong khi)\b")


@dataclass(frozen=True, slots=True)
class Wice:
    """A claim, all sentences that it was compared with, and what people said of it.

    `gold` are the sets of sentences of which each supports it; `near` the sentences that are embedded.
    """

    text: str
    evidence: Sequence[str]
    label: str
    gold: Sequence[frozenset[int]]
    article: int
    near: Sequence[int]


def read_wice(path: Path) -> list[Wice]:
    """WiCE's claims: https://github.com/ryokamoi/wice."""
    found = []
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        evidence = [one or " " for one in row["evidence"]]
        near = nearest(words_of(row["claim"]), [words_of(one) for one in evidence], NEAR)
        gold = [frozenset(one) for one in row["supporting_sentences"]]
        article = zlib.crc32(row["meta"]["claim_title"].encode())
        found.append(Wice(row["claim"], evidence, row["label"], gold, article, near))
    return found


def read_xquad(folder: Path) -> Iterator[tuple[int, str, list[str]]]:
    """The article, a Vietnamese sentence or the first clause of one, and the English sentences of its paragraph.

    Clauses are there since answers are shorter than an encyclopedia's sentences, and the shorter a text, the nearer it
    is to any other.
    """
    pages = {
        language: json.loads((folder / f"xquad.{language}.json").read_text("utf-8"))["data"]
        for language in ("vi", "en")
    }
    for number, (said, english) in enumerate(zip(pages["vi"], pages["en"], strict=True)):
        apart = [split(one["context"], "en") for one in english["paragraphs"]]
        for place, one in enumerate(said["paragraphs"]):
            for sentence in split(one["context"], "vi"):
                yield number, sentence, apart[place]
                if (clause := first_clause(sentence)) is not None:
                    yield number, clause, apart[place]


def first_clause(sentence: str) -> str | None:
    """The first part of a sentence that is long enough to claim something, as a sentence."""
    for part in _BETWEEN.split(sentence):
        clause = part.strip(' ."”“')
        if SHORTEST_CLAUSE <= len(clause.split()) <= LONGEST_CLAUSE:
            return f"{clause[0].upper()}{clause[1:]}."
    return None


def split(text: str, language: str) -> list[str]:
    """A text's sentences."""
    return [span.of(text) for span in sentences(text, language)]


class Vectors:
    """Vectors of texts, by the default model."""

    def __init__(self, known: dict[str, NDArray[np.float32]]) -> None:
        self._known = known

    def cosine(self, one: str, other: str) -> float:
        """Of two texts that were embedded."""
        return float(self._known[one] @ self._known[other])

    @classmethod
    async def of(cls, claims: Sequence[Wice], xquad: Path | None, cache: Path) -> "Vectors":
        """Those of the claims and what is near them, and of XQuAD's sentences; what the cache has is not made again."""
        texts = dict.fromkeys([text for one in claims for text in (one.text, *(one.evidence[at] for at in one.near))])
        if xquad is not None:
            texts |= dict.fromkeys(text for _, said, right in read_xquad(xquad) for text in (said, *right))
        file = cache / "grounding-vectors.npz"
        known: dict[str, NDArray[np.float32]] = {}
        if file.is_file():
            kept = np.load(file)
            known = dict(zip(kept["texts"].tolist(), kept["vectors"], strict=True))
        missing = sorted((text for text in texts if text not in known), key=len)
        embedder = LocalEmbedder(E5Encoder, name=E5, max_queue=1, at_once=2)
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            made = await embedder.embed(EmbeddingRequest(E5, [text[:LONGEST] for text in batch]))
            known |= {text: np.frombuffer(one, "<f4") for text, one in zip(batch, made.vectors, strict=True)}
        embedder.close()
        if missing:
            cache.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
            np.savez(file, texts=np.array(list(known)), vectors=np.stack(list(known.values())))
        return cls(known)
