"""Which answers are kept to be given again, where, and how long."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from tidemill.core.deployment import Task
from tidemill.settings.section import Section

REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


def _redis_url(secret: SecretStr) -> SecretStr:
    """An address of a Redis. What is wrong with it is said without it, since it may hold a password."""
    if not secret.get_secret_value().startswith(REDIS_SCHEMES):
        raise ValueError("must begin with redis://, rediss:// or unix://, as in redis://user:password@host:6379/0")
    return secret


class SemanticCacheSettings(Section):
    """Answers to questions that mean the same. Two texts can be near each other and differ in the word that counts."""

    tasks: list[Task] = Field(
        default_factory=list, description="Tasks for which an answer to a similar last message is given again."
    )
    threshold: float = Field(0.985, gt=0, le=1, description="How similar it must be: the cosine of the two vectors.")


class CacheSettings(Section):
    """Where answers are kept. No tier keeps one for longer than `retention.cache_hours`."""

    enabled: bool = Field(True, description="Whether answers are kept to be given again.")
    sampled: bool = Field(False, description="Whether answers that chance had a part in are kept, too.")
    memory_bytes: int = Field(64_000_000, ge=0, description="Memory of each process for answers.")
    memory_seconds: float = Field(300.0, ge=0, description="How long an answer stays in memory.")
    shared_bytes: int = Field(1_000_000_000, ge=0, description="Bytes of answers in the database.")
    shared_seconds: float = Field(3600.0, ge=0, description="How long an answer stays in the database, or in Redis.")
    file_over_bytes: int = Field(65_536, ge=1, description="A larger answer is kept as a file in the data folder.")
    file_bytes: int = Field(5_000_000_000, ge=0, description="Bytes of such files.")
    file_seconds: float = Field(86_400.0, ge=0, description="How long such a file stays.")
    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] | None = Field(
        None, description="A Redis that takes the place of the database for answers that are no files."
    )
    semantic: SemanticCacheSettings = SemanticCacheSettings()
