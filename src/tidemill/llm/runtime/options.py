"""What a local model's process is told when it starts."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class ChildOptions:
    """Sent over standard input. `api_key` travels here, never on the command line or in the environment.

    Attributes:
        path: the GGUF file.
        alias: the model's name.
        api_key: what the child asks of those who use it.
        context_tokens: context of each slot.
        slots: requests decoded at once.
        threads: CPU threads.
        parent: process id of who starts the child; the child ends with it.
        http_threads: requests that it listens to at once, its health's among them; -1 for llama-server's choice.
        adapters: LoRA files; their places are their numbers in requests.
        gpu_layers: layers that go to a GPU; -1 for as many as fit.
        mmproj: the projector for images and sound; none where empty.
        draft: the GGUF file of a smaller model that drafts; none where empty.
        ngram: drafts from what the text repeats.
    """

    path: str
    alias: str
    api_key: str
    context_tokens: int
    slots: int
    threads: int
    parent: int
    http_threads: int = -1
    adapters: Sequence[str] = ()
    gpu_layers: int = -1
    mmproj: str = ""
    draft: str = ""
    ngram: bool = False

    def to_line(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "ChildOptions":
        """Reads what `to_line` wrote."""
        return cls(**json.loads(line))
