"""Evaluations in a study file: words, options, and the names of their metrics."""

from pathlib import Path

import pytest

from orchestrator.study_file.evaluations import EVALUATIONS, benchmark_name
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
        f"{word}: x{i}.jsonl" if "path" in cls.model_fields else {"lm_eval": "lm_eval: {tasks: [a]}"}.get(word, word)
        for i, (word, cls) in enumerate(EVALUATIONS.items())
    ]
    text = changed(
        PERPLEXITY + "  - embedded_pairs: {per_construction: 40}\n", "".join(f"  - {word}\n" for word in words)
    )
    assert [entry.kind for entry in parse(text).evaluate] == list(EVALUATIONS)


@pytest.mark.parametrize("path", ["pairs.jsonl", "choices.jsonl", "deep/my pairs.v2.jsonl", "ä.jsonl"])
def test_a_users_file_may_have_any_plain_name(path: str) -> None:
    assert benchmark_name(parse(changed(PERPLEXITY, f"{PERPLEXITY}  - pairs: {path}\n")).evaluate[1]) == Path(path).stem
