"""The rules of the documentation, checked on its Markdown: links, commands and study files in it.

A rule takes pages (path from the top of the repository, to text) and yields one line for each breach; `test_docs`
applies them to this repository and shows each to fail.
"""

import itertools
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jsonschema
import typer
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from orchestrator.cli import app
from orchestrator.study_file.load import parse_spec
from orchestrator.study_file.schema import study_schema
from studies.errors import StudyError

Pages = Mapping[str, str]
"""Path to text; what is no Markdown is a file that may be linked, and its text does not matter."""

MAX_README = 150
"""Lines."""

STUDY, PART = "<!-- study file -->", "<!-- part of a study file -->"
"""What stands above a block of YAML: a whole study file, or keys that one may have."""

REST: dict[str, Any] = {
    "study": "rest",
    "models": ["HuggingFaceTB/SmolLM2-135M-Instruct"],
    "conditions": {"wasserstein": {"select": "top", "fraction": 0.01, "clamp": "negative"}},
    "evaluate": ["perplexity"],
}
"""A study whose keys a part takes the place of; its conditions stand beside those of the part."""

OF_OTHER_COMMANDS = {
    "--artifacts-destination": "mlflow server",
    "--cuda": "python -m tests.vllm_conformance",
    "--index-strategy": "uv pip install",
    "--num-cpus": "ray start",
}
"""{option that is mentioned without its command: the command}."""


class Code(NamedTuple):
    """A piece of code in a page."""

    text: str
    language: str
    """Of a block; empty for code in a sentence."""
    line: int
    above: str
    """The HTML comment before a block, or nothing."""


def tokens(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)


def code(text: str) -> Iterator[Code]:
    """All code of a page, in its order."""
    above = ""
    for token in tokens(text):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "fence":
            yield Code(token.content, token.info.strip(), line, above)
        for child in token.children or ():
            if child.type == "code_inline":
                yield Code(child.content, "", line, "")
        above = token.content.strip() if token.type == "html_block" else ""


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    parsed = tokens(text)
    for heading, content in itertools.pairwise(parsed):
        if heading.type == "heading_open":
            words = "".join(child.content for child in content.children or ())
            slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
            number = next(n for n in range(1000) if (f"{slug}-{n}" if n else slug) not in found)
            found.add(f"{slug}-{number}" if number else slug)
    return found


def links(text: str) -> Iterator[str]:
    """Where the links and pictures of a page lead."""
    for token in tokens(text):
        for child in token.children or ():
            if child.type in ("link_open", "image"):
                yield str(child.attrs["href" if child.type == "link_open" else "src"])


# ---- the rules


