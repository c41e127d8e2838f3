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
    "word as truth": (LAST, "noise_floor: maybe\n", ":12: noise_floor: must be true or false; found 'maybe'"),
    "number as truth": (PROFILE, "profile: {skip_first: 1}", ":4: profile.skip_first: must be true or false; found 1"),
    "engine option": (
        MODEL, "  - {name: a, engine: {x: [1]}}\n",
        ":3: models.0.engine.x: must be text or a whole number or a number or true or false; found a list",
    ),
    "engine nan": (
        MODEL, "  - {name: a, engine: {x: .nan}}\n",
        ":3: models.0.engine.x: must be text or a finite number or true or false; found nan",
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


def test_an_error_in_an_entry_precedes_the_one_it_causes_in_the_list() -> None:
    """A list whose only entry is wrong is also too short for pydantic; the user wants the first of the two."""
    assert "models.0.dtype" in message(changed(MODEL, "  - {name: a, dtype: x}\n"))
