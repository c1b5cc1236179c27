"""What is answered without a connection, in one place for routes and chores."""

from dataclasses import dataclass

from tidemill.flows.batches import BatchFlow
from tidemill.flows.callbacks import Callbacks
from tidemill.flows.generation import GenerationFlow


@dataclass(frozen=True, slots=True)
class GenerationServices:
    """Jobs, batches, and the callbacks of jobs."""

    jobs: GenerationFlow
    batches: BatchFlow
    callbacks: Callbacks
