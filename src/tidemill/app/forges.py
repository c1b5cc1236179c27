"""Forges, and what their webhooks deliver."""

from tidemill.core.clock import system_clock
from tidemill.flows.deliveries import Deliveries
from tidemill.jobs.port import Jobs
from tidemill.protection.secrets import Secrets
from tidemill.settings import Settings
from tidemill.store.database import Pool
from tidemill.store.deliveries import DeliveryRepository


def deliveries_of(settings: Settings, pool: Pool, jobs: Jobs, secrets: Secrets) -> Deliveries:
    """What takes the deliveries of webhooks in."""
    return Deliveries(jobs, DeliveryRepository(pool), settings.forges, secrets, system_clock)
