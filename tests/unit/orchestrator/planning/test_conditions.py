"""Conditions of a plan: layer groups, doses, ReLU models, and what each is scored on."""

import pytest

from orchestrator.planning.conditions import NOISE_FLOOR, NOT_APPLICABLE
from orchestrator.planning.plan import Plan
from orchestrator.steps.step import BASELINE
from tests.plans import (
    RELU,
    SILU,
    STUDY,
    changed,
    ids,
    model,
    plan,
    step_id,
)

DEPTH = SILU.num_layers


GROUPS = {"0": (0,), "1": (1,)}


def scheduled(layers: str) -> Plan:
    return plan(STUDY.replace("select: top, fraction: 0.1", f"select: top, fraction: 0.1, layers: {layers}"))


def names(found: Plan) -> list[str]:
    return [condition.name for condition in found.conditions["a"]]


def test_a_schedule_makes_one_condition_a_group_and_controls_follow_it():
    found = scheduled("{groups: 2}")
    groups = [f"layers={part}" for part in GROUPS]
    assert names(found) == [
        *(f"treated/{group}" for group in groups),
        *(f"random/{group}/seed={seed}" for group in groups for seed in (0, 1)),
        *(f"matched/{group}" for group in groups),
    ]
    for group, layers in zip(groups, GROUPS.values(), strict=True):
        treated = found.steps[step_id(found, "select", f"treated/{group}")]
        assert treated.payload["params"]["layers"] == list(layers)
        random = found.steps[step_id(found, "select", f"random/{group}/seed=1")]
        assert random.inputs["like"] == treated.id
        matched = found.steps[step_id(found, "match", f"matched/{group}")]
        assert matched.inputs["treated"] == treated.id
        assert matched.inputs["treated_perplexity"] == found.evaluations["a", f"treated/{group}"]["perplexity"]
        assert matched.params["neighbour_beyond"] is None
    assert found.neighbours["a"] == {}, "claims rest on whole controls alone"
    key = found.runs[found.evaluations["a", f"treated/{groups[1]}"]["perplexity"]][0]
    assert key.params["layers"] == next(reversed(GROUPS)) and key.params["schedule"] == "single"


def test_a_cumulative_schedule_ends_in_all_layers_and_shares_what_is_the_same():
    found = scheduled("{groups: 2, schedule: cumulative}")
    first, last = (f"treated/layers={part}" for part in (next(iter(GROUPS)), f"0-{DEPTH - 1}"))
    assert names(found)[:2] == [first, last]
    single = scheduled("{groups: 2}")
    assert found.evaluations["a", first] == single.evaluations["a", first], "the first group of either is the same"
    explicit_layers = scheduled(f"[{', '.join(map(str, range(DEPTH)))}]")
    assert found.evaluations["a", last] == explicit_layers.evaluations["a", "treated"]


def test_on_relu_models_negative_clamps_are_not_applicable_and_plan_nothing():
    found = plan(models=[model(architecture=RELU)])
    marked = {condition.name: condition.not_applicable for condition in found.conditions["a"]}
    assert marked == dict.fromkeys(["treated", "random", "matched"], NOT_APPLICABLE)
    assert {step.condition for step in found.steps.values()} == {"", BASELINE}
    assert set(found.evaluations) == {("a", BASELINE), ("a", NOISE_FLOOR)} and found.neighbours["a"] == {}


@pytest.mark.parametrize("clamp", ["positive", "zero", "{floor: 0.5}", "{floor: -1, ceiling: 2}"])
def test_on_relu_models_other_clamps_are_planned(clamp):
    text = STUDY.replace("clamp: negative", f"clamp: {clamp}")
    found = plan(text, models=[model(architecture=RELU)])
    assert not any(condition.not_applicable for condition in found.conditions["a"])
    assert ids(found) == ids(plan(text))


@pytest.mark.parametrize("reference", ["like: treated", "match: {perplexity_of: treated}"])
def test_on_relu_models_a_control_of_what_is_not_applicable_is_not_either(reference):
    """It has no neuron set or no perplexity to refer to; a second model in the study keeps its own."""
    select = "random" if "like" in reference else "bottom"
    text = STUDY.replace("  matched:", f"  other: {{select: {select}, {reference}, clamp: positive}}\n  matched:")
    found = plan(text, models=[model(architecture=RELU), model("b", digest="d2")])
    (other,) = [condition for condition in found.conditions["a"] if condition.base == "other"]
    assert other.not_applicable == "not applicable (ReLU): it refers to treated, which is not applicable"
    assert not any(condition.not_applicable for condition in found.conditions["b"])
    assert {step.condition for step in found.steps.values() if step.model == "a"} == {"", BASELINE}


@pytest.mark.parametrize("kind", ["posrelu", "signflip", "negative_mean", "magnitude_matched"])
def test_a_control_is_an_evaluation_of_its_own_on_the_same_neurons(kind):
    found = plan(changed("  random:", f"  control: {{select: top, fraction: 0.1, clamp: {kind}}}\n  random:"))
    treated, control = (found.steps[found.evaluations["a", name]["embedded_pairs"]] for name in ("treated", "control"))
    assert control.inputs["neurons"] == treated.inputs["neurons"] and control.id != treated.id
    assert control.payload["params"]["clamp"] == {"kind": kind}
    values = kind in ("negative_mean", "magnitude_matched")
    assert (control.inputs.get("profile") == step_id(found, "profile", "")) == values


def test_before_a_relu_only_the_magnitude_matched_control_says_something():
    kinds = ("posrelu", "signflip", "negative_mean", "magnitude_matched")
    lines = "".join(f"  {kind}: {{select: top, fraction: 0.1, clamp: {kind}}}\n" for kind in kinds)
    found = plan(changed("  random:", lines + "  random:"), models=[model(architecture=RELU)])
    said = {c.name: c.not_applicable for c in found.conditions["a"]}
    assert [said[kind] for kind in kinds] == [NOT_APPLICABLE] * 3 + [""]


def test_several_fractions_make_one_condition_a_dose_and_controls_follow():
    dosed = changed("treated: {select: top, fraction: 0.1", "treated: {select: top, fraction: [0.05, 0.1]")
    dosed = dosed.replace("  matched: {select: bottom, match: {perplexity_of: treated}, clamp: negative}\n", "")
    found, single = plan(dosed), plan()
    names = [condition.name for condition in found.conditions["a"]]
    assert names == [
        "treated/fraction=0.05",
        "treated/fraction=0.1",
        "random/fraction=0.05/seed=0",
        "random/fraction=0.05/seed=1",
        "random/fraction=0.1/seed=0",
        "random/fraction=0.1/seed=1",
    ]
    for benchmark in ("perplexity", "embedded_pairs"):
        same = {"treated/fraction=0.1": "treated", "random/fraction=0.1/seed=1": "random/seed=1"}
        for dose, alone in same.items():
            assert found.evaluations["a", dose][benchmark] == single.evaluations["a", alone][benchmark]
    groups = {step.group for step in found.steps.values() if step.name == "evaluate.embedded_pairs"}
    assert groups == {"evaluate embedded_pairs"}, "one coalesced request"


def test_a_condition_can_be_scored_on_some_benchmarks_alone():
    text = changed("fraction: 0.1, clamp: negative}", "fraction: 0.1, clamp: negative, evaluate: [perplexity]}")
    found, whole = plan(text), plan()
    assert list(found.evaluations["a", "treated"]) == ["perplexity"]
    assert len(found.evaluations["a", "random/seed=0"]) == len(found.evaluations["a", BASELINE]) == 3
    assert ids(found) < ids(whole)
