"""Dependencies that a change adds or alters are held against advisories, by the rules of where they come from."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_gate_measures import change
from tidemill.analysis.diff import parse_diff
from tidemill.core.errors import InvalidInput, NotFound
from tidemill.core.gate import GateState
from tidemill.review.gates.advisories import read_advisories
from tidemill.review.gates.dependencies import judge_dependencies, take_inventory
from tidemill.review.gates.manifests import read_manifest
from tidemill.review.gates.versions import Ecosystem, version_key

REQUIREMENTS = """
# what we need
Flask==2.0.1 --hash=sha256:abc
requests[socks]==2.25.0 ; python_version > "3"
loose>=1.0
two==1.*
-r other.txt
git+https://example.org/x.git
six==1.16.0 \\
    --hash=sha256:def
"""
PACKAGE_LOCK = {
    "lockfileVersion": 3,
    "packages": {
        "": {"name": "app", "version": "1.0.0"},
        "node_modules/lodash": {"version": "4.17.20"},
        "node_modules/a/node_modules/@scope/b": {"version": "2.0.0"},
        "node_modules/alias": {"name": "real", "version": "3.0.0"},
        "node_modules/local": {"link": True},
    },
}
OLD_LOCK = {
    "lockfileVersion": 1,
    "dependencies": {"a": {"version": "1.0.0", "dependencies": {"b": {"version": "2.0.0"}}}},
}
YARN = """# yarn lockfile v1

"@babel/core@^7.0.0", "@babel/core@^7.1.0":
  version "7.1.0"
  dependencies:
    lodash "^4.0.0"

lodash@^4.0.0:
  version "4.17.20"

short@npm:longer@^1.0.0:
  version "1.0.3"
"""
BERRY = """__metadata:
  version: 8

"@babel/core@npm:^7.0.0":
  version: 7.1.0
  resolution: "@babel/core@npm:7.1.0"

"app@workspace:.":
  version: 0.0.0-use.local
"""
PNPM = """lockfileVersion: '9.0'
importers:
  .:
    dependencies:
      lodash:
        specifier: ^4
packages:
  '@scope/b@2.0.0(peer@1.0.0)':
    resolution: {integrity: x}
  lodash@4.17.20:
    resolution: {integrity: x}
  /old/1.2.3:
    dev: true
  /@s/older@1.0.0:
    dev: true
snapshots:
  other@1.0.0: {}
"""
GO_MOD = """module example.org/app

go 1.22

require golang.org/x/text v0.3.5 // indirect
require (
	github.com/gin-gonic/gin v1.6.0
	example.org/local v1.0.0
)
replace (
	example.org/local => ../local
	github.com/gin-gonic/gin => github.com/fork/gin v1.9.0
)
"""
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><version>3.0</version>
<properties><log4j.version>2.14.1</log4j.version></properties>
<dependencies>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId>
<version>${log4j.version}</version><exclusions><exclusion><groupId>x</groupId><artifactId>y</artifactId></exclusion>
</exclusions></dependency>
<dependency><groupId>a</groupId><artifactId>b</artifactId><version>[1.0]</version></dependency>
<dependency><groupId>a</groupId><artifactId>managed</artifactId></dependency>
<dependency><groupId>a</groupId><artifactId>range</artifactId><version>[1.0,2.0)</version></dependency>
</dependencies></project>
"""
UV = """version = 1
[[package]]
name = "Jinja2"
version = "2.11.0"
source = { registry = "https://example.org/simple" }
[[package]]
name = "app"
version = "0.1.0"
source = { editable = "." }
"""


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        (
            "requirements/dev.txt",
            REQUIREMENTS,
            {"flask": "2.0.1", "requests": "2.25.0", "loose": None, "two": None, "six": "1.16.0"},
        ),
        ("a/package-lock.json", json.dumps(PACKAGE_LOCK), {"lodash": "4.17.20", "@scope/b": "2.0.0", "real": "3.0.0"}),
        ("package-lock.json", json.dumps(OLD_LOCK), {"a": "1.0.0", "b": "2.0.0"}),
        ("yarn.lock", YARN, {"@babel/core": "7.1.0", "lodash": "4.17.20", "longer": "1.0.3"}),
        ("yarn.lock", BERRY, {"@babel/core": "7.1.0"}),
        ("pnpm-lock.yaml", PNPM, {"@scope/b": "2.0.0", "lodash": "4.17.20", "old": "1.2.3", "@s/older": "1.0.0"}),
        ("go.mod", GO_MOD, {"golang.org/x/text": "v0.3.5", "github.com/fork/gin": "v1.9.0"}),
        (
            "pom.xml",
            POM,
            {"org.apache.logging.log4j:log4j-core": "2.14.1", "a:b": "1.0", "a:managed": None, "a:range": None},
        ),
        ("uv.lock", UV, {"jinja2": "2.11.0"}),
        ("poetry.lock", '[[package]]\nname = "a_b"\nversion = "1.0"\n', {"a-b": "1.0"}),
        ("Pipfile.lock", json.dumps({"default": {"a": {"version": "==1.0"}}, "develop": {}}), {"a": "1.0"}),
        ("README.md", "flask==1.0", {}),
    ],
)
def test_each_form_is_read(path: str, text: str, expected: dict[str, str | None]) -> None:
    assert {one.name: one.version for one in read_manifest(path, text)} == expected


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("uv.lock", "[[package"),
        ("package-lock.json", "[" * 100_000),
        ("package-lock.json", '{"packages": []}'),
        ("pom.xml", '<!DOCTYPE p [<!ENTITY a "b">]><project/>'),
        ("pom.xml", "<project>"),
    ],
)
def test_a_manifest_that_can_not_be_read_is_said_and_not_passed(path: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=path):
        read_manifest(path, text)
    added = change({path: text})
    gate = judge_dependencies(take_inventory(parse_diff(added.diff), added.files, {}), (), required=True)
    assert gate.state is GateState.NOT_MEASURED
    assert path in gate.reason


