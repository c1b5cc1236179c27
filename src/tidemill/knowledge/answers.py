"""Answers questions from documents: search, pack, ask, check each sentence, judge, and where it fails, fall back.

The cache is the model port's: an equal question with equal passages is not put to a model twice.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from uuid import UUID

from tidemill.core.answer import Answer, AnswerStatus, CheckedSentence, Citation, Given, Issue, Outcome, Unsupported
from tidemill.core.chat import ChatRequest, Usage
from tidemill.core.classification import Level
from tidemill.core.clock import Clock
from tidemill.core.context import Asker, InferenceContext, Passage
from tidemill.core.deployment import Deployment
from tidemill.core.document import Span
from tidemill.core.errors import ContextTooLong, ModelFailed, TidemillError
from tidemill.core.ids import digest, new_id
from tidemill.core.json import Json
from tidemill.core.search import Reader
from tidemill.core.served import Served
from tidemill.knowledge.citations import CitationCheck, citation_map, reference
from tidemill.knowledge.drafting import NO_ANSWER, SEED, Draft, drafted
from tidemill.knowledge.followups import FollowUps
from tidemill.knowledge.grounding.support import Grounding, Passages
from tidemill.knowledge.grounding.words import words_of
from tidemill.knowledge.packing import Packed, pack
from tidemill.knowledge.quality import confidence_of, issues_of
from tidemill.knowledge.questions import PassageSearch, Question, check_question, given_of, language_of_answer
from tidemill.knowledge.texts import (
    LOW_CONFIDENCE,
    NO_CONTEXT,
    SYSTEM_ERROR,
    answer_messages,
    answer_prompt,
    on_one_line,
    template_text,
)
from tidemill.llm.port import ChatModel
from tidemill.llm.prompts.shipped import Prompts
from tidemill.settings.knowledge import AnswerSettings
from tidemill.store.answers import AnswerRepository

ECHOED = 200
"""Characters of a question that an answer repeats."""
SHOWN_WITHOUT_MODEL = 3
"""Passages that stand in an answer when no model could write one."""
SHRINKINGS = 2
"""How often the passages are halved when a model says that they do not fit."""


@dataclass(frozen=True, slots=True)
class Found:
    """The passages, by the numbers under which the answer cites them: the first event."""

    passages: Mapping[int, Given]
    language: str


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence that was checked, with the white space before it."""

    text: str
    sentence: CheckedSentence


Event = Found | Said | Answer
"""What `stream` gives: `Found`, then what is `Said`, then the `Answer`, whose text counts."""


@dataclass(slots=True)
class _Course:
    """One question on its way to an answer."""

    id: UUID
    question: Question
    text: str
    asked: str
    language: str
    asker: Asker
    started: float
    packed: Packed
    spent: "_Spent"


