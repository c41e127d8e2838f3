"""Whole studies on tiny random models: real Ray, vLLM and SQLite MLflow. Resume, faults, ReLU, the command."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient

import halfwave
from orchestrator.execution import pool
from orchestrator.steps.step import Role, State
from orchestrator.study import Study
from tests import oracles
from tests.integration import made_up
from tests.integration.made_up import assert_same, command, hosts, numbers, run, write_study
from tests.integration.test_harness import write_tasks
from tests.watchers import On

pytestmark = pytest.mark.usefixtures("no_process_outlives_its_driver")

STUDY = """\
study: tiny
models:
  - {{path: {root}/llama}}
  - {{path: {root}/opt}}
profile: {{corpus: {root}/text.txt, tokens: 4000, window: 64, bins: 256, examples: 3}}
conditions:
  treated: {{select: top, fraction: 0.1, clamp: negative}}
  random:  {{select: random, like: treated, seeds: [0, 1], clamp: negative}}
  matched: {{select: bottom, match: {{perplexity_of: treated}}, clamp: negative}}
  off:     {{select: top, fraction: 0.1, clamp: zero}}
  even:    {{select: top, fraction: 0.1, clamp: magnitude_matched}}
  mean:    {{select: top, fraction: 0.1, clamp: negative_mean}}
  linear:  {{select: top, fraction: 0.1, clamp: posrelu}}
  flip:    {{select: top, fraction: 0.1, clamp: signflip}}
  hard:    {{select: top, score: mapping_difficulty, fraction: 0.1, clamp: negative, evaluate: [perplexity, choices]}}
evaluate:
  - perplexity: {{corpus: {root}/text.txt, window: 64, tokens: 1280}}
  - pairs: {root}/pairs.jsonl
  - choices: {root}/choices.jsonl
