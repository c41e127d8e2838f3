"""A training's checkpoints and token surprisal, whole studies on tiny random models: real Ray, vLLM, SQLite MLflow."""

import itertools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from transformers import AutoTokenizer

from orchestrator.steps.step import State
from orchestrator.study import Study
from studies.benchmarks.annotation import read_conllu
from tests import oracles
from tests.integration import made_up
from tests.integration.made_up import run, write_study

pytestmark = pytest.mark.usefixtures("no_process_outlives_its_driver")

SEEDS = {"step0": 3, "step10": 1, "step30": 2}
TRAINING = """\
study: training
checkpoints: {{of: {root}/m, revisions: [step0, step10, step30], cohort: step10}}
profile: {{corpus: {root}/text.txt, tokens: 3000, window: 64, bins: 256}}
conditions:
  treated: {{select: top, fraction: 0.1, clamp: negative}}
  random:  {{select: random, like: treated, seeds: [0], clamp: negative}}
evaluate:
  - perplexity: {{corpus: {root}/text.txt, window: 64, tokens: 1280}}
  - pairs: {root}/pairs.jsonl
  - surprisal: {{corpus: {root}/gold.conllu, window: 64, unit: word}}
claims: training_dynamics
noise_floor: false
"""
ALONE = """\
study: alone-{step}
models: [{{path: {root}/m/{step}}}]
profile: {{corpus: {root}/text.txt, tokens: 3000, window: 64, bins: 256}}
conditions:
  treated: {{select: explicit, neurons: {root}/cohort.parquet, clamp: negative}}
evaluate:
  - perplexity: {{corpus: {root}/text.txt, window: 64, tokens: 1280}}
  - pairs: {root}/pairs.jsonl
noise_floor: false
"""
TAGS = ("DET", "NOUN", "AUX", "VERB", "PUNCT")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Three checkpoints of a tiny GPT-NeoX, a text, pairs and annotated documents."""
    folder = tmp_path_factory.mktemp("training")
    for step, seed in SEEDS.items():
        oracles.make_model(folder / "m" / step, "gpt_neox", seed=seed)
    phrase = made_up.phrases()
    made_up.write_text_and_pairs(folder, phrase, num_pairs=120)
    lines = []
    for document in range(12):
        lines.append(f"# newdoc id = {document}")
        for _ in range(3):
            for i, tag in enumerate(TAGS * 2, 1):
                lines.append(f"{i}\t{phrase(1)}\t_\t{tag}\t_\tKind={tag.title()}\t0\t{tag.lower()}\t_\t_")
            lines.append("")
    (folder / "gold.conllu").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def trained(root):
    """The study of the three checkpoints, run once."""
    workdir = root / "work"
    done = run(write_study(root, "training.yaml", TRAINING), workdir)
    assert done.returncode == 0, done.stdout + done.stderr
    return Study.open(root / "training.yaml", workdir=workdir), done


def client_and_runs(study: Study) -> tuple[MlflowClient, dict]:
    client = MlflowClient(study.tracking_uri)
    (experiment,) = (e for e in client.search_experiments() if e.name == study.spec.study)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    return client, {run.info.run_name: run for run in runs}


@pytest.mark.long
def test_one_engine_serves_all_checkpoints_and_a_second_run_computes_nothing(trained):
    study, done = trained
    assert "Traceback" not in done.stderr
    receipts = [
        study.record().document(study.record().latest("training")[f"m@{step}", "baseline", "evaluate.pairs"], path)
        for step in SEEDS
        for path in ["receipts/evaluate.pairs.json"]
    ]
    assert [one["engine"]["reload_refused"] for one in receipts] == ["", "", ""]
    started = re.findall(r"RUN   \w+  (\S+) m@(\w+)", done.stdout)
    roles = ["score" if name in ("profile", "weights") else "ablation" for name, _ in started if name != "select"]
    assert sum(a != b for a, b in itertools.pairwise(roles)) <= 2, "the roles take turns once"
    again = study.run()
    assert (again.computed, set(again.states.values())) == (0, {State.CACHED})
    assert again.report["series"][0]["cohort"] == "m@step10"


@pytest.mark.long
def test_the_cohort_of_one_checkpoint_is_clamped_at_all_with_the_numbers_of_fresh_engines(trained, root):
    study, _ = trained
    record = study.record()
    latest = record.latest("training")
    sets = {step: record.frame(latest[f"m@{step}", "treated", "select"], "neuron_set.parquet") for step in SEEDS}
    assert sets["step0"].equals(sets["step10"]) and sets["step0"].equals(sets["step30"])
    sets["step0"].to_parquet(root / "cohort.parquet")
    for step in ("step0", "step30"):
        text = ALONE.replace("{step}", step)
        alone = Study.open(write_study(root, f"{step}.yaml", text), workdir=root / f"alone-{step}")
        assert alone.run().complete
        own = alone.record()
        for condition in ("baseline", "treated"):
            for name in ("perplexity", "pairs"):
                path = f"items/{name}.parquet"
                mine = record.frame(latest[f"m@{step}", condition, f"evaluate.{name}"], path)
                fresh = own.frame(own.latest(f"alone-{step}")[step, condition, f"evaluate.{name}"], path)
                pd.testing.assert_frame_equal(mine, fresh, check_exact=True)


@pytest.mark.long
def test_metrics_stand_at_their_training_steps(trained):
    study, _ = trained
    client, runs = client_and_runs(study)
    run_ = runs["training dynamics · m"]
    assert run_.info.status == "FINISHED" and run_.data.params["cohort"] == "m@step10"

    def steps(metric: str) -> list[int]:
        return [one.step for one in client.get_metric_history(run_.info.run_id, metric)]

    assert steps("baseline/pairs/accuracy") == steps("wasserstein_distance/treated") == [0, 10, 30]
    assert steps("cosine_dissimilarity/pre_activation/all") == [10, 30]
    assert steps("increase/random/seed_0/surprisal") == [0, 10, 30]
    history = client.get_metric_history(run_.info.run_id, "treated/perplexity")
    own = runs["treated · m@step30"].data.metrics["perplexity"]
    assert history[-1].value == own and runs["treated · m@step30"].data.tags["training_step"] == "30"
    artifacts = {one.path for one in client.list_artifacts(run_.info.run_id, "figures")}
    names = ("scores", "weights", "benchmarks", "effects", "correlation")
    files = {f"figures/{name}.{ending}" for name in names for ending in ("svg", "png")}
    assert artifacts == files | {"figures/captions.json"}


@pytest.mark.long
def test_weights_and_verdicts_are_recorded(trained):
    study, done = trained
    record = study.record()
    table = record.frame(record.latest("training")["m@step30", "", "weights"], "weights.parquet")
    models = [oracles.load(Path(study.plan.model(f"m@{step}").path)) for step in ("step30", "step10")]
    one, other = (model.gpt_neox.layers[1].mlp.dense_h_to_4h.weight[7].detach().double() for model in models)
    expected = 1 - float(one @ other / one.norm() / other.norm())
    found = table[(table["layer"] == 1) & (table["neuron"] == 7)]["pre_activation"].item()
    assert found == pytest.approx(expected, abs=1e-12)
    report = record.document(record.latest("training")["", "", "report"], "report.json")
    claims = [verdict["claim"] for verdict in report["series"][0]["verdicts"]]
    grown = ["ablation_grows/perplexity", "ablation_grows/pairs"]
    assert claims == ["wd_rises", "weights_settle", "wd_tracks_syntax/pairs", *grown]
    assert "Training of m" in done.stdout and "wd_tracks_syntax/pairs: fewer than 20 checkpoints" in done.stdout


@pytest.mark.long
def test_token_surprisal_is_that_of_plain_transformers(trained, root):
    study, _ = trained
    record = study.record()
    items = record.frame(
        record.latest("training")["m@step30", "baseline", "evaluate.surprisal"], "items/surprisal.parquet"
    )
    documents, _ = read_conllu(root / "gold.conllu")
    path = study.plan.model("m@step30").path
    model, tokenizer = oracles.load(Path(path)), AutoTokenizer.from_pretrained(path)
    for i in (0, 7):
        ids = tokenizer(documents[i])["input_ids"]
        mine = items[items["document"] == i]
        assert len(mine) == len(ids) - 1 == len(documents[i])
        first = -oracles.token_log_probabilities(model, ids[:64])
        np.testing.assert_allclose(mine["surprisal"][:63], first, atol=1e-4)
        left = (len(ids) - 1) % 63 or 63  # scored by the last window, which holds BOS and as much context as fits
        last = -oracles.token_log_probabilities(model, [ids[0], *ids[-63:]])
        np.testing.assert_allclose(mine["surprisal"][-left:], last[-left:], atol=1e-4)
        letters = [documents[i][start:end] for start, end in zip(mine["start"], mine["end"], strict=True)]
        assert "".join(letters) == "".join(documents[i].split())


@pytest.mark.long
def test_excess_surprisal_is_recorded_by_part_of_speech_with_a_page(trained):
    study, done = trained
    client, runs = client_and_runs(study)
    run_ = runs["treated · m@step30"]
    assert {f"surprisal/{tag}" for tag in TAGS} | {"surprisal/scaffolding_contrast"} <= set(run_.data.metrics)
    assert "surprisal/DET" not in runs["baseline · m@step30"].data.metrics
    record = study.record()
    committed = record.latest("training")["m@step30", "treated", "excess.surprisal"]
    table = record.frame(committed, "excess/surprisal.parquet").set_index(["kind", "name"])
    assert table.loc[("upos", "DET"), "num_items"] == 12 * 3 * 2, "a row a word"
    assert run_.data.metrics["surprisal/DET"] == pytest.approx(table.loc[("upos", "DET"), "excess"])
    page = record.document(committed, "excess/surprisal-sentences.html")
    assert page.startswith("<!doctype html>") and page.count('<p class="s">') > 10
    figures = {one.path for one in client.list_artifacts(run_.info.run_id, "figures")}
    assert {"figures/surprisal-upos.png", "figures/surprisal-relation.png"} <= figures
    assert "treated, excess on surprisal (nats a word)" in done.stdout


def test_a_checkpoint_of_another_architecture_is_refused_with_its_line(root):
    oracles.make_model(root / "m" / "step40", "gpt_neox", intermediate_size=128)
    oracles.make_model(root / "m" / "step50", "gpt_neox", vocab_size=400)
    for step, difference in (
        ("step40", "d_mlp is 128, 256 at m@step0"),
        ("step50", "vocabulary is 400, 320 at m@step0"),
    ):
        file = write_study(root, "other.yaml", TRAINING.replace("step30]", f"{step}]"))
        done = run(file, root / "other")
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        expected = f"other.yaml:2: checkpoints.revisions.2: {step} is not a checkpoint of the same model: {difference}"
        assert expected in done.stderr


def test_a_broken_line_of_conllu_is_refused_with_both_places(root):
    text = (root / "gold.conllu").read_text().split("\n")
    text[3] = text[3].replace("\t", " ")
    (root / "broken.conllu").write_text("\n".join(text))
    done = run(write_study(root, "broken.yaml", TRAINING.replace("gold.conllu", "broken.conllu")), root / "other")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert re.search(r"broken\.yaml:10: evaluate\.2: \S+broken\.conllu:4: a word has 10 columns", done.stderr)


@pytest.mark.long
def test_free_devices_take_checkpoints_side_by_side_with_the_same_numbers(trained, root):
    """Two actors of one CPU each; steps of one checkpoint run while another's do."""
    study, _ = trained
    text = TRAINING.replace("cohort: step10}}", "cohort: step10, cpus: 1}}").replace("study: training", "study: beside")
    done = run(write_study(root, "beside.yaml", text), root / "beside")
    assert done.returncode == 0, done.stdout + done.stderr
    running, most = Counter(), 0
    for word, checkpoint in re.findall(r"(RUN |DONE)  \w+  \S+ m@(\w+)", done.stdout):
        running[checkpoint] += 1 if word == "RUN " else -1
        most = max(most, sum(count > 0 for count in running.values()))
    assert most >= 2, done.stdout
    beside = Study.open(root / "beside.yaml", workdir=root / "beside")
    frames = []
    for one in (study, beside):
        _, runs = client_and_runs(one)
        frames.append(pd.DataFrame({name: run_.data.metrics for name, run_ in runs.items() if " · m@" in name}))
    mine, other = (frame.drop(index=[i for i in frame.index if "seconds" in i]) for frame in frames)
    pd.testing.assert_frame_equal(mine, other[mine.columns], rtol=1e-4, atol=1e-5)
