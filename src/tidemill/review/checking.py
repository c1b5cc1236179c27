"""What a model's comment has to stand up to before anybody sees it. Pure; each check gives the reason it was not met.

The words of two texts are compared by their terms (`tidemill.analysis.terms`): a resolved thread is known again though
the model words it differently, and what a text of the repository asked the model to say is known by its own words.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tidemill.analysis.secrets import mask
from tidemill.analysis.terms import terms
from tidemill.core.change import Hunk, Line
from tidemill.core.finding import Category, Finding
from tidemill.core.review_brief import EarlierComment, EarlierState

_SHORTEST_MESSAGE = 15
_SHORTEST_QUOTE = 3
_SHINGLE = 6
"""Words in a row that a message may not share with the prompt's own text or with texts of the repository."""
_ALIKE = 0.6
"""Share of the shorter text's terms that two texts in one file have in common when they say the same."""
_ALIKE_ON_THE_LINE = 0.35
_FEWEST_TERMS = 3
_NEAR = 1
"""Lines between two places that count as one."""
_PRAISE = re.compile(
    r"^\W*(?:looks? good|lgtm|no (?:issues?|defects?|problems?)\b|nothing to|this (?:is|looks) (?:fine|good|correct)"
    r"|(?:well|nicely|great|good) (?:done|written|work|job)\b"
    r"|the (?:code|change|line) (?:is|looks) (?:fine|good|correct|ok)\b"
    r"|(?:mã|thay đổi|dòng) này (?:ổn|tốt|đúng)|không có (?:lỗi|vấn đề))",
    re.IGNORECASE,
)
_VERDICT = re.compile(
    r"\blgtm\b|\b(?:safe|ready|ok|okay|good) to (?:be )?(?:merge|ship|deploy|approve|release)"
    r"|\bapprov(?:e|ed|ing|al)\b.{0,30}\b(?:change|pull request|pr|commit|diff|merge|review|code)\b"
    r"|\b(?:change|pull request|pr|commit|diff|code|review)\b.{0,30}\b(?:is|was|are|been|be) approv"
    r"|\bno (?:\w+ ){0,2}(?:issues?|problems?|defects?|bugs?|vulnerabilit\w+) (?:were |was |are |have been )?"
    r"(?:found|detected|here|present|remain)"
    r"|\b(?:ignore|disregard|forget) (?:\w+ ){0,3}(?:instructions?|prompts?|rules|guidelines|messages)"
    r"|\bas an? (?:ai|language) model\b|\bsystem prompt\b"
    r"|phê duyệt (?:thay đổi|yêu cầu|pull request)|bỏ qua (?:mọi |các )?(?:chỉ dẫn|hướng dẫn|quy tắc)",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]{1,12}://[^\s/'\"`]{3,}|\bwww\.\w", re.IGNORECASE)