claims: paper
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with two tiny models (one ReLU), a text, pairs and choices."""
    folder = tmp_path_factory.mktemp("tiny")
    for family in ("llama", "opt"):
        oracles.make_model(folder / family, family)
    phrase = made_up.phrases()
    made_up.write_text_and_pairs(folder, phrase, num_pairs=60)
    items = [{"context": phrase(3), "choices": [phrase(2) for _ in range(4)], "gold": i % 4} for i in range(30)]
    made_up.write_jsonl(folder / "choices.jsonl", items)
    return folder


@pytest.fixture(scope="module")
def undisturbed(root):
    """The study run once, in peace."""
    workdir = root / "undisturbed"
    study_file = write_study(root, "study.yaml", STUDY)
    return workdir, run(study_file, workdir, "--full")


def test_a_study_runs_and_records_everything(undisturbed):
    workdir, done = undisturbed
    # The matched control may be impossible on random weights, which is a finding.
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    frame = numbers(workdir, "tiny")
    assert {"perplexity", "pairs/accuracy", "choices/accuracy", "clipped_fraction"} <= set(frame.columns)
    llama = frame.loc["llama"]
    assert {"baseline", "treated", "random/seed=0", "random/seed=1", "off"} <= set(llama.index)
    assert llama.loc["treated", "perplexity"] != llama.loc["baseline", "perplexity"]
    assert 0.2 < llama.loc["treated", "clipped_fraction"] < 0.8
    controls = llama.loc[["treated", "even", "mean", "linear", "flip"], "perplexity"]
    assert controls.nunique() == 5 and 0 <= llama.loc["even", "magnitude_shortfall"] < 1
    assert re.search(r"llama|opt", done.stdout) and "Open the record:  halfwave ui" in done.stdout


def test_the_report_compares_corrects_and_looks_closer(undisturbed, root):
    workdir, done = undisturbed
    record = Study.open(root / "study.yaml", workdir=workdir).record()
    recorded = record.latest("tiny")
    report = recorded["", "", "report"]
    table = record.frame(report, "comparisons.parquet")
    of_llama = table[table["model"] == "llama"]
    assert {("treated", "baseline"), ("hard", "baseline"), ("mean", "baseline")} <= set(
        zip(of_llama["condition"], of_llama["against"], strict=True)
    )
    phenomena = of_llama[(of_llama["condition"] == "treated") & (of_llama["benchmark"] == "pairs")]
    assert phenomena["phenomenon"].tolist() == ["all", "u0", "u1", "u2"]
    assert phenomena["p_holm"].notna().tolist() == [False, True, True, True]
    assert set(of_llama[of_llama["condition"] == "hard"]["benchmark"]) == {"perplexity", "choices"}
    assert record.frame(report, "score_correlation.parquet").groupby("model").size().to_dict() == {"llama": 4, "opt": 4}
    (shared,) = (
        record.frame(report, "neuron_set_overlaps.parquet").query("model == 'llama' and one == 'treated'")
    ).query("other == 'hard'")["share"]
    assert f"treated and hard share {shared:.1%} of their neurons" in " ".join(done.stdout.split())
    examples = recorded["llama", "", "examples"]
    densities, pairs = (record.frame(examples, f"{name}.parquet") for name in ("entangled_densities", "token_pairs"))
    assert densities.groupby(["layer", "neuron"])["count"].sum().tolist() == [densities["count"].sum() / 3] * 3
    assert (pairs["y_i"] <= pairs["y_j"]).all() and (pairs["y_j"] < 0).all() and len(pairs)
    neurons = record.frame(recorded["llama", "", "profile"], "neurons.parquet")
    wanted = neurons.nlargest(3, "wasserstein_distance")[["layer", "neuron"]].sort_values(["layer", "neuron"])
    assert densities[["layer", "neuron"]].drop_duplicates().to_numpy().tolist() == wanted.to_numpy().tolist()
    assert "figures/llama-entangled-neurons.png" in report.artifacts
    found = record.document(report, "report.json")
    assert {one["condition"] for one in found["models"][0]["seeds"]} == {"random"}
    assert [verdict["claim"] for verdict in found["models"][0]["verdicts"]][-5:] == [
        "negative_mass",
        "difficulty_agrees",
        "sign_not_magnitude",
        "scaffolding",
        "content_spared",
    ]
    assert "Scorecard" in done.stdout


def test_relu_models_skip_what_does_not_apply(undisturbed):
    workdir, done = undisturbed
    frame = numbers(workdir, "tiny")
    assert set(frame.loc["opt"].index) == {"baseline", "off", "even"}
    assert "not applicable (ReLU)" in done.stdout
    assert frame.loc[("opt", "off"), "perplexity"] != frame.loc[("opt", "baseline"), "perplexity"]


def test_a_second_run_computes_nothing(undisturbed, root):
    workdir, first = undisturbed
    again = run(root / "study.yaml", workdir)
    assert again.returncode == first.returncode
    assert re.search(r"^0 steps computed, \d+ cached", again.stdout, re.M), again.stdout
    plan = subprocess.run(command(root / "study.yaml", workdir, "plan", "--json"), capture_output=True, text=True)
    idle = {line.split()[1] for line in first.stdout.splitlines() if line.startswith("N/A")}
    steps = json.loads(plan.stdout)["steps"]
    assert all(step["cached"] for step in steps if step["id"][:8] not in idle)


def test_a_changed_condition_recomputes_only_itself(undisturbed, root, tmp_path):
    workdir, _ = undisturbed
    changed = write_study(
        root,
        "changed.yaml",
        STUDY.replace("off:     {{select: top, fraction: 0.1", "off: {{select: top, fraction: 0.2"),
    )
    plan = subprocess.run(command(changed, workdir, "plan", "--json"), capture_output=True, text=True, check=True)
    fresh = [step for step in json.loads(plan.stdout)["steps"] if not step["cached"] and "off" in step["step"]]
    assert fresh and any("params.fraction: 0.1 -> 0.2" in step["reason"] for step in fresh)


@pytest.mark.long
def test_the_driver_killed_in_the_middle_resumes_to_the_same_numbers(undisturbed, root, tmp_path):
    reference, _ = undisturbed
    workdir = tmp_path / "killed"
    driver = subprocess.Popen(
        command(root / "study.yaml", workdir), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    done_before = []
    for line in driver.stdout:
        if line.startswith("DONE"):
            done_before.append(line.split()[1])
        if line.startswith("DONE") and "evaluate.perplexity" in line:
            break
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    resumed = run(root / "study.yaml", workdir)
    hits = {line.split()[1] for line in resumed.stdout.splitlines() if line.startswith("HIT")}
    assert set(done_before) <= hits, "a committed step was computed again"
    assert_same(numbers(workdir, "tiny"), numbers(reference, "tiny"))


@pytest.mark.long
def test_a_killed_actor_is_replaced_and_the_numbers_are_the_same(
    undisturbed, root, tmp_path, no_process_outlives_its_driver
):
    reference, _ = undisturbed
    workdir = tmp_path / "actor"
    study = Study.open(root / "study.yaml", workdir=workdir)
    killed = []

    def kill_once(step, state, remark):
        if state is State.DONE and step.name == "evaluate.perplexity" and not killed:
            killed.extend(hosts() - no_process_outlives_its_driver)  # the models run side by side: all of them
            for victim in killed:
                os.kill(victim, signal.SIGKILL)

    result = study.run(On(kill_once))
    assert killed
    lost = [step for step, reason in result.reasons.items() if "actor lost" in reason]
    assert lost and all(result.states[step] is State.DONE for step in lost)
    assert_same(numbers(workdir, "tiny"), numbers(reference, "tiny"))


@pytest.mark.long
def test_an_actor_killed_in_a_sweep_goes_on_after_the_packs_that_were_done(
    root, tmp_path, monkeypatch, no_process_outlives_its_driver
):
    study_file = write_study(root, "depth.yaml", SCHEDULE)
    monkeypatch.setitem(pool.ACTOR_CLASSES, Role.ABLATION, "tests.slow_actor:SlowAblation")
    monkeypatch.setenv("HALFWAVE_TEST_SWEEPS", str(tmp_path / "undisturbed.txt"))
    undisturbed = Study.open(study_file, workdir=tmp_path / "undisturbed").run()
    assert set(undisturbed.states.values()) == {State.DONE}, undisturbed.reasons
    sweeps = tmp_path / "killed.txt"
    monkeypatch.setenv("HALFWAVE_TEST_SWEEPS", str(sweeps))
    victims = []

    def kill_in_the_middle(step, progress):
        if step.name == "evaluate.pairs" and not victims and 3 <= progress.done < progress.total - 3:
            victims.extend(hosts() - no_process_outlives_its_driver)
            for victim in victims:
                os.kill(victim, signal.SIGKILL)

    result = Study.open(study_file, workdir=tmp_path / "killed").run(On(report=kill_in_the_middle))
    assert victims and set(result.states.values()) == {State.DONE}
    begun = [tuple(map(int, line.split())) for line in sweeps.read_text().splitlines()]
    together, _, total = max(begun)
    again = [first for count, first, packs in begun if (count, packs) == (together, total)]
    assert again[0] == 0 < again[1] < total, "the second actor went on where the first was killed"
    assert_same(numbers(tmp_path / "killed", "depth"), numbers(tmp_path / "undisturbed", "depth"))


def test_ctrl_c_twice_stops_at_once_and_closes_the_runs(root, tmp_path):
    study_file = write_study(root, "study.yaml", STUDY)
    driver = subprocess.Popen(command(study_file, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in driver.stdout:
        if line.startswith("RUN") and "profile" in line:
            break
    driver.send_signal(signal.SIGINT)
    for line in driver.stderr:
        if "finishing what runs, starting nothing more; Ctrl-C again stops at once" in line:
            break
    driver.send_signal(signal.SIGINT)
    told, complaint = driver.communicate(timeout=120)
    assert driver.returncode == 130 and "DONE" not in told, complaint
    assert "interrupted; what was committed is kept" in complaint and "Traceback" not in complaint
    assert set(halfwave.load(f"sqlite:///{tmp_path / 'mlflow.db'}", "tiny").conditions["status"]) <= {"KILLED"}


@pytest.mark.parametrize(
    ("change", "pieces"),
    [
        (("{root}/llama", "{root}/nowhere"), ["study file", ":3: models.0", "no model folder"]),
        (("pairs.jsonl", "absent.jsonl"), [":18: evaluate.1", "absent.jsonl cannot be read"]),
        (
            ("path: {root}/opt", "path: {root}/opt, tensor_parallel: 3"),
            [":4: models.1", "256 neurons", "tensor_parallel: 3"],
        ),
        (("fraction: 0.1, clamp: negative", "fraction: 1.1, clamp: negative"), [":7: conditions.treated.fraction"]),
        (
            ("fraction: 0.1, clamp: zero", "fraction: 0.001, clamp: zero"),
            [":10: conditions.off.fraction: 0.001 selects no neuron: a layer of llama has 256; take more than 0.002"],
        ),
        (
            ("- pairs: {root}/pairs.jsonl", "- lm_eval: {{tasks: [no_such_task]}}"),
            [":18: evaluate.1", "lm-eval has no task"],
        ),
        (("study: tiny", "studdy: tiny"), [":1: studdy: unknown key; did you mean 'study'?"]),
    ],
)
def test_every_mistake_is_one_line_and_exit_code_2(change, pieces, root, tmp_path):
    study_file = write_study(root, "bad study file.yaml", STUDY.replace(*change))
    done = subprocess.run(command(study_file, tmp_path, "run"), capture_output=True, text=True)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert all(line.startswith("halfwave: ") for line in lines), "a line for each mistake"
    assert all(piece in lines[0] for piece in pieces), lines[0]
    assert not done.stdout


SCHEDULE = """\
study: depth
models:
  - {{path: {root}/llama}}
