"""Benchmarks added from outside the product, with measures of their own: planned, run, recorded and reviewed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from actors.messages.ablation import EvaluateRequest
from actors.messages.stream import Finished
from orchestrator.execution.runner import Runner
from orchestrator.planning.data import benchmark
from orchestrator.planning.places import Places
from orchestrator.planning.plan import Plan
from orchestrator.review.report import Review, review
from orchestrator.scheduling.decisions import Start
from orchestrator.scheduling.placement import Demand
from orchestrator.steps.step import BASELINE, State
from orchestrator.study_file.load import parse_spec
from orchestrator.study_file.spec import PRESETS
from studies.benchmarks.measures import Measure
from studies.benchmarks.options import StudySettings
from studies.benchmarks.registry import BENCHMARKS
from studies.errors import StudyError
from tests import plans
from tests.fakes import NODE, FakePool, FakeRecord, scored
from tests.plans import plan, step_id
from tests.toys.benchmark import MARGIN, Echo, EchoOptions
from tests.toys.documented import documented_benchmark
from tests.world import make_cluster

ECHO = plans.STUDY.replace("[perplexity, embedded_pairs, embedded_knowledge]", "[perplexity, echo: {per_initial: 20}]")
ECHO = ECHO.replace(
    "  random:",
    "  deep: {select: top, fraction: 0.1, clamp: negative, layers: {groups: 2}}\n"
    "  dose: {select: top, fraction: [0.1, 0.2], clamp: negative}\n"
    "  random:",
)


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(BENCHMARKS, "echo", EchoOptions)
    monkeypatch.setitem(BENCHMARKS, "last_words", documented_benchmark(tmp_path).LastWordsOptions)


def planned(text: str, folder: Path) -> Plan:
    """The plan of a study file; its perplexity is the one made by hand."""
    spec, _ = parse_spec(text, "f.yaml")
    places = Places(folder=folder, data_root=None, model_roots=())
    strict = PRESETS["strict"]
    loaded = (benchmark(entry, places, strict) for entry in spec.evaluate if entry.kind != "perplexity")
    return plan(text, benchmarks=(plans.BENCHMARKS[0], *loaded))


def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
    """Log-probabilities that differ between texts; an ablation costs the first of every two a nat or so."""
    if isinstance(request, EvaluateRequest):
        for step, found in request.interventions.items():
            usual = scored(step, request)
            noise = np.random.default_rng(0).uniform(0, 0.5, (2, len(usual.sums)))
            cost = np.where(np.arange(len(usual.sums)) % 2, 0, 1 + noise[1]) * bool(found.neurons)
            yield replace(usual, sums=usual.sums - noise[0] - cost)
        yield Finished()


def run(study: Plan, record: FakeRecord) -> Review:
    """One run and its report; every step is done, or was."""
    runner = Runner(study, record)
    if not runner.load_finished():
        runner.run(FakePool(study, answer), make_cluster([NODE], {"a": Demand(2.0, 0.0)}), {})
    outcome = runner.outcome()
    assert set(outcome.states.values()) <= {State.DONE, State.CACHED}, outcome.reasons
    return review(study, outcome, record)


def table_of(record: FakeRecord, step: str, path: str) -> pd.DataFrame:
    """The rows of the added benchmark in a table of the only step of this name."""
    (committed,) = (committed for committed in record.steps.values() if committed.step_name == step)
    table = record.frame(committed, path)
    return table[table["benchmark"] == "echo"]


def cells(report: Any, name: str) -> dict[str, Any]:
    """{condition: the benchmark's cell in the table}."""
    return {row["condition"]: row["cells"][name] for row in report["models"][0]["rows"]}


def test_an_added_benchmark_is_in_every_part_of_the_report(tmp_path: Path) -> None:
    study, record = planned(ECHO, tmp_path), FakeRecord()
    report = run(study, record).report
    (part,) = report["models"]
    assert part["benchmarks"][1] == {
        "name": "echo",
        "label": "echoes",
        "measure": {"name": "echo_margin", "digits": 1, "logarithmic": False},
        "is_syntactic": None,
        "items": "texts",
        "higher_is_better": True,
        "digest": study.study.benchmarks[1].digest,
    }
    treated = next(row for row in part["rows"] if row["condition"] == "treated")["deltas"]["echo"]
    assert treated["low"] < treated["estimate"] < treated["high"] < 0 and treated["num_items"] == 120
    found = cells(report, "echo")
    assert found[BASELINE]["low"] < 0 < found[BASELINE]["high"]
    for condition in ("treated", "matched", "random/seed=0", "deep/layers=0", "dose/fraction=0.2"):
        assert -1.5 < found[condition]["low"] < found[condition]["estimate"] < found[condition]["high"] < -1, condition
    assert part["noise_floor"]["echo"] == {
        "num_items": 120,
        "max_logprob_difference": 0.0,
        "num_changed_decisions": 0,
        "relative_perplexity_difference": None,
    }
    assert ("random", "echo/margin") in {(seed["condition"], seed["metric"]) for seed in part["seeds"]}
    assert part["verdicts"] == []
    note = record.last("report", "report.md")
    assert "| condition | neurons | perplexity (validation) | echoes |" in note
    assert "echo log-probabilities by at most 0.0e+00 nats, 0 of 120 decisions" in note


class Logarithms(Echo):
    """Echoes whose margin is the logarithm of a loss; they test grammar."""

    measure: ClassVar[Measure] = replace(MARGIN, higher_is_better=False, is_log=True)
    is_syntactic: ClassVar[bool | None] = True


def test_a_logarithm_is_reported_as_what_people_read_and_no_claim_on_accuracy_counts_it() -> None:
    """It tests grammar but is not graded."""
    text = plans.STUDY + "claims: double_dissociation\n"
    deep = "deep: {select: top, fraction: 0.1, clamp: negative, layers: {groups: 2, schedule: cumulative}}"
    dose = "dose: {select: top, fraction: [0.1, 0.2], clamp: negative}"
    texts = EchoOptions().load("echo", StudySettings(data_root=None, path=Path, half_ties=True, bos=None)).texts
    study = plan(
        text.replace("  random:", f"  {deep}\n  {dose}\n  random:"),
        benchmarks=(Logarithms(name="logs", label="logarithms", texts=texts), *plans.BENCHMARKS),
    )
    record = FakeRecord()
    (part,) = run(study, record).report["models"]
    assert part["benchmarks"][0]["measure"] == {"name": "echo_margin", "digits": 1, "logarithmic": True}
    cells = {row["condition"]: row["cells"]["logs"]["estimate"] for row in part["rows"]}
    margin = record.steps[step_id(study, "evaluate.logs", "treated")].metrics["logs/margin"]
    assert margin < -1 and cells["treated"] == pytest.approx(np.exp(margin))
    assert part["noise"].startswith("Noise floor (the baseline on another pack plan moves): logs by 0.0e+00 (relative)")
    assert [entry["benchmark"] for entry in part["doubling"]] == ["logs", "perplexity"]
    assert "logs" in part["schedules"][0]["trends"]
    claims = {verdict["claim"] for verdict in part["verdicts"]}
    assert not any(claim.endswith("/logs") for claim in claims)
    assert {claim for claim in claims if claim.startswith("syntax")} == {
        "syntax_loss/embedded_pairs",
        "syntax_spared/embedded_pairs",
    }
    assert f"| baseline | none | {cells[BASELINE]:.1f} [" in record.last("report", "report.md")


def test_conditions_are_compared_on_an_added_benchmark_by_phenomenon(tmp_path: Path) -> None:
    study, record = planned(ECHO, tmp_path), FakeRecord()
    run(study, record)
    table = table_of(record, "report", "comparisons.parquet")
    against = table.query("condition == 'treated' and against == 'baseline'").set_index("phenomenon")
    assert list(against.index) == ["all", "far", "near"] and against["p_value"].isna().all()
    assert (against["high_clustered"] < -1).all() and against["num_items"].tolist() == [120, 60, 60]


def test_layers_and_doses_cost_margin_on_an_added_benchmark(tmp_path: Path) -> None:
    """The increase is a loss, because higher is better."""
    study, record = planned(ECHO, tmp_path), FakeRecord()
    run(study, record)
    layers = table_of(record, "layers", "layer_effects.parquet")
    assert layers["phenomenon"].tolist() == ["all", "far", "near"] * 2 and (layers["low"] > 1).all()
    doses = table_of(record, "doses", "dose_response.parquet")
    assert doses["fraction"].tolist() == [0.1, 0.2] and (doses["low"] > 1).all()


def test_an_added_benchmark_is_cached_and_moves_no_other_step(tmp_path: Path) -> None:
    study, record = planned(ECHO, tmp_path), FakeRecord()
    first = run(study, record)
    second = run(study, record)
    assert second.cached and second.report == first.report
    without = plan(ECHO.replace(", echo: {per_initial: 20}", ""), benchmarks=plans.BENCHMARKS[:1])
    assert set(without.steps) < set(study.steps)
    assert {s.name for s in study.steps.values() if s.id not in without.steps} == {"evaluate.echo", "noise_floor.echo"}
    fewer = planned(ECHO.replace("per_initial: 20", "per_initial: 18"), tmp_path)
    assert step_id(fewer, "evaluate.echo", BASELINE) != step_id(study, "evaluate.echo", BASELINE)


def test_the_example_of_the_documentation_runs_to_a_report(tmp_path: Path) -> None:
    rows = (f'{{"sentence": "sentence {i} ends here"}}\n' for i in range(40))
    (tmp_path / "sentences.jsonl").write_text("".join(rows))
    text = ECHO.replace("echo: {per_initial: 20}", "last_words: {path: sentences.jsonl, sentences: 30}")
    report = run(planned(text, tmp_path), FakeRecord()).report
    found = cells(report, "sentences")
    assert report["models"][0]["noise_floor"]["sentences"]["num_items"] == 30
    assert found["treated"]["low"] > found[BASELINE]["high"]


def test_a_mistake_in_an_added_benchmark_is_one_line_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(StudyError) as error:
        planned(ECHO.replace("per_initial: 20", "per_initial: 3"), tmp_path)
    assert str(error.value) == "f.yaml:10: evaluate.1.echo: per_initial must be even, as many near as far; found 3"
