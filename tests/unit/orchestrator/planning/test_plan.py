"""The plan of a study made by hand: which steps there are, and what enters their ids (no files, no models)."""

from collections import Counter
from dataclasses import replace

import pytest

from orchestrator.planning.conditions import NOISE_FLOOR
from orchestrator.planning.plan import Plan
from orchestrator.record.limits import check_key
from orchestrator.steps import evaluate, examples, match, profile, select, weights
from orchestrator.steps.step import BASELINE, REVIEW_VERSIONS, Role
from studies.benchmarks.minimal_pairs import PairBenchmark
from studies.benchmarks.protocol import NOISE_FLOOR_NODES, Benchmark
from studies.neurons.selection import NeuronSet
from tests.plans import (
    BENCHMARKS,
    PAIR,
    SILU,
    STUDY,
    TRAIN,
    TRAINING,
    VALIDATION,
    changed,
    closer,
    ids,
    model,
    plan,
    step_id,
    study,
    training,
)


def moved(one: Plan, other: Plan) -> set[str]:
    """Names, with their conditions, of the steps whose ids differ."""
    by_name = [{(s.name, s.condition): s.id for s in found.steps.values()} for found in (one, other)]
    assert by_name[0].keys() == by_name[1].keys()
    return {
        f"{name} {condition}".strip()
        for (name, condition), step in by_name[0].items()
        if by_name[1][name, condition] != step
    }


ALL = {f"{s.name} {s.condition}".strip() for s in plan().steps.values()}
PROFILED = {name for name in ALL if not name.endswith(" baseline")}
"""Everything that rests on the neuron profile."""


def test_the_perplexity_of_a_study():
    """The first benchmark with that measure, whatever it is called; None without one."""
    windows, *others = BENCHMARKS

    def perplexity(*benchmarks: Benchmark) -> Benchmark | None:
        return study(benchmarks=benchmarks).perplexity

    assert perplexity(*BENCHMARKS) is windows and perplexity(*others) is None
    renamed = replace(windows, name="wikitext")
    assert perplexity(*others, renamed, windows) is renamed


def test_golden_number_of_steps():
    """One profile; baseline and noise floor on 3 benchmarks; treated, 2 random seeds and matched: a set and 3 each; the
    neighbour of matched: 3."""
    counts = Counter(step.kind.name for step in plan().steps.values())
    assert counts == {"profile": 1, "select": 3, "match": 1, "evaluate": 3 + 3 + 5 * 3}
    assert {
        "profile",
        "select treated",
        "match matched",
        "select random/seed=1",
        "noise_floor.perplexity baseline",
    } <= ALL


# A golden id per kind and version. They stand in users' stores: when one of these fails, a payload has changed. If the
# numbers of that kind have moved with it, raise the kind's version in orchestrator/steps; in any case every recorded
# step of the kind is computed again by every user, so change an id only for a reason, and paste the new one here.
GOLDEN = {
    ("profile", ""): "ad182f43d87b21e57af5",
    ("examples", ""): "cf4b424cbb1335372cdb",
    ("select", "treated"): "7009af42301beab61b91",
    ("select", "random/seed=0"): "cc754a74519c839926a3",
    ("match", "matched"): "88162f6ca24543de327b",
    ("evaluate.perplexity", BASELINE): "f61ec591983320eb736c",
    ("evaluate.embedded_pairs", "treated"): "3ecce793fb52a9c37460",
    ("evaluate.embedded_knowledge", "matched"): "64327ce913650e70f73a",
    ("noise_floor.perplexity", BASELINE): "90cb5b3c0f18a394b230",
}
KINDS = [module.KIND for module in (profile, examples, weights, select, match, evaluate)]
VERSIONS = {
    "profile": 3,
    "examples": 1,
    "weights": 1,
    "select": 1,
    "evaluate": 3,
    "match": 4,
    "layers": 3,
    "doses": 3,
    "summary": 2,
    "dynamics": 4,
    "excess": 3,
    "texts": 1,
    "flipped": 1,
    "report": 9,
    "page": 2,
}


@pytest.mark.parametrize(("name", "condition"), GOLDEN)
def test_golden_ids(name, condition):
    versions = {kind.name: kind.version for kind in KINDS} | REVIEW_VERSIONS
    assert versions == VERSIONS, "versions moved: paste the new ids below"
    assert step_id(closer(), name, condition) == GOLDEN[name, condition]


