"""The MLflow runs of a plan: which steps stand on which run, and what a run says of itself."""

from orchestrator.planning.conditions import NOISE_FLOOR
from orchestrator.steps.step import BASELINE
from tests.plans import (
    BENCHMARKS,
    STUDY,
    ids,
    model,
    plan,
    step_id,
    training,
)


def test_equal_conditions_collapse_and_are_recorded_on_two_runs():
    twin = STUDY.replace("  random:", "  again: {select: top, fraction: 0.1, clamp: {floor: 0}}\n  random:")
    found = plan(twin)
    assert ids(found) == ids(plan())
    step = found.evaluations["a", "again"]["embedded_pairs"]
    assert step == found.evaluations["a", "treated"]["embedded_pairs"]
    for shared in (step, step_id(found, "select", "treated")):
        assert [key.condition for key in found.runs[shared]] == ["treated", "again"]
    treated, again = found.runs[step]
    assert treated.identity == again.identity and treated.name != again.name
    assert [key.condition for key in found.runs[found.evaluations["a", "random/seed=0"]["perplexity"]]] == [
        "random/seed=0"
    ]


def test_one_model_under_two_labels_is_computed_once_and_recorded_twice():
    found = plan(models=[model(), model("b", tensor_parallel=2)])
    assert ids(found) == ids(plan())
    assert all({key.model for key in keys} == {"a", "b"} for keys in found.runs.values())


def test_every_step_has_a_run_and_every_evaluation_a_step():
    found = plan()
    assert found.runs.keys() == found.steps.keys()
    conditions = [condition.name for condition in found.conditions["a"]]
    assert conditions == ["treated", "random/seed=0", "random/seed=1", "matched"]
    evaluated_too = [BASELINE, "matched/neighbour", NOISE_FLOOR]
    assert set(found.evaluations) == {("a", name) for name in [*conditions, *evaluated_too]}
    evaluated = {step for steps in found.evaluations.values() for step in steps.values()}
    assert evaluated == {step.id for step in found.steps.values() if step.kind.name == "evaluate"}
    assert all(list(steps) == [b.name for b in BENCHMARKS] for steps in found.evaluations.values())


def test_runs_say_what_they_are():
    found = plan(models=[model(note="dequantised")])
    (key,) = found.runs[step_id(found, "select", "random/seed=1")]
    assert key.params == {
        "model": "a", "revision": "local", "dtype": "float32", "condition": "random/seed=1", "selection": "random",
        "score": "", "fraction": "0.1", "intervention": "negative", "layers": "all", "schedule": "", "seed": "1",
    }  # fmt: skip
    assert key.kind == "condition" and key.tags == {
        "model.note": "dequantised", "part": "random", "view": "conditions", "order": "a 3 random 0000000001",
    }  # fmt: skip
    (key,) = found.runs[step_id(found, "match", "matched")]
    assert key.params["selection"] == "bottom, matched to treated" and key.params["score"] == "wasserstein_distance"
    (key,) = found.runs[step_id(found, "evaluate.perplexity", BASELINE)]
    assert key.name == "baseline · a" and key.kind == "condition" and key.params == {
        "model": "a", "revision": "local", "dtype": "float32", "condition": "baseline", "selection": "none",
        "score": "", "fraction": "", "intervention": "none", "layers": "all", "schedule": "", "seed": "",
    }  # fmt: skip
    (key,) = found.runs[step_id(found, "profile", "")]
    assert key.kind == "profile" and key.identity == step_id(found, "profile", "")


def test_runs_are_sorted_by_what_they_are_and_members_are_shown_apart():
    """As the saved views of MLflow sort them: by the tag `order`, as text."""
    deep = "deep: {select: top, fraction: 0.1, layers: {groups: 2}, clamp: negative}"
    layered = STUDY.replace("  random:", f"  {deep}\n  random:")
    seeds = layered.replace("seeds: [0, 1]", "seeds: [2, 10]")
    found = plan(seeds, models=[model("b", digest="2"), model()])
    keys = {key.name: key for of_step in found.runs.values() for key in of_step if key.kind == "condition"}
    shown = sorted((key.tags["order"], name) for name, key in keys.items() if key.tags["view"] == "conditions")
    assert [name for _, name in shown] == [
        f"{condition} · {label}"
        for label in ("a", "b")
        for condition in (BASELINE, "treated", "matched", "random/seed=2", "random/seed=10")
    ]
    members = {name for name, key in keys.items() if key.tags["view"] == "members"}
    assert members == {
        f"{condition} · {label}"
        for label in ("a", "b")
        for condition in ("deep/layers=0", "deep/layers=1", "matched/neighbour")
    }


def test_a_neuron_set_stands_on_the_run_of_every_checkpoint():
    found = training()
    keys = found.runs[found.conditions["m@step0"][0].neurons]
    assert {key.model for key in keys} == {"m@step0", "m@step10", "m@step50"}
