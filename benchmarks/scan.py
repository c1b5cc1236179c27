"""How much a scan finds, and how often it is wrong: by category, beside Bandit alone and Semgrep with our rules alone.

Two sets. Bandit's own examples (its source distribution's `examples`; BENCH_BANDIT names the folder): files, each
labelled here with the category of what it shows, or with none. A file counts as found when a finding of its category
is in it. And `tests/data/rules`, labelled line by line: written along the rules, so it shows what each engine knows of
them and not how common what they miss is.

`python -m benchmarks.scan FOLDER …` scans code as it is, such as packages of site-packages, and prints how many
findings of high or critical severity there are for a thousand lines. Whether one is a false alarm a person must say;
in libraries that many people read, most are.
"""

import asyncio
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tidemill.analysis.syntax import Language
from tidemill.core.finding import Category, Finding, Severity
from tidemill.forges.local_folder import read_folder
from tidemill.review.engines import BanditEngine, SemgrepEngine, TreeEngine
from tidemill.review.offline import tree_engines
from tidemill.review.rules.catalog import rules_of
from tidemill.review.scan import scan

RULES = Path(__file__).resolve().parents[1] / "tests" / "data" / "rules"
SHOWN: Mapping[Category, Sequence[str]] = {
    Category.SQL_INJECTION: [
        "django_sql_injection_extra",
        "django_sql_injection_raw",
        "sql_multiline_statements",
        "sql_statements",
    ],
    Category.COMMAND_INJECTION: [
        "os-popen",
        "os_system",
        "popen_wrappers",
        "subprocess_shell",
        "wildcard-injection",
        "paramiko_injection",
        "os-exec",
        "os-spawn",
        "os-startfile",
    ],
    Category.CODE_INJECTION: ["eval", "exec", "logging_config_insecure_listen", "trojansource", "trojansource_latin1"],
    Category.XSS: [
        "jinja2_templating",
        "mako_templating",
        "mark_safe",
        "mark_safe_insecure",
        "markupsafe_markup_xss",
        "markupsafe_markup_xss_extend_markup_names",
    ],
    Category.INSECURE_DESERIALIZATION: [
        "dill",
        "jsonpickle",
        "marshal_deserialize",
        "pandas_read_pickle",
        "pickle_deserialize",
        "pytorch_load",
        "shelve_open",
        "yaml_load",
    ],
    Category.XXE: [
        "xml_etree_celementtree",
        "xml_etree_elementtree",
        "xml_expatbuilder",
        "xml_expatreader",
        "xml_minidom",
        "xml_pulldom",
        "xml_sax",
        "xml_xmlrpc",
    ],
    Category.WEAK_CRYPTO: [
        "cipher-modes",
        "ciphers",
        "pycrypto",
        "pycryptodome",
        "ssl-insecure-version",
        "weak_cryptographic_key_sizes",
        "snmp",
    ],
    Category.WEAK_HASH: ["crypto-md5", "hashlib_new_insecure_functions"],
    Category.WEAK_RANDOM: ["random_module"],
    Category.BROKEN_AUTHENTICATION: ["no_host_key_verification", "requests-ssl-verify-disabled", "unverified_context"],
    Category.HARDCODED_SECRET: ["hardcoded-passwords"],
    Category.MISCONFIGURATION: ["flask_debug", "os-chmod", "binding"],
    Category.PATH_TRAVERSAL: ["hardcoded-tmp", "mktemp", "tarfile_extractall"],
    Category.SENSITIVE_EXPOSURE: ["ftplib", "telnetlib"],
    Category.SSRF: ["urlopen"],
    Category.DEPENDENCY: ["huggingface_unsafe_download"],
}
CODE = {".py", ".js", ".jsx", ".ts", ".tsx", ".java", ".go"}
CLEAN = ["okay", "mark_safe_secure", "markupsafe_markup_xss_allowed_calls", "long_set", "new_candidates-none"]
"""Files in which nothing is to be found."""
NO_DEFECT = {Category.CORRECTNESS, Category.MAINTAINABILITY, Category.OTHER}
LANGUAGES = {
    "python": Language.PYTHON,
    "javascript": Language.JAVASCRIPT,
    "java": Language.JAVA,
    "go": Language.GO,
}


def run() -> None:
    """Prints both tables."""
    examples = Path(os.environ.get("BENCH_BANDIT", ""))
    if os.environ.get("BENCH_BANDIT") and (examples / "okay.py").is_file():
        _on_examples(examples)
    else:
        print("Set BENCH_BANDIT to the folder `examples` of Bandit's source distribution (`pip download`).\n")
    _on_rules()


