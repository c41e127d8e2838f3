"""README and docs/ keep the rules of `documents`, and every rule is shown to fail on a small made-up tree."""

import subprocess
from collections.abc import Callable, Iterator

import pytest

from orchestrator.study_file.load import parse_spec
from tests.conftest import ROOT
from tests.unit.documents import (
    RULES,
    STUDY,
    Pages,
    anchors,
    code,
    every_command_exists,
    every_page_can_be_found,
    every_target_and_module_exists,
    no_link_is_dead,
    pages_that_code_names_exist,
    study_files_are_valid,
    the_readme_is_short,
)

TEXTS = (".md", ".py", ".yml", ".yaml", ".toml", "Makefile")


@pytest.fixture(scope="module")
def repository() -> Pages:
    """Every file that git knows; the text of those that are texts, but of tests, which name pages that do not exist."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    files = [name for name in listed.split("\0")[:-1] if (ROOT / name).exists()]
    texts = {name for name in files if name.endswith(TEXTS) and not name.startswith("tests/")}
    return {name: (ROOT / name).read_text("utf-8") if name in texts else "" for name in files}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_documentation_keeps(rule: Callable[[Pages], Iterator[str]], repository: Pages) -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/index.md"} <= set(repository)
    assert list(rule(repository)) == []


@pytest.mark.parametrize("page", ["README.md", "docs/study-file.md"])
def test_the_quickstart_in_a_page_is_that_of_the_catalog(page: str) -> None:
    catalog = (ROOT / "studies" / "catalog" / "quickstart.yaml").read_text()
    blocks = [piece.text for piece in code((ROOT / page).read_text("utf-8")) if piece.above == STUDY]
    assert parse_spec(blocks[0], page)[0] == parse_spec(catalog, "quickstart.yaml")[0]


# ---- the rules themselves

CLEAN = {
    "README.md": "# A\n[b](docs/index.md#two-words) ![c](c.svg) [d](https://x.org/y)\n`halfwave run X --verify`\n",
    "docs/index.md": "# Two words\n[e](e.md#f-g1)\n",
    "docs/e.md": "## F, `g<1>`\n[here](#f-g1) `run --takeover`, `--verbose`, `make env model`, `python -m actors.x`\n",
    "c.svg": "",
    "Makefile": "env: x\nmodel: env\n",
    ".mkdocs.yml": "nav: [index.md, e.md]",
    "actors/x.py": '"""See docs/e.md."""',
}

BLOCK = "```yaml\n{}\n```\n"

BREACHES = [
    (no_link_is_dead, "[a](b.md)", "there is no docs/b.md"),
    (no_link_is_dead, "![a](b.png)", "there is no docs/b.png"),
    (no_link_is_dead, "[a](../README.md)", "README.md is not in docs/"),
    (no_link_is_dead, "[a](index.md#three)", "docs/index.md has no heading #three"),
    (no_link_is_dead, "| [a](#one) |\n|---|\n", "docs/e.md has no heading #one"),
    (every_command_exists, "`halfwave fly STUDY`", "there is no verb 'fly'"),
    (every_command_exists, "`halfwave run X --on 4x8`", "run has no --on"),
    (every_command_exists, "`plan --takeover`", "plan has no --takeover"),
    (every_command_exists, "`--taking-over`", "halfwave has no --taking-over"),
    (every_command_exists, "`halfwave --loud`", "halfwave has no --loud"),
    (every_command_exists, "```console\n$ .venv/bin/halfwave gc --force --old\n```", "gc has no --old"),
    (every_command_exists, "```bash\nhalfwave run X \\\n  --head\n```", "run has no --head"),
    (every_target_and_module_exists, "`make env mode`", "no target mode"),
    (every_target_and_module_exists, "`python -m orchestrator.y`", "there is no module orchestrator.y"),
    (study_files_are_valid, BLOCK.format("study: x"), "neither"),
    (study_files_are_valid, f"{STUDY}\n{BLOCK.format('study: x')}", "the key 'conditions' is missing"),
    (study_files_are_valid, f"<!-- part of a study file -->\n{BLOCK.format('claim: x')}", "claim: unknown key"),
    (pages_that_code_names_exist, "`docs/f.md`", "names docs/f.md"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_clean_pages_pass(rule: Callable[[Pages], Iterator[str]]) -> None:
    part = f"<!-- part of a study file -->\n{BLOCK.format('claims: paper')}"
    assert list(rule({**CLEAN, "docs/e.md": CLEAN["docs/e.md"] + part})) == []


@pytest.mark.parametrize(("rule", "text", "problem"), BREACHES)
def test_a_breach_is_found(rule: Callable[[Pages], Iterator[str]], text: str, problem: str) -> None:
    found = list(rule({**CLEAN, "docs/e.md": f"{CLEAN['docs/e.md']}\n{text}\n"}))
    assert found and problem in found[0]


def test_a_long_readme_is_found() -> None:
    assert list(the_readme_is_short({"README.md": "a\n" * 151})) == ["README.md has 151 lines; at most 150"]
    assert list(the_readme_is_short({"README.md": "a\n" * 150})) == []


def test_a_page_that_nothing_leads_to_is_found() -> None:
    found = list(every_page_can_be_found({**CLEAN, "docs/f.md": ""}))
    assert found == ["docs/index.md does not link to docs/f.md", ".mkdocs.yml does not list docs/f.md"]


def test_anchors_are_those_of_github() -> None:
    text = "# What has run, and what has not\n## A `b/<c>` *d*\n## A\n## A\n```\n# no heading\n```\n"
    assert anchors(text) == {"what-has-run-and-what-has-not", "a-bc-d", "a", "a-1"}
