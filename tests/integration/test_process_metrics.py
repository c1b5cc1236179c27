"""One page has the metrics of every process, whichever hub is asked."""

import re
from datetime import timedelta

from tests.conftest import NOON
from tidemill.core.errors import Unavailable
from tidemill.core.ids import new_id
from tidemill.flows.metrics import STALE_SECONDS, MetricsPage
from tidemill.store.process_metrics import ProcessMetricsRepository
from tidemill.telemetry.metrics import Metrics


def page(pool, process, *, providers=lambda: ["local"], rows=None, known=lambda name: True):
    metrics = Metrics(known=known)
    rows = rows or ProcessMetricsRepository(pool)
    role = process.partition("-")[0]
    return metrics, MetricsPage(process, role, metrics, rows, models=list, providers=providers)


def found(text, name):
    """Each sample of this name by its process."""
    return dict(re.findall(rf'^{name}(?:_total)?\{{.*process="(.+?)"\}} (.+)$', text.decode(), re.MULTILINE))


async def test_a_hub_shows_its_own_samples_as_they_are_and_the_others_as_they_left_them(pool):
    hub, hub_page = page(pool, "hub-0")
    worker, worker_page = page(pool, "worker-1")
    worker.observe_review("done")
    await worker_page.publish()
    worker.observe_review("done")
    await hub_page.publish()
    hub.observe_review("done")
    assert found(await hub_page.render(), "tidemill_reviews") == {"hub-0": "1", "worker-1": "1"}
    assert found(await worker_page.render(), "tidemill_reviews") == {"worker-1": "2"}
    assert set(found(await hub_page.render(), "tidemill_process_info")) == {"hub-0", "worker-1"}


async def test_a_process_that_ended_or_fell_silent_is_left_out(pool):
    _, hub_page = page(pool, "hub-0")
    for process in ("worker-1", "worker-2"):
        _, other = page(pool, process)
        await other.publish()
    await other.aclose()
    assert set(found(await hub_page.render(), "tidemill_process_info")) == {"hub-0", "worker-1"}
    async with pool.connection() as connection:
        await connection.execute(
            "UPDATE process_metrics SET updated_at = now() - %s", (timedelta(seconds=STALE_SECONDS + 1),)
        )
    assert set(found(await hub_page.render(), "tidemill_process_info")) == {"hub-0"}


async def test_a_process_that_takes_a_name_over_takes_its_samples_place(pool):
    before, before_page = page(pool, "worker-1")
    before.observe_review("done")
    await before_page.publish()
    _, after_page = page(pool, "worker-1")
    await after_page.publish()
    _, hub_page = page(pool, "hub-0")
    assert found(await hub_page.render(), "tidemill_reviews") == {}


async def test_what_all_processes_share_stands_once(pool):
    async with pool.connection() as connection:
        for state in ("done", "done", "queued"):
            await connection.execute(
                "INSERT INTO reviews (id, state, title, change_digest, with_model, created_at) "
                "VALUES (%s, %s, 'a change', %s, false, %s)",
                (new_id(), state, "0" * 64, NOON),
            )
        await connection.execute(
            "INSERT INTO provider_states (provider, model, rests_until, disabled_at, updated_at) VALUES "
            "('openai', '', now() + interval '1 hour', NULL, now()), ('openai', 'mini', now() - interval '1 s', NULL, "
            "now()), ('gemini', '', NULL, now(), now()), ('claude', 'big', now() + interval '1 hour', NULL, now())"
        )
    _, hub_page = page(pool, "hub-0", providers=lambda: ["local", "openai", "gemini", "claude"])
    text = (await hub_page.render()).decode()
    assert 'tidemill_jobs{kind="review",state="done",process="installation"} 2' in text
    assert 'tidemill_jobs{kind="review",state="queued",process="installation"} 1' in text
    assert 'tidemill_provider_resting{provider="openai",model="",process="installation"} 1' in text
    assert 'tidemill_provider_resting{provider="openai",model="mini",process="installation"} 0' in text
    assert 'tidemill_provider_resting{provider="claude",model="big",process="installation"} 1' in text
    assert 'active_providers_count{process="installation"} 2' in text


async def test_models_that_somebody_made_up_are_one(pool):
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO provider_states (provider, model, rests_until, updated_at) "
            "SELECT 'openai', 'made-up-' || n, now() + interval '1 hour' * (n - 2), now() FROM generate_series(1, 3) n"
        )
    _, hub_page = page(pool, "hub-0", known=lambda name: False)
    text = (await hub_page.render()).decode()
    assert "made-up" not in text
    assert 'tidemill_provider_resting{provider="openai",model="other",process="installation"} 1' in text


class Away(ProcessMetricsRepository):
    """The rows while the database is away."""

    async def others(self, process, *, seconds):
        raise Unavailable("The database does not answer.")


async def test_while_the_database_is_away_a_hub_shows_its_own(pool, caplog):
    hub, hub_page = page(pool, "hub-0", rows=Away(pool))
    hub.observe_review("failed")
    text = await hub_page.render()
    assert found(text, "tidemill_reviews") == {"hub-0": "1"}
    assert b"installation" not in text
    assert "this process alone" in caplog.text
