"""Conditions, presets and the file as a whole: what is refused, what is filled in, what short forms mean."""

import dataclasses

import pytest

from orchestrator.study_file.spec import PRESETS
from tests.unit.orchestrator.study_file.tiny_study import (
    LIKE,
    MODEL,
    MODELS,
    PROFILE,
    TOP,
    assert_refused,
    changed,
    parse,
)

REFUSED = {
    "no models": (MODELS, "", ":1: a study needs models, checkpoints or both"),
    "empty list": (MODELS, "models: []\n", ":1: a study needs models, checkpoints or both"),
    "equal seeds": (
        LIKE, "like: w, seeds: [0, 0]",
        ":7: conditions.r: seeds must not repeat a value; found [0, 0]",
    ),
    "unknown select": (
        TOP, "{select: topp, fraction: 0.1, clamp: zero}",
        ":6: conditions.w.select: 'topp' is not allowed; did you mean 'top'?",
    ),
    "unknown clamp": (
        TOP, "{select: top, fraction: 0.1, clamp: negativ}",
        ":6: conditions.w.clamp: 'negativ' is not a clamp; did you mean 'negative'?",
    ),
    "number as clamp": (
        TOP, "{select: top, fraction: 0.1, clamp: 0}",
        ":6: conditions.w.clamp: 0 is not a clamp; allowed: magnitude_matched, negative, negative_mean, positive, "
        "posrelu, signflip, zero, {floor: number, ceiling: number}",
    ),
    "control with a bound": (
        TOP, "{select: top, fraction: 0.1, clamp: {kind: posrelu, floor: 0}}",
        ":6: conditions.w.clamp: posrelu takes neither floor nor ceiling",
    ),
    "match under a control": (
        "  m: {select: bottom, match: {perplexity_of: w}, clamp: negative}",
        "  m: {select: bottom, match: {perplexity_of: w}, clamp: signflip}",
        "conditions.m: match works only with a clamp, not with signflip",
    ),
    "equal doses": (
        TOP, "{select: top, fraction: [0.1, 0.1], clamp: zero}",
        ":6: conditions.w: fraction must not repeat a value; found [0.1, 0.1]",
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
    "empty clamp": (
        TOP, "{select: top, fraction: 0.1, clamp: {}}",
        ":6: conditions.w.clamp: a clamp needs a floor, a ceiling or both",
    ),
    "crossed clamp": (
        TOP, "{select: top, fraction: 0.1, clamp: {floor: 1, ceiling: 0}}",
        ":6: conditions.w.clamp: floor 1 is above ceiling 0",
    ),
    "unknown kind": (
        TOP, "{select: top, fraction: 0.1, clamp: {kind: posreluu}}",
        ":6: conditions.w.clamp.kind: 'posreluu' is not allowed; did you mean 'posrelu'?",
    ),
    "foreign bound": (
        TOP, "{select: top, fraction: 0.1, clamp: {floors: 0}}",
        ":6: conditions.w.clamp.floors: unknown key; did you mean 'floor'?",
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
        ":6: conditions.w: select: top takes no seeds",
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
        ":6: conditions.w: layers must not repeat a value; found [2, 2]",
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
        ":6: conditions.w: select: explicit takes no fraction",
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
        ":7: conditions.r: disjoint needs like: the condition whose neurons to avoid",
    ),
    "evaluated twice": (
        TOP, "{select: top, fraction: 0.1, clamp: zero, evaluate: [perplexity, perplexity]}",
        ":6: conditions.w: evaluate must not repeat a value; found ['perplexity', 'perplexity']",
    ),
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
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_one_line_with_place_value_and_remedy(old: str, new: str, expected: str) -> None:
    assert_refused(old, new, expected)


def test_the_study_itself_is_valid() -> None:
    study = parse()
    assert study.study == "tiny" and list(study.conditions) == ["w", "r", "m"]
    assert [entry.name for entry in study.evaluate] == ["perplexity", "embedded_pairs"]
    assert study.conditions["r"].seeds == (0, 1) and study.conditions["w"].clamp.bounds == (0.0, float("inf"))


def test_short_and_long_forms_mean_the_same() -> None:
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
def test_clamps_know_their_name_and_whether_relu_does_the_same(clamp: str, display: str, identity: bool) -> None:
    spec = parse(changed(TOP, f"{{select: top, fraction: 0.01, clamp: {clamp}}}")).conditions["w"].clamp
    assert (spec.display, spec.is_relu_identity) == (display, identity)


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValueError):
        parse().study = "other"
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse().conditions["w"].clamp.floor = 1.0


def test_strict_is_the_default_preset_and_repairs_what_the_paper_leaves_loose() -> None:
    study = parse(changed(PROFILE + "\n", ""))
    assert study.preset == "strict" and study == parse(changed(PROFILE, "preset: strict"))
    profile = study.profile
    assert (profile.window, profile.stride, profile.tokens) == (2048, 2048, 131072)
    assert profile.skip_first and profile.pair_scope == "block"
    assert profile.bos == PRESETS["strict"].bos == "tokenizer"
    assert study.scoring == {"half_ties": True, "rule": "rank", "disjoint": True}


def test_the_paper_preset_is_the_papers_protocol() -> None:
    study = parse(changed(PROFILE, "preset: paper"))
    profile = study.profile
    assert (profile.window, profile.stride, profile.tokens) == (2048, 1024, 263168)
    assert 1 + (profile.tokens - profile.window) // profile.stride == 256
    assert not profile.skip_first and profile.pair_scope == "sample"
    assert profile.bos == PRESETS["paper"].bos == "first"
    assert study.scoring == {"half_ties": False, "rule": "percentile", "disjoint": False}


def test_an_explicit_field_wins_over_the_preset() -> None:
    given = "{tokens: 5000, window: 512, stride: 128, skip_first: true, pair_scope: block, bos: every_window}"
    profile = parse(changed(PROFILE, f"preset: paper\nprofile: {given}")).profile
    assert (profile.tokens, profile.window, profile.stride) == (5000, 512, 128)
    assert profile.skip_first and profile.pair_scope == "block"
    assert profile.bos == "every_window"


def test_another_window_does_not_keep_the_presets_stride() -> None:
    """A stride of 2048 with windows of 512 would leave three quarters of the text out."""
    assert parse(changed(PROFILE, "profile: {window: 512}")).profile.stride is None