def test_the_golden_id_of_a_comparison_of_weights():
    assert step_id(training(), "weights", "", "m@step50") == "ccf95b31b1cca615ec38"


def test_every_kind_in_a_plan_has_a_golden_id():
    steps = closer().steps.values()
    golden = {step.kind for step in steps if (step.name, step.condition) in GOLDEN} | {weights.KIND}
    assert golden == {step.kind for step in (*steps, *training().steps.values())} == set(KINDS)


# -- what does not enter an id ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        {"path": "/elsewhere/b"},
        {"note": "weights dequantised"},
        {"tensor_parallel": 2},
        {"cpus": 3, "gpus": 1.0},
        {"trust_remote_code": True},
        {"engine": {"gpu_memory_utilization": 0.5, "max_num_seqs": 4, "max_model_len": 99}},
        {"engine": {"kv_cache_memory_bytes": 1, "max_num_batched_tokens": 2}},
    ],
    ids=lambda parts: "-".join(parts),
)
def test_ids_do_not_depend_on_where_and_how_a_model_runs(parts):
    assert ids(plan(models=[model(**parts)])) == ids(plan())


def test_a_benchmark_is_digested_once_whatever_the_number_of_steps(monkeypatch):
    """Of all of TSE that takes a second, and a study may have thousands of steps."""
    calls, digest = [], PairBenchmark.digest

    def counted(benchmark):
        calls.append(benchmark.name)
        return digest.fget(benchmark)

    monkeypatch.setattr(PairBenchmark, "digest", property(counted))
    plan(models=[model(label, digest=label) for label in "abcd"])
    assert calls == ["embedded_pairs"]


def test_ids_do_not_depend_on_labels_names_or_order():
    assert ids(plan(models=[model("other")])) == ids(plan())
    assert ids(plan(changed("by-hand", "renamed"))) == ids(plan())
    swapped = STUDY.replace("treated", "wasserstein").replace("seeds: [0, 1]", "seeds: [1, 0]")
    assert ids(plan(swapped)) == ids(plan())
    assert ids(plan(benchmarks=BENCHMARKS[::-1])) == ids(plan())


def test_ids_do_not_depend_on_where_a_text_came_from():
    assert ids(plan(corpus=replace(TRAIN, label="else", source="hub"))) == ids(plan())


# -- what does -------------------------------------------------------------------------------------------------------


def test_the_models_digest_is_in_every_id():
    assert moved(plan(), plan(models=[model(digest="d2")])) == ALL


def test_dtype_is_a_science_parameter():
    assert moved(plan(), plan(models=[model(dtype="bfloat16")])) == ALL


@pytest.mark.parametrize(
    "parts", [{"route": "flat"}, {"engine": {"attention_backend": "x"}}], ids=lambda parts: str(parts)
)
def test_what_changes_the_engines_numbers_is_in_every_evaluation_and_the_match(parts):
    rest_on_it = {name for name in ALL if name.startswith(("evaluate.", "noise_floor.")) or "matched" in name}
    assert moved(plan(), plan(models=[model(**parts)])) == rest_on_it


def test_a_later_scoring_version_is_in_every_evaluation_of_its_benchmark(monkeypatch):
    before = plan()
    monkeypatch.setattr(PairBenchmark, "scoring_version", 2)
    assert moved(before, plan()) == {name for name in ALL if ".embedded_pairs" in name}


def test_the_profile_and_all_that_rests_on_it_move_with_its_corpus_and_parameters():
    assert moved(plan(), plan(corpus=replace(TRAIN, text="other"))) == PROFILED
    for field in ("tokens: 2048", "stride: 64", "bins: 64", "calibration_windows: 2", "pairs: 9", "seed: 3"):
        name = field.split(":")[0]
        text = changed(
            "tokens: 4096, window: 128", ("" if name == "tokens" else "tokens: 4096, ") + f"window: 128, {field}"
        )
        assert moved(plan(), plan(text)) == PROFILED, field


def test_a_fraction_moves_its_set_and_all_that_refers_to_it():
    treated = {name for name in ALL if name.split(" ")[-1].split("/")[0] in ("treated", "random", "matched")}
    assert moved(plan(), plan(changed("fraction: 0.1", "fraction: 0.2"))) == treated


