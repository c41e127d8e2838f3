"""One block against another: names that must exist, names that must differ, what a control needs."""

import pytest

from tests.unit.orchestrator.study_file.tiny_study import (
    LAST,
    LIKE,
    MATCH,
    MODEL,
    PERPLEXITY,
    PROFILE,
    STUDY,
    TOP,
    assert_refused,
    changed,
    mistakes,
    parse,
    with_series,
)

REFUSED = {
    "doses to match": (
        TOP, "{select: top, fraction: [0.1, 0.2], clamp: negative}",
        "conditions.m.match: the condition to match must have one fraction, not several",
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
    "same label": (
        MODEL, MODEL + "  - other/a\n",
        ":4: models.1: two models are shown as 'a'; give one of them a label",
    ),
    "label with a colon": (
        MODEL, '  - {name: a, label: "a: b"}\n',
        ":3: models.0: cannot be shown as 'a: b'; give it a label",
    ),
    "folder without a name": (MODEL, "  - .\n", ":3: models.0: cannot be shown as ''; give it a label"),
    "lm_eval twice": (
        PERPLEXITY, PERPLEXITY + 2 * "  - lm_eval: {tasks: [a]}\n",
        ":12: evaluate.2: the evaluation 'lm_eval' is listed twice; give one of them a name",
    ),
    "taken name of tasks": (
        PERPLEXITY, PERPLEXITY + "  - lm_eval: {tasks: [a], name: tse}\n",
        ":11: evaluate.1.lm_eval.name: 'tse' is taken; give it another name",
    ),
    "not evaluated": (
        TOP, "{select: top, fraction: 0.1, clamp: zero, evaluate: [perplexty]}",
        ":6: conditions.w.evaluate.0: 'perplexty' is not listed under evaluate; did you mean 'perplexity'?",
    ),
    "nothing to match": (
        TOP, "{select: top, fraction: 0.1, clamp: negative, evaluate: [embedded_pairs]}",
        ":8: conditions.m.match: w is not scored on perplexity",
    ),
    "twice": (PERPLEXITY, 2 * PERPLEXITY, ":11: evaluate.1: the evaluation 'perplexity' is listed twice"),
    "same stem": (
        PERPLEXITY, PERPLEXITY + "  - pairs: a/x.jsonl\n  - choices: b/x.jsonl\n",
        ":12: evaluate.2: the evaluation 'x' is listed twice",
    ),
    "taken name": (
        PERPLEXITY, PERPLEXITY + "  - pairs: tse.jsonl\n",
        ":11: evaluate.1: the metrics are named after the file, and ",
    ),
    "odd name": (
        PERPLEXITY, PERPLEXITY + "  - pairs: 'a#b.jsonl'\n",
        ":11: evaluate.1: the metrics are named after the file, and ",
    ),
    "no difficulty": (
        f"{PROFILE}\nconditions:\n  w: {TOP}",
        "profile: {scores: [wasserstein_distance]}\nconditions:\n"
        "  w: {select: top, score: mapping_difficulty, fraction: 0.1, clamp: negative}",
        ":6: conditions.w.score: add mapping_difficulty to profile: scores",
    ),
    "surprisal twice": (
        PERPLEXITY, PERPLEXITY + "  - surprisal: {unit: word}\n  - surprisal: {name: surprisal}\n",
        ":12: evaluate.2: the evaluation 'surprisal' is listed twice; give one of them a name",
    ),
    "training": (
        LAST, "claims: training_dynamics\n",
        ":12: claims: training_dynamics needs checkpoints",
    ),
    "layers": (
        LAST, "claims: layers\n",
        ":12: claims: layers needs a condition with a schedule of layers: {groups: 8}",
    ),
    "doses": (
        LAST, "claims: dose_response\n",
        ":12: claims: dose_response needs a condition with several fractions: [0.01, 0.02, 0.05]",
    ),
    "claims": (
        LAST, "claims: doubledissociation\n",
        ":12: claims: there is no claim set 'doubledissociation'; did you mean 'double_dissociation'?",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_one_line_with_place_value_and_remedy(old: str, new: str, expected: str) -> None:
    assert_refused(old, new, expected)


def test_every_contradiction_is_told_in_the_order_of_the_file() -> None:
    text = STUDY
    for old, new in (
        (LAST, "claims: none\n"),
        (MODEL, 2 * MODEL),
        (PERPLEXITY, 2 * PERPLEXITY),
        (MATCH, "match: {perplexity_of: r}"),
        (LIKE, "like: z, evaluate: [tse]"),
    ):
        text = text.replace(old, new)
    assert [line.split(": ")[1] for line in mistakes(text)] == [
        *("models.1", "conditions.r.like", "conditions.r.evaluate.0", "conditions.m.match.perplexity_of"),
        *("evaluate.1", "claims"),
    ]


@pytest.mark.parametrize("name", ['"a b"', "baseline"])
def test_a_condition_has_a_plain_name(name: str) -> None:
    """The conditions that refer to it by the name that it had are further mistakes."""
    first, *others = mistakes(changed("  w:", f"  {name}:"))
    rule = "a condition's name is a word of letters, digits, - and _, and not 'baseline'"
    assert first == f"f.yaml:6: conditions.{name.strip(chr(34))}: {rule}" and len(others) == 2


def test_several_surprisals_have_names_of_their_own() -> None:
    two = "  - surprisal: {unit: word}\n  - surprisal: {name: surprisal-b}\n"
    assert [entry.name for entry in parse(changed(PERPLEXITY, PERPLEXITY + two)).evaluate][1:3] == [
        "surprisal",
        "surprisal-b",
    ]


def test_claims_on_curves_are_made_of_conditions_that_form_them() -> None:
    layers = TOP.replace("}", ", layers: {groups: 2}}")
    assert parse(changed(TOP, layers).replace(LAST, "claims: layers\n")).claims == "layers"
    doses = TOP.replace("0.01", "[0.01, 0.02]")
    matched = f"select: bottom, {MATCH}"
    text = changed(TOP, doses).replace(matched, "select: bottom, fraction: 0.3")
    assert parse(text.replace(LAST, "claims: dose_response\n")).claims == "dose_response"


def test_claims_on_training_are_made_of_checkpoints() -> None:
    assert parse(with_series().replace(LAST, "claims: training_dynamics\n")).claims == "training_dynamics"


def test_margins_are_a_field_of_the_study() -> None:
    margins = parse(STUDY + "margins: {perplexity: 0.1}\n").margins
    assert (margins.accuracy, margins.perplexity, margins.surprisal) == (0.02, 0.1, 0.02)
