"""Where data is kept, how long, and what may be done with it."""

from typing import Literal

from pydantic import Field, model_validator

from tidemill.core.classification import Level, Use, highest
from tidemill.settings.section import AbsolutePath, Section


class DatabaseSettings(Section):
    """The embedded PostgreSQL's pool and user; `database_url` chooses another server."""

    pool_size: int = Field(8, ge=2, description="Connections that one process keeps open.")
    system_user: str = Field("tidemill", description="Who runs the embedded server when Tidemill runs as root.")


class ReviewSettings(Section):
    """What a review reads and how much of a model's time it spends."""

    roots: list[AbsolutePath] = Field(
        default_factory=list, description="Folders whose repositories POST /v1/reviews may name."
    )
    advisories: AbsolutePath | None = Field(
        None, description="A file of advisories in OSV's form, for repositories whose policy names none."
    )
    max_diff_bytes: int = Field(10_000_000, ge=1, description="A larger diff is refused.")
    max_file_bytes: int = Field(1_000_000, ge=1, description="A larger file is judged from its diff alone.")
    max_hunks: int = Field(6, ge=0, description="Hunks for which a model is asked, highest score first.")
    max_seconds: float = Field(300.0, gt=0, description="Time after which a model is asked for no further hunk.")
    max_refinements: int = Field(
        2, ge=0, description="Findings for which a model is asked for lines that mend them, the weightiest first."
    )
    min_score: float = Field(0.3, ge=0, le=1, description="Hunks under this score are not put to a model.")


class RetentionSettings(Section):
    """How long stored texts are kept."""

    inference_text_days: float = Field(7.0, ge=0, description="Requests and answers of models; 0 keeps none.")
    review_change_days: float = Field(
        30.0,
        ge=0,
        description="The change that a review read, with its sources; 0 deletes it at the review's end.",
    )
    conversation_days: float = Field(
        7.0, ge=0, description="Conversations since their last message; 0 deletes them within the hour."
    )
    log_days: float = Field(30.0, ge=0, description="Log files, and the steps of ended reviews.")
    delivery_days: float = Field(
        7.0, ge=0, description="What webhooks delivered; that a delivery came is remembered for `log_days`."
    )
    cache_hours: float = Field(24.0, ge=0, description="Cached embeddings and answers; 0 deletes them within the hour.")


class ProtectionSettings(Section):
    """What texts may be used for, by their level; see `tidemill.core.classification`. Never looser than its table."""

    default_level: Level = Field(Level.INTERNAL, description="The level of a text in which no rule finds anything.")
    logging_up_to: Level = Field(Level.CONFIDENTIAL, description="The highest level of texts that are stored.")
    training_up_to: Level = Field(Level.INTERNAL, description="The highest level of texts that models may learn from.")
    outside_up_to: Level = Field(
        Level.INTERNAL, description="The highest level of texts that are sent to endpoints outside."
    )

    @model_validator(mode="after")
    def stricter(self) -> "ProtectionSettings":
        """No setting allows a use that the table does not."""
        for use in Use:
            chosen, most = getattr(self, f"{use}_up_to"), highest(use)
            if chosen.rank > most.rank:
                raise ValueError(f"`{use}_up_to` can be made stricter than {most}, not looser")
        return self


class ConversationSettings(Section):
    """How conversations are kept and how their history is fitted to a model."""

    history: Literal["window", "summary"] = Field(
        "window", description="What becomes of what a context does not hold: left out, or summarised."
    )
    model_titles: bool = Field(False, description="Whether a model names a conversation after its first answer.")
    max_message_bytes: int = Field(200_000, ge=1, description="A larger message is refused.")
    max_messages: int = Field(2000, ge=2, description="Messages of one conversation, all branches together.")
    max_bytes: int = Field(10_000_000, ge=1, description="Bytes of one conversation's messages together.")


class FileSettings(Section):
    """Uploaded files."""

    max_bytes: int = Field(536_870_912, ge=1, description="A larger file is refused.")
    owner_max_bytes: int = Field(5_368_709_120, ge=1, description="Bytes that one owner's files may have together.")