profile: {{corpus: {root}/text.txt, tokens: 4000, window: 64, bins: 256, scores: [wasserstein_distance]}}
conditions:
  cumulative: {{select: top, fraction: 0.1, clamp: zero, layers: {{groups: 3, schedule: cumulative}}}}
  single:     {{select: top, fraction: 0.1, clamp: zero, layers: {{groups: 3}}}}
evaluate:
  - perplexity: {{corpus: {root}/text.txt, window: 64, tokens: 1280}}
  - pairs: {root}/pairs.jsonl
noise_floor: false
"""


def recorded_curves(study_file: Path, workdir: Path):
    """Run a study twice, the second time for nothing: (result, client, its schedule runs, its conditions by name)."""
    result = Study.open(study_file, workdir=workdir).run()
    assert set(result.states.values()) == {State.DONE} and Study.open(study_file, workdir=workdir).run().computed == 0
    client = MlflowClient(f"sqlite:///{workdir / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(study_file.stem).experiment_id
    runs = client.search_runs([experiment], "tags.`halfwave.kind` = 'schedule'")
    frame = halfwave.load(client.tracking_uri, study_file.stem).conditions.set_index("condition")
    return result, client, runs, frame


DOSES = """\
study: doses
models:
  - {{path: {root}/llama}}
