"""The deployments of embedding models."""

from tidemill.core.deployment import Deployment, Task
from tidemill.llm.embedding_catalog import EmbeddingModel, find_embedding_model, list_embedding_models
from tidemill.registry.providers import Providers
from tidemill.settings import Settings


class EmbeddingDeployments:
    """Finds the deployment of a named embedding model, from the settings, the catalog and the providers."""

    def __init__(self, settings: Settings, providers: Providers) -> None:
        self._settings = settings
        self._providers = providers

    def models(self) -> list[EmbeddingModel]:
        """Every embedding model that can be asked now."""
        return [model for model in list_embedding_models(self._settings) if model.installed]

    def find(self, name: str) -> Deployment:
        """The deployment of this model, of the default one for `default`.

        Raises:
            ModelNotFound: none of that name, or its files are not there.
        """
        if name not in self._settings.embeddings.endpoints and self._providers.find(name) is not None:
            return Deployment(Task.EMBED, name, self._providers.facts(name).version)
        model = find_embedding_model(self._settings, name)
        return Deployment(Task.EMBED, model.name, model.version)