def test_a_clamp_moves_evaluations_but_not_the_selection():
    other = plan(changed("fraction: 0.1, clamp: negative", "fraction: 0.1, clamp: zero"))
    assert {name for name in moved(plan(), other) if "treated" in name} == {
        "evaluate.perplexity treated",
        "evaluate.embedded_pairs treated",
        "evaluate.embedded_knowledge treated",
    }
    assert "select random/seed=0" not in moved(plan(), other)


def test_a_seed_moves_its_own_condition_only():
    found, other = plan(), plan(changed("seeds: [0, 1]", "seeds: [0, 7]"))
    assert step_id(found, "select", "random/seed=0") == step_id(other, "select", "random/seed=0")
    assert step_id(found, "select", "random/seed=1") != step_id(other, "select", "random/seed=7")
    assert len(ids(found) - ids(other)) == 4  # the set and its three evaluations


def test_a_benchmarks_items_move_its_own_evaluations_only():
    pairs = replace(BENCHMARKS[1], pairs=(PAIR._replace(bad="She running."),))
    found = moved(plan(), plan(benchmarks=(BENCHMARKS[0], pairs, BENCHMARKS[2])))
    assert found == {name for name in ALL if "embedded_pairs" in name}
    ties = replace(BENCHMARKS[1], half_ties=False)
    assert moved(plan(), plan(benchmarks=(BENCHMARKS[0], ties, BENCHMARKS[2]))) == found


def test_the_window_of_perplexity_moves_it_and_the_match():
    shorter = replace(BENCHMARKS[0], window=64)
    found = moved(plan(), plan(benchmarks=(shorter, *BENCHMARKS[1:])))
    assert found == {name for name in ALL if ".perplexity " in name or "matched" in name}


def test_the_rules_of_the_preset_enter_the_selection():
    paper = plan(changed("study: by-hand", "study: by-hand\npreset: paper"))
    treated, random = (
        paper.steps[step_id(paper, "select", name)].payload["params"] for name in ("treated", "random/seed=0")
    )
    assert treated["rule"] == "percentile" and random["disjoint"] is False
    strict = plan()
    treated, random = (
        strict.steps[step_id(strict, "select", name)].payload["params"] for name in ("treated", "random/seed=0")
    )
    assert treated["rule"] == "rank" and random["disjoint"] is True


def test_disjoint_can_be_asked_for_or_waived_by_condition():
    waived = plan(changed("seeds: [0, 1]", "seeds: [0, 1], disjoint: false"))
    assert waived.steps[step_id(waived, "select", "random/seed=0")].payload["params"]["disjoint"] is False


def test_mapping_difficulty_left_out_draws_no_pairs():
    found = plan(changed("window: 128", "window: 128, scores: [wasserstein_distance]"))
    assert found.steps[step_id(found, "profile", "")].payload["params"]["pairs"] == 0


def test_explicit_neurons_enter_by_their_digest():
    text = changed(
        "{select: top, fraction: 0.1, clamp: negative}", "{select: explicit, neurons: a.csv, clamp: negative}"
    )
    one, two = NeuronSet.of({0: [1, 2]}), NeuronSet.of({0: [1, 3]})
    found = [
        step_id(plan(text, neuron_sets={"treated": s}), "select", "treated")
        for s in (one, NeuronSet.of({0: [2, 1]}), two)
    ]
    assert found[0] == found[1] != found[2]


def test_layers_enter_the_selection():
    some = changed("fraction: 0.1, clamp", "fraction: 0.1, layers: [1], clamp")
    assert "select treated" in moved(plan(), plan(some))


# -- the DAG ---------------------------------------------------------------------------------------------------------


def test_the_matched_control_rests_on_the_right_steps():
    found = plan()
    step = found.steps[step_id(found, "match", "matched")]
    assert step.inputs == {
        "profile": step_id(found, "profile", ""),
        "treated": step_id(found, "select", "treated"),
        "baseline_perplexity": step_id(found, "evaluate.perplexity", BASELINE),
        "treated_perplexity": step_id(found, "evaluate.perplexity", "treated"),
    }
    assert step.payload["inputs"] == step.inputs and step.role is Role.ABLATION
    for benchmark, evaluation in found.evaluations["a", "matched"].items():
        assert found.steps[evaluation].inputs == {"neurons": step.id}, benchmark
    assert step.params["treated_clamp"] == {"floor": 0.0} == step.params["clamp"]


