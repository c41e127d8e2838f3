"""Study files: every mistake is one line that names place, value and remedy; presets fill what is left out."""

import pickle
from pathlib import Path

import pytest

from orchestrator.study_file import located as study_yaml
from orchestrator.study_file.evaluations import EVALUATIONS, benchmark_name
from orchestrator.study_file.load import load_spec, parse_spec
from orchestrator.study_file.spec import StudySpec
from studies.errors import StudyError
from tests.conftest import ROOT

STUDY = """\
study: tiny
models:
  - org/a
profile: {corpus: embedded, tokens: 100}
conditions:
  w: {select: top, fraction: 0.01, clamp: negative}
  r: {select: random, like: w, seeds: [0, 1], clamp: negative}
  m: {select: bottom, match: {perplexity_of: w}, clamp: negative}
evaluate:
  - perplexity: {corpus: embedded}
  - embedded_pairs: {per_construction: 40}
claims: double_dissociation
"""


def parse(text: str = STUDY) -> StudySpec:
    return parse_spec(text, "f.yaml")[0]


def changed(old: str, new: str) -> str:
    """STUDY with one piece replaced; fails when the piece is not there exactly once."""
    assert STUDY.count(old) == 1, old
    return STUDY.replace(old, new)


def message(text: str) -> str:
    with pytest.raises(StudyError) as caught:
        parse(text)
    found = str(caught.value)
    assert found.splitlines() == [found] and found.isprintable(), found
    return found


def test_the_study_itself_is_valid():
    study = parse()
    assert study.study == "tiny" and list(study.conditions) == ["w", "r", "m"]
    assert [benchmark_name(entry) for entry in study.evaluate] == ["perplexity", "embedded_pairs"]
    assert study.conditions["r"].seeds == (0, 1) and study.conditions["w"].clamp.bounds == (0.0, float("inf"))


