"""The deployments in force: for each task, the model, prompt and sampling that serve it."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tidemill.core.deployment import Deployment, Route, Task
from tidemill.core.errors import Configuration, ModelNotFound
from tidemill.core.ids import digest
from tidemill.core.json import Json
from tidemill.core.review import ReviewDeployments
from tidemill.llm.catalog import (
    DEFAULT,
    ModelEntry,
    SourceKind,
    adapter_version,
    default_name,
    find_model,
    list_models,
    model_version,
)
from tidemill.llm.hub_files import hub_file
from tidemill.llm.prompts import review_ask, review_comment, review_doubt, review_necessity, review_refine
from tidemill.llm.prompts.shipped import Prompts
from tidemill.registry.providers import Providers
from tidemill.settings import Settings

REVIEW_SAMPLING: Mapping[str, Json] = {"temperature": 0.0, "seed": 7, "logprobs": True}
"""Greedy: the same hunk gets the same answer. The probabilities tell how sure the model was, where it gives them."""
FIRST_TOKENS = 5
"""Of the answer's first token, so many alternatives are asked for: yes and no are among them."""

MEMORY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Named:
    """A name that requests can ask for, and who serves it: `tidemill`, `endpoint`, `route` or a provider's name."""

    name: str
    owned_by: str


class Deployments:
    """Finds the deployment for a task, from the settings, the catalog and the providers.

    `tidemill.registry.providers` says in which order a name is looked up.
    """

    def __init__(self, settings: Settings, prompts: Prompts, providers: Providers) -> None:
        self._settings = settings
        self._prompts = prompts
        self._providers = providers
        self._routes = {name: one.route(name) for name, one in settings.routes.items()}
        self._named: dict[tuple[Task, str], tuple[float, Deployment]] = {}

    def models(self) -> list[ModelEntry]:
        """Every model of one's own that can be asked now: endpoints, and local files that are there."""
        return [entry for entry in list_models(self._settings) if entry.installed]

    def model(self, name: str | None) -> ModelEntry:
        """One model of one's own that can be asked, the default one for `None` or `default`.

        Raises:
            ModelNotFound: none of that name, or its file is not there.
        """
        return find_model(self._settings, name)

    def names(self) -> list[Named]:
        """Every name that can be asked for now: of a provider's models, those that are known."""
        found = {name: Named(name, "route") for name in self._routes}
        for entry in self.models():
            found.setdefault(entry.name, _own(entry))
        for provider in self._providers.all():
            for model in provider.models:
                name = f"{provider.name}/{model}"
                found.setdefault(name, Named(name, provider.name))
        return list(found.values())

    def name(self, wanted: str) -> Named:
        """One name that can be asked for; of a provider's models any.

        Raises:
            ModelNotFound: there is nothing of this name.
        """
        wanted = self._meant(Task.CHAT, wanted)
        if wanted in self._routes:
            return Named(wanted, "route")
        facts = self._providers.facts(wanted)
        entry = self._providers.local(facts.name)
        return _own(entry) if entry else Named(facts.name, facts.provider)

    async def for_chat(self, name: str) -> Deployment:
        """The deployment of the model or route that a chat request names, as it was at most a second ago."""
        return await self._for(Task.CHAT, name)

    async def for_text(self, name: str) -> Deployment:
        """The same for a request to continue a text, or to fill in what is missing of it."""
        return await self._for(Task.COMPLETE, name)

    async def for_side(self, task: Task, beside: Deployment) -> Deployment:
        """The deployment of a task that is done beside a chat: what the settings say, else that of the chat."""
        chosen = self._settings.tasks.get(task)
        return beside if chosen is None else await self._for(task, chosen.model)

    def context_tokens(self, name: str) -> int | None:
        """Tokens that every model of this name, be it a route, can hold; `None` where only a server knows."""
        route = self._routes.get(name)
        names = [target.model for target in route.targets] if route is not None else [name]
        known = [tokens for one in names if (tokens := self._known_context(one)) is not None]
        return min(known) if len(known) == len(names) else None

    async def for_answer(self) -> Deployment:
        """The deployment that answers from documents; its prompt and sampling are chosen with the question."""
        return await self._for(Task.ANSWER, DEFAULT)

    async def for_review(self, language: str | None = None) -> ReviewDeployments:
        """What a review's questions are put to: three tasks, each with its own model, adapter and prompt.

        Whether a person should look at a hunk is asked only where the settings name a model for that: without a
        trained adapter a small model is at chance.

        Args:
            language: of the prompts, `en` or `vi`; that of the settings for `None`.
        """
        named = Task.REVIEW_NECESSITY in self._settings.tasks
        return ReviewDeployments(
            comment=await self._asked(Task.REVIEW_COMMENT, review_comment.NAME, review_comment.MAX_TOKENS, language),
            doubt=await self._asked(Task.REVIEW_COMMENT, review_doubt.NAME, review_doubt.MAX_TOKENS, language),
            refine=await self._asked(Task.REVIEW_REFINE, review_refine.NAME, review_refine.MAX_TOKENS, language),
            necessity=await self.for_necessity(language) if named else None,
        )

    async def for_question(self, language: str | None = None) -> Deployment:
        """The deployment that answers a person's question about a change."""
        return await self._asked(Task.REVIEW_COMMENT, review_ask.NAME, review_ask.MAX_TOKENS, language)

    async def for_necessity(self, language: str | None = None) -> Deployment:
        """The deployment that says whether a person should look at a hunk."""
        asked = await self._asked(Task.REVIEW_NECESSITY, review_necessity.NAME, review_necessity.MAX_TOKENS, language)
        return replace(asked, sampling={**asked.sampling, "top_logprobs": FIRST_TOKENS})

    async def _asked(self, task: Task, prompt: str, max_tokens: int, language: str | None) -> Deployment:
        return replace(
            await self._for(task, DEFAULT),
            prompt_version=self._prompts.current(prompt, language or self._settings.prompts.language).version,
            sampling={**REVIEW_SAMPLING, "max_tokens": max_tokens},
        )

    def check(self) -> None:
        """Goes on where every name in `routes` and `tasks` is one that there is, be its file there or not.

        Raises:
            Configuration: one is not.
        """
        own = {entry.name for entry in list_models(self._settings)} | {DEFAULT}
        for where, name in self._references():
            known = name in own or name in self._routes or self._providers.find(name) is not None
            if not known and hub_file(name) is None:
                raise Configuration(
                    f"`{where}` names the model {name!r}, which is none: no file, endpoint or catalog model has this "
                    "name, and no provider's name stands before its slash. `tidemill models list` and `tidemill "
                    "providers list` show what there is."
                )

    def _references(self) -> Iterator[tuple[str, str]]:
        for name, route in self._routes.items():
            for target in route.targets:
                yield f"routes.{name}.targets", target.model
        for task, settings in self._settings.tasks.items():
            yield f"tasks.{task}.model", settings.model

    def _known_context(self, name: str) -> int | None:
        try:
            return self._providers.facts(name).context_tokens
        except ModelNotFound:
            return None

    def _meant(self, task: Task, name: str) -> str:
        """What `default` means for a task."""
        if name != DEFAULT:
            return name
        chosen = self._settings.tasks.get(task)
        return default_name(self._settings) if chosen is None else chosen.model

    async def _for(self, task: Task, name: str) -> Deployment:
        now = time.monotonic()
        looked, known = self._named.get((task, name), (0.0, None))
        if known is not None and now - looked < MEMORY_SECONDS:
            return known
        wanted = self._meant(task, name)
        route = self._routes.get(wanted)
        if route is not None:
            deployment = Deployment(task, wanted, await self._route_version(route), route=route)
        elif self._providers.find(wanted) is not None:
            facts = self._providers.facts(wanted)
            return Deployment(task, facts.name, facts.version)  # not kept: a provider has as many names as are asked
        else:
            self._providers.check_prefix(wanted)
            entry = self.model(wanted)
            deployment = Deployment(task, entry.name, await self._version(entry), await self._adapter(entry))
        self._named[task, name] = (now, deployment)
        return deployment

    async def _route_version(self, route: Route) -> str:
        """A digest of how the route chooses, and of which exact models."""
        made = [f"{target.weight} {target.max_complexity} {target.min_budget_usd}" for target in route.targets]
        models = [target.model for target in route.targets]
        if all(self._providers.find(model) is not None for model in models):
            versions = self._target_versions(models)
        else:  # a local model's file may have to be read
            versions = await asyncio.to_thread(self._target_versions, models)
        return f"route:{digest(route.strategy, *route.fallbacks, *models, *made, *versions)[:32]}"

    def _target_versions(self, names: Sequence[str]) -> list[str]:
        return [self._target_version(name) for name in names]

    def _target_version(self, name: str) -> str:
        try:
            return self._providers.facts(name).version
        except ModelNotFound:
            return "none"  # its file may come later; the route then has another version

    async def _version(self, entry: ModelEntry) -> str:
        """Which exact model it is; off the event loop, since a file that is new or was replaced is read whole."""
        return await asyncio.to_thread(model_version, self._settings, entry)

    async def _adapter(self, entry: ModelEntry) -> str | None:
        """Which exact adapter is applied, for a name such as `base:adapter`."""
        if entry.adapter is None:
            return None
        return await asyncio.to_thread(adapter_version, self._settings, entry.adapter)


def _own(entry: ModelEntry) -> Named:
    return Named(entry.name, "endpoint" if entry.kind is SourceKind.ENDPOINT else "tidemill")