def no_link_is_dead(pages: Pages) -> Iterator[str]:
    """Links to this repository; a page of the documentation, which is a site too, links only to what lies in docs/."""
    for page, text in markdown(pages):
        for target in links(text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
            if file not in pages:
                yield f"{page}: there is no {file}"
            elif page.startswith("docs/") and not file.startswith("docs/"):
                yield f"{page}: {file} is not in docs/"
            elif anchor and anchor not in anchors(pages[file]):
                yield f"{page}: {file} has no heading #{anchor}"


def every_command_exists(pages: Pages) -> Iterator[str]:
    """`halfwave VERB --option`, `VERB --option` and an option by itself."""
    options = verbs()
    of_all_verbs = {name for one in typer.main.get_command(app).params for name in one.opts}
    known = of_all_verbs.union(*options.values(), OF_OTHER_COMMANDS)
    for page, text in markdown(pages):
        for piece in code(text):
            for verb, arguments in commands(piece, options):
                used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", arguments))
                if verb and verb not in options:
                    yield f"{page}:{piece.line}: there is no verb {verb!r}"
                else:
                    allowed = options[verb] if verb else known
                    yield from (
                        f"{page}:{piece.line}: {verb or 'halfwave'} has no {one}" for one in sorted(used - allowed)
                    )


def every_target_and_module_exists(pages: Pages) -> Iterator[str]:
    """`make TARGET ...` and `python -m MODULE`, of ours."""
    targets = set(re.findall(r"^([a-z-]+):", pages["Makefile"], re.MULTILINE))
    for page, text in markdown(pages):
        for piece in code(text):
            for called in re.findall(r"\bmake ([a-z-]+(?: [a-z-]+)*)", piece.text):
                yield from (f"{page}:{piece.line}: no target {one}" for one in called.split() if one not in targets)
            for module in re.findall(r"python -m ((?:orchestrator|actors|studies|tests)[\w.]*)", piece.text):
                path = module.replace(".", "/")
                if not {f"{path}.py", f"{path}/__main__.py"} & set(pages):
                    yield f"{page}:{piece.line}: there is no module {module}"


def commands(piece: Code, options: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    """(verb, what follows it) of the command's uses in a piece of code; an empty verb where an option has none."""
    if piece.language not in ("", "console", "bash"):
        return
    for line in piece.text.replace("\\\n", " ").splitlines():
        if piece.language == "console" and not re.match(r"\w*\$ ", line):
            continue  # what a command printed
        called = re.search(r"(?:^|[\s/])halfwave (?=[a-z])([a-z]+)(.*)", line)
        before_a_verb = re.search(r"(?:^|[\s/])halfwave (--?[a-z].*)", line)
        first, _, rest = line.partition(" ")
        if before_a_verb:
            yield "", before_a_verb[1].split(" #")[0]
        elif called:
            yield called[1], called[2].split(" #")[0]
        elif not piece.language and first in options and rest.startswith("-"):
            yield first, rest
        elif not piece.language and first.startswith("--"):
            yield "", line


def verbs() -> dict[str, set[str]]:
    """{verb: its options}, from the command itself."""
    group = typer.main.get_command(app)
    subcommands: dict[str, Any] = group.commands  # type: ignore[attr-defined]
    return {
        verb: {"--help", *(name for one in command.params for name in (*one.opts, *one.secondary_opts))}
        for verb, command in subcommands.items()
    }


def study_files_are_valid(pages: Pages) -> Iterator[str]:
    """Every block of YAML says what it is, and is accepted by the command and by the schema for editors."""
    schema = jsonschema.Draft7Validator(study_schema())
    for page, text in markdown(pages):
        for piece in code(text):
            if piece.language != "yaml":
                continue
            if piece.above not in (STUDY, PART):
                yield f"{page}:{piece.line}: neither {STUDY} nor {PART} above it"
                continue
            whole = piece.text if piece.above == STUDY else completed(piece.text)
            try:
                parse_spec(whole, f"{page}:{piece.line}")
            except StudyError as error:
                yield str(error)
            yield from (f"{page}:{piece.line}: {one.message}" for one in schema.iter_errors(as_json(whole)))


def completed(part: str) -> str:
    """A whole study file with these keys."""
    keys = yaml.safe_load(part)
    conditions = {**REST["conditions"], **keys.get("conditions", {})}
    return yaml.safe_dump({**REST, **keys, "conditions": conditions})


def as_json(text: str) -> Any:
    """The data of a YAML text as an editor sees it: keys are texts."""
    return json.loads(json.dumps(yaml.safe_load(text)))


def the_readme_is_short(pages: Pages) -> Iterator[str]:
    if (lines := pages["README.md"].count("\n")) > MAX_README:
        yield f"README.md has {lines} lines; at most {MAX_README}"


def every_page_can_be_found(pages: Pages) -> Iterator[str]:
    """From docs/index.md, and in the navigation of the site."""
    listed = {posixpath.join("docs", target.partition("#")[0]) for target in links(pages["docs/index.md"])}
    navigation = {f"docs/{page}" for page in re.findall(r"[\w-]+\.md", pages[".mkdocs.yml"])}
    for page, _ in markdown(pages):
        if page.startswith("docs/"):
            if page not in listed | {"docs/index.md"}:
                yield f"docs/index.md does not link to {page}"
            if page not in navigation:
                yield f".mkdocs.yml does not list {page}"


def pages_that_code_names_exist(pages: Pages) -> Iterator[str]:
    for file, text in pages.items():
        for page in re.findall(r"\bdocs/[\w-]+\.md\b", text):
            if page not in pages:
                yield f"{file} names {page}, which does not exist"


def markdown(pages: Pages) -> Iterator[tuple[str, str]]:
    return ((page, text) for page, text in pages.items() if page.endswith(".md"))


RULES = (
    no_link_is_dead,
    every_command_exists,
    every_target_and_module_exists,
    study_files_are_valid,
    the_readme_is_short,
    every_page_can_be_found,
    pages_that_code_names_exist,
)