def test_a_matched_control_has_a_neighbour_of_its_own_name_on_a_run_of_its_own():
    """Its neurons are those that the search chose beside the control's; no condition of the study file is moved."""
    found = plan()
    control, neighbour = found.conditions["a"][-1], found.neighbours["a"]["matched"]
    assert list(found.neighbours["a"]) == ["matched"] and control.has_neighbour
    assert neighbour.name == "matched/neighbour" and neighbour.neurons == control.neurons
    assert neighbour.is_neighbour and not neighbour.is_whole and neighbour not in found.conditions["a"]
    evaluations = found.evaluations["a", neighbour.name]
    assert list(evaluations) == list(found.evaluations["a", "matched"])
    for benchmark, evaluation in evaluations.items():
        step = found.steps[evaluation]
        assert step.inputs == {"neighbour": control.neurons} and step.group == f"evaluate {benchmark}"
        assert step.params == found.steps[found.evaluations["a", "matched"][benchmark]].params
        ((own,), (of_control,)) = (
            found.runs[one] for one in (evaluation, found.evaluations["a", "matched"][benchmark])
        )
        assert own.name == "matched/neighbour · a" and own.identity != of_control.identity
        assert own.params["selection"] == "bottom, matched to treated, neighbour"


def test_the_neighbour_is_scored_on_what_its_control_is_scored_on():
    text = changed(
        "match: {perplexity_of: treated}, clamp", "match: {perplexity_of: treated}, evaluate: [perplexity], clamp"
    )
    assert list(plan(text).evaluations["a", "matched/neighbour"]) == ["perplexity"]


def test_steps_without_work_by_the_role_in_which_they_take_a_finding():
    found = plan()
    search = step_id(found, "match", "matched")
    control, neighbour = (set(found.evaluations["a", name].values()) for name in ("matched", "matched/neighbour"))
    assert found.without_work(search, {}) == {}
    assert found.without_work(search, {"neighbour": "near"}) == dict.fromkeys(neighbour, "near")
    assert found.without_work(search, {"": "none"}) == dict.fromkeys(control | neighbour, "none")
    treated = step_id(found, "select", "treated")
    reached = {found.steps[step].condition for step in found.without_work(treated, {"treated": "odd"})}
    assert reached == {"matched", "matched/neighbour"}, "what rests on a step without work has none either"


def test_inputs_of_the_other_kinds():
    found = plan()
    profile, treated = step_id(found, "profile", ""), step_id(found, "select", "treated")
    assert found.steps[profile].inputs == {}
    assert found.steps[treated].inputs == {"profile": profile}
    assert found.steps[step_id(found, "select", "random/seed=0")].inputs == {"profile": profile, "like": treated}
    assert found.steps[step_id(found, "evaluate.perplexity", BASELINE)].inputs == {}
    assert found.steps[step_id(found, "evaluate.embedded_pairs", "treated")].inputs == {"neurons": treated}


@pytest.mark.parametrize("order", ["treated random matched", "matched random treated", "random matched treated"])
def test_steps_stand_in_topological_order_whatever_the_files_order(order):
    lines = dict(line.strip().split(": ", 1) for line in STUDY.splitlines() if line.startswith("  "))
    head, tail = STUDY.split("conditions:\n")[0], STUDY.splitlines()[-1]
    text = head + "conditions:\n" + "".join(f"  {name}: {lines[name]}\n" for name in order.split()) + tail + "\n"
    found = plan(text, models=[model(), model("b", digest="d2")])
    seen = set()
    for step in found.steps.values():
        assert set(step.inputs.values()) <= seen
        seen.add(step.id)
    assert [condition.base for condition in found.conditions["a"] if condition.seed != 1] == order.split()
    assert ids(found) >= ids(plan())


def test_the_noise_floor_is_the_baseline_on_another_pack_plan_and_can_be_left_out():
    found = plan()
    for name, step in found.evaluations["a", NOISE_FLOOR].items():
        params = found.steps[step].payload["params"]
        assert (
            params["pack_nodes"] == (2 * 128 if name == "perplexity" else NOISE_FLOOR_NODES) and params["clamp"] is None
        )
        assert step != found.evaluations["a", BASELINE][name]
    without = plan(STUDY + "noise_floor: false\n")
    assert ("a", NOISE_FLOOR) not in without.evaluations
    assert ids(without) == ids(found) - set(found.evaluations["a", NOISE_FLOOR].values())


