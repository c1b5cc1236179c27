"""What looks after data as such, together: exports, erasures, retention."""

from dataclasses import dataclass
from pathlib import Path

from tidemill.accounts.people import People
from tidemill.flows.export import ExportFlow
from tidemill.flows.personal_data import ErasureFlow
from tidemill.protection.retention import Retention
from tidemill.store.database import Pool


@dataclass(frozen=True, slots=True)
class DataServices:
    """The services for data.

    Attributes:
        people: finds whom it is about.
        exports: hands people what is stored of them.
        erasures: erases people.
        retention: deletes what is due.
        scratch: a private folder for archives on their way.
        pool: to be searched.
    """

    people: People
    exports: ExportFlow
    erasures: ErasureFlow
    retention: Retention
    scratch: Path
    pool: Pool