@dataclass(slots=True)
class _Spent:
    """What all inferences for one question took. `cost` is `None` once one's is not known."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0
    attempts: int = 0

    def add(self, draft: Draft) -> None:
        self.attempts += 1
        self.count(draft.usage, draft.served, draft.failure)

    def count(self, usage: Usage, served: Served | None, failure: TidemillError | None = None) -> None:
        """Adds one inference, which may have failed."""
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        of = served if served is not None else failure
        cost = of.cost_usd if of is not None else None
        self.cost = None if self.cost is None or cost is None else self.cost + cost


class Answers:
    """Answers questions.

    Args:
        chat: the model port.
        search: finds passages for those who bring none.
        grounding: holds sentences to passages.
        deployment: what serves the task `answer`.
        prompts: what models are asked with, and what the hub says itself.
        repository: keeps answers.
        settings: of answers.
        keep_days: how long answers are kept.
        clock: the time.
        runs_here: whether a model is one of this machine's own, which is given less to read and to write.
        timer: monotonic seconds.
    """

    def __init__(
        self,
        chat: ChatModel,
        search: PassageSearch,
        grounding: Grounding,
        deployment: Callable[[], Awaitable[Deployment]],
        prompts: Prompts,
        repository: AnswerRepository,
        settings: AnswerSettings,
        *,
        keep_days: float,
        clock: Clock,
        runs_here: Callable[[str], bool] = lambda model: False,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chat = chat
        self._follow_ups = FollowUps(chat, deployment, prompts)
        self._search = search
        self._grounding = grounding
        self._deployment = deployment
        self._prompts = prompts
        self._repository = repository
        self._settings = settings
        self._keep_days = keep_days
        self._clock = clock
        self._runs_here = runs_here
        self._timer = timer

    async def answer(self, question: Question, asker: Asker, reader: Reader) -> Answer:
        """The whole answer, stored.

        Raises:
            InvalidInput, TooLarge: the question can't be answered as it is.
            TidemillError: the asker may not ask, or has nothing left to spend.
        """
        async with aclosing(self.stream(question, asker, reader, live=False)) as events:
            async for event in events:
                if isinstance(event, Answer):
                    return event
        raise ModelFailed("The answer ended before it was there.")

    async def stream(
        self, question: Question, asker: Asker, reader: Reader, *, live: bool = True
    ) -> AsyncGenerator[Event, None]:
        """The passages, the sentences as they are checked, and the answer, stored.

        With `live` a sentence that was given stays; without, another model may begin anew. Raises as `answer` does.
        """
        course = await self._begin(question, asker, reader)
        yield Found(course.packed.given, course.language)
        if not course.packed.given:
            yield await self._store(course, self._not_found(course, AnswerStatus.SUCCESS))
            return
        best: Draft | None = None
        try:
            deployment: Deployment | None = await self._served_by(course)
        except NO_ANSWER as error:
            best, deployment = Draft(self._settings.unsupported, failure=error), None
        for _ in range(self._settings.max_attempts):
            if deployment is None:
                break
            draft = Draft(self._settings.unsupported)
            try:
                async with aclosing(self._attempt(course, deployment, draft)) as sentences:
                    async for text, sentence in sentences:
                        if live:
                            yield Said(text, sentence)
            except NO_ANSWER as error:
                draft.failure = error
            course.spent.add(draft)
            best = draft if best is None else max(best, draft, key=_worth)
            if draft.failure is not None and not draft.kept:
                break  # the route has asked whoever else there is
            if not draft.by_model or not self._issues(draft) or (draft.refused and not draft.dropped):
                break
            if live and draft.shown:
                break
            deployment = _without(deployment, draft)
        assert best is not None  # noqa: S101 - one attempt at least is made, or its failure noted
        yield await self._store(course, self._outcome(course, best))

    def check(self, question: Question) -> None:
        """Goes on with a question that can be answered; raises as `answer` does of one that can't."""
        check_question(question, self._settings)

    async def find(self, answer_id: UUID, owner_id: UUID) -> Answer | None:
        """A stored answer of this owner, as it was given."""
        return await self._repository.get(answer_id, owner_id)

    async def _begin(self, question: Question, asker: Asker, reader: Reader) -> _Course:
        started = self._timer()
        text = check_question(question, self._settings)
        language = language_of_answer(question, text)
        asker = replace(asker, language=language)
        rewritten = await self._follow_ups.standing_alone(question, text, language, asker)
        asked, spent = rewritten.text, _Spent()
        if rewritten.usage is not None:
            spent.count(rewritten.usage, rewritten.served)
        passages = question.passages
        if passages is None:
            hits = await self._search.find(asked, reader, question.filters, asker, limit=self._settings.passages)
            passages = [given_of(hit) for hit in hits]
        packed = pack(passages, self._settings.max_context_tokens)
        return _Course(new_id(), question, text, asked, language, asker, started, packed, spent)

    async def _served_by(self, course: _Course) -> Deployment:
        prompt = answer_prompt(self._prompts, course.question, course.language)
        chosen, deployment = self._settings, await self._deployment()
        longest = chosen.local_output_tokens if self._is_local(deployment) else chosen.max_output_tokens
        sampling: dict[str, Json] = {
            "temperature": chosen.temperature,
            "top_p": chosen.top_p,
            "max_tokens": min(longest, chosen.max_output_tokens),
            "seed": SEED,
        }
        return replace(deployment, prompt_version=prompt.version, sampling=sampling)

    def _is_local(self, deployment: Deployment) -> bool:
        """Whether the model that is asked first is one of this machine's own."""
        route = deployment.route
        return self._runs_here(deployment.model if route is None else route.targets[0].model)

    async def _attempt(
        self, course: _Course, deployment: Deployment, draft: Draft
    ) -> AsyncGenerator[tuple[str, CheckedSentence], None]:
        """One model's answer; with fewer passages where its context holds no more."""
        packed = course.packed
        if self._is_local(deployment) and packed.tokens > self._settings.local_context_tokens:
            packed = pack(list(packed.given.values()), self._settings.local_context_tokens)
        for left in reversed(range(SHRINKINGS + 1)):
            check = CitationCheck(
                self._grounding,
                Passages(packed.texts, packed.withheld),
                threshold=self._settings.support_threshold,
                unsupported=self._settings.unsupported,
                asker=course.asker,
                premise=words_of(course.asked).numbers,
            )
            draft.inference_id = new_id()
            request = self._request(course, packed, deployment, draft.inference_id)
            try:
                async with aclosing(drafted(self._chat, request, check, draft, course.language)) as sentences:
                    async for one in sentences:
                        yield one
            except ContextTooLong:
                fewer = pack(list(packed.given.values()), packed.tokens // 2)
                if not left or not fewer.given:
                    raise
                packed = fewer  # their numbers are the same
            else:
                return

    def _request(self, course: _Course, packed: Packed, deployment: Deployment, inference_id: UUID) -> ChatRequest:
        prompt = answer_prompt(self._prompts, course.question, course.language)
        context: InferenceContext = replace(
            course.asker.context(inference_id, deployment, f"answer:{course.id}"),
            passages=[
                Passage(one.text, reference(number, one, course.language)) for number, one in packed.given.items()
            ],
        )
        return ChatRequest(
            model=deployment.model,
            messages=answer_messages(prompt, course.question, course.asked, packed, course.language),
            options=deployment.sampling,
            context=context,
        )

    def _issues(self, draft: Draft) -> list[Issue]:
        cited = {one.number for sentence in draft.kept for one in sentence.evidence}
        claims = [one for _, one in draft.sentences if one.is_claim]
        shown = claims if self._settings.unsupported is Unsupported.MARK else draft.kept
        return issues_of(draft.shown, len(cited), confidence_of(shown), self._settings)

    def _outcome(self, course: _Course, draft: Draft) -> Answer:
        """What the asker gets of the best that there was."""
        if draft.by_model and (draft.kept or (draft.shown and self._settings.unsupported is Unsupported.MARK)):
            return self._answered(course, draft)
        if not draft.by_model or draft.failure is not None:
            return self._passages_alone(course, draft)
        if draft.refused:
            return self._not_found(course, AnswerStatus.SUCCESS, draft)
        doubtful = [
            replace(one, text=one.cited, supported=True)
            for _, one in draft.dropped
            if one.evidence and one.confidence >= self._settings.confidence_threshold
        ]
        if doubtful:
            return self._uncertain(course, draft, " ".join(one.text for one in doubtful), doubtful)
        return self._not_found(course, AnswerStatus.MINIMAL, draft)

    def _answered(self, course: _Course, draft: Draft) -> Answer:
        issues = self._issues(draft)
        text = _cut(draft, self._settings.max_answer_length) if Issue.TOO_LONG in issues else draft.shown
        if draft.failure is not None:
            issues.append(Issue.INTERRUPTED)
        if Issue.LOW_CONFIDENCE in issues:
            return self._uncertain(course, draft, text, draft.kept)
        partial = bool(issues or draft.dropped)
        status = AnswerStatus.PARTIAL if partial else AnswerStatus.SUCCESS
        citations = citation_map(draft.kept, course.packed.given, course.language, text)
        claims = [one for _, one in draft.sentences if one.is_claim]
        shown = claims if self._settings.unsupported is Unsupported.MARK else draft.kept
        answer = self._made(course, text, status, Outcome.ANSWERED, confidence_of(shown), citations, draft)
        return replace(answer, issues=issues)

    def _uncertain(self, course: _Course, draft: Draft, text: str, kept: Sequence[CheckedSentence]) -> Answer:
        said = template_text(self._prompts, LOW_CONFIDENCE, course.language, answer=text)
        citations = citation_map(kept, course.packed.given, course.language, said)
        status, confidence = AnswerStatus.PARTIAL, confidence_of(kept)
        answer = self._made(course, said, status, Outcome.UNCERTAIN, confidence, citations, draft)
        return replace(answer, issues=[Issue.LOW_CONFIDENCE])

    def _not_found(self, course: _Course, status: AnswerStatus, draft: Draft | None = None) -> Answer:
        said = template_text(self._prompts, NO_CONTEXT, course.language, question=on_one_line(course.text, ECHOED))
        return self._made(course, said, status, Outcome.NOT_FOUND, 0.0, [], draft)

    def _passages_alone(self, course: _Course, draft: Draft) -> Answer:
        """No model wrote an answer: the best passages, as they are, and the reason."""
        numbers = list(course.packed.given)[:SHOWN_WITHOUT_MODEL]
        values = [one for one in course.packed.values(course.language) if one["number"] in numbers]
        said = template_text(self._prompts, SYSTEM_ERROR, course.language, passages=values)
        citations = [_whole(number, course.packed, course.language, said) for number in numbers]
        answer = self._made(course, said, AnswerStatus.MINIMAL, Outcome.PASSAGES, 0.0, citations, draft)
        if draft.failure is None:
            return answer
        told: dict[str, Json] = {"failure": draft.failure.code, "failure_message": draft.failure.message}
        return replace(answer, metadata={**answer.metadata, **told})

    def _made(
        self,
        course: _Course,
        text: str,
        status: AnswerStatus,
        outcome: Outcome,
        confidence: float,
        citations: Sequence[Citation],
        draft: Draft | None,
    ) -> Answer:
        served = draft.served if draft is not None else None
        metadata: dict[str, Json] = {
            "model_used": served.model if served is not None else None,
            "provider": served.provider if served is not None else None,
            "tokens_used": course.spent.prompt_tokens + course.spent.completion_tokens,
            "prompt_tokens": course.spent.prompt_tokens,
            "completion_tokens": course.spent.completion_tokens,
            "processing_time": round(self._timer() - course.started, 3),
            "cost_estimate": course.spent.cost,
            "attempts": course.spent.attempts,
            "passages": len(course.packed.given),
            "sentences_dropped": len(draft.dropped) if draft is not None else 0,
        }
        if served is not None and served.fallback is not None:
            metadata["fallback"] = served.fallback
        if course.asked != course.text:
            metadata["rewritten"] = course.asked
        levels = [one.level for one in course.packed.given.values()]
        return Answer(
            id=course.id,
            question=course.text,
            text=text.strip(),
            status=status,
            outcome=outcome,
            language=course.language,
            confidence=round(confidence, 4),
            citations=citations,
            created_at=self._clock(),
            metadata=metadata,
            inference_id=draft.inference_id if draft is not None else None,
            conversation_id=course.question.conversation_id,
            level=max(levels, key=lambda level: level.rank, default=Level.PUBLIC),
        )

    async def _store(self, course: _Course, answer: Answer) -> Answer:
        if course.asker.owner_id is not None:
            await self._repository.add(answer, course.asker.owner_id, days=self._keep_days)
        return answer


def _worth(draft: Draft) -> tuple[bool, int, float]:
    return draft.by_model, len(draft.kept), confidence_of(draft.kept)


def _without(deployment: Deployment, draft: Draft) -> Deployment | None:
    """The same route without the model that has answered; `None` where nobody else is left."""
    route, served = deployment.route, draft.served
    if route is None or served is None:
        return None
    targets = tuple(target for target in route.targets if target.model != served.model)
    if not targets or len(targets) == len(route.targets):
        return None
    version = f"{deployment.model_version}:{digest(*(target.model for target in targets))[:12]}"
    return replace(deployment, route=replace(route, targets=targets), model_version=version)


def _cut(draft: Draft, limit: int) -> str:
    """As many of the sentences that are shown as the limit holds."""
    cut = Draft(draft.unsupported)
    text = ""
    for piece, checked in draft.sentences:
        cut.add(piece, checked)
        if len(cut.shown) > limit:
            break
        text = cut.shown
    return text


def _whole(number: int, packed: Packed, language: str, text: str) -> Citation:
    """A passage that is shown as it is, in the text of an answer."""
    given, shown = packed.given[number], packed.shown[number]
    whole, start = Span(0, len(given.text)), text.find(shown)
    return Citation(
        number, given.chunk_id, reference(number, given, language), given.title, given.text, whole, given.text, 1.0,
        given.document_id, given.page, given.url, given.path, given.source, given.start, (whole,),
        (Span(start, start + len(shown)),),
    )  # fmt: skip
