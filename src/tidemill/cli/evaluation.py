"""`tidemill eval`."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tidemill.app.evaluation_runs import RunOptions, run_answers, run_claims, run_retrieval
from tidemill.cli.hub import HubClient, hub
from tidemill.cli.output import Json, print_json, print_table
from tidemill.core.errors import InvalidInput
from tidemill.core.search import SearchMode
from tidemill.evaluation.readers import Format, read_questions, read_wice
from tidemill.evaluation.results import Result, compare
from tidemill.evaluation.retrieval import Told
from tidemill.settings import load_settings

TOLD_SECONDS = 10.0
"""Between two lines of progress where the standard error is no terminal."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

Data = Annotated[Path, typer.Option(help="The set: a file or a folder.", show_default=False)]
Form = Annotated[Format, typer.Option("--format", help="How the set is written.", show_default=False)]
Limit = Annotated[int | None, typer.Option(min=1, help="Ask so many, evenly drawn; all where absent.")]
Out = Annotated[Path | None, typer.Option(help="Write the whole result to this file, for `compare`.")]
Split = Annotated[str, typer.Option(help="Which qrels of a BEIR-style folder count.")]
Passages = Annotated[
    Path | None, typer.Option(help="For squad: another file with the same paragraphs, in another language.")
]
Mode = Annotated[SearchMode, typer.Option(help="Search by words, by meaning, or by both.")]
SelfQuery = Annotated[bool, typer.Option("--self-query/--no-self-query", help="Read filters from questions, or don't.")]


@app.command()
def retrieval(
    data: Data,
    form: Form,
    k: Annotated[int, typer.Option(min=1, max=30, help="Documents of each ranking that count.")] = 10,
    limit: Limit = None,
    mode: Mode = SearchMode.HYBRID,
    self_query: SelfQuery = True,
    split: Split = "test",
    passages: Passages = None,
    as_json: Json = False,
    out: Out = None,
) -> None:
    """Measure how well the search finds what answers a set's questions: nDCG, recall, MRR and precision.

    The set's documents are cut, indexed and embedded as any, in a database of their own that is deleted at the end.
    """
    _check(out)
    options = RunOptions(k, limit, mode, self_query)
    found = read_questions(data, form, split, passages)
    with _progress() as told:
        result = run_retrieval(load_settings(), found, options, told)
    _show(result, as_json=as_json, out=out)


@app.command()
def grounding(
    data: Data,
    form: Form,
    limit: Limit = None,
    mode: Mode = SearchMode.HYBRID,
    self_query: SelfQuery = True,
    split: Split = "test",
    passages: Passages = None,
    as_json: Json = False,
    out: Out = None,
) -> None:
    """Measure how well support is told from its absence (wice), or how well answers keep to a set's documents.

    Answers are asked of a running hub, from the passages that the search finds in the set.
    """
    _check(out)
    settings = load_settings()
    options = RunOptions(limit=limit, mode=mode, self_query=self_query)
    if form is Format.WICE:
        claims = read_wice(data)
        with _progress() as told:
            result = run_claims(settings, claims, options, told)
    else:
        found = read_questions(data, form, split, passages)
        with hub(settings) as client, _progress() as told:
            client.get("/v1/models")  # whoever can't ask it is told before an hour of indexing
            result = run_answers(settings, found, options, lambda body: _generated(client, body), told)
    _show(result, as_json=as_json, out=out)


@app.command(name="compare")
def compare_results(
    a: Annotated[Path, typer.Argument(help="A result that --out wrote.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Another, over the same set.", show_default=False)],
    seed: Annotated[int, typer.Option(min=0, help="Of the draws; the same gives the same figures.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare two results question by question: the difference, its 95 % interval, and p of a randomisation test.

    What differs in their versions and options is said first.
    """
    found = compare(a, b, seed)
    if as_json:
        metrics = [{"metric": one.metric, "a": one.a, "b": one.b, **asdict(one.test)} for one in found.metrics]
        print_json({"differences": {name: list(pair) for name, pair in found.differences.items()}, "metrics": metrics})
        return
    for name, pair in found.differences.items():
        shown = [json.dumps(one, ensure_ascii=False) for one in pair]
        sys.stdout.write(f"{name}: A {shown[0]}, B {shown[1]}\n")
    if not found.differences:
        sys.stdout.write("A and B have the same versions and options.\n")
    rows = [
        (
            one.metric,
            f"{one.a:.4f}",
            f"{one.b:.4f}",
            f"{one.test.difference:+.4f}",
            f"{one.test.low:+.4f} to {one.test.high:+.4f}",
            f"{one.test.p:.4f}",
            one.test.pairs,
        )
        for one in found.metrics
    ]
    print_table(["metric", "A", "B", "B - A", "95 % interval", "p", "questions"], rows, empty="Nothing to compare.")


async def _generated(client: HubClient, body: dict[str, Any]) -> Mapping[str, Any]:
    """The whole answer, with its outcome and the numbers of its citations."""
    made = await asyncio.to_thread(client.post, "/api/generate", body)
    found: Mapping[str, Any] = await asyncio.to_thread(
        client.get, f"/v1/answers/{made['response_metadata']['answer_id']}"
    )
    return found


def _check(out: Path | None) -> None:
    """A run may take long: what would keep its result from being written is said before it."""
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise InvalidInput(f"{out} can't be written: it is a folder, or in one that is not there.", param="out")


def _show(result: Result, *, as_json: bool, out: Path | None) -> None:
    """Shows a result, and writes it: in this order, so that a full disk does not cost a run of hours."""
    value = result.as_json()
    if as_json:
        print_json(value)
    else:
        _print(result)
    if out is not None:
        try:
            out.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
        except OSError as error:
            raise InvalidInput(f"{out} can't be written: {error.strerror}.", param="out") from error


def _print(result: Result) -> None:
    rows = [(name, "–" if figure is None else f"{figure:.4f}") for name, figure in result.metrics.items()]
    print_table(["metric", "value"], rows, empty="Nothing was measured.")
    counts = ", ".join(f"{number:,} {name}" for name, number in result.data.items() if isinstance(number, int))
    model = result.versions["embedding"] or "by words alone"
    sys.stdout.write(f"\n{result.data['name']}: {counts}; {result.seconds:.1f} s; {model}\n")


@contextmanager
def _progress() -> Iterator[Told]:
    """Says on the standard error how far a run is: in place on a terminal, else a line every few seconds."""
    console = Console(stderr=True)
    last = ("", 0.0)
    with console.status("Starting …") as status:

        def told(what: str, done: int, total: int) -> None:
            nonlocal last
            line = f"{what}: {done:,} of {total:,}"
            if console.is_terminal:
                status.update(line)
            elif what != last[0] or time.monotonic() - last[1] > TOLD_SECONDS:
                console.print(line, highlight=False)
                last = (what, time.monotonic())

        yield told
