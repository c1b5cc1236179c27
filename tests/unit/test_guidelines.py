"""What a repository says of how it wants to be changed: what concerns the changed files, and who owns them."""

from tidemill.analysis.token_count import about_tokens
from tidemill.core.pull_request import ForgeKind
from tidemill.core.review_policy import ReviewPolicy
from tidemill.review.code_owners import owners_of
from tidemill.review.guidelines import guideline_files, pick_guidelines, sections

GITHUB = """
# who looks at what
*           @everyone
*.js        @js-owner    # a comment
/build/logs/ @doctocat
docs/*      docs@example.com
apps/       @octocat
**/logs     @logs
/scripts/*.sh @shell @org/team
/apps/github
!*.js       @nobody
src/[ab].py @nobody
path\\ with\\ spaces/ @spaces
bad         not-an-owner
"""


def test_code_owners_on_github_the_last_line_that_fits_decides() -> None:
    paths = [
        *("README", "lib/x.js", "build/logs/a.log", "docs/a.md", "docs/deep/a.md", "x/apps/y.py", "apps/github/z.py"),
        *("deep/logs/l.txt", "scripts/go.sh", "scripts/in/go.sh", "path with spaces/f", "src/a.py", "bad"),
    ]
    assert owners_of(GITHUB, paths, gitlab=False) == {
        "README": ("@everyone",),
        "lib/x.js": ("@js-owner",),
        "build/logs/a.log": ("@logs",),
        "docs/a.md": ("docs@example.com",),
        "docs/deep/a.md": ("@everyone",),
        "x/apps/y.py": ("@octocat",),
        "deep/logs/l.txt": ("@logs",),
        "scripts/go.sh": ("@shell", "@org/team"),
        "scripts/in/go.sh": ("@everyone",),
        "path with spaces/f": ("@spaces",),
        "src/a.py": ("@everyone",),
    }


GITLAB = """
* @general
/docs @only-a-file
internal/README.md @reader
/config/ @config
\\#pound.rb @pound

[Documentation][2] @docs-team
docs/
README.md
*.txt @group/with-nested/subgroup

^[Database] @database
model/db/
!model/db/*.txt

[documentation]
*.adoc
/config/ @@maintainer
"""


def test_code_owners_on_gitlab_each_section_has_owners_of_its_own() -> None:
    paths = [
        *("a.rb", "docs/a.md", "x/docs/a.md", "x/internal/README.md", "config/a/b.yml", "model/db/a.rb"),
        *("model/db/a.txt", "b.adoc", "#pound.rb"),
    ]
    assert owners_of(GITLAB, paths, gitlab=True) == {
        "a.rb": ("@general",),
        "docs/a.md": ("@general", "@docs-team"),
        "x/docs/a.md": ("@general", "@docs-team"),
        "x/internal/README.md": ("@reader", "@docs-team"),
        "config/a/b.yml": ("@config", "@@maintainer"),
        "model/db/a.rb": ("@general", "@database"),
        "model/db/a.txt": ("@general", "@group/with-nested/subgroup"),
        "b.adoc": ("@general", "@docs-team"),
        "#pound.rb": ("@pound",),
    }


AGENTS = "Use decimals for money.\n\n# Tests\n\nRun `make test`.\n\n```\n# no heading\n```\n"
CONTRIBUTING = """# Contributing

We love pull requests.

## License

You should always accept our licence.

## Error handling

Never swallow an exception in `billing`.

## Frontend style

Prefer hooks in *.tsx.
"""


def test_a_heading_in_a_code_block_is_none() -> None:
    assert sections(AGENTS) == [
        ("", "Use decimals for money."),
        ("Tests", "Run `make test`.\n\n```\n# no heading\n```"),
    ]


def test_what_concerns_the_changed_files_is_chosen_nearest_first() -> None:
    policy = ReviewPolicy(instructions={"**": "Be kind.", "src/billing/**": "Round down.", "web/**": "No inline CSS."})
    files = {"AGENTS.md": AGENTS, "src/billing/AGENTS.md": "No floats.", "CONTRIBUTING.md": CONTRIBUTING}
    picked = pick_guidelines(files, policy, ["src/billing/a.py", "src/b.py"])
    assert [(one.source, one.title, one.paths) for one in picked.chosen] == [
        (".tidemill.yml (instructions: src/billing/**)", "", ("src/billing/a.py",)),
        (".tidemill.yml (instructions: **)", "", ()),
        ("src/billing/AGENTS.md", "", ("src/billing/a.py",)),
        ("AGENTS.md", "Tests", ()),
        ("AGENTS.md", "", ()),
        ("CONTRIBUTING.md", "Error handling", ()),
        ("CONTRIBUTING.md", "Frontend style", ()),
    ]


def test_the_budget_holds_and_what_it_leaves_out_is_named() -> None:
    files = {"AGENTS.md": "# Errors\n\n" + "never " * 200 + "\n# Names\n\nAlways short.\n"}
    picked = pick_guidelines(files, ReviewPolicy(), ["a.py"], budget=60)
    assert [one.title for one in picked.chosen] == ["Names"]
    assert picked.left_out == ("AGENTS.md: Errors",)
    assert sum(about_tokens(one.text) for one in picked.chosen) <= 60


def test_owners_are_read_where_the_forge_looks_for_them() -> None:
    files = {"docs/CODEOWNERS": "* @github", ".gitlab/CODEOWNERS": "[A] @gitlab\n*"}
    owners = {forge: dict(pick_guidelines(files, ReviewPolicy(), ["a"], forge=forge).owners) for forge in ForgeKind}
    assert owners[ForgeKind.GITHUB] == {"a": ("@github",)}
    assert owners[ForgeKind.GITEA] == {}
    assert pick_guidelines({"CODEOWNERS": "[A] @lab\n*"}, ReviewPolicy(), ["a"]).owners == {"a": ("@lab",)}
    assert pick_guidelines({".gitlab/CODEOWNERS": "[A] @lab\n*"}, ReviewPolicy(), ["a"]).owners == {"a": ("@lab",)}


def test_each_folder_above_a_changed_file_may_have_an_agents_file() -> None:
    assert guideline_files(["a/b/c.py", "a/d.py"], forge=ForgeKind.GITHUB)[:3] == (
        "AGENTS.md",
        "a/b/AGENTS.md",
        "a/AGENTS.md",
    )
    assert len(guideline_files([f"{'x/' * n}f" for n in range(300)])) < 60
