"""The deployments of embedding models."""

from tidemill.core.deployment import Deployment, Task
from tidemill.llm.embedding_catalog import EmbeddingModel, find_embedding_model, list_embedding_models
from tidemill.settings import Settings


class EmbeddingDeployments:
    """Finds the deployment of a named embedding model, from the settings and the catalog."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def models(self) -> list[EmbeddingModel]:
        """Every embedding model that can be asked now."""
        return [model for model in list_embedding_models(self._settings) if model.installed]

    def find(self, name: str) -> Deployment:
        """The deployment of this model, of the default one for `default`.

        Raises:
            ModelNotFound: none of that name, or its files are not there.
        """
        model = find_embedding_model(self._settings, name)
        return Deployment(Task.EMBED, model.name, model.version)
