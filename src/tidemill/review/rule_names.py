"""The names by which findings are asked for: engines, categories and rules."""

import difflib
import re
from collections.abc import Iterable, Sequence
from functools import cache

from tidemill.analysis.secrets import RULES
from tidemill.analysis.syntax import Language
from tidemill.core.errors import InvalidInput
from tidemill.core.finding import Category
from tidemill.review import rules
from tidemill.review.rules.catalog import rules_of

MANIFESTS = frozenset(
    [
        *("extra-index", "unpinned-git", "any-version", "plain-http-source", "unverified-download"),
        *("script-from-network", "install-script", "latest-tag", "remote-add", "replaced-module", "unpinned-action"),
        *("script-injection", "target-checkout", "look-alike"),
    ]
)
"""The rules for manifests."""
_BANDIT = re.compile(r"B[1-7]\d\d")
_RUFF = re.compile(r"[A-Z]{1,8}\d{3,4}")


@cache
def _by_rule() -> dict[str, frozenset[str]]:
    """The engines that have a rule, of those whose rules are ours."""
    found = {rule.name: frozenset({"secrets"}) for rule in RULES}
    found |= dict.fromkeys(("password-literal", "credential-literal"), frozenset({"secrets"}))
    found |= dict.fromkeys(MANIFESTS, frozenset({"manifests"}))
    found |= {
        rule: frozenset({"semgrep", "flow"}) if rule.startswith(("python-", "javascript-")) else frozenset({"semgrep"})
        for rule in rules_of(frozenset(Language))
    }
    return found


def engines_for(names: Sequence[str], engines: Iterable[str]) -> frozenset[str]:
    """The engines that can find what is asked for: rules, engines, `engine:rule` and categories.

    A category may be any engine's. All engines where nothing is asked for.

    Raises:
        InvalidInput: a name is none of these; with the nearest that is one.
    """
    known = frozenset(engines)
    wanted: frozenset[str] = frozenset() if names else known
    for name in names:
        wanted |= _engines_of(name, known)
    return wanted


def _engines_of(name: str, engines: frozenset[str]) -> frozenset[str]:
    if name in engines:
        return frozenset({name})
    if name in set(Category):
        return engines
    engine, colon, rule = name.rpartition(":")
    having = _by_rule().get(rule, frozenset()) | _foreign(rule)
    if having and not colon:
        return having & engines
    if engine in having & engines:
        return frozenset({engine})
    choices = [*engines, *Category, *_by_rule(), *(f"{one}:{rule}" for one in having)]
    near = difflib.get_close_matches(name[:100], choices, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else " docs/scan.md lists the rules."
    raise InvalidInput(f"There is no rule, engine or category {name[:100]!r}.{hint}")


def _foreign(rule: str) -> frozenset[str]:
    """The engines with rules of their own that may have this one, by its form."""
    ruff = rule == "invalid-syntax" or (_RUFF.fullmatch(rule) is not None and rule.startswith(rules.RUFF))
    found = {"ruff"} if ruff else set()
    return frozenset(found | ({"bandit"} if _BANDIT.fullmatch(rule) else set()))
