"""What tests of answers share: passages about purchasing, an embedder without a model, and a course without a hub."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

from tidemill.core.answer import Answer, Given
from tidemill.core.context import Asker
from tidemill.core.deployment import Deployment, Fallback, Route, Target, Task
from tidemill.core.embedding import EmbeddingRequest, Embeddings, floats_of, unit_vector
from tidemill.core.search import Hit, Reader
from tidemill.knowledge.answers import Answers
from tidemill.knowledge.grounding.support import Grounding
from tidemill.llm.prompts.shipped import ShippedPrompts
from tidemill.llm.scripted_embeddings import ScriptedEmbedder
from tidemill.settings.knowledge import AnswerSettings

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
READER = Reader("internal")
STEPS = Given(
    "doc123_chunk_1",
    "Quy trình mua hàng gồm 5 bước chính: tạo yêu cầu mua hàng, thu thập báo giá, phê duyệt, đặt hàng và nghiệm thu. "
    "Đơn hàng từ 100.000.000 đồng trở lên cần ba báo giá.",
    "Quy trình Mua hàng",
    "proc_001",
    page=1,
    score=0.95,
)
SIGNING = Given(
    "doc456_chunk_3",
    "Việc phê duyệt yêu cầu mua hàng cần có chữ ký giám đốc. Giám đốc ký trong vòng 2 ngày làm việc.",
    "Quy trình Phê duyệt",
    "proc_002",
    page=3,
    score=0.87,
)
RETURNS = Given(
    "returns-1",
    "Returns are accepted within 14 days of delivery. The warehouse is closed on Sundays. Refunds take five days.",
    "Returns",
    "ret_001",
)


class LikeE5:
    """Vectors of the scripted embedder, brought near each other as those of the default model are: cosines over 0.7."""

    def __init__(self) -> None:
        self.inner = ScriptedEmbedder()

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says."""
        made = await self.inner.embed(request)
        return Embeddings([self._nearer(one, request.model) for one in made.vectors], made.tokens)

    @staticmethod
    def _nearer(vector: bytes, model: str) -> bytes:
        return unit_vector([2.0, *floats_of(vector)], model)


class InMemory:
    """Keeps answers for a test."""

    def __init__(self) -> None:
        self.kept: dict[object, tuple[object, Answer]] = {}

    async def add(self, answer: Answer, owner_id: object, *, days: float) -> None:
        """Keeps one."""
        self.kept[answer.id] = (owner_id, answer)

    async def get(self, answer_id: object, owner_id: object) -> Answer | None:
        """One, for its owner alone."""
        owner, answer = self.kept.get(answer_id, (None, None))
        return answer if owner == owner_id else None


class ScriptedSearch:
    """Finds what it was given, whatever is asked."""

    def __init__(self, hits: Sequence[Hit] = ()) -> None:
        self.hits = hits
        self.queries: list[str] = []

    async def find(self, query, reader, filters, asker, *, limit):
        """As the protocol says."""
        self.queries.append(query)
        return list(self.hits)[:limit]


def asker(**changes: object) -> Asker:
    """Somebody who asks."""
    return Asker(trace_id="0" * 32, owner_id=uuid4(), **changes)


def deployment(*models: str, fallbacks: Sequence[Fallback] = ()) -> Deployment:
    """One model, or a route of several."""
    if len(models) < 2:
        return Deployment(Task.ANSWER, models[0] if models else "scripted", "v1")
    route = Route("answers", tuple(Target(one) for one in models), fallbacks=tuple(fallbacks))
    return Deployment(Task.ANSWER, "answers", "route:v1", route=route)


def answers_of(
    chat, *, search=None, served_by=None, embedder=None, repository=None, chosen=None, runs_here=None, **settings
):
    """The service, with everything but the model made for tests."""

    async def scripted():
        return served_by or deployment()

    return Answers(
        chat,
        search or ScriptedSearch(),
        Grounding(embedder or LikeE5(), lambda: Deployment(Task.EMBED, "like-e5", "v1")),
        chosen or scripted,
        ShippedPrompts(),
        repository or InMemory(),
        AnswerSettings(**settings),
        keep_days=7,
        clock=lambda: NOON,
        runs_here=runs_here or (lambda model: False),
    )