@pytest.mark.parametrize(
    ("ecosystem", "ordered"),
    [
        (Ecosystem.PYPI, ["1.0.dev1", "1.0a1", "1.0rc1", "1.0", "1.0.post1", "1!0.1"]),
        (Ecosystem.NPM, ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.2.0", "1.10.0"]),
        (Ecosystem.GO, ["v0.0.0-20200101000000-abcdef123456", "v0.3.5", "v0.3.10", "v2.0.0+incompatible"]),
        (
            Ecosystem.MAVEN,
            [
                "1.0-alpha-1",
                "1.0-beta-2",
                "1.0-rc1",
                "1.0-SNAPSHOT",
                "1.0",
                "1.0-sp",
                "1.0-jre",
                "1.0.1",
                "1.9",
                "1.10",
            ],
        ),
        (Ecosystem.MAVEN, ["2.0-M1", "2.0.RC2", "2.0.0.Final", "2.0.1.Final", "2.14.1", "2.15.0"]),
    ],
)
def test_versions_are_ordered_by_the_rules_of_where_they_come_from(ecosystem: Ecosystem, ordered: list[str]) -> None:
    assert sorted(dict.fromkeys(ordered[::-1]), key=lambda text: version_key(ecosystem, text)) == ordered


def test_maven_leaves_out_what_says_nothing() -> None:
    assert len({version_key(Ecosystem.MAVEN, text) for text in ("1", "1.0", "1.0.0", "1.0.Final", "1-ga")}) == 1


@pytest.mark.parametrize("ecosystem", [Ecosystem.PYPI, Ecosystem.NPM, Ecosystem.GO])
def test_what_is_no_version_has_no_order(ecosystem: Ecosystem) -> None:
    assert version_key(ecosystem, "latest one") is None


def osv(package: str, ecosystem: str, *events: Mapping[str, str], **more: Any) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    affected = {"package": {"name": package, "ecosystem": ecosystem}, "ranges": ranges, **more.pop("affected", {})}
    return {"id": "GHSA-1", "summary": "It is unsafe", "affected": [affected], **more}


ADVISORIES = [
    osv("flask", "PyPI", {"introduced": "0"}, {"fixed": "2.0.2"}, {"introduced": "2.1"}, {"fixed": "2.1.3"}),
    osv("Flask", "PyPI", {"introduced": "0"}, {"fixed": "2.0.2"}, id="PYSEC-1", aliases=["GHSA-1", "CVE-2023-1"]),
    osv("lodash", "npm", {"introduced": "0"}, {"last_affected": "4.17.20"}, id="GHSA-2"),
    osv("six", "PyPI", id="PYSEC-2", affected={"versions": ["1.16.0"]}),
    osv("six", "PyPI", {"introduced": "0"}, id="PYSEC-3", withdrawn="2023-01-01T00:00:00Z"),
    osv("golang.org/x/text", "Go", {"introduced": "0"}, {"fixed": "0.3.7"}, id="GO-1"),
    osv("org.apache.logging.log4j:log4j-core", "Maven", {"introduced": "2.0"}, {"fixed": "2.15.0"}, id="GHSA-L"),
    osv("lodash", "PyPI", {"introduced": "0"}, id="OTHER"),
    osv("x", "crates.io", {"introduced": "0"}, id="RUST"),
]


def written(folder: Path, form: str) -> Path:
    file = folder / f"osv.{form}"
    if form == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for one in ADVISORIES:
                archive.writestr(f"{one['id']}.json", json.dumps(one, indent=1))
            archive.writestr("README", "no advisory")
    elif form == "jsonl":
        file.write_text("\n".join(json.dumps(one) for one in ADVISORIES) + "\n\n")
    else:
        file.write_text(json.dumps({"vulns": ADVISORIES} if form == "vulns" else ADVISORIES, indent=2))
    return file


@pytest.mark.parametrize("form", ["jsonl", "json", "vulns", "zip"])
def test_only_what_the_change_adds_or_alters_is_audited(form: str, tmp_path: Path) -> None:
    before = {"requirements.txt": "six==1.16.0\nflask==2.0.2\n", "package-lock.json": json.dumps(PACKAGE_LOCK)}
    after = {**before, "requirements.txt": "six==1.16.0\nflask==2.0.1\nloose>=1\n", "go.mod": GO_MOD, "pom.xml": POM}
    altered = change(after, before)
    altered_diff = parse_diff(altered.diff)
    inventory = take_inventory(altered_diff, after, before)
    gate = judge_dependencies(inventory, read_advisories(written(tmp_path, form), inventory.packages), required=False)
    assert gate.state is GateState.FAILED
    assert [(place.path, place.line, place.text) for place in gate.places] == [
        ("go.mod", 5, "golang.org/x/text v0.3.5: GO-1: It is unsafe. Mended in 0.3.7."),
        ("pom.xml", 4, "org.apache.logging.log4j:log4j-core 2.14.1: GHSA-L: It is unsafe. Mended in 2.15.0."),
        ("requirements.txt", 2, "flask 2.0.1: GHSA-1: It is unsafe. Mended in 2.0.2."),
    ]
    assert gate.reason == "3 without an exact version are not audited"
    whole = take_inventory(altered_diff, after, before, everything=True)
    gate = judge_dependencies(whole, read_advisories(written(tmp_path, form), whole.packages), required=False)
    assert [place.text.partition(":")[0] for place in gate.places if place.path in before] == [
        "lodash 4.17.20",
        "flask 2.0.1",
        "six 1.16.0",
    ]


def test_a_change_without_dependencies_passes_without_advisories() -> None:
    diff = parse_diff(change({"a.py": "x = 1\n"}).diff)
    assert judge_dependencies(take_inventory(diff, {}, {}), "no advisories", required=True).state is GateState.PASSED


def test_a_lock_file_of_which_only_the_diff_is_known_is_said() -> None:
    diff = parse_diff(change({"uv.lock": UV}).diff)
    gate = judge_dependencies(take_inventory(diff, {}, {}), (), required=False)
    assert (gate.state, gate.reason) == (GateState.NOT_MEASURED, "uv.lock: only its diff is known")


def test_a_removed_dependency_and_a_deleted_file_are_no_findings() -> None:
    before = {"requirements.txt": "flask==2.0.1\nsix==1.0\n"}
    fewer = change({"requirements.txt": "six==1.0\n"}, before)
    assert take_inventory(parse_diff(fewer.diff), fewer.files, before).audited == ()


@pytest.mark.parametrize("text", ["nonsense", '{"a": 1}', "[1]", '{"vulns": 3}', "[" * 5000])
def test_a_file_that_holds_no_advisories_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "osv.json"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=r"osv\.json"):
        read_advisories(file, {(Ecosystem.NPM, "a")})
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    with pytest.raises(InvalidInput, match=r"broken\.zip"):
        read_advisories(tmp_path / "broken.zip", set())
    with pytest.raises(NotFound, match="absent"):
        read_advisories(tmp_path / "absent", set())


def test_an_advisory_with_parts_of_another_form_keeps_the_rest(tmp_path: Path) -> None:
    odd = {
        "id": "X",
        "affected": [3, {"package": 1}, {"package": {"ecosystem": "npm", "name": "a"}, "ranges": [1, {}]}],
    }
    odd["affected"].append({"package": {"ecosystem": "npm", "name": "a"}, "versions": ["1.0.0"], "ranges": "?"})
    file = tmp_path / "one.json"
    file.write_text(json.dumps(odd))
    assert [one.affects("1.0.0") for one in read_advisories(file, {(Ecosystem.NPM, "a")})] == [False, True]