_COMMON_WORDS = """
a an and are as at be been before below but by can code could do does each else error exception fail fails
file first for from function has have if in instead into is it its last line lines list may message method
more must name new no not null none of on one only or other out parameter possible return returns self set
should so string than that the their them then there these this to true false type undefined use used user
value variable was when where which while will with without you your def class var let const import elif try
except catch throw raise check add remove call called case change changed data object test
"""
_COMMON = frozenset(_COMMON_WORDS.split())
"""Words that stand in any code and any comment, and so tie none to the other."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A comment of a model, read, and not yet believed.

    Attributes:
        line: the added line that it names or, where its quote stands in one other alone, that one.
        moved_from: the line of the new side that it named, where that was another.
        message: on one line.
        severity: as the model says it; `category` too.
    """

    line: Line
    moved_from: int | None
    message: str
    severity: str | None
    category: str


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a comment is held against.

    Attributes:
        hunk: what it is about.
        examples: what the answers in the prompt's examples say.
        texts: prose of the repository and the forge that stood in the prompt.
        findings: of engines on this file.
        before: comments of the model in this review that hold.
        earlier: what stands on the pull request.
    """

    hunk: Hunk
    examples: Sequence[str] = ()
    texts: Sequence[str] = ()
    findings: Sequence[Finding] = ()
    before: Sequence[Finding] = ()
    earlier: Sequence[EarlierComment] = field(default=())


Check = Callable[[Candidate, Scene], str | None]


def failed_check(candidate: Candidate, scene: Scene) -> tuple[str, str] | None:
    """The first check that a comment does not meet, by its name, and the reason; `None` where it meets all."""
    for check in CHECKS:
        reason = check(candidate, scene)
        if reason is not None:
            return check.__name__, reason
    return None


# ---------------------------------------------------------------------- where it stands


def meant_line(number: int, quote: str, hunk: Hunk) -> Line | str:
    """The added line that a comment is about, or the reason that there is none.

    Args:
        number: the line of the new side that the comment names.
        quote: what it says stands there.
        hunk: where it has to stand.
    """
    wanted = plain(quote)
    if len(wanted) < _SHORTEST_QUOTE:
        return "the quote is too short to find"
    holding = [line for line in hunk.added if _holds(line.text, wanted)]
    for line in holding:
        if line.new == number:
            return line
    if len(holding) == 1:
        return holding[0]
    if not holding:
        return "the quote does not stand in an added line of this hunk"
    return "the quote stands in several added lines, and not in the one that is named"


def _holds(text: str, wanted: str) -> bool:
    """The quote stands in the line, as it is or as the prompt showed it, with credentials masked."""
    return wanted in plain(text) or wanted in plain(mask(text))


def plain(text: str) -> str:
    """Without spacing, without the number and mark that a model copies from the prompt, all quotation marks alike.

    Inside JSON a model would rather write `'` than escape `"`.
    """
    bare = re.sub(r"^\s*\d{1,7}\s+\+\s|^\+\s", "", text).removesuffix("…")
    return "".join(bare.split()).replace('"', "'").replace("`", "'")


# ---------------------------------------------------------------------- what it says


def says_something(candidate: Candidate, scene: Scene) -> str | None:
    """A sentence, and not the code again."""
    if len(candidate.message) < _SHORTEST_MESSAGE:
        return "the message says nothing"
    return "the message repeats the code" if plain(candidate.message) in plain(candidate.line.text) else None


def names_a_defect(candidate: Candidate, scene: Scene) -> str | None:
    """Neither praise nor a verdict on the whole change: a comment has no say in whether that is merged."""
    if _PRAISE.search(candidate.message):
        return "the message names no defect"
    return "the message judges the change instead of its code" if _VERDICT.search(candidate.message) else None


def holds_no_address(candidate: Candidate, scene: Scene) -> str | None:
    """A model does not know addresses; one in its message was made up or put into its mouth."""
    return "the message holds an address" if _ADDRESS.search(candidate.message) else None


def is_not_the_example(candidate: Candidate, scene: Scene) -> str | None:
    """Who repeats the prompt's example has seen nothing."""
    said = _shingles(candidate.message)
    return "the message repeats the prompt's example" if any(said & _shingles(one) for one in scene.examples) else None


def is_not_copied(candidate: Candidate, scene: Scene) -> str | None:
    """Not a sentence that the code or the pull request asks to be said."""
    said = _shingles(candidate.message)
    texts = ["\n".join(line.text for line in scene.hunk.lines), *scene.texts]
    whole = " ".join(_words(candidate.message))
    for text in texts:
        if said & _shingles(text) or (not said and f" {whole} " in f" {' '.join(_words(text))} "):
            return "the message repeats a text of the change"
    return None


def is_about_added_code(candidate: Candidate, scene: Scene) -> str | None:
    """It names something that stands in the added lines: a name, a part of one, or a word of a literal."""
    added = "\n".join(line.text for line in scene.hunk.added)
    if _told(candidate.message) & _told(f"{added}\n{mask(added)}"):
        return None
    return "the message names nothing that the change adds"


# ---------------------------------------------------------------------- whether it was said


