"""`tidemill eval` as people call it: over an index of its own, beside a hub, with models that are scripted."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, Upstream, running_hub, scripted_settings, tidemill, upstream
from tidemill.app.evaluation_database import open_evaluation_database
from tidemill.cli.main import run
from tidemill.settings import Settings
from tidemill.store.database import make_pool
from tidemill.store.embedded import EmbeddedPostgres
from tidemill.store.secret_key import load_secret_key

TEXTS = {
    "d1": "Each large order needs three quotations from different suppliers.",
    "d2": "The canteen opens at noon and closes at two.",
    "d3": "Backups are kept for ninety days in another building.",
}
QUERIES = {"q1": "How many quotations does a large order need?", "q2": "How long are backups kept?", "q3": "Who?"}


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    folder = reachable(tmp_path_factory.mktemp("scripted"))
    script = folder / "script.json"
    script.write_text(json.dumps({"text": "Each large order needs three quotations from different suppliers [1]."}))
    with upstream(folder, "--script", str(script)) as running:
        yield running


@pytest.fixture(scope="module")
def hub(scripted: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = reachable(tmp_path_factory.mktemp("evaluation"))
    words = {"default": "words", "endpoints": {"words": {"url": scripted.url, "model": "scripted"}}}
    with running_hub(folder / "data", scripted_settings(scripted.url, embeddings=words)) as running:
        yield running


@pytest.fixture(scope="module")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beir")
    (folder / "qrels").mkdir()
    rows = [json.dumps({"_id": name, "title": "", "text": text}) for name, text in TEXTS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(rows))
    rows = [json.dumps({"_id": name, "text": text}) for name, text in QUERIES.items()]
    (folder / "queries.jsonl").write_text("\n".join(rows))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td3\t1\n")
    return folder


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    (folder / "documents").mkdir()
    (folder / "documents" / "orders.md").write_text(f"# Orders\n\n{TEXTS['d1']}\n")
    (folder / "documents" / "empty.md").write_text("")
    asked = [{"question": QUERIES["q1"], "document": "orders.md", "answer": "three", "quote": "three quotations"}]
    (folder / "questions.json").write_text(json.dumps(asked))
    return folder


async def _stored(hub: Hub) -> tuple[int, int]:
    settings = Settings(data_dir=hub.data_dir)
    with EmbeddedPostgres.acquire(settings, load_secret_key(settings)) as server:
        async with make_pool(server.url, size=1) as pool, pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT (SELECT count(*) FROM sources) AS sources, (SELECT count(*) FROM chunks) AS chunks"
            )
            row = await cursor.fetchone()
    assert row is not None
    return int(str(row["sources"])), int(str(row["chunks"]))


def test_a_search_is_measured_and_two_ways_are_compared(
    hub: Hub, scripted: Upstream, beir: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "hybrid.json", tmp_path / "dense.json"
    command = ["eval", "retrieval", "--data", str(beir), "--format", "beir", "--k", "3"]
    shown = tidemill([*command, "--out", str(first)], hub.environment)
    assert shown.returncode == 0, shown.stderr
    assert "ndcg@3" in shown.stdout
    assert "documents: 0 of 3" in shown.stderr
    result = json.loads(first.read_text())
    assert result["metrics"]["recall@3"] == 1.0
    assert set(result["questions"]) == {"q1", "q2"}
    assert result["versions"]["embedding"].startswith("words@")
    assert len(result["versions"]["settings"]) == len(result["data"]["digest"]) == 64
    asked = len(scripted.asked)
    printed = tidemill([*command, "--mode", "dense", "--json", "--out", str(second)], hub.environment)
    assert json.loads(printed.stdout)["options"]["mode"] == "dense"
    assert len(scripted.asked) == asked, "each text had its vector in the cache"
    compared = tidemill(["eval", "compare", str(first), str(second)], hub.environment)
    assert compared.returncode == 0, compared.stderr
    assert "95 % interval" in compared.stdout
    assert 'mode: A "hybrid", B "dense"' in compared.stdout
    assert asyncio.run(_stored(hub)) == (0, 0)


def test_answers_are_measured_through_the_hub(hub: Hub, scripted: Upstream, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.json"
    command = ["eval", "grounding", "--data", str(questions), "--format", "questions", "--out", str(out)]
    shown = tidemill(command, hub.environment)
    assert shown.returncode == 0, shown.stderr
    result = json.loads(out.read_text())
    assert result["questions"]["1"]["context_recall"] == 1.0
    assert result["questions"]["1"]["citation_of_right_document"] == 1.0
    assert result["questions"]["1"]["faithfulness"] == 1.0
    assert result["versions"]["answers"] == ["scripted"]
    assert (result["data"]["documents"], result["data"]["unread"]) == (2, 1)
    assert asyncio.run(_stored(hub)) == (0, 0)
    asked = len(scripted.asked)
    again = tidemill([*command, "--json"], hub.environment)
    assert json.loads(again.stdout)["metrics"] == result["metrics"]
    assert len(scripted.asked) == asked, "a run that is begun again asks for no answer and no vector that is there"


def test_claims_are_measured_without_a_model_that_answers(hub: Hub, tmp_path: Path) -> None:
    rows = [
        {"claim": TEXTS["d1"], "evidence": list(TEXTS.values()), "label": "supported", "supporting_sentences": [[0]]},
        {"claim": "Pigs can fly.", "evidence": ["Cows eat."], "label": "not_supported", "supporting_sentences": []},
    ]
    (tmp_path / "wice.jsonl").write_text("\n".join(map(json.dumps, rows)))
    printed = tidemill(
        ["eval", "grounding", "--data", str(tmp_path / "wice.jsonl"), "--format", "wice", "--json"], hub.environment
    )
    assert printed.returncode == 0, printed.stderr
    result = json.loads(printed.stdout)
    assert result["metrics"]["f1_strict"] == 1.0
    assert result["metrics"]["evidence_recall"] == 1.0


KILLED = """
import os, signal, sys
from pathlib import Path
from tidemill.app.evaluation_database import open_evaluation_database
from tidemill.settings import Settings
with open_evaluation_database(Settings(data_dir=Path(sys.argv[1]))):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_is_gone_with_the_next_one(tmp_path: Path) -> None:
    folder = reachable(tmp_path) / "data"
    assert subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False).returncode == -signal.SIGKILL
    [left] = (folder / "evaluation").glob("run-*")
    assert _running(left)
    with open_evaluation_database(Settings(data_dir=folder)) as (own, _):
        assert list((folder / "evaluation").glob("run-*")) == [own.data_dir.parent]
        assert not _running(left)
        assert _running(own.data_dir.parent)
    assert not list((folder / "evaluation").glob("run-*"))
    assert not _running(own.data_dir.parent)


def _running(folder: Path) -> list[list[str]]:
    """The commands of the servers in a folder."""
    found = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
    return [words for words in found if any(word.startswith(str(folder)) for word in words)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["retrieval", "--data", "nowhere", "--format", "beir"], "corpus.jsonl: is not there"),
        (["retrieval", "--data", "nowhere", "--format", "wice"], "eval grounding"),
        (["retrieval", "--data", ".", "--format", "beir", "--out", "no/where.json"], "can't be written"),
        (["compare", "a.json", "b.json"], "a.json: is not there"),
    ],
)
def test_what_can_not_be_measured_is_said_before_anything_is_done(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDEMILL_DATA_DIR", str(tmp_path / "data"))
    with pytest.raises(SystemExit) as ended:
        run(["eval", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
