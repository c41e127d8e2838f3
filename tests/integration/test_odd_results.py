"""One odd model, item or search in a study on real Ray and vLLM costs its own step; everything else is whole."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from transformers import AutoTokenizer, PreTrainedModel

from orchestrator.steps.step import State
from orchestrator.study import Study
from tests import oracles
from tests.integration import made_up
from tests.integration.made_up import run, write_study

pytestmark = pytest.mark.usefixtures("no_process_outlives_its_driver")

STUDY = """\
study: odd
models:
  - {{path: {root}/sound}}
  - {{path: {root}/endless}}
  - {{path: {root}/unmoved}}
profile: {{corpus: {root}/text.txt, tokens: 1024, window: 64, bins: 64, pairs: 64}}
conditions:
  treated: {{select: top, fraction: 0.2, clamp: zero}}
  matched: {{select: bottom, match: {{perplexity_of: treated, within: 0.9, within_rise: 0.99}}, clamp: zero}}
evaluate:
  - perplexity: {{corpus: {root}/text.txt, window: 64, tokens: 640}}
  - pairs: {root}/pairs.jsonl
noise_floor: false
claims: double_dissociation
"""
NEVER_MATCHED = ("matched", "matched/neighbour")
TOO_LONG = " ".join(["ab"] * 500)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models, and pairs of which the second is too long for them.

    `endless` rules line breaks out, so that its perplexity is infinite on a text that has some; nothing that is done to
    the neurons of `unmoved` has an effect, so there is no perplexity to match.
    """
    folder = tmp_path_factory.mktemp("odd")
    for name, family, seed in (("sound", "llama", 7), ("endless", "phi", 0), ("unmoved", "llama", 0)):
        oracles.make_model(folder / name, family, seed=seed)
    with changed(folder / "endless") as model:
        (line_break,) = AutoTokenizer.from_pretrained(folder / "endless")("\n", add_special_tokens=False)["input_ids"]
        model.lm_head.bias[line_break] = -1e5
    with changed(folder / "unmoved") as model:
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.zero_()
    made_up.write_text_and_pairs(folder, made_up.phrases(), num_pairs=30)
    pairs = (folder / "pairs.jsonl").read_text().splitlines(keepends=True)
    pairs.insert(1, json.dumps({"sentence_good": TOO_LONG, "sentence_bad": "ab", "uid": "u0"}) + "\n")
    (folder / "pairs.jsonl").write_text("".join(pairs))
    return folder


@contextlib.contextmanager
def changed(folder: Path) -> Iterator[PreTrainedModel]:
    """The model of a folder, saved again after the block."""
    model = oracles.load(folder)
    with torch.no_grad():
        yield model
    model.save_pretrained(folder)


@pytest.mark.long
def test_a_study_of_an_odd_a_finding_and_a_sound_model_reports_all_that_there_is(root: Path) -> None:
    workdir, study_file = root / "work", write_study(root, "odd.yaml", STUDY)
    done = run(study_file, workdir)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    study = Study.open(study_file, workdir=workdir)
    result = study.run()  # what failed is tried again, and fails again
    assert not result.complete

    def ended(model: str, state: State) -> set[str]:
        steps = study.plan.steps
        return {
            f"{steps[s].name} {steps[s].condition}"
            for s, at in result.states.items()
            if at is state and steps[s].model == model
        }

    reasons = {study.plan.steps[step].title: reason for step, reason in result.reasons.items()}
    assert ended("endless", State.FAILED) == {"evaluate.perplexity baseline", "evaluate.perplexity treated"}
    infinite = "its result cannot be recorded: metric 'perplexity' is inf; only finite numbers are recorded"
    assert reasons["evaluate.perplexity endless baseline"] == infinite
    assert ended("endless", State.CACHED) >= {"evaluate.pairs baseline", "evaluate.pairs treated"}
    finding = reasons["match unmoved matched"]
    assert finding.startswith("the control cannot be matched: the treated perplexity ")
    names = [f"evaluate.{benchmark} {of}" for benchmark in ("perplexity", "pairs") for of in NEVER_MATCHED]
    assert ended("unmoved", State.NOT_APPLICABLE) == set(names)
    of_sound = ended("sound", State.CACHED)
    neighbours = {f"evaluate.{benchmark} matched/neighbour" for benchmark in ("perplexity", "pairs")}
    assert ended("sound", State.NOT_APPLICABLE) in (set(), neighbours), "whether it has one is the search's finding"
    assert len(of_sound | ended("sound", State.NOT_APPLICABLE)) == len(of_sound | neighbours)
    assert {f"evaluate.{benchmark} matched" for benchmark in ("perplexity", "pairs")} <= of_sound

    models = {model["label"]: model for model in result.report["models"]}
    for row in models["sound"]["rows"]:
        assert set(row["cells"]) == {"perplexity", "pairs"} and not row["remark"]
    assert models["unmoved"]["unmatched"] == {"matched": finding} and finding in " ".join(done.stdout.split())
    left_out = f"{root / 'pairs.jsonl'}:2 has 1500 tokens; the model has positions for 128"
    assert all(model["left_out"]["pairs"] == {"items": 1, "of": 31, "first": [left_out]} for model in models.values())
    assert all("unmoved" not in entry and "sound" not in entry for entry in result.report["unfinished"])

    client = MlflowClient(f"sqlite:///{workdir / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("odd").experiment_id
    statuses = {run.info.run_name: run.info.status for run in client.search_runs([experiment])}
    assert statuses["odd"] == statuses["baseline · endless"] == "FAILED"
    assert "matched/neighbour · unmoved" not in statuses
    assert statuses["matched · unmoved"] == statuses["matched · sound"] == statuses["baseline · sound"] == "FINISHED"


@pytest.mark.long
def test_a_study_whose_control_cannot_be_matched_is_complete(root: Path) -> None:
    text = STUDY.replace("  - {{path: {root}/sound}}\n  - {{path: {root}/endless}}\n", "").replace(
        "study: odd", "study: unmoved"
    )
    workdir, study_file = root / "work", write_study(root, "unmoved.yaml", text)
    done = run(study_file, workdir)
    assert done.returncode == 0, done.stderr
    assert "the control cannot be matched" in " ".join(done.stdout.split())
    again = run(study_file, workdir)
    assert again.returncode == 0 and "0 steps computed" in again.stdout