profile: {{corpus: {root}/text.txt, tokens: 4000, window: 64, bins: 256, scores: [wasserstein_distance]}}
conditions:
  top:    {{select: top, fraction: [0.05, 0.2, 0.5], clamp: zero}}
  random: {{select: random, like: top, seeds: [0, 1], clamp: zero}}
  bottom: {{select: bottom, fraction: [0.05, 0.5], clamp: zero}}
evaluate:
  - perplexity: {{corpus: {root}/text.txt, window: 64, tokens: 1280}}
  - pairs: {root}/pairs.jsonl
noise_floor: false
"""


@pytest.mark.long
def test_a_dose_response_is_one_request_and_is_recorded_over_the_dose(root, tmp_path):
    result, client, (run,), frame = recorded_curves(write_study(root, "doses.yaml", DOSES), tmp_path)
    assert run.info.run_name == "dose-response · llama"
    history = client.get_metric_history(run.info.run_id, "dose_ppm/top/perplexity")
    assert [metric.step for metric in history] == [50_000, 200_000, 500_000]
    wanted = [frame.loc[f"top/fraction={dose}", "perplexity"] for dose in ("0.05", "0.2", "0.5")]
    assert [metric.value for metric in history] == wanted and len(set(wanted)) == 3
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"dose_response.parquet", "doses.json", "figures"} <= files
    (model,) = result.report["models"]
    assert [one["condition"] for one in model["doubling"]] == ["top", "random/seed=0", "random/seed=1", "bottom"]
    receipt = json.loads(next((tmp_path / "artifacts").rglob("receipts/evaluate.pairs.json")).read_text())
    assert receipt["conditions_together"] == 12, "the baseline and eleven doses, one request"


@pytest.mark.long
def test_a_layer_schedule_shares_layers_and_is_recorded_over_depth(root, tmp_path):
    _, client, runs, frame = recorded_curves(write_study(root, "depth.yaml", SCHEDULE), tmp_path)
    assert sorted(run.info.run_name for run in runs) == ["cumulative by layers · llama", "single by layers · llama"]
    for one in runs:
        condition = one.data.params["condition"]
        names = {"cumulative": ["0", "0-1", "0-2"], "single": ["0", "1", "2"]}[condition]
        history = client.get_metric_history(one.info.run_id, "perplexity")
        assert [metric.step for metric in history] == [1, 2, 3]
        wanted = [frame.loc[f"{condition}/layers={name}", "perplexity"] for name in names]
        assert [metric.value for metric in history] == wanted and len(set(wanted)) == 3
        files = {file.path for file in client.list_artifacts(one.info.run_id, "figures")}
        assert "figures/depth.png" in files
    assert frame.loc["single/layers=0", "perplexity"] == frame.loc["cumulative/layers=0", "perplexity"]
    receipt = json.loads(next((tmp_path / "artifacts").rglob("receipts/evaluate.pairs.json")).read_text())
    assert receipt["conditions_together"] == 6, "the baseline and five distinct conditions, one request"
    assert receipt["layer_passes"] == receipt["ideal_layer_passes"] < 6 * 3


TASKS = """\
study: tasks
models:
  - {{path: {root}/llama}}
