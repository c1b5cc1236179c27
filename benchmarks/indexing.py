"""How fast a hub indexes a folder beside what its embedding model alone can do, and what a sync costs after one edit.

The documents are this project's own documentation. The model alone embeds the same chunks in this process, before and
after each sync, while the hub waits: so a machine that is busy for a while slows both.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import httpx

from benchmarks.processes import Hub, free_port, hub, process
from tidemill.analysis.chunking import chunk
from tidemill.analysis.token_count import about_tokens
from tidemill.core.context import Priority
from tidemill.core.document import ChunkStrategy, RawDocument, embedded_text
from tidemill.core.embedding import EmbeddingRequest
from tidemill.llm.embedding_catalog import E5
from tidemill.llm.embeddings_all import EmbeddingModels
from tidemill.readers.documents import DocumentReader
from tidemill.settings import Settings

DOCUMENTATION = Path(__file__).parent.parent / "docs"
ROUNDS = 3
BATCH = 64
FILES = (200, 2_000)
"""How many small files there are when one of them is edited."""
LONG_AGO = 1_700_000_000
TIMES = 5


def run() -> None:
    """Prints chunks per second and their ratio, and the seconds of a sync after one edit."""
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        Path(folder).chmod(0o711)
        _rates(Path(folder))
        _edits(Path(folder))


def _rates(folder: Path) -> None:
    """In rounds, each with documents of its own; before the first, a document that loads what is loaded once."""
    paths = sorted(DOCUMENTATION.glob("*.md"))
    with hub() as running, _client(running) as client:
        _synced(client, _added(client, _copied(paths[-1:], folder / "first")))
        found = []
        for number in range(ROUNDS):
            some = paths[number:-1:ROUNDS]
            texts = asyncio.run(_texts(some))
            before = asyncio.run(_alone(texts))
            counts, seconds = _synced(client, _added(client, _copied(some, folder / f"round {number}")))
            alone = (before + asyncio.run(_alone(texts))) / 2
            ours = counts["embedded"] / seconds
            found.append(ours / alone)
            print(
                f"indexing  {counts['new']} documents, {counts['embedded']} chunks: {ours:.2f} chunks/s; "
                f"the model alone {alone:.2f}; ratio {ours / alone:.2f}",
                flush=True,
            )
        print(f"indexing  the median of the ratios: {sorted(found)[ROUNDS // 2]:.2f}", flush=True)


def _copied(paths: Sequence[Path], folder: Path) -> Path:
    folder.mkdir()
    for path in paths:
        shutil.copyfile(path, folder / path.name)
    return folder


async def _texts(paths: Sequence[Path]) -> list[str]:
    """What is embedded of these documents, each text once."""
    settings = Settings()
    reader, size = DocumentReader(settings.knowledge.reading), settings.knowledge.chunks
    texts: list[str] = []
    for path in paths:
        data = await asyncio.to_thread(path.read_bytes)
        clean = await reader.read(RawDocument(path.name, data))
        cut = chunk(
            clean, path.name, ChunkStrategy.AUTO, size=size.size, overlap=size.overlap, count_tokens=about_tokens
        )
        texts += [embedded_text(one.heading, one.text) for one in cut]
    return list(dict.fromkeys(texts))


async def _alone(texts: Sequence[str]) -> float:
    """Chunks a second of the default model, once it is loaded."""
    async with httpx.AsyncClient() as client:
        models = EmbeddingModels(Settings(), client, _serve)
        with contextlib.closing(models):
            await models.embed(EmbeddingRequest(E5, ["warm up"]))
            started = time.perf_counter()
            for place in range(0, len(texts), BATCH):
                await models.embed(EmbeddingRequest(E5, texts[place : place + BATCH]))
            return len(texts) / (time.perf_counter() - started)


def _serve(name: str, priority: Priority = Priority.INTERACTIVE) -> NoReturn:
    raise RuntimeError(name)


def _client(running: Hub) -> httpx.Client:
    headers = {"authorization": f"Bearer {running.key}"}
    return httpx.Client(base_url=running.url, headers=headers, timeout=None, trust_env=False)


def _added(client: httpx.Client, folder: Path) -> str:
    client.post("/v1/embeddings", json={"model": "default", "input": "warm up"}).raise_for_status()
    body = {"name": folder.name, "kind": "folder", "location": str(folder.resolve())}
    found: str = client.post("/v1/sources", json=body).raise_for_status().json()["id"]
    return found


def _synced(client: httpx.Client, source: str) -> tuple[dict[str, Any], float]:
    """What a sync counted, and how many seconds it took."""
    path = f"/v1/sources/{source}"
    sync = client.post(f"{path}/sync").raise_for_status().json()["id"]
    client.get(f"{path}/syncs/{sync}/events").raise_for_status()
    found = client.get(f"{path}/syncs/{sync}").raise_for_status().json()
    if found["state"] != "done":
        message = f"the sync ended as {found['state']}: {found['error']}"
        raise RuntimeError(message)
    started, finished = (datetime.fromisoformat(found[name]) for name in ("started_at", "finished_at"))
    return found["counts"], (finished - started).total_seconds()


@contextlib.contextmanager
def _scripted() -> Iterator[str]:
    """The settings of a hub whose vectors come from the scripted server."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    with process("-m", "tidemill.llm.scripted_server", "--port", str(port), ready=f"{url}/health"):
        yield f"embeddings:\n  default: scripted\n  endpoints:\n    scripted:\n      url: {url}/v1\n"


def _edits(folder: Path) -> None:
    """Seconds of a sync after one edit, for folders of several sizes, with vectors that cost nothing."""
    with _scripted() as settings, hub(settings) as running, _client(running) as client:
        for count in FILES:
            files = folder / f"{count} files"
            files.mkdir()
            for number in range(count):
                path = files / f"{number}.md"
                path.write_text(f"# Note {number}\n\nThis is what note {number} says of its own matter.\n")
                os.utime(path, (LONG_AGO, LONG_AGO))
            source = _added(client, files)
            _synced(client, source)
            taken = []
            for time_ in range(TIMES):
                (files / "7.md").write_text(f"# Note 7\n\nIt was edited {time_} times.\n")
                counts, seconds = _synced(client, source)
                if (counts["changed"], counts["embedded"]) != (1, 1):
                    message = f"one edit changed {counts}"
                    raise RuntimeError(message)
                taken.append(seconds)
            print(
                f"indexing  a sync after one edit among {count:,} files: {sorted(taken)[TIMES // 2]:.2f} s", flush=True
            )
    print()
