"""`tidemill embed`."""

from typing import Annotated

import typer

from tidemill.cli.hub import hub
from tidemill.cli.output import print_json, print_table
from tidemill.settings import load_settings

SHOWN = 4


def embed(
    texts: Annotated[list[str], typer.Argument(help="The texts.", show_default=False)],
    model: Annotated[str, typer.Option(help="The model's name.")] = "default",
    query: Annotated[bool, typer.Option("--query", help="The texts are questions, not what answers them.")] = False,
    dimensions: Annotated[int | None, typer.Option(min=1, help="Cut the vectors to as many numbers.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole response as JSON.")] = False,
) -> None:
    """Turn texts into vectors."""
    body: dict[str, object] = {"model": model, "input": texts, "input_type": "query" if query else "passage"}
    if dimensions is not None:
        body["dimensions"] = dimensions
    with hub(load_settings()) as client:
        answer = client.post("/v1/embeddings", body)
    if as_json:
        print_json(answer)
        return
    rows = [
        (text, len(item["embedding"]), " ".join(f"{number:+.4f}" for number in item["embedding"][:SHOWN]) + " …")
        for text, item in zip(texts, answer["data"], strict=True)
    ]
    print_table(["text", "numbers", "the first"], rows, empty="There are no texts.")
