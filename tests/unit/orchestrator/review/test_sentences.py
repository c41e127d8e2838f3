"""Texts of items and flipped items against a record in memory."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from actors.messages.ablation import EvaluateRequest
from actors.messages.stream import Finished
from orchestrator.review.findings import Findings
from orchestrator.review.sentences import logged_tables, record_flips, record_texts
from orchestrator.scheduling.decisions import Start
from studies.benchmarks.choices import ChoiceBenchmark, Item
from studies.benchmarks.minimal_pairs import Pair, PairBenchmark
from tests.fakes import FakeRecord, scored
from tests.plans import BENCHMARKS, STUDY, plan
from tests.unit.orchestrator.review.test_review import run

PAIRS = tuple(Pair(f"u{i % 3}", f"p{i % 2}", str(i), f"good {i}", f"bad {i}") for i in range(12))
QUESTIONS = tuple(Item(f"q{i}", f"question {i}", ("yes", "no"), 0) for i in range(8))
STUDIED = (
    BENCHMARKS[0],
    PairBenchmark(name="pairs", label="pairs", pairs=PAIRS),
    ChoiceBenchmark(name="know", label="questions", items=QUESTIONS),
)


def flipping(actor: str, start: Start, request: Any) -> Iterator[Any]:
    """Clamped neurons turn the first four pairs and the first question round; other answers stay right."""
    if not isinstance(request, EvaluateRequest) or request.benchmark not in ("pairs", "know"):
        return
    num_items, turned = {"pairs": (12, 4), "know": (8, 1)}[request.benchmark]
    for step, intervention in request.interventions.items():
        sums = np.tile([-1.0, -2.0], num_items)
        if intervention.neurons:
            sums[: 2 * turned : 2] = -10.0 - np.arange(turned)
        yield replace(scored(step, request), sums=sums)
    yield Finished()


def findings(record: FakeRecord, study_text: str = STUDY) -> Findings:
    """The findings of a run."""
    study = plan(study_text, benchmarks=STUDIED)
    return Findings(study, run(study, record, flipping), record)  # type: ignore[arg-type]


def test_texts_are_recorded_once_a_benchmark_and_for_all_studies_of_a_store() -> None:
    record = FakeRecord()
    record_texts(findings(record))
    named = [step.step_name for step in record.steps.values() if step.step_name.startswith("texts.")]
    assert named == ["texts.pairs", "texts.know"]  # windows have none
    step = next(step for step in record.steps.values() if step.step_name == "texts.pairs")
    texts = record.frame(step, "texts/pairs.parquet")
    assert len(texts) == 12 and texts.to_dict("records")[0] == {
        "uid": "u0", "pair": "0", "good": "good 0", "bad": "bad 0",
    }  # fmt: skip
    steps = dict(record.steps)
    record_texts(findings(record, STUDY.replace("by-hand", "another")))
    assert record.steps == steps


def test_flipped_items_stand_with_their_sentences_on_every_run_but_random_ones() -> None:
    record = FakeRecord()
    found = findings(record)
    flipped = record_flips(found, found.plan.study.models[0])
    assert list(flipped) == ["treated", "matched"] and flipped["matched"] == flipped["treated"]
    assert flipped["treated"] == {"pairs": {"lost": 4, "gained": 0}, "know": {"lost": 1, "gained": 0}}
    table = record.last("flipped", "flipped/pairs.json")
    pairs = pd.DataFrame(table["data"], columns=table["columns"])
    assert pairs.columns.tolist() == [
        "good", "change", "bad", "phenomenon", "logprob_good_before", "logprob_good_after",
        "logprob_bad_before", "logprob_bad_after", "uid", "pair",
    ]  # fmt: skip
    assert pairs["good"].tolist() == ["good 3", "good 2", "good 1", "good 0"] and set(pairs["change"]) == {"lost"}
    assert pairs["logprob_good_after"].tolist() == [-13.0, -12.0, -11.0, -10.0]
    question = record.last("flipped", "flipped/know.json")
    assert dict(zip(question["columns"], question["data"][0], strict=True)) == {
        "change": "lost", "context": "question 0", "choices": ["yes", "no"], "gold": 0,
        "logprobs_before": [-1.0, -2.0], "logprobs_after": [-10.0, -2.0],
        "predicted_before": 0, "predicted_after": 1, "id": "q0",
    }  # fmt: skip
    json.dumps([table, question], allow_nan=False)


def test_the_flips_of_a_second_review_are_not_made_again() -> None:
    record = FakeRecord()
    found = findings(record)
    first, steps = record_flips(found, found.plan.study.models[0]), dict(record.steps)
    again = Findings(found.plan, found.outcome, record)  # type: ignore[arg-type]
    assert record_flips(again, found.plan.study.models[0]) == first and record.steps == steps


def test_mlflow_is_told_of_the_tables_of_a_run() -> None:
    tag = logged_tables({"pairs": {}, "know": {}})["mlflow.loggedArtifacts"]
    assert json.loads(tag) == [
        {"path": "flipped/pairs.json", "type": "table"},
        {"path": "flipped/know.json", "type": "table"},
    ]
    assert logged_tables({}) == {}