def is_no_finding(candidate: Candidate, scene: Scene) -> str | None:
    """Not what an engine has found, and can prove."""
    category = CATEGORIES.get(candidate.category, Category.OTHER)
    for finding in scene.findings:
        if finding.path != scene.hunk.path or not _near(candidate.line, finding.line):
            continue
        same = finding.category is category is not Category.OTHER and finding.line == candidate.line.new
        if same or alike(candidate.message, f"{finding.title} {finding.message}", _ALIKE_ON_THE_LINE):
            return f"the comment repeats a finding of {finding.engine} ({finding.rule})"
    return None


def was_not_said_earlier(candidate: Candidate, scene: Scene) -> str | None:
    """Not what a person said, nor what was resolved or dismissed. What Tidemill said and is open, `said_again` knows.

    Without a fingerprint, an open comment of Tidemill's can't be kept as the same one, and is a repeat.
    """
    earlier = _same_earlier(candidate, scene)
    if earlier is None or _stands(earlier):
        return None
    if earlier.state is not EarlierState.OPEN:
        return f"the comment repeats one that was {earlier.state.value}"
    return "the comment repeats one that stands there already" if earlier.own else "a person has said it already"


def was_not_said_here(candidate: Candidate, scene: Scene) -> str | None:
    """Not the same twice in one review."""
    for finding in scene.before:
        if finding.path != scene.hunk.path:
            continue
        if finding.line == candidate.line.new or alike(candidate.message, finding.message, _ALIKE):
            return "the comment repeats another one"
    return None


def said_again(candidate: Candidate, scene: Scene) -> EarlierComment | None:
    """The open comment of Tidemill's that this one repeats, so that it keeps that one's place and fingerprint."""
    earlier = _same_earlier(candidate, scene)
    return earlier if earlier is not None and _stands(earlier) else None


def _stands(earlier: EarlierComment) -> bool:
    return earlier.own and earlier.state is EarlierState.OPEN and bool(earlier.fingerprint)


def _same_earlier(candidate: Candidate, scene: Scene) -> EarlierComment | None:
    """The earlier comment that says the same; one that is closed before one that is open."""
    found = []
    for one in scene.earlier:
        if one.path != scene.hunk.path:
            continue
        on_the_line = bool(one.quote) and plain(one.quote) in (plain(candidate.line.text), _masked(candidate.line))
        if alike(candidate.message, one.text, _ALIKE_ON_THE_LINE if on_the_line else _ALIKE):
            found.append(one)
    return min(found, key=lambda one: one.state is EarlierState.OPEN, default=None)


def _masked(line: Line) -> str:
    return plain(mask(line.text))


CHECKS: tuple[Check, ...] = (
    says_something,
    names_a_defect,
    holds_no_address,
    is_not_the_example,
    is_not_copied,
    is_about_added_code,
    is_no_finding,
    was_not_said_earlier,
    was_not_said_here,
)
"""In the order in which they are made, after `meant_line`: what is cheap and certain first."""

CATEGORIES = {
    "bug": Category.CORRECTNESS,
    "error-handling": Category.CORRECTNESS,
    "performance": Category.MAINTAINABILITY,
    "readability": Category.MAINTAINABILITY,
}
"""What a model calls a category, where it has one of ours. `security` says too little to be one."""


# ---------------------------------------------------------------------- words


def _told(text: str) -> set[str]:
    return {term for term in terms(text) if term not in _COMMON and len(term) > 1 and not term.isdigit()}


def alike(one: str, other: str, share: float) -> bool:
    """So much of the shorter one's terms stands in the other; few terms have to be all the same."""
    these, those = _told(one), _told(other)
    fewest = min(len(these), len(those))
    shared = len(these & those)
    return shared > 0 and (shared == fewest if fewest < _FEWEST_TERMS else shared >= share * fewest)


def _near(line: Line, other: int) -> bool:
    return line.new is not None and abs(line.new - other) <= _NEAR


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[at : at + _SHINGLE]) for at in range(len(words) - _SHINGLE + 1)}
