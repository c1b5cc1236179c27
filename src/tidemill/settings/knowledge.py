"""How documents are collected, read, searched and answered from."""

from pydantic import Field, model_validator

from tidemill.core.answer import Unsupported
from tidemill.core.classification import Level
from tidemill.settings.section import AbsolutePath, Section


class ReadingSettings(Section):
    """What a document may cost to read. One that costs more is a failure with its reason."""

    max_bytes: int = Field(50_000_000, ge=1024, description="A larger document is not read.")
    max_characters: int = Field(5_000_000, ge=1000, description="A document of a longer text is not kept.")
    max_pages: int = Field(5_000, ge=1, description="A PDF or presentation of more pages is not read.")
    max_rows: int = Field(20_000, ge=1, description="A table of more rows is not read.")
    max_unpacked_bytes: int = Field(
        200_000_000, ge=1024, description="A DOCX or PPTX that unpacks to more is not read."
    )
    max_memory_bytes: int = Field(
        1_500_000_000, ge=268_435_456, description="The memory that reading a PDF, DOCX, PPTX or page may take."
    )
    seconds: int = Field(60, ge=1, description="How long reading one of those may take, and its CPU time.")


class ChunkSettings(Section):
    """Into what size of pieces documents are cut, to be found and cited by themselves."""

    size: int = Field(256, ge=32, le=8192, description="Tokens of the largest chunk, estimated from its words.")
    overlap: int = Field(32, ge=0, description="Tokens that a chunk may repeat of the one before it.")

    @model_validator(mode="after")
    def _overlap_below_size(self) -> "ChunkSettings":
        if self.overlap >= self.size:
            raise ValueError("overlap must be smaller than size")
        return self


class AnswerSettings(Section):
    """How questions are answered from documents, and when an answer is good enough."""

    passages: int = Field(8, ge=1, le=50, description="Passages that are searched for one question.")
    max_context_tokens: int = Field(
        2000, ge=200, description="Tokens of the passages that the model reads, estimated from their bytes."
    )
    max_output_tokens: int = Field(1000, ge=16, description="Tokens of the longest answer.")
    local_context_tokens: int = Field(
        600, ge=200, description="As `max_context_tokens`, where a model on this machine answers: it reads slowly."
    )
    local_output_tokens: int = Field(
        300, ge=16, description="As `max_output_tokens`, where a model on this machine answers."
    )
    temperature: float = Field(0.1, ge=0, le=2, description="How much chance has a part in the answer.")
    top_p: float = Field(0.9, gt=0, le=1, description="Of which part of the likely words the next one is drawn.")
    min_answer_length: int = Field(10, ge=0, description="Characters of the shortest answer that is good enough.")
    max_answer_length: int = Field(2000, ge=100, description="Characters of the longest; a longer one is cut.")
    confidence_threshold: float = Field(
        0.3, ge=0, le=1, description="Below this confidence an answer is shown with a warning, or not at all."
    )
    citation_required: bool = Field(True, description="Whether an answer without a citation is good enough.")
    support_threshold: float = Field(
        0.5, ge=0, le=1, description="From which confidence on a passage supports a sentence."
    )
    unsupported: Unsupported = Field(
        Unsupported.DROP, description="What becomes of a sentence that no passage supports: `drop` or `mark`."
    )
    max_attempts: int = Field(3, ge=1, le=10, description="Models of the route that are asked for one good answer.")
    access_levels: dict[str, Level] = Field(
        default_factory=dict,
        description="Names for access levels in `POST /api/generate`, beside the levels' own and `employee`.",
    )
    max_question_characters: int = Field(4000, ge=10, description="Characters of the longest question.")
    max_passages: int = Field(100, ge=1, description="Passages that a request may bring along.")
    max_passage_characters: int = Field(
        500_000, ge=1000, description="Characters of all the passages that a request brings along."
    )


class RerankerSettings(Section):
    """A cross-encoder, which reads a question and a passage together. Without one, the model that answers reranks."""

    folder: AbsolutePath | None = Field(
        None, description="Has `model.onnx` and `tokenizer.json` of a cross-encoder; answers are made with it, too."
    )
    passages: int = Field(20, ge=2, le=100, description="Passages that it reads for one question.")
    max_tokens: int = Field(
        512, ge=32, le=8192, description="Tokens that it reads of a question and a passage together."
    )
    threads: int | None = Field(None, ge=1, description="Its CPU threads; all cores when absent.")


class SourceSettings(Section):
    """What sources may be on the hub's own machine, and how large."""

    roots: list[AbsolutePath] = Field(
        default_factory=list, description="Folders of which people who are no admins may make sources."
    )
    max_repository_bytes: int = Field(
        2_000_000_000, ge=1_000_000, description="A copy of a git repository that grows larger is not kept."
    )
    version_days: int = Field(
        90, ge=0, description="How long the bytes of a document are kept after it changed or its source lost it."
    )


class KnowledgeSettings(Section):
    """Knowledge, part by part."""

    sources: SourceSettings = SourceSettings()
    reading: ReadingSettings = ReadingSettings()
    chunks: ChunkSettings = ChunkSettings()
    reranker: RerankerSettings = RerankerSettings()
    answers: AnswerSettings = AnswerSettings()