profile: {{corpus: {root}/text.txt, tokens: 4000, window: 64, bins: 256, scores: [wasserstein_distance]}}
conditions:
  top: {{select: top, fraction: 0.1, clamp: negative}}
evaluate:
  - lm_eval: {{tasks: [tiny_choices, tiny_bare, tiny_cloze], include: {root}/tasks, items: 4}}
noise_floor: false
"""


@pytest.mark.long
def test_tasks_of_the_harness_are_a_benchmark_like_any_other(root, tmp_path):
    pytest.importorskip("lm_eval", reason="needs the extra `harness`")
    write_tasks(root / "tasks")
    result, client, _, frame = recorded_curves(write_study(root, "tasks.yaml", TASKS), tmp_path)
    columns = {"tiny_choices/accuracy", "tiny_choices/accuracy_norm", "tiny_cloze/accuracy", "tiny_cloze/perplexity"}
    assert columns | {"multiple_choice/mean_accuracy"} <= set(frame.columns)
    assert frame.loc["top", "tiny_cloze/perplexity"] != frame.loc["baseline", "tiny_cloze/perplexity"]
    items = halfwave.load(client.tracking_uri, "tasks").items("lm_eval")
    assert set(items["uid"]) == {"tiny_choices", "tiny_bare", "tiny_cloze"} and len(items) == 2 * 12
    (benchmark,) = result.report["models"][0]["benchmarks"]
    assert (benchmark["name"], benchmark["label"]) == ("lm_eval", "tiny_choices, tiny_bare, tiny_cloze")
