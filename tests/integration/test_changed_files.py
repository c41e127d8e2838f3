"""Weights that change behind a study's back: between plan, profile and engine, in place, and under a loaded model."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from actors.hf_model import load_model
from actors.messages.ablation import EvaluateRequest, Intervention, Scored
from actors.messages.model import ModelSource
from actors.messages.scoring import WeightsRequest
from actors.scoring.actor import ScoreActor
from orchestrator.steps.step import State
from orchestrator.study import Study
from studies.benchmarks.texts import Sentences
from studies.errors import StudyError
from tests import oracles
from tests.integration import made_up
from tests.integration.made_up import assert_same, numbers, run, write_study
from tests.processes import one_process
from tests.sources import pinned, source_of
from tests.tampering import flip, replace

ANOTHER = "is another file"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return oracles.make_model(tmp_path / "tiny", "llama")


def zero(weights: Path) -> None:
    """Overwrite the weights in place."""
    with weights.open("r+b") as stream:
        start = 8 + int.from_bytes(stream.read(8), "little")
        stream.seek(start)
        stream.write(bytes(weights.stat().st_size - start))


def test_a_loaded_model_does_not_follow_its_file(folder: Path) -> None:
    """Safetensors are mapped into memory: without a copy, zeros in the file are zeros in the model."""
    model, expected = load_model(source_of(folder)), oracles.load(folder).state_dict()
    expected = {name: tensor.clone() for name, tensor in expected.items()}
    zero(folder / "model.safetensors")
    assert expected and all(torch.equal(model.state_dict()[name], tensor) for name, tensor in expected.items())


def test_a_score_actor_loads_only_what_was_pinned(folder: Path) -> None:
    source = pinned(source_of(folder))
    actor = ScoreActor(source)
    flip(folder / "model.safetensors")
    for load in (
        lambda: ScoreActor(source),
        lambda: actor.reload(source),
        lambda: list(actor.weights(WeightsRequest(step="s", before=source))),
    ):
        with pytest.raises(StudyError, match=ANOTHER):
            load()
    ScoreActor(pinned(source))


def sum_of(actor) -> float:
    request = EvaluateRequest(
        benchmark="b", texts=Sentences(texts=("a keen fox",)), interventions={"s": Intervention()}
    )
    (scored,) = (message for message in actor.evaluate(request) if isinstance(message, Scored))
    return float(scored.sums[0])


def by_an_engine(first: ModelSource, second: ModelSource, third: ModelSource) -> tuple[float, float, list[str]]:
    """(log-probability of a text under the first and, reloaded, the second checkpoint; what refuses a changed one)."""
    from actors.ablation.actor import AblationActor

    actor, refused = AblationActor(first), []
    try:
        before = sum_of(actor)
        actor.reload(second)
        after = sum_of(actor)
        flip(Path(third.path) / "model.safetensors")
        for load in (actor.reload, AblationActor):
            try:
                load(third)
            except StudyError as error:
                refused.append(str(error))
    finally:
        actor.close()
    return before, after, refused


def test_an_engine_loads_and_reloads_only_what_was_pinned(tmp_path: Path) -> None:
    first, second, third = (
        pinned(source_of(oracles.make_model(tmp_path / f"seed{seed}", "llama", seed=seed))) for seed in range(3)
    )
    with one_process(timeout=500) as call:
        before, after, refused = call(by_an_engine, first, second, third)
    assert not np.isclose(before, after)
    assert len(refused) == 2 and all(ANOTHER in reason for reason in refused)


def by_two_ranks(source: ModelSource) -> str:
    """What an engine's ranks say of files that changed after they were read."""
    from actors.ablation.engine import Engine

    engine = Engine(source)
    try:
        engine.verify_files(source)
        replace(Path(source.path) / "model.safetensors")
        try:
            engine.verify_files(source)
        except StudyError as error:
            return str(error)
        return ""
    finally:
        engine.close()


@pytest.mark.long
def test_every_rank_compares_the_files_of_its_node(folder: Path) -> None:
    with one_process(timeout=500) as call:
        assert ANOTHER in call(by_two_ranks, pinned(source_of(folder, tensor_parallel=2)))


STUDY = """\
study: changing
models:
  - {{path: {root}/changed}}
  - {{path: {root}/steady}}
profile: {{corpus: {root}/text.txt, tokens: 2000, window: 64, bins: 256, scores: [wasserstein_distance]}}
conditions:
  top: {{select: top, fraction: 0.1, clamp: zero}}
evaluate:
  - perplexity: {{corpus: {root}/text.txt, window: 64, tokens: 640}}
noise_floor: false
"""


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("no_process_outlives_its_driver")
def test_a_study_never_records_numbers_of_other_weights_than_it_planned_with(tmp_path: Path) -> None:
    for seed, name in enumerate(("changed", "steady", "other")):
        oracles.make_model(tmp_path / name, "llama", seed=seed)
    made_up.write_text_and_pairs(tmp_path, made_up.phrases(), num_pairs=10)
    weights, workdir = tmp_path / "changed" / "model.safetensors", tmp_path / "work"
    first = run(write_study(tmp_path, "study.yaml", STUDY), workdir)
    assert first.returncode == 0, first.stderr

    more = write_study(tmp_path, "study.yaml", STUDY.replace("noise", "  - pairs: {root}/pairs.jsonl\nnoise"))
    planned = Study.open(more, workdir=workdir)  # the profiles are recorded, the engines are not yet started
    mtime = weights.stat().st_mtime_ns
    os.replace(tmp_path / "other" / "model.safetensors", weights)
    os.utime(weights, ns=(mtime, mtime))
    result = planned.run()
    ended = {(step.model, step.name): result.states[step.id] for step in planned.plan.steps.values()}
    assert ended["changed", "profile"] is State.CACHED and ended["steady", "evaluate.pairs"] is State.DONE
    assert ended["changed", "evaluate.pairs"] is State.FAILED and not result.complete
    assert any(f"{weights} on" in reason and ANOTHER in reason for reason in result.reasons.values())

    assert run(more, workdir).returncode == 0, "hashed anew, the weights get steps of their own"
    assert run(more, tmp_path / "fresh").returncode == 0
    assert_same(numbers(workdir, "changing"), numbers(tmp_path / "fresh", "changing"))

    before = {step.id for step in Study.open(more, workdir=workdir).plan.steps.values() if step.model == "changed"}
    flip(weights)
    assert weights.stat().st_mtime_ns == mtime
    flipped = Study.open(more, workdir=workdir)
    after = {step.id for step in flipped.plan.steps.values() if step.model == "changed"}
    assert not before & after
    result = flipped.run()
    assert result.complete and result.computed == len(after)