@pytest.mark.parametrize("path", sorted((ROOT / "studies" / "catalog").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_catalog_is_valid_and_short(path):
    study, _ = load_spec(path)
    assert study.conditions and len(path.read_text().splitlines()) < 40


# -- bad input -------------------------------------------------------------------------------------------------------

MODEL, PROFILE = "  - org/a\n", "profile: {corpus: embedded, tokens: 100}"
TOP, LIKE, MATCH = (
    "{select: top, fraction: 0.01, clamp: negative}",
    "like: w, seeds: [0, 1]",
    "match: {perplexity_of: w}",
)
PERPLEXITY, LAST = "  - perplexity: {corpus: embedded}\n", "claims: double_dissociation\n"
AS_TEXT = "it is text here: a number has no quotes, and a point before its e (1.0e-3)"
LIST_OF_EVALUATIONS = "write one evaluation a line, as a word, or a word and its {options}; found "

BAD = {
    # unknown keys, at every level
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
    "no word": (PROFILE, "profile: {[a]: 2}", ":4: a key must be a plain word"),
    "mapping as key": (PROFILE, "profile: {{a: b}: 2}", ":4: a key must be a plain word"),
    "null as key": (PROFILE, "profile: {null: 2}", ":4: a key must be a plain word"),
    "line break in key": (PROFILE, 'profile: {"a\\nb": 2}', ":4: a key must be a plain word"),
    # missing keys
    "no study": ("study: tiny", "preset: strict", ":1: the key 'study' is missing"),
    "no models": ("models:\n  - org/a\n", "", ":1: a study needs models, checkpoints or both"),
    "no select": (TOP, "{fraction: 0.1, clamp: negative}", ":6: conditions.w: the key 'select' is missing"),
    "no clamp": (TOP, "{select: top, fraction: 0.1}", ":6: conditions.w: the key 'clamp' is missing"),
    "no perplexity_of": (MATCH, "match: {}", ":8: conditions.m.match: the key 'perplexity_of' is missing"),
    "no path": (PERPLEXITY, PERPLEXITY + "  - pairs\n", ":11: evaluate.1: the key 'path' is missing"),
    # wrong types
    "number as name": ("study: tiny", "study: 3", ":1: study: must be text; found 3; put it in quotes"),
    "number as revision": (
        MODEL, "  - {name: a, revision: 1000}\n",
        ":3: models.0.revision: must be text; found 1000; put it in quotes",
    ),
    "nothing as name": ("study: tiny", "study:", ":1: study: must be text; found nothing"),
    "list as name": ("study: tiny", "study: [a]", ":1: study: must be text; found a list"),
    "text as list": ("models:\n  - org/a\n", "models: org/a\n", ":2: models: must be a list; found 'org/a'"),
    "mapping as list": ("models:\n  - org/a\n", "models: {a: b}\n", ":2: models: must be a list; found a mapping"),
    "empty list": ("models:\n  - org/a\n", "models: []\n", ":1: a study needs models, checkpoints or both"),
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
    "equal seeds": (
        LIKE, "like: w, seeds: [0, 0]",
        ":7: conditions.r: seeds must differ from each other; found [0, 0]",
    ),
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
    # numbers
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
    "endless tokens": (
        PROFILE, "profile: {tokens: 9" + 5000 * "0" + "}",
        ":4: '90000000000000000000000000000000000000000000...000000000' cannot be read; quote it if it is text",
    ),
    "endless hex": (
        PROFILE, "profile: {tokens: -0x" + 5000 * "f" + "}",
        ":4: '-0xfffffffffffffffffffffffffffffffffffffffff...fffffffff' cannot be read; quote it if it is text",
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
    # conditions
    "unknown select": (
        TOP, "{select: topp, fraction: 0.1, clamp: zero}",
        ":6: conditions.w.select: 'topp' is not allowed; did you mean 'top'?",
    ),
    "unknown clamp": (
        TOP, "{select: top, fraction: 0.1, clamp: negativ}",
        ":6: conditions.w.clamp: 'negativ' is no clamp; did you mean 'negative'?",
    ),
    "number as clamp": (
        TOP, "{select: top, fraction: 0.1, clamp: 0}",
        ":6: conditions.w.clamp: 0 is no clamp; allowed: magnitude_matched, negative, negative_mean, positive, "
        "posrelu, signflip, zero, {floor: number, ceiling: number}",
    ),
    "control with a bound": (
        TOP, "{select: top, fraction: 0.1, clamp: {kind: posrelu, floor: 0}}",
        ":6: conditions.w.clamp: posrelu has neither floor nor ceiling",
    ),
    "match under a control": (
        "  m: {select: bottom, match: {perplexity_of: w}, clamp: negative}",
        "  m: {select: bottom, match: {perplexity_of: w}, clamp: signflip}",
        "conditions.m: match raises the fraction under a clamp, not under signflip",
    ),
    "equal doses": (
        TOP, "{select: top, fraction: [0.1, 0.1], clamp: zero}",
        ":6: conditions.w: fraction must differ from each other; found [0.1, 0.1]",
    ),
    "no doses": (
        TOP, "{select: top, fraction: [], clamp: zero}",
        ":6: conditions.w.fraction: must not be empty",
    ),
    "dose of 2": (
        TOP, "{select: top, fraction: [0.1, 2], clamp: zero}",
        ":6: conditions.w.fraction.1: must be below 1; found 2",
    ),
    "doses in a schedule": (
        TOP, "{select: top, fraction: [0.1, 0.2], layers: {groups: 2}, clamp: zero}",
        ":6: conditions.w: either several fractions or a schedule of layers, not both",
    ),
    "doses to match": (
        TOP, "{select: top, fraction: [0.1, 0.2], clamp: negative}",
        "conditions.m.match: it needs a condition with one fraction to match, not several",
    ),
    "empty clamp": (
        TOP, "{select: top, fraction: 0.1, clamp: {}}",
        ":6: conditions.w.clamp: a clamp needs a floor, a ceiling or both",
    ),
    "crossed clamp": (
        TOP, "{select: top, fraction: 0.1, clamp: {floor: 1, ceiling: 0}}",
        ":6: conditions.w.clamp: floor 1 lies above ceiling 0",
    ),
    "truth as floor": (
        TOP, "{select: top, fraction: 0.1, clamp: {floor: true}}",
        ":6: conditions.w.clamp.floor: must be a number; found true",
    ),
    "endless floor": (
        TOP, "{select: top, fraction: 0.1, clamp: {floor: .inf}}",
        ":6: conditions.w.clamp.floor: must be a finite number; found inf",
    ),
    "foreign key": (
        TOP, "{select: top, fraction: 0.1, seeds: [1], clamp: zero}",
        ":6: conditions.w: select: top has no seeds",
    ),
    "no layers": (
        TOP, "{select: top, fraction: 0.1, layers: [], clamp: zero}",
        ":6: conditions.w.layers: must not be empty",
    ),
    "layer -1": (
        TOP, "{select: top, fraction: 0.1, layers: [-1], clamp: zero}",
        ":6: conditions.w.layers.0: must be at least 0; found -1",
    ),
    "equal layers": (
        TOP, "{select: top, fraction: 0.1, layers: [2, 2], clamp: zero}",
        ":6: conditions.w: layers must differ from each other; found [2, 2]",
    ),
    "no neurons": (
        TOP, "{select: explicit, clamp: zero}",
        ":6: conditions.w: select: explicit needs neurons: a file or {layer: [indices]}",
    ),
    "empty neurons": (
        TOP, "{select: explicit, neurons: {}, clamp: zero}",
        ":6: conditions.w.neurons: must be text or a non-empty mapping; found a mapping",
    ),
    "empty layer": (
        TOP, "{select: explicit, neurons: {0: []}, clamp: zero}",
        ":6: conditions.w.neurons.0: must not be empty",
    ),
    "word as neuron": (
        TOP, "{select: explicit, neurons: {0: [x]}, clamp: zero}",
        ":6: conditions.w.neurons.0.0: must be a whole number; found 'x'",
    ),
    "truth as neuron": (
        TOP, "{select: explicit, neurons: {0: [true]}, clamp: zero}",
        ":6: conditions.w.neurons.0.0: must be a whole number; found true",
    ),
    "quoted layer": (
        TOP, '{select: explicit, neurons: {0: [1], "0": [2]}, clamp: zero}',
        "must be a whole number; found '0'",
    ),
    "explicit fraction": (
        TOP, "{select: explicit, neurons: a.csv, fraction: 0.1, clamp: zero}",
        ":6: conditions.w: select: explicit has no fraction",
    ),
    "two amounts": (
        LIKE, "like: w, fraction: 0.1",
        ":7: conditions.r: select: random needs like: another condition, or a fraction",
    ),
    "layers of like": (
        LIKE, "like: w, layers: [1]",
        ":7: conditions.r: its layers are those of the condition it refers to; leave layers out",
    ),
    "disjoint from nothing": (
        LIKE, "fraction: 0.1, disjoint: true",
        ":7: conditions.r: disjoint needs like: the condition to keep clear of",
    ),
    "like nothing": (LIKE, "like: x", ":7: conditions.r.like: there is no condition 'x'; allowed: w"),
    "like near": (LIKE, "like: ww", ":7: conditions.r.like: there is no condition 'ww'; did you mean 'w'?"),
    "like itself": (LIKE, "like: r", ":7: conditions.r.like: a condition cannot refer to itself"),
    "like matched": (LIKE, "like: m", ":7: conditions.r.like: 'm' is a matched control itself; allowed: w"),
    "match nothing": (
        MATCH, "match: {perplexity_of: x}",
        ":8: conditions.m.match.perplexity_of: there is no condition 'x'; allowed: w",
    ),
    "match random": (
        MATCH, "match: {perplexity_of: r}",
        ":8: conditions.m.match.perplexity_of: 'r' is a random control itself; allowed: w",
    ),
    "match itself": (
        MATCH, "match: {perplexity_of: m}",
        ":8: conditions.m.match.perplexity_of: a condition cannot refer to itself",
    ),
    "no perplexity": (PERPLEXITY, "", ":8: conditions.m.match: a matched control needs 'perplexity' under evaluate"),
    "name with a space": (
        "  w:", '  "a b":',
        ":6: conditions.a b: a condition's name is a word of letters, digits, - and _, and not 'baseline'",
    ),
    "baseline": (
        "  w:", "  baseline:",
        ":6: conditions.baseline: a condition's name is a word of letters, digits, - and _, and not 'baseline'",
    ),
    "number as condition": ("  w:", "  3:", ":6: conditions.3: must be text; found 3; put it in quotes"),
    # models
    "two sources": (
        MODEL, "  - {name: a, path: b}\n",
        ":3: models.0: a model has either a name (hub) or a path (local folder)",
    ),
    "no source": (MODEL, "  - {}\n", ":3: models.0: a model has either a name (hub) or a path (local folder)"),
    "revision of a folder": (MODEL, "  - {path: a, revision: x}\n", ":3: models.0: a local folder has no revision"),
    "same label": (
        MODEL, MODEL + "  - other/a\n",
        ":4: models.1: two models are shown as 'a'; give one of them a label",
    ),
    "label on two lines": (
        MODEL, '  - {name: a, label: "a\\nb"}\n',
        ":3: 'a\\nb' is not one printable line of at most 1000",
    ),
    "label with a colon": (
        MODEL, '  - {name: a, label: "a: b"}\n',
        ":3: models.0: cannot be shown as 'a: b'; give it a label",
    ),
    "folder without a name": (MODEL, "  - .\n", ":3: models.0: cannot be shown as ''; give it a label"),
    "unknown dtype": (
        MODEL, "  - {name: a, dtype: float8}\n",
        ":3: models.0.dtype: 'float8' is not allowed; did you mean 'float32'?",
    ),
    "truth as ranks": (
        MODEL, "  - {name: a, tensor_parallel: true}\n",
        ":3: models.0.tensor_parallel: must be a whole number; found true",
    ),
    # evaluations
    "unknown": (
        PERPLEXITY, "  - perplexiti\n",
        ":10: evaluate.0: 'perplexiti' is no evaluation; did you mean 'perplexity'?",
    ),
    "far": (
        PERPLEXITY, PERPLEXITY + "  - 3: 4\n",
        ":11: evaluate.1.3: 3 is no evaluation; allowed: arc_challenge, arc_easy, blimp",
    ),
    "number": (
        PERPLEXITY, PERPLEXITY + "  - 3\n",
        f":11: evaluate.1: {LIST_OF_EVALUATIONS}3; words: perplexity, blimp, tse",
    ),
    "two in one": (
        PERPLEXITY, "  - {blimp: {}, tse: {}}\n",
        f":10: evaluate.0: {LIST_OF_EVALUATIONS}a mapping; words: ",
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
    "lm_eval twice": (
        PERPLEXITY, PERPLEXITY + 2 * "  - lm_eval: {tasks: [a]}\n",
        ":12: evaluate.2: the evaluation 'lm_eval' stands twice; give one of them a name",
    ),
    "no tasks": (PERPLEXITY, PERPLEXITY + "  - lm_eval\n", ":11: evaluate.1: the key 'tasks' is missing"),
    "taken name of tasks": (
        PERPLEXITY, PERPLEXITY + "  - lm_eval: {tasks: [a], name: tse}\n",
        ":11: evaluate.1.lm_eval.name: 'tse' is taken; give it another name",
    ),
    "not evaluated": (
        TOP, "{select: top, fraction: 0.1, clamp: zero, evaluate: [perplexty]}",
        ":6: conditions.w.evaluate.0: 'perplexty' does not stand under evaluate; did you mean 'perplexity'?",
    ),
    "nothing to match": (
        TOP, "{select: top, fraction: 0.1, clamp: negative, evaluate: [embedded_pairs]}",
        ":8: conditions.m.match: w is not scored on perplexity",
    ),
    "evaluated twice": (
        TOP, "{select: top, fraction: 0.1, clamp: zero, evaluate: [perplexity, perplexity]}",
        ":6: conditions.w: evaluate must differ from each other; found ['perplexity', 'perplexity']",
    ),
    "twice": (PERPLEXITY, 2 * PERPLEXITY, ":11: evaluate.1: the evaluation 'perplexity' stands twice"),
    "same stem": (
        PERPLEXITY, PERPLEXITY + "  - pairs: a/x.jsonl\n  - choices: b/x.jsonl\n",
        ":12: evaluate.2: the evaluation 'x' stands twice",
    ),
    "taken name": (
        PERPLEXITY, PERPLEXITY + "  - pairs: tse.jsonl\n",
        ":11: evaluate.1: the file's name without its ending nam",
    ),
    "odd name": (
        PERPLEXITY, PERPLEXITY + "  - pairs: 'a#b.jsonl'\n",
        ":11: evaluate.1: the file's name without its ending nam",
    ),
    "one, not a list": (
        PERPLEXITY + "  - embedded_pairs: {per_construction: 40}\n", "  blimp:\n",
        ":9: evaluate: must be a list; found a mapping",
    ),
    # the rest
    "unknown preset": (
        "study: tiny", "study: tiny\npreset: papper",
        ":2: preset: 'papper' is not allowed; did you mean 'paper'?",
    ),
    "list as preset": (
        "study: tiny", "study: tiny\npreset: [a]",
        ":2: preset: a list is not allowed; allowed: paper, strict",
    ),
    "study name": (
        "study: tiny", 'study: "a b"',
        ":1: study: use letters, digits, dots, dashes and underscores, at most 100; found 'a b'",
    ),
    "claims": (
        LAST, "claims: doubledissociation\n",
        ":12: claims: there is no claim set 'doubledissociation'; did you mean 'double_dissociation'?",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_with_place_value_and_remedy(old, new, expected):
    found = message(changed(old, new))
    assert found.startswith(f"f.yaml{expected}") if expected.startswith(":") else expected in found, found


def test_mapping_difficulty_must_be_scored_to_be_selected_by():
    text = changed(PROFILE, "profile: {scores: [wasserstein_distance]}")
    text = text.replace(TOP, "{select: top, score: mapping_difficulty, fraction: 0.1, clamp: negative}")
    assert ":6: conditions.w.score: add mapping_difficulty to profile: scores" in message(text)


YAML = {
    "empty": ("", "f.yaml: the file is empty"),
    "only a comment": ("# nothing\n", "f.yaml: the file is empty"),
    "only dashes": ("---\n", "f.yaml: the file is empty"),
    "list at top": ("- a\n", "f.yaml:1: a study file is a mapping of keys to values; found a list"),
    "text at top": ("abc\n", "f.yaml:1: a study file is a mapping of keys to values; found 'abc'"),
    "tab": ("study: x\n\tmodels: y\n", "f.yaml:2: not valid YAML: "),
    "open bracket": ("a: [1, 2\n", "f.yaml:2: not valid YAML: expected ',' or ']'"),
    "open quote": ('a: "x\n\n', "not valid YAML: found unexpected end of stream"),
    "two documents": ("a: b\n---\nc: d\n", "f.yaml:2: not valid YAML: but found another document"),
    "control character": ("a: b\nc: \x07\n", "f.yaml:2: not valid YAML: unacceptable character #x0007"),
    "duplicate key": (STUDY + "study: again\n", "f.yaml:13: the key 'study' stands twice"),
    "duplicate condition": (changed("  r:", "  w:"), "f.yaml:7: the key 'w' stands twice"),
    "duplicate field": (changed("fraction: 0.01", "fraction: 0.01, fraction: 0.02"), "f.yaml:6: the key 'fraction'"),
    "tag of a value": (changed("tiny", "!!python/name:os.system x"), "f.yaml:1: 'x' cannot be read; quote it"),
    "tag that fails": (changed("tiny", "!!bool y"), "f.yaml:1: 'y' cannot be read"),
    "tag of nothing": (changed("tiny", '!!int ""'), "f.yaml:1: '' cannot be read"),
    "tag of a mapping": (changed(PROFILE, "profile: !!python/object:os.system {}"), "f.yaml:4: the tag '!!python"),
    "set": (changed(PROFILE, "profile: !!set {tokens}"), "f.yaml:4: the tag '!!set' is not allowed"),
    "date": (changed("tiny", "2024-01-01"), "f.yaml:1: '2024-01-01' cannot be read; quote it if it is text"),
    "no date": (changed("tiny", "2024-13-45"), "f.yaml:1: '2024-13-45' cannot be read"),
    "half a surrogate pair": (changed("tiny", '"\\ud800"'), "f.yaml:1: '\\ud800' cannot be read"),
    "merge key": (changed(PROFILE, "profile: {<<: {tokens: 3}}"), "f.yaml:4: '<<' cannot be read"),
    "unknown alias": (changed("tiny", "*other"), "f.yaml:1: not valid YAML: found undefined alias"),
    "alias of itself": (changed(PROFILE, "profile: &a {tokens: *a}"), "f.yaml:4: an alias that contains itself"),
    "too deep": ("[" * 1000, "f.yaml: not a study file: brackets are nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), YAML.values(), ids=YAML)
def test_yaml_that_is_no_study_is_one_line(text, expected):
    assert expected in message(text)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("study: tiny", 'study: "a\\0b"', ":1: 'a\\x00b'"),
        (MODEL, '  - {path: "./a\\0b"}\n', ":3: './a\\x00b'"),
        (PERPLEXITY, PERPLEXITY + '  - pairs: "a\\u2028b.jsonl"\n', ":11: 'a\\u2028b.jsonl'"),
        (LAST, f"claims: {'x' * 5000}\n", ":12: 'xxxx"),
        (MODEL, f"  - {{name: a, engine: {{x: {'x' * 5000}}}}}\n", ":3: 'xxxx"),
    ],
)
def test_what_no_message_could_name_is_refused_wherever_it_stands(old, new, place):
    """A NUL in a path would raise ValueError when it is opened, a line break would break a message that names it."""
    found = message(changed(old, new))
    assert found.startswith(f"f.yaml{place}") and found.endswith("is not one printable line of at most 1000 characters")


def test_a_key_that_no_message_could_name_is_no_word():
    assert message(changed("study: tiny", f"{'k' * 1010}: tiny")) == "f.yaml:1: a key must be a plain word"


def test_a_revision_without_a_step_is_shown_short():
    series = f"checkpoints: {{of: org/m, revisions: [step0, {'a' * 300}]}}\n"
    found = message(changed("models:\n  - org/a\n", series))
    assert "does not say its training step; write {'aaaa" in found and len(found) < 300


def test_a_yaml_tag_runs_nothing(tmp_path):
    witness = tmp_path / "witness"
    for tag in ("python/object/apply:os.mkdir", "python/object/new:pathlib.Path.mkdir"):
        message(f"study: !!{tag} [{witness}]\n")
        message(f"!!{tag} ['{witness}']\n")
    assert not witness.exists()


@pytest.mark.timeout(60)
def test_nested_aliases_do_not_fill_the_memory():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert f"more than {study_yaml.MAX_NODES} values" in message("\n".join(lines))


def test_a_plain_alias_is_allowed():
    text = changed(TOP, "&top {select: top, fraction: 0.01, clamp: negative}") + "data: {}\n"
    text = text.replace("  m:", "  same: *top\n  m:")
    assert parse(text).conditions["same"] == parse().conditions["w"]


def test_on_and_yes_are_words_where_a_key_is_meant():
    assert "on" in parse(changed("  r:", "  on:")).conditions


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"study: \xff\xfe\n", "the study file cannot be read: not a UTF-8 text"), (None, "No such file or directory")],
)
def test_files_that_cannot_be_read_are_one_line(tmp_path, content, expected):
    path = tmp_path / "study.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError, match=expected) as caught:
        load_spec(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_folder_is_not_a_study_file(tmp_path):
    with pytest.raises(StudyError, match="Is a directory"):
        load_spec(tmp_path)


def test_errors_survive_a_pickle_round_trip():
    with pytest.raises(StudyError) as caught:
        parse("")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_an_error_inside_goes_before_what_it_does_to_the_whole():
    """A list whose only entry is wrong is also too short for pydantic; the user wants the first of the two."""
    assert "models.0.dtype" in message(changed(MODEL, "  - {name: a, dtype: x}\n"))


def test_the_line_is_that_of_the_value_in_block_style():
    block = "\n    select: top\n    fraction: 7\n    clamp: negative"
    assert message(changed(" " + TOP, block)).startswith("f.yaml:8: conditions.w.fraction: must be below 1; found 7")


# -- presets ---------------------------------------------------------------------------------------------------------


def test_strict_is_the_default_preset_and_repairs_what_the_paper_leaves_loose():
    study = parse(changed(PROFILE + "\n", ""))
    assert study.preset == "strict" and study == parse(changed(PROFILE, "preset: strict"))
    profile = study.profile
    assert (profile.window, profile.stride, profile.tokens) == (2048, 2048, 131072)
    assert profile.skip_first and profile.pair_scope == "block"
    assert study.scoring == {"half_ties": True, "rule": "rank", "disjoint": True}


def test_paper_is_the_papers_protocol():
    study = parse(changed(PROFILE, "preset: paper"))
    profile = study.profile
    assert (profile.window, profile.stride, profile.tokens) == (2048, 1024, 263168)
    assert 1 + (profile.tokens - profile.window) // profile.stride == 256
    assert not profile.skip_first and profile.pair_scope == "sample"
    assert study.scoring == {"half_ties": False, "rule": "percentile", "disjoint": False}


def test_an_explicit_field_wins_over_the_preset():
    given = "{tokens: 5000, window: 512, stride: 128, skip_first: true, pair_scope: block}"
    profile = parse(changed(PROFILE, f"preset: paper\nprofile: {given}")).profile
    assert (profile.tokens, profile.window, profile.stride) == (5000, 512, 128)
    assert profile.skip_first and profile.pair_scope == "block"


def test_another_window_does_not_keep_the_presets_stride():
    """A stride of 2048 with windows of 512 would leave three quarters of the text out."""
    assert parse(changed(PROFILE, "profile: {window: 512}")).profile.stride is None


def test_conditions_and_models_in_their_short_and_long_forms():
    spelled = "{select: top, fraction: 0.01, clamp: {floor: 0}}"
    assert parse(changed(TOP, spelled)).conditions["w"].clamp == parse().conditions["w"].clamp
    models = parse(
        changed(MODEL, "  - org/a\n  - ./b/\n  - {name: org/a, revision: v1}\n  - {path: c, label: d}\n")
    ).models
    assert [model.display for model in models] == ["a", "b", "a@v1", "d"]
    assert [model.path for model in models] == [None, "./b/", None, "c"]


@pytest.mark.parametrize(
    ("clamp", "display", "identity"),
    [
        ("negative", "negative", True),
        ("positive", "positive", False),
        ("zero", "zero", False),
        ("{floor: -1}", "clamp to [-1, inf]", True),
        ("{floor: 0.5}", "clamp to [0.5, inf]", False),
        ("{floor: -1, ceiling: 1}", "clamp to [-1, 1]", False),
    ],
)
def test_clamps_know_their_name_and_whether_relu_does_the_same(clamp, display, identity):
    found = parse(changed(TOP, f"{{select: top, fraction: 0.01, clamp: {clamp}}}")).conditions["w"].clamp
    assert (found.display, found.is_relu_identity) == (display, identity)


def test_a_spec_cannot_be_changed():
    with pytest.raises(ValueError):
        parse().study = "other"
    with pytest.raises(ValueError):
        parse().conditions["w"].clamp.floor = 1.0


@pytest.mark.parametrize("path", ["pairs.jsonl", "choices.jsonl", "deep/my pairs.v2.jsonl", "ä.jsonl"])
def test_a_users_file_may_have_any_plain_name(path):
    assert benchmark_name(parse(changed(PERPLEXITY, f"{PERPLEXITY}  - pairs: {path}\n")).evaluate[1]) == Path(path).stem


def test_every_evaluation_word_stands_alone_or_names_its_file():
    words = [
        f"{word}: x{i}.jsonl" if "path" in cls.model_fields else {"lm_eval": "lm_eval: {tasks: [a]}"}.get(word, word)
        for i, (word, cls) in enumerate(EVALUATIONS.items())
    ]
    text = changed(
        PERPLEXITY + "  - embedded_pairs: {per_construction: 40}\n", "".join(f"  - {word}\n" for word in words)
    )
    assert [entry.kind for entry in parse(text).evaluate] == list(EVALUATIONS)


# -- checkpoints and surprisal ---------------------------------------------------------------------------------------

SERIES = "checkpoints: {of: org/m, revisions: [step0, step10, {main: 50}], dtype: bfloat16, gpus: 1}\n"


def with_series(series: str = SERIES) -> str:
    return changed("models:\n  - org/a\n", series)


def test_checkpoints_become_models():
    found = parse(with_series())
    names = [(model.name, model.revision, model.display, model.dtype) for model in found.all_models]
    assert names == [("org/m", name, f"m@{name}", "bfloat16") for name in ("step0", "step10", "main")]
    assert [one.step for one in found.checkpoints[0].revisions] == [0, 10, 50]
    local = parse(with_series("checkpoints: [{of: ./m, label: mine, revisions: [step0, step10]}]\n"))
    assert [(model.path, model.display) for model in local.all_models] == [
        ("./m/step0", "mine@step0"),
        ("./m/step10", "mine@step10"),
    ]


@pytest.mark.parametrize(
    ("series", "problem"),
    [
        (
            "{of: a, revisions: [step0, main]}",
            ":2: checkpoints.revisions.1: 'main' does not say its training step; write",
        ),
        (
            "{of: a, revisions: [step0, {main: x}]}",
            ":2: checkpoints.revisions.1: a revision is a word, or {word: training",
        ),
        ("{of: a, revisions: [step0, step1" + 20 * "0" + "]}", ":2: checkpoints.revisions.1: a revision is a word"),
        ("{of: a, revisions: [step0]}", ":2: checkpoints.revisions: needs at least 2; found a list"),
        ("{of: a, revisions: [step9, step0]}", ":2: checkpoints: revisions stand in the order of training"),
        (
            "{of: a, revisions: [step0, step9], cohort: step1}",
            ":2: checkpoints: cohort: 'step1' is none of the revisions",
        ),
        ("[{of: a, revision: [step0, step9]}]", ":2: checkpoints.0.revision: unknown key; did you mean 'revisions'?"),
        (
            "[{of: a, revisions: [step0, step9]}, {of: b/a, revisions: [step0, step9]}]",
            ":2: checkpoints.1: two models are",
        ),
        (
            "[{of: a, revisions: [step0, step9]}, {of: b/a, revisions: [step1, step8]}]",
            ":2: checkpoints.1: two series are shown as 'a'; give one of them a label",
        ),
    ],
)
def test_bad_checkpoints_are_one_line(series, problem):
    with pytest.raises(StudyError) as error:
        parse(with_series(f"checkpoints: {series}\n"))
    assert problem in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("surprisal: {unit: words}", "evaluate.1.surprisal.unit: 'words' is not allowed; did you mean 'word'?"),
        ("surprisal: {window: 8, stride: 8}", "evaluate.1.surprisal: the stride 8 must be below the window 8"),
        ("surprisal: {name: words}", "evaluate.1.surprisal.name: begin with surprisal, then use letters"),
        ("lm_eval: {tasks: [a], name: surprisal-a}", "names that begin with surprisal are of surprisal alone"),
    ],
)
def test_bad_surprisal_is_one_line(entry, problem):
    with pytest.raises(StudyError) as error:
        parse(changed(PERPLEXITY, f"{PERPLEXITY}  - {entry}\n"))
    assert problem in str(error.value) and "\n" not in str(error.value)


def test_two_surprisals_need_two_names():
    two = "  - surprisal: {unit: word}\n  - surprisal: {name: surprisal-b}\n"
    assert [benchmark_name(one) for one in parse(changed(PERPLEXITY, PERPLEXITY + two)).evaluate][1:3] == [
        "surprisal",
        "surprisal-b",
    ]
    with pytest.raises(StudyError, match="'surprisal' stands twice; give one of them a name"):
        parse(changed(PERPLEXITY, PERPLEXITY + two.replace("surprisal-b", "surprisal")))


def test_claims_on_a_training_need_one():
    with pytest.raises(StudyError, match=r":12: claims: training_dynamics needs checkpoints"):
        parse(changed(LAST, "claims: training_dynamics\n"))
    assert parse(with_series().replace(LAST, "claims: training_dynamics\n")).claims == "training_dynamics"
