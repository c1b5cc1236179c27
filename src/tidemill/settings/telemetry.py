"""What the hub lets see of itself."""

from typing import Annotated

from pydantic import AfterValidator, Field

from tidemill.settings.section import Section, http_url


class TelemetrySettings(Section):
    """Metrics, logs and traces."""

    otlp_endpoint: Annotated[str, AfterValidator(http_url)] | None = Field(
        None, description="Where traces are sent, by OTLP over HTTP, such as `http://127.0.0.1:4318`."
    )
    traces_kept: int = Field(500, ge=1, le=100_000, description="Traces that each process keeps in memory.")
    trace_content: bool = Field(False, description="Whether traces hold what was asked and answered.")
