"""Mistakes inside a block: each is one line that names place, value and remedy."""

import pytest

from tests.unit.orchestrator.study_file.tiny_study import (
    LAST,
    LIKE,
    MATCH,
    MODEL,
    MODELS,
    PERPLEXITY,
    PROFILE,
    TOP,
    assert_refused,
    changed,
    message,
    mistakes,
)

AS_TEXT = "YAML reads it as text: write a number without quotes, and with a point before its e (1.0e-3)"

REFUSED = {
    "top level": ("study: tiny", "studdy: tiny", ":1: studdy: unknown key; did you mean 'study'?"),
    "no near key": (LAST, "zzz: 1\n", ":12: zzz: unknown key; allowed: checkpoints, claims, conditions, data, "),
    "in a model": (
        MODEL, "  - {name: org/a, revison: x}\n",
        ":3: models.0.revison: unknown key; did you mean 'revision'?",
    ),
    "in data": (LAST, "data: {rot: x}\n", ":12: data.rot: unknown key; did you mean 'root'?"),
    "in profile": (PROFILE, "profile: {token: 1}", ":4: profile.token: unknown key; did you mean 'tokens'?"),
    "in condition": (
        TOP, "{select: top, fracton: 0.1, clamp: zero}",
        ":6: conditions.w.fracton: unknown key; did you mean 'fraction'?",
    ),
    "in clamp": (
        TOP, "{select: top, fraction: 0.1, clamp: {flor: 0}}",
        ":6: conditions.w.clamp.flor: unknown key; did you mean 'floor'?",
    ),
    "in match": (
        MATCH, "match: {perplexity_of: w, withn: 1}",
        ":8: conditions.m.match.withn: unknown key; did you mean 'within'?",
    ),
    "option": (
        PERPLEXITY, "  - perplexity: {windw: 9}\n",
        ":10: evaluate.0.perplexity.windw: unknown key; did you mean 'window'?",
    ),
    "no options": (
        PERPLEXITY, PERPLEXITY + "  - embedded_knowledge: {x: 1}\n",
        ":11: evaluate.1.embedded_knowledge.x: unknown key",
    ),
    "not a word": ("study: tiny", "study: tiny\n3: x", ":2: 3: must be text; found 3; put it in quotes"),
    "no study": ("study: tiny", "preset: strict", ":1: the key 'study' is missing"),
    "no select": (TOP, "{fraction: 0.1, clamp: negative}", ":6: conditions.w: the key 'select' is missing"),
    "no clamp": (TOP, "{select: top, fraction: 0.1}", ":6: conditions.w: the key 'clamp' is missing"),
    "no perplexity_of": (MATCH, "match: {}", ":8: conditions.m.match: the key 'perplexity_of' is missing"),
    "no path": (PERPLEXITY, PERPLEXITY + "  - pairs\n", ":11: evaluate.1: the key 'path' is missing"),
    "number as name": ("study: tiny", "study: 3", ":1: study: must be text; found 3; put it in quotes"),
    "number as revision": (
        MODEL, "  - {name: a, revision: 1000}\n",
        ":3: models.0.revision: must be text; found 1000; put it in quotes",
    ),
    "nothing as name": ("study: tiny", "study:", ":1: study: must be text; found nothing"),
    "list as name": ("study: tiny", "study: [a]", ":1: study: must be text; found a list"),
    "text as list": (MODELS, "models: org/a\n", ":2: models: must be a list; found 'org/a'"),
    "mapping as list": (MODELS, "models: {a: b}\n", ":2: models: must be a list; found a mapping"),
    "number as model": (MODEL, "  - 3\n", ":3: models.0: must be a mapping; found 3"),
    "empty model": (MODEL, '  - ""\n', ":3: models.0: must not be empty"),
    "nothing as profile": (PROFILE, "profile:", ":4: profile: must be a mapping; found nothing"),
    "list as profile": (PROFILE, "profile: []", ":4: profile: must be a mapping; found a list"),
    "word as condition": (TOP, "top", ":6: conditions.w: must be a mapping; found 'top'"),
    "word as scores": (
        PROFILE, "profile: {scores: wasserstein_distance}",
        ":4: profile.scores: must be a list; found 'wasserstein_distance'",
    ),
    "unknown score": (
        PROFILE, "profile: {scores: [wasserstein]}",
        ":4: profile.scores.0: 'wasserstein' is not allowed; did you mean 'wasserstein_distance'?",
    ),
    "number as seeds": (LIKE, "like: w, seeds: 3", ":7: conditions.r.seeds: must be a list; found 3"),
    "words as seeds": (LIKE, "like: w, seeds: [a]", ":7: conditions.r.seeds.0: must be a whole number; found 'a'"),
    "truth as seed": (LIKE, "like: w, seeds: [true]", ":7: conditions.r.seeds.0: must be a whole number; found true"),
    "no seeds": (LIKE, "like: w, seeds: []", ":7: conditions.r.seeds: must not be empty"),
    "margin of 0": (LAST, "margins: {accuracy: 0}\n", ":12: margins.accuracy: must be above 0; found 0"),
    "margin of all": (LAST, "margins: {accuracy: 1}\n", ":12: margins.accuracy: must be below 1; found 1"),
    "large margin": (LAST, "margins: {perplexity: 50}\n", ":12: margins.perplexity: must be at most 10; found 50"),
    "number as margins": (LAST, "margins: 0.02\n", ":12: margins: must be a mapping; found 0.02"),
    "word as truth": (LAST, "noise_floor: maybe\n", ":12: noise_floor: must be true or false; found 'maybe'"),
    "number as truth": (PROFILE, "profile: {skip_first: 1}", ":4: profile.skip_first: must be true or false; found 1"),
    "engine option": (
        MODEL, "  - {name: a, engine: {max_num_seqs: [1]}}\n",
        ":3: models.0.engine.max_num_seqs: must be a whole number; found a list",
    ),
    "engine nan": (
        MODEL, "  - {name: a, engine: {seed: .nan}}\n",
        ":3: models.0.engine.seed: must be text or a finite number or true or false or a list or a mapping; found nan",
    ),
    "engine nan in a list": (
        MODEL, "  - {name: a, engine: {seed: [.nan]}}\n",
        ":3: models.0.engine.seed: every number in it must be finite",
    ),
    "truth as number": (PROFILE, "profile: {tokens: true}", ":4: profile.tokens: must be a whole number; found true"),
    "fraction as count": (PROFILE, "profile: {tokens: 1.5}", ":4: profile.tokens: must be a whole number; found 1.5"),
    "quoted number": (
        PROFILE, 'profile: {tokens: "9"}',
        f":4: profile.tokens: must be a whole number; found '9'; {AS_TEXT}",
    ),
    "zero tokens": (PROFILE, "profile: {tokens: 0}", ":4: profile.tokens: must be above 0; found 0"),
    "nan tokens": (PROFILE, "profile: {tokens: .nan}", ":4: profile.tokens: must be a whole number; found nan"),
    "huge tokens": (
        PROFILE, "profile: {tokens: 9" + 30 * "0" + "}",
        ":4: profile.tokens: must be at most 1000000000000; found 9000000000000000000000000000000",
    ),
    "short window": (PROFILE, "profile: {window: 1}", ":4: profile.window: must be at least 2; found 1"),
    "long window": (
        PROFILE, f"profile: {{window: {10**400}}}",
        ":4: profile.window: must be at most 1000000000; found 1",
    ),
    "long perplexity window": (
        PERPLEXITY, f"  - perplexity: {{window: {10**400}}}\n",
        ":10: evaluate.0.perplexity.window: must be at most 1000000000; found 1",
    ),
    "large seed": (
        PROFILE, "profile: {seed: 4294967296}",
        ":4: profile.seed: must be below 4294967296; found 4294967296",
    ),
    "negative gpus": (MODEL, "  - {name: a, gpus: -1}\n", ":3: models.0.gpus: must be at least 0; found -1"),
    "endless gpus": (MODEL, "  - {name: a, gpus: .inf}\n", ":3: models.0.gpus: must be a finite number; found inf"),
    "fraction 0": (TOP, TOP.replace("0.01", "0"), ":6: conditions.w.fraction: must be above 0; found 0"),
    "fraction 1": (TOP, TOP.replace("0.01", "1"), ":6: conditions.w.fraction: must be below 1; found 1"),
    "fraction 1.5": (TOP, TOP.replace("0.01", "1.5"), ":6: conditions.w.fraction: must be below 1; found 1.5"),
    "fraction -1": (TOP, TOP.replace("0.01", "-1"), ":6: conditions.w.fraction: must be above 0; found -1"),
    "fraction many": (TOP, TOP.replace("0.01", "many"), ":6: conditions.w.fraction: must be a number; found 'many'"),
    "fraction nan": (TOP, TOP.replace("0.01", ".nan"), ":6: conditions.w.fraction: must be below 1; found nan"),
    "fraction true": (TOP, TOP.replace("0.01", "true"), ":6: conditions.w.fraction: must be a number; found true"),
    "fraction 1e-2": (TOP, TOP.replace("0.01", "1e-2"), f"fraction: must be a number; found '1e-2'; {AS_TEXT}"),
    "fraction null": (TOP, TOP.replace("0.01", "null"), ":6: conditions.w: select: top needs a fraction"),
    "within 1": (
        MATCH, "match: {perplexity_of: w, within: 1}",
        ":8: conditions.m.match.within: must be below 1; found 1",
    ),
    "number as condition": ("  w:", "  3:", ":6: conditions.3: must be text; found 3; put it in quotes"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_one_line_with_place_value_and_remedy(old: str, new: str, expected: str) -> None:
    assert_refused(old, new, expected)


PERCENT = {
    "1%": "must be a number; found '1%'; write 0.01",
    '"0.5 %"': "must be a number; found '0.5 %'; write 0.005",
    "'2,5%'": "must be a number; found '2,5%'; write 0.025",
    '"0,01"': "must be a number; found '0,01'; write 0.01, with a point",
    "1": "must be below 1; found 1; for 1 % write 0.01",
    "2.5": "must be below 1; found 2.5; for 2.5 % write 0.025",
}


@pytest.mark.parametrize(("written", "expected"), PERCENT.items(), ids=PERCENT)
def test_a_percentage_is_told_as_a_fraction(written: str, expected: str) -> None:
    assert message(changed(TOP, TOP.replace("0.01", written))) == f"f.yaml:6: conditions.w.fraction: {expected}"
    several = message(
        changed(f"{TOP}\n", TOP.replace("0.01", f"[0.02, {written}]") + "\n").replace(MATCH, "fraction: 0.5")
    )
    assert several == f"f.yaml:6: conditions.w.fraction.1: {expected}"


TASK = "a task of lm-eval is written lm_eval: {tasks: [mmlu]}"
TASKS = {
    "a word": ("mmlu", f"'mmlu' is not an evaluation; allowed: arc_challenge, {{}}; {TASK}"),
    "with options": ("mmlu: {items: 5}", f"'mmlu' is not an evaluation; allowed: arc_challenge, {{}}; {TASK}"),
    "as an option": (
        "lm_eval: mmlu",
        "the options of lm_eval must be a mapping; found 'mmlu'; write lm_eval: {tasks: [mmlu]}",
    ),
    "as a list": (
        "lm_eval: [mmlu, x]",
        "the options of lm_eval must be a mapping; found a list; write lm_eval: {tasks: [mmlu, x]}",
    ),
    "not in a list": ("lm_eval: {tasks: mmlu}", "must be a list; found 'mmlu'; write [mmlu]"),
    "a misspelling": ("perplexty", "'perplexty' is not an evaluation; did you mean 'perplexity'?"),
}


@pytest.mark.parametrize(("entry", "expected"), TASKS.values(), ids=TASKS)
def test_a_task_of_lm_eval_is_told_how_it_is_written(entry: str, expected: str) -> None:
    line = message(changed(PERPLEXITY, PERPLEXITY + f"  - {entry}\n"))
    start, _, end = expected.partition("{}")
    assert line.partition(": ")[2].partition(": ")[2].startswith(start) and line.endswith(end), line


SEVERAL = """\
studdy: tiny
models:
  - {name: org/a, dtype: float8}
  - org/b
  - org/b
profile: {corpus: embedded, tokens: 1%, window: 2024-01-01, stride: -1}
conditions:
  w: {select: top, fraction: 1%, clamp: negativ, like: r}
  w: {select: top, fraction: 0.1, clamp: negative}
  r: {select: random, like: v, seeds: [0, 0], layers: [1, 1], clamp: negative}
  v: {select: random, like: w, neurons: a.csv, clamp: negative}
evaluate:
  - mmlu
  - perplexity: {window: 1, corpus: ""}
  - embedded_pairs
  - embedded_pairs
claims: papers
"""
AT = (
    *("1: studdy", "3: models.0.dtype", "5: models.2", "6: '2024-01-01' cannot be read", "6: profile.tokens"),
    *("6: profile.stride", "8: conditions.w.clamp", "8: conditions.w.fraction", "9: the key 'w' occurs twice"),
    *("10: conditions.r: its layers", "10: conditions.r: seeds", "10: conditions.r: layers must", "11: conditions.v"),
    *("13: evaluate.0", "14: evaluate.1.perplexity.corpus", "14: evaluate.1.perplexity.window", "16: evaluate.3"),
    "17: claims",
)


def test_all_mistakes_of_a_file_are_told_in_its_order() -> None:
    """Of YAML, of the grammar, and of one block against another; none that only follows from another one."""
    lines = mistakes(SEVERAL)
    assert len(lines) == len(AT)
    for line, start in zip(lines, AT, strict=True):
        assert line.startswith(f"f.yaml:{start}"), lines


def test_so_many_mistakes_are_told() -> None:
    keys = "".join(f"k{i}: 1\n" for i in range(80))
    lines = mistakes(changed(LAST, keys))
    assert len(lines) == 51 and lines[-1] == "f.yaml: 30 more mistakes are not listed"


def test_an_error_in_an_entry_precedes_the_one_it_causes_in_the_list() -> None:
    """A list whose only entry is wrong is also too short for pydantic; the user wants the first of the two."""
    assert "models.0.dtype" in message(changed(MODEL, "  - {name: a, dtype: x}\n"))
