"""What is done for whoever does not wait: jobs and batches."""

from pydantic import Field

from tidemill.settings.section import Section


class JobSettings(Section):
    """How much of it is done at once, and how long it is kept."""

    concurrency: int = Field(4, ge=1, le=1000, description="Jobs that one process works on at once.")
    batch_concurrency: int = Field(4, ge=1, le=1000, description="Lines of batches that one process asks at once.")
    result_days: float = Field(
        30.0, gt=0, le=3650, description="How long a job, an ended batch and a batch's output files are kept."
    )
    callback_attempts: int = Field(8, ge=1, le=20, description="How often a job's callback is tried.")
