"""`tidemill search`."""

from typing import Annotated

import typer

from tidemill.cli.accounts import moment
from tidemill.cli.hub import hub
from tidemill.cli.output import Json, print_json, print_table
from tidemill.core.document import DocumentKind
from tidemill.core.search import Expansion, SearchMode, SelfQuerying
from tidemill.settings import load_settings

SHOWN = 160
"""Characters of a passage in the table."""


def search(
    query: Annotated[str, typer.Argument(help="What to look for.", show_default=False)],
    source: Annotated[list[str] | None, typer.Option(help="A source's name; give it once for each.")] = None,
    kind: Annotated[list[DocumentKind] | None, typer.Option(help="What the documents are.")] = None,
    platform: Annotated[list[str] | None, typer.Option(help="Where they come from, such as github.")] = None,
    author: Annotated[list[str] | None, typer.Option(help="Who wrote them.")] = None,
    language: Annotated[list[str] | None, typer.Option(help="In which language: en, vi.")] = None,
    path: Annotated[list[str] | None, typer.Option(help="A path's beginning, or a glob.")] = None,
    after: Annotated[
        str | None, typer.Option(help="Published from then on: 2026-03-01, or how long ago as 30d.")
    ] = None,
    before: Annotated[str | None, typer.Option(help="Published before; written as --after.")] = None,
    mode: Annotated[SearchMode, typer.Option(help="By words, by meaning, or by both.")] = SearchMode.HYBRID,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many passages.")] = 10,
    self_query: Annotated[
        SelfQuerying, typer.Option(help="Who reads filters from the question: nobody, rules, or then a model.")
    ] = SelfQuerying.RULES,
    expansion: Annotated[Expansion, typer.Option(help="By what the question is widened.")] = Expansion.RULES,
    diversity: Annotated[float, typer.Option(min=0, max=1, help="How unlike one another they should be.")] = 0.0,
    compress: Annotated[bool, typer.Option("--compress", help="Show the sentences that matter.")] = False,
    rerank: Annotated[bool, typer.Option("--rerank", help="Let a model read the best ones again.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each score is made of.")] = False,
    as_json: Json = False,
) -> None:
    """Find passages in the documents that you may see."""
    first, last = moment(after, "--after"), moment(before, "--before")
    filters: dict[str, object] = {
        "sources": source or [],
        "kinds": kind or [],
        "platforms": platform or [],
        "authors": author or [],
        "languages": language or [],
        "paths": path or [],
        "after": first.isoformat() if first else None,
        "before": last.isoformat() if last else None,
    }
    body = {
        "query": query,
        "filters": filters,
        "mode": mode,
        "limit": limit,
        "self_query": self_query,
        "expansion": expansion,
        "diversity": diversity,
        "compress": compress,
        "rerank": rerank,
        "explain": explain,
    }
    with hub(load_settings()) as client:
        found = client.post("/v1/search", body)
    if as_json:
        print_json(found)
        return
    rows = [_row(number, hit, explain=explain) for number, hit in enumerate(found["data"], 1)]
    columns = ["", "score", "source", "document", "passage"]
    print_table([*columns, "why"] if explain else columns, rows, empty="Nothing was found in what you may see.")


def _row(number: int, hit: dict[str, object], *, explain: bool) -> tuple[object, ...]:
    scores = hit["scores"]
    assert isinstance(scores, dict)  # noqa: S101 - what the hub sends
    text = " ".join(str(hit["compressed"] or hit["text"]).split())
    where = f"{hit['path']}, p. {hit['page']}" if hit["page"] else hit["path"]
    passage = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    shown = (number, f"{scores['fused']:.3f}", hit["source"], where, passage)
    return (*shown, _why(scores)) if explain else shown


def _why(scores: dict[str, object]) -> str:
    parts = []
    for name in ("dense", "lexical", "rerank"):
        value = scores[name]
        if isinstance(value, int | float):
            weight = scores.get(f"{name}_weight")
            parts.append(f"{name} {value:.2f}" + (f" × {weight:.2f}" if isinstance(weight, int | float) else ""))
    terms = scores["terms"]
    if isinstance(terms, list) and terms:
        parts.append(", ".join(f"{one['term']} {one['score']:.1f}" for one in terms))
    return "; ".join(parts)
