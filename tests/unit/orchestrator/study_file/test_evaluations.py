"""Evaluations in a study file: words, options, and the names of their metrics."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from annotated_types import Gt, MinLen

from orchestrator.study_file.evaluations import option_names
from studies.benchmarks.measures import MINIMAL_PAIRS, Measure
from studies.benchmarks.options import Count, Name, StudySettings
from studies.benchmarks.protocol import Benchmark
from studies.benchmarks.registry import BENCHMARKS
from tests.unit.orchestrator.study_file.tiny_study import PERPLEXITY, assert_refused, changed, parse

ONE_PER_LINE = "write one evaluation per line: a word, or a word and its {options}; found "

REFUSED = {
    "unknown": (
        PERPLEXITY, "  - perplexiti\n",
        ":10: evaluate.0: 'perplexiti' is not an evaluation; did you mean 'perplexity'?",
    ),
    "far": (
        PERPLEXITY, PERPLEXITY + "  - 3: 4\n",
        ":11: evaluate.1.3: 3 is not an evaluation; allowed: arc_challenge, arc_easy, blimp",
    ),
    "number": (
        PERPLEXITY, PERPLEXITY + "  - 3\n",
        f":11: evaluate.1: {ONE_PER_LINE}3; words: perplexity, blimp, tse",
    ),
    "two in one": (
        PERPLEXITY, "  - {blimp: {}, tse: {}}\n",
        f":10: evaluate.0: {ONE_PER_LINE}a mapping; words: ",
    ),
    "word as options": (
        PERPLEXITY, "  - perplexity: a.txt\n",
        ":10: evaluate.0.perplexity: the options of perplexity must be a mapping; found 'a.txt'",
    ),
    "other kind": (
        PERPLEXITY, "  - perplexity: {kind: blimp}\n",
        ":10: evaluate.0.perplexity: perplexity has no option 'kind'",
    ),
    "bad option": (
        PERPLEXITY, "  - perplexity: {split: x}\n",
        ":10: evaluate.0.perplexity.split: 'x' is not allowed; allowed: test, train, validation",
    ),
    "no tasks": (PERPLEXITY, PERPLEXITY + "  - lm_eval\n", ":11: evaluate.1: the key 'tasks' is missing"),
    "one, not a list": (
        PERPLEXITY + "  - embedded_pairs: {per_construction: 40}\n", "  blimp:\n",
        ":9: evaluate: must be a list; found a mapping",
    ),
    "surprisal of words": (
        PERPLEXITY, PERPLEXITY + "  - surprisal: {unit: words}\n",
        ":11: evaluate.1.surprisal.unit: 'words' is not allowed; did you mean 'word'?",
    ),
    "surprisal in long strides": (
        PERPLEXITY, PERPLEXITY + "  - surprisal: {window: 8, stride: 8}\n",
        ":11: evaluate.1.surprisal: the stride 8 must be below the window 8",
    ),
    "surprisal of another name": (
        PERPLEXITY, PERPLEXITY + "  - surprisal: {name: words}\n",
        ":11: evaluate.1.surprisal.name: begin with surprisal, then use letters",
    ),
    "surprisal as a name": (
        PERPLEXITY, PERPLEXITY + "  - lm_eval: {tasks: [a], name: surprisal-a}\n",
        ":11: evaluate.1: 'surprisal-a': only a surprisal evaluation may have a name that begins with surprisal",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_one_line_with_place_value_and_remedy(old: str, new: str, expected: str) -> None:
    assert_refused(old, new, expected)


def test_every_evaluation_is_a_word_or_names_its_file() -> None:
    words = [
        f"{word}: x{i}.jsonl" if "path" in option_names(word) else {"lm_eval": "lm_eval: {tasks: [a]}"}.get(word, word)
        for i, word in enumerate(BENCHMARKS)
    ]
    text = changed(
        PERPLEXITY + "  - embedded_pairs: {per_construction: 40}\n", "".join(f"  - {word}\n" for word in words)
    )
    assert [entry.kind for entry in parse(text).evaluate] == list(BENCHMARKS)


@pytest.mark.parametrize("path", ["pairs.jsonl", "choices.jsonl", "deep/my pairs.v2.jsonl", "ä.jsonl"])
def test_a_users_file_may_have_any_plain_name(path: str) -> None:
    assert parse(changed(PERPLEXITY, f"{PERPLEXITY}  - pairs: {path}\n")).evaluate[1].name == Path(path).stem


RECORDED = {
    "perplexity": '{"kind": "perplexity", "corpus": "wikitext2", "split": "validation", "tokens": null, '
    '"window": 2048, "bos": null}',
    "blimp": '{"kind": "blimp", "per_paradigm": null}',
    "tse: {templates: [a, b]}": '{"kind": "tse", "per_case": null, "templates": ["a", "b"]}',
    "embedded_pairs": '{"kind": "embedded_pairs", "per_construction": null}',
    "embedded_knowledge": '{"kind": "embedded_knowledge"}',
    "piqa: {items: 5}": '{"kind": "piqa", "items": 5}',
    "lm_eval: {tasks: [a]}": '{"kind": "lm_eval", "tasks": ["a"], "items": null, "fewshot": null, "include": null, '
    '"trust_remote_code": false, "syntactic": false, "name": "lm_eval"}',
    "surprisal": '{"kind": "surprisal", "corpus": "ud_ewt", "split": "validation", "tagger": null, "unit": "token", '
    '"documents": null, "window": 2048, "stride": null, "bos": null, "name": "surprisal"}',
    "pairs: a.jsonl": '{"kind": "pairs", "path": "a.jsonl"}',
    "choices: {path: a.jsonl}": '{"kind": "choices", "path": "a.jsonl"}',
}
"""{entry: as it is stored}."""


@pytest.mark.parametrize(("entry", "expected"), RECORDED.items(), ids=RECORDED)
def test_an_evaluation_as_it_is_stored(entry: str, expected: str) -> None:
    text = changed("  - embedded_pairs: {per_construction: 40}\n", "")
    spec = parse(text.replace(PERPLEXITY, PERPLEXITY * (entry != "perplexity") + f"  - {entry}\n"))
    assert json.dumps(spec.model_dump(mode="json")["evaluate"][-1]) == expected


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyOptions:
    """Options of every type."""

    size: Count
    rate: Annotated[float, Gt(0)] = 0.5
    exact: bool = False
    parts: Annotated[tuple[Annotated[int, Gt(1)], ...], MinLen(1)] | None = None
    order: Literal["up", "down"] = "up"
    language: Annotated[str, re.compile("^[a-z]{2}$")] = "en"
    name: Name = "toy"
    measure: ClassVar[Measure] = MINIMAL_PAIRS

    def __post_init__(self) -> None:
        if self.parts and sum(self.parts) > self.size:
            raise ValueError(f"the parts are more than {self.size}")

    def load(self, name: str, study: StudySettings) -> Benchmark:
        raise NotImplementedError


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BENCHMARKS, "toy", ToyOptions)


@pytest.mark.usefixtures("toy")
def test_a_word_added_to_the_registry_is_an_evaluation() -> None:
    (*_, added) = parse(changed(PERPLEXITY, PERPLEXITY + "  - toy: {size: 9, rate: 1, parts: [2, 3]}\n")).evaluate[:2]
    assert added.options == ToyOptions(size=9, rate=1.0, parts=(2, 3)) and added.name == "toy"
    (*_, named) = parse(changed(PERPLEXITY, PERPLEXITY + "  - toy: {size: 9, name: other}\n")).evaluate[:2]
    assert named.name == "other" and named.kind == "toy"


TOY_REFUSED = {
    "": "toy: the key 'size' is missing",
    "size: '9'": "toy.size: must be a whole number; found '9'; YAML reads it as text",
    "size: true": "toy.size: must be a whole number; found true",
    "size: 0": "toy.size: must be above 0; found 0",
    "size: 1, sice: 2": "toy.sice: unknown key; did you mean 'size'?",
    "size: 1, rate: '1'": "toy.rate: must be a number; found '1'",
    "size: 1, rate: .nan": "toy.rate: must be a finite number; found nan",
    "size: 1, rate: 0": "toy.rate: must be above 0; found 0",
    "size: 1, exact: 1": "toy.exact: must be true or false; found 1",
    "size: 1, parts: []": "toy.parts: must not be empty",
    "size: 9, parts: [2, 1]": "toy.parts.1: must be above 1; found 1",
    "size: 9, parts: [2, '3']": "toy.parts.1: must be a whole number; found '3'",
    "size: 1, order: upp": "toy.order: 'upp' is not allowed; did you mean 'up'?",
    "size: 1, language: english": "toy.language: must match ^[a-z]{2}$; found 'english'",
    "size: 1, name: a b": "toy.name: use letters, digits, dots, dashes and underscores, at most 100; found 'a b'",
    "size: 1, name: tse": "toy.name: 'tse' is taken; give it another name",
    "size: 1, name: surprisal-a": "only a surprisal evaluation may have a name that begins with surprisal",
    "size: 4, parts: [2, 3]": "evaluate.1.toy: the parts are more than 4",
}


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(("options", "expected"), TOY_REFUSED.items(), ids=TOY_REFUSED)
def test_options_of_an_added_word_are_strict(options: str, expected: str) -> None:
    assert_refused(PERPLEXITY, f"{PERPLEXITY}  - toy: {{{options}}}\n", expected)


@pytest.mark.usefixtures("toy")
def test_an_added_word_is_listed_and_its_name_is_taken() -> None:
    assert_refused(PERPLEXITY, PERPLEXITY + "  - 3\n", "pairs, choices, toy")
    assert_refused(PERPLEXITY, PERPLEXITY + "  - pairs: toy.jsonl\n", "the metrics are named after the file, and 'toy'")


def test_a_word_that_was_not_added_is_unknown() -> None:
    assert_refused(PERPLEXITY, PERPLEXITY + "  - toy\n", "'toy' is not an evaluation")