def test_steps_of_one_benchmark_share_a_group_across_conditions():
    found = plan()
    groups = {step.group for step in found.steps.values() if step.name == "evaluate.embedded_pairs"}
    assert groups == {"evaluate embedded_pairs"}
    assert found.steps[found.evaluations["a", NOISE_FLOOR]["embedded_pairs"]].group == "noise_floor embedded_pairs"


# -- layer schedules -------------------------------------------------------------------------------------------------


# -- ReLU ------------------------------------------------------------------------------------------------------------


def test_the_work_of_a_step_is_its_tokens():
    work = {step.name: step.work for step in plan().steps.values()}
    assert work["evaluate.embedded_pairs"] == pytest.approx(len("She runs.She run.") / 4.5)
    assert work["evaluate.perplexity"] == pytest.approx(len(VALIDATION.text) / 4.5)
    assert work["profile"] == pytest.approx(len(TRAIN.text) / 4.5 + 4 * 128)


# -- controls of sign against magnitude ------------------------------------------------------------------------------


# -- doses -----------------------------------------------------------------------------------------------------------


def test_a_closer_look_rests_on_the_profile_and_moves_nothing_else():
    found, without = closer(), plan()
    look = found.steps[step_id(found, "examples", "")]
    assert ids(found) - ids(without) == {look.id} and ids(without) <= ids(found)
    assert look.inputs == {"profile": step_id(found, "profile", "")} and look.role is Role.SCORE
    (profile_run,) = {key.name for key in found.runs[look.inputs["profile"]]}
    assert [key.name for key in found.runs[look.id]] == [profile_run]


# -- checkpoints -----------------------------------------------------------------------------------------------------


def test_every_checkpoint_is_scored_and_evaluated_on_the_cohort_of_one():
    found = training()
    kinds = Counter((step.kind.name, step.model) for step in found.steps.values())
    assert {model: kinds["profile", model] for model in found.conditions} == dict.fromkeys(found.conditions, 1)
    chosen = [model for kind, model in kinds if kind in ("select", "match")]
    assert set(chosen) == {"m@step10"}, "neurons are selected at the cohort's checkpoint alone"
    neurons = {label: {c.name: c.neurons for c in found.conditions[label]} for label in found.conditions}
    assert neurons["m@step0"] == neurons["m@step10"] == neurons["m@step50"]
    assert {found.neighbours[label]["matched"].neurons for label in neurons} == {neurons["m@step0"]["matched"]}
    for label in found.conditions:
        step = found.steps[found.evaluations[label, "treated"]["perplexity"]]
        assert step.inputs["neurons"] == neurons[label]["treated"] and step.model == label
    assert len({found.evaluations[label, "treated"]["perplexity"] for label in found.conditions}) == 3


def test_weights_are_compared_with_the_checkpoint_before():
    found = training()
    compared = {step.model: step.id for step in found.steps.values() if step.kind is weights.KIND}
    assert sorted(compared) == ["m@step10", "m@step50"]
    assert found.steps[compared["m@step50"]].payload["params"]["before"] == "d10"
    (key,) = found.runs[compared["m@step50"]]
    assert key.kind == "profile" and key.tags["training_step"] == "50"


def test_another_cohort_changes_what_follows_from_it_and_nothing_else():
    models = [replace(m, checkpoint=m.checkpoint._replace(cohort="m@step50")) for m in training().study.models]
    other = plan(TRAINING.replace("cohort: step10", "cohort: step50"), models=models)
    kept = {s.name.split(".")[0] for s in training().steps.values() if s.id in other.steps}
    assert kept == {"profile", "weights", "evaluate", "noise_floor"}
    assert all(s.condition in ("", BASELINE) for s in training().steps.values() if s.id in other.steps)


def test_a_condition_of_many_separate_layers_has_runs_that_mlflow_takes() -> None:
    """Two such conditions differ far behind what a run's name has room for."""
    deep = replace(SILU, num_layers=400)
    groups = [[*range(0, 300, 2)], [*range(301, 399, 2)]]
    old = "  treated: {select: top, fraction: 0.1, clamp: negative}"
    text = changed(old, f"{old[:-1]}, layers: {{groups: {groups}, schedule: cumulative}}}}")
    found = plan(text, models=[model("m" * 100, architecture=deep)])
    keys = {key.slot_and_identity: key for keys in found.runs.values() for key in keys}
    assert len({key.name for key in keys.values()}) == len(keys), "no two runs share a name"
    for key in keys.values():
        check_key(key)