def _tools() -> dict[str, Sequence[TreeEngine]]:
    return {"Tidemill": tree_engines(), "Bandit": [BanditEngine()], "Semgrep with these rules": [SemgrepEngine()]}


def _found(engines: Sequence[TreeEngine], files: Mapping[str, str]) -> list[Finding]:
    result = asyncio.run(scan("benchmark", files, engines))
    return [finding for finding in result.findings if finding.category not in NO_DEFECT]


def _on_examples(folder: Path) -> None:
    files = {path.name: path.read_text("utf-8", "replace") for path in sorted(folder.glob("*.py"))}
    found = {name: _found(engines, files) for name, engines in _tools().items()}
    print("| Bandit's examples: files found | files | " + " | ".join(found) + " |")
    print("| --- " * (len(found) + 2) + "|")
    totals: Counter[str] = Counter()
    for category, names in SHOWN.items():
        row = []
        for tool, findings in found.items():
            hit = {one.path for one in findings if one.category is category}
            count = sum(f"{name}.py" in hit for name in names)
            totals[tool] += count
            row.append(str(count))
        print(f"| {category.value} | {len(names)} | " + " | ".join(row) + " |")
    every = sum(map(len, SHOWN.values()))
    print(f"| all | {every} | " + " | ".join(f"{totals[tool]} ({totals[tool] / every:.0%})" for tool in found) + " |")
    wrong = {
        tool: {one.path for one in findings} & {f"{name}.py" for name in CLEAN} for tool, findings in found.items()
    }
    print(
        f"| clean files with a finding | {len(CLEAN)} | " + " | ".join(str(len(wrong[tool])) for tool in found) + " |"
    )
    print()


def _on_rules() -> None:
    wanted: set[tuple[str, int, Category]] = set()
    lines, files = 0, {}
    for language, grammar in LANGUAGES.items():
        rules = rules_of(frozenset({grammar}))
        for path in sorted((RULES / language).iterdir()):
            name = f"{language}/{path.name}"
            files[name] = path.read_text("utf-8")
            for number, line in enumerate(files[name].splitlines(), 1):
                lines += bool(line.strip())
                if mark := re.search(r"finds: ([\w\- ]+)", line):
                    wanted |= {(name, number, rules[rule].category) for rule in mark[1].split()}
    print("| labelled lines | labelled | " + " | ".join(_tools()) + " |")
    print("| --- " * (len(_tools()) + 2) + "|")
    found = {
        tool: {(one.path, one.line, one.category) for one in _found(engines, files)}
        for tool, engines in _tools().items()
    }
    for language in LANGUAGES:
        here = {one for one in wanted if one[0].startswith(f"{language}/")}
        print(f"| {language} | {len(here)} | " + " | ".join(f"{len(here & got)}" for got in found.values()) + " |")
    for category in sorted({one[2] for one in wanted}):
        here = {one for one in wanted if one[2] is category}
        print(
            f"| {category.value} | {len(here)} | " + " | ".join(f"{len(here & got)}" for got in found.values()) + " |"
        )
    marked = {(path, line) for path, line, _ in wanted}
    wrong = [len({(path, line) for path, line, _ in got} - marked) for got in found.values()]
    print(f"| found on {lines - len(marked)} other lines | 0 | " + " | ".join(map(str, wrong)) + " |\n")


def on_real_code(folders: Sequence[Path]) -> None:
    """Prints how many severe findings there are in each folder, and for a thousand lines that are not blank."""
    print("| code | lines | critical | high | for 1,000 lines | by engine |\n| --- | --- | --- | --- | --- | --- |")
    total_lines, total = 0, list[Finding]()
    for folder in folders:
        files = read_folder(folder, exclude=(), max_file_bytes=1_000_000).files
        read = {path: text for path, text in files.items() if Path(path).suffix in CODE}
        lines = sum(bool(line.strip()) for text in read.values() for line in text.splitlines())
        severe = [
            one
            for one in asyncio.run(scan(folder.name, read, tree_engines())).findings
            if one.severity.rank >= Severity.HIGH.rank
        ]
        print(_row(folder.name, lines, severe))
        total_lines, total = total_lines + lines, total + severe
    print(_row("all", total_lines, total))


def _row(name: str, lines: int, severe: Sequence[Finding]) -> str:
    engines = ", ".join(f"{engine} {count}" for engine, count in Counter(one.engine for one in severe).most_common())
    counts = Counter(one.severity for one in severe)
    rate = f"{1000 * len(severe) / max(lines, 1):.2f}"
    return f"| {name} | {lines:,} | {counts[Severity.CRITICAL]} | {counts[Severity.HIGH]} | {rate} | {engines} |"


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("Name the folders: python -m benchmarks.scan FOLDER …")
    on_real_code([Path(name) for name in sys.argv[1:]])
