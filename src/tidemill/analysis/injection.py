"""Finds orders to a model in texts that have no right to give any, in English and Vietnamese.

Each rule is a form that such orders take: to forget what was said before, to show it, to be somebody without rules, to
pretend that a new message of the system begins, to do something behind the reader's back. Talk *about* such orders is
often written in the same words, so a finding says that a text is worth a look, not that it is an attack.
"""

# ruff: noqa: E501 - the forms are easier to read on one line

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_RULES = r"(?:instructions?|prompts?|rules?|guidelines?|directions?|directives?|commands?|messages?|context|programming|training|restrictions?|constraints?|polic(?:y|ies)|safeguards?|guardrails?|system prompt)"
_BEFORE = r"(?:previous|prior|above|preceding|earlier|existing|original|initial|current|foregoing|system|developer|safety|your|the|any|all|these|those|my|its|of|other|preceding|everything|to|have|been|given|you|and)"
_VI_RULES = (
    r"(?:huong dan|chi dan|chi thi|lenh|quy tac|quy dinh|yeu cau|cau lenh|loi nhac|prompt|rang buoc|gioi han|noi quy)"
)


@dataclass(frozen=True, slots=True)
class Injection:
    """Orders of this form at `text[start:end]`."""

    rule: str
    start: int
    end: int


_PATTERNS: tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...] = tuple(
    (rule, tuple(needles.split("|")), re.compile(pattern))
    for rule, needles, pattern in (
        (
            "forget-orders",
            "ignore|disregard|forget|override|bypass|overrule|neglect|dismiss|set aside",
            (
                r"\b(?:ignore|disregard|forget|override|bypass|overrule|neglect|dismiss|set aside)\s{1,3}"
                rf"(?:{_BEFORE}\s{{1,3}}){{1,6}}(?:\w{{1,20}}\s{{1,3}}){{0,2}}?{_RULES}\b"
            ),
        ),
        (
            "forget-orders",
            "everything|anything|all of",
            (
                r"\b(?:ignore|disregard|forget) (?:everything|anything|all(?: of)?)(?: that)? (?:\w{1,12} ){0,3}?(?:above|before|previous(?:ly)?|"
                r"prior|said|told|written|you know|learned|so far)\b"
            ),
        ),
        (
            "forget-orders",
            "bo qua|phot lo|quen|khong can tuan|dung tuan|huy bo|lo di|vo hieu",
            (
                rf"\b(?:bo qua|phot lo|quen(?: het| di)?|khong can tuan(?: theo| thu)?|dung tuan(?: theo| thu)?|huy bo|lo di|vo hieu hoa)\s{{1,3}}"
                rf"(?:(?:di|het|tat ca|moi|toan bo|cac|nhung|hoan toan|cai|theo|loi)\s{{1,3}}){{0,5}}{_VI_RULES}"
                r"\s{1,3}(?:\w{1,10}\s{1,3}){0,3}?(?:truoc|tren|ban dau|he thong|an toan|cua ban|da cho|da duoc|do|nay|cu|tu dau)\b"
            ),
        ),
        (
            "new-orders",
            "new instruction|new task|real task|real instruction|actual instruction|updated instruction|new rule|from now on",
            (
                r"(?:^|[\n.:;>#*-]\s{0,4})(?:your )?(?:new|real|actual|updated|revised) (?:instructions?|task|rules?|objective|system prompt)"
                r"(?: (?:is|are|follows?|begins?))?\s{0,3}:|\bfrom now on,? you (?:are|will|must|shall|should|can)\b"
            ),
        ),
        (
            "new-orders",
            "tu gio|tu bay gio|tu nay|ke tu bay gio|nhiem vu moi|huong dan moi|chi dan moi",
            (
                r"\b(?:ke )?tu (?:gio|bay gio|nay)(?: tro di)?,? (?:ban|may|cau) (?:la|se|phai|hay|duoc|khong con)\b"
                r"|(?:^|[\n.:;>#*-]\s{0,4})(?:nhiem vu|huong dan|chi dan|quy tac) moi\s{0,3}:"
            ),
        ),
        (
            "show-orders",
            "prompt|instruction|guideline|initial message|system message|text above|words above|everything above",
            (
                r"\b(?:reveal|show|print|output|display|repeat|leak|expose|disclose|dump|tell me|give me|share|recite|reproduce|write out|what (?:is|are|was|were))\s{1,3}"
                r"(?:(?:me|us|out|back|verbatim|exactly|word for word|the|your|all|of|full|entire|complete|exact|original|initial|hidden|secret|internal|underlying|first|whole|contents?|text)\s{1,3}){1,8}"
                r"(?:system (?:prompt|message|instructions?)|(?:initial|hidden|secret|internal|original) (?:prompt|instructions?|message|guidelines)|developer (?:prompt|message|instructions))\b"
                r"|\brepeat (?:the|all|all the|every)(?: of the)? (?:words?|text|lines?|everything|content) (?:above|before this)"
                r"|\b(?:reveal|print|repeat|output|leak|disclose|show(?: me| us)?)(?: me| us)? (?:your|all your|all of your) (?:\w{1,12} )?(?:instructions|prompt|guidelines|system prompt)\b"
            ),
        ),
        (
            "show-orders",
            "loi nhac|prompt|huong dan|chi thi|chi dan",
            (
                r"\b(?:tiet lo|cho (?:toi|minh|tao) (?:xem|biet)|hien thi|hien|in(?: ra)?|lap lai|doc(?: lai)?|xuat(?: ra)?|dua ra|viet lai|gui|noi)\s{1,3}"
                r"(?:(?:toi|nguyen van|toan bo|day du|chinh xac|ra|lai|cac|nhung|noi dung|cua|tat ca|moi)\s{1,3}){0,5}"
                r"(?:(?:system )?prompt|loi nhac|cau lenh|chi thi|chi dan|huong dan)(?: (?:he thong|ban dau|goc|bi mat|noi bo|an|cua ban|cua may))\b"
            ),
        ),
        (
            "no-rules",
            "dan|jailbreak|no restrictions|without restrictions|without any restrictions|unfiltered|uncensored|no rules|no limits|developer mode|god mode|no ethical|do anything now|without rules|without limits|no filters|without filters",
            (
                r"\b(?:you are|act as|pretend (?:to be|you are|that you are)|become|simulate|roleplay as|role-play as|behave as|be|enter|enable|activate|switch (?:to|into))\s{1,3}"
                r"(?:(?:now|going to|an?|the|in|into|being|called|named)\s{1,3}){0,4}(?:[\w'\"]{1,20},?\s{1,3}){0,6}?"
                r"(?:dan\b|do anything now|jailbroken|jailbreak mode|developer mode|god mode|unfiltered|uncensored|(?:with )?no (?:restrictions?|rules|limits|filters|ethical)|without (?:any )?(?:restrictions?|rules|limits|filters|ethic\w{0,4}))"
                r"|\bdo anything now\b|\b(?:stay|you are) in (?:dan|jailbreak|developer) mode\b"
            ),
        ),
        (
            "no-rules",
            "khong co gioi han|khong gioi han|khong bi gioi han|khong bi kiem duyet|khong co quy tac|khong rang buoc|khong bi rang buoc|khong kiem duyet|vuot rao|che do nha phat trien|khong co dao duc|khong con bi",
            (
                r"\b(?:dong vai|gia vo|hay (?:la|tro thanh|lam)|ban (?:la|se la|dang o|khong con bi)|coi nhu|bat|chuyen sang|vao)\b[^\n.]{0,60}?"
                r"(?:khong (?:co |bi |con |con bi )?(?:gioi han|kiem duyet|quy tac|rang buoc|dao duc)|vuot rao|che do nha phat trien)"
            ),
        ),
        (
            "false-role",
            "system|assistant|im_start|[inst]|developer|admin|he thong",
            (
                r"<\|(?:im_start|im_end|system|assistant|endoftext|start_header_id|eot_id)\|>|\[/?inst\]|<</?sys>>"
                r"|(?:^|\n)\s{0,4}(?:#{1,4} {0,2})?\[?(?:system|developer|admin(?:istrator)?|root)(?: (?:message|prompt|override|note|update|alert|command|instruction)s?)?\]?\s{0,2}:\s{0,3}"
                r"(?=[^\n]{0,120}\b(?:you|ignore|must|disregard|override|comply|grant|reveal|user is|assistant|execute|debug|unlock|safety)\b)"
                r"|(?:^|\n)\s{0,4}\[?(?:he thong|quan tri vien)\]?\s{0,2}:\s{0,3}(?=[^\n]{0,120}\b(?:ban|bo qua|phai|hay|tiet lo|cap quyen)\b)"
                r"|</?(?:system|system_prompt|system-prompt|instructions?)>\s{0,4}(?=[^\n<]{0,120}\b(?:you|ignore|must|disregard|override|reveal|ban|bo qua)\b)"
            ),
        ),
        (
            "hidden-orders",
            "do not tell|don't tell|do not mention|don't mention|without telling|do not inform|secretly|do not reveal|dung noi|dung cho|khong duoc noi|khong noi|ma khong bao",
            (
                r"\b(?:do not|don't|never|without) (?:tell(?:ing)?|mention(?:ing)?|inform(?:ing)?|reveal(?:ing)?|disclos(?:e|ing)|let(?:ting)?|alert(?:ing)?)\b[^\n.]{0,30}?\b(?:the )?(?:user|human|reader|customer|operator|anyone|reviewer)\b"
                r"|\b(?:dung|khong(?: duoc)?|ma khong) (?:noi|cho|bao|tiet lo|de lo|de)\b[^\n.]{0,30}?\bnguoi dung\b"
            ),
        ),
        (
            "to-the-model",
            "ai|llm|assistant|language model|chatgpt|copilot|tro ly|mo hinh|chatbot|claude|gemini",
            (
                r"\b(?:attention|note|important|message|instructions?|hey|dear|hello|notice)\b[^\n.]{0,12}?\b(?:to|for|:|,)?\s{0,2}(?:any |all |the |an )?(?:ai|llm|language model|chatgpt|copilot|chatbot|ai assistant|ai model|ai agent|assistant)s?\b\s{0,2}"
                r"(?:(?:reading|processing|summari[sz]ing|reviewing|that|who|which)\b[^\n]{0,40})?[:,!-]\s{0,3}(?=[^\n]{0,80}\b(?:ignore|you must|please|do not|approve|send|reply|respond|output|say|include|delete|execute|run|forward|instead|add)\b)"
                r"|\b(?:if you are|as) an? (?:ai|llm|language model|ai assistant|ai model|ai agent)\b[^\n.]{0,20}?,\s{0,2}(?:please |you must |then )?(?:ignore|approve|send|reply|respond|output|say|include|delete|execute|run|forward|add|print|write)\b"
                r"|\b(?:neu ban la|gui(?: toi| den)?|luu y|chu y)\b[^\n.]{0,20}?\b(?:ai|tro ly|mo hinh|chatbot|llm)\b[^\n]{0,20}?[:,]\s{0,3}(?:hay|vui long|phai|bo qua|duyet|tra loi|gui|in)\b"
            ),
        ),
        (
            "send-data-out",
            "http|curl|webhook|email|e-mail|gui",
            (
                r"\b(?:send|post|forward|exfiltrate|upload|transmit|email|e-mail|leak|append|encode)\b[^\n.]{0,50}?"
                r"\b(?:conversation|chat history|system prompt|api keys?|secrets?|credentials?|passwords?|env(?:ironment)? variables?|\.env|private keys?|tokens?|user data|previous messages?)\b"
                r"[^\n]{0,40}?(?:\bto\b|\bat\b|\bin\b|\bas\b)[^\n]{0,20}?(?:https?://|\S{1,64}@\S{1,64}\.\w{2,10}|\bwebhook\b|\b[a-z0-9-]{2,30}\.(?:com|net|io|org|xyz|ru|cn|site|evil)\b)"
                r"|\b(?:gui|chuyen|tai)\b[^\n.]{0,50}?\b(?:lich su|hoi thoai|khoa api|api key|mat khau|thong tin dang nhap|bien moi truong|du lieu nguoi dung)\b[^\n]{0,40}?\b(?:den|toi|ve|len|qua)\b[^\n]{0,20}?(?:https?://|\S{1,64}@\S{1,64}\.\w{2,10})"
            ),
        ),
    )
)
_LOOKALIKES = str.maketrans(
    "аеорсухіѕјһԁɡոυνΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxisjhdgnuvabezhikmnoptyx",
)


def read_as(text: str) -> str:
    """The text in lower case, without accents and with Cyrillic and Greek look-alikes as Latin; of the same length."""
    lowered = text.lower()
    if lowered.isascii():
        return lowered
    if len(lowered) != len(text):
        lowered = "".join(low if len(low := one.lower()) == 1 else one for one in text)
    translated = lowered.translate(_LOOKALIKES)
    return "".join(one if one < "\x80" else _BARE.get(one) or _bare(one) for one in translated)


_BARE = {"đ": "d", "’": "'", "‘": "'"}


def _bare(character: str) -> str:
    return unicodedata.normalize("NFD", character)[0]


def find_injection(text: str) -> Iterator[Injection]:
    """Orders in a text as its reader sees it (see `tidemill.analysis.plain`)."""
    composed = unicodedata.normalize("NFC", text) if not text.isascii() else text
    read = read_as(composed if len(composed) == len(text) else text)
    for rule, needles, pattern in _PATTERNS:
        if any(needle in read for needle in needles):
            for match in pattern.finditer(read):
                yield Injection(rule, *match.span())
