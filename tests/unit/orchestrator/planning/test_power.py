"""The power of a plan's claims: layouts of benchmarks, whose spreads are taken, warnings."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.planning.power import (
    PlannedPower,
    earlier_spreads,
    low_powers,
    power_lines,
    power_records,
    powers,
)
from orchestrator.planning.roles import roles
from orchestrator.record.client.failures import RecordError
from studies.benchmarks.choices import ChoiceBenchmark, Item
from studies.benchmarks.minimal_pairs import Pair, PairBenchmark
from studies.benchmarks.perplexity import PerplexityBenchmark
from studies.claims.power import ClaimPower
from studies.reporting.spreads import EarlierSpread
from studies.statistics.power import Spread
from tests.plans import RELU, STUDY, TRAINING, VALIDATION, model, plan, training

CLAIMS = STUDY + "claims: double_dissociation\n"
PAIRS = tuple(
    Pair(f"uid {u}", f"phenomenon {u % 3}", str(i), "She runs.", "She run.") for u in range(12) for i in range(20)
)
QUESTIONS = tuple(Item(str(i), "The sky is", ("blue", "square"), 0) for i in range(300))
BENCHMARKS = (
    PerplexityBenchmark(corpus=VALIDATION, window=16, num_tokens=256),
    PairBenchmark(name="embedded_pairs", label="embedded minimal pairs", pairs=PAIRS),
    ChoiceBenchmark(name="embedded_knowledge", label="embedded knowledge", items=QUESTIONS),
)


def spread(digest: str, day: str, benchmark: str = "perplexity", comparison: str = "treated/baseline") -> EarlierSpread:
    return EarlierSpread("m", digest, day, benchmark, comparison, Spread(0.01), 0.001)


def of_claims(planned: Sequence[PlannedPower]) -> dict[str, ClaimPower]:
    return {power.claim: power for _, power in planned}


def test_layouts_are_known_before_anything_is_scored() -> None:
    found = of_claims(powers(plan(CLAIMS, benchmarks=BENCHMARKS)))
    assert found["syntax_loss/embedded_pairs"].units == "12 paradigms of 20 items"
    assert found["knowledge_loss"].units == "300 items"
    assert found["perplexity_cost"].reason == "no earlier run shows how windows vary"
    earlier = [spread("d1", "2026-12-01", comparison=f"treated/{other}") for other in ("baseline", "random")]
    known = of_claims(powers(plan(CLAIMS, benchmarks=BENCHMARKS), earlier))
    assert known["perplexity_cost"].units == "16 windows" and (known["perplexity_cost"].power or 0) > 0.8


def test_a_benchmark_of_a_users_own_that_fails_costs_its_claims_their_power(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise KeyError("oops")

    monkeypatch.setattr(PairBenchmark, "results", broken)
    found = of_claims(powers(plan(CLAIMS, benchmarks=BENCHMARKS)))
    reason = "the items of embedded_pairs are not known before they are scored"
    assert found["syntax_loss/embedded_pairs"].reason == reason and found["knowledge_loss"].power is not None


def test_spreads_are_this_models_then_any_models_then_the_defaults() -> None:
    key = {"benchmark": "embedded_knowledge", "comparison": "matched/baseline"}
    first, other = spread("d2", "2026-12-03", **key), spread("d1", "2026-12-02", **key)
    study_plan = plan(CLAIMS, benchmarks=BENCHMARKS)
    bases = [
        of_claims(powers(study_plan, earlier))["knowledge_loss"].basis for earlier in ([first, other], [first], [])
    ]
    assert bases == [
        "this model's run of 2026-12-02 and defaults (discordance 0.06)",
        "another model's (m) run of 2026-12-03 and defaults (discordance 0.06)",
        "defaults (discordance 0.06)",
    ]


def test_no_power_where_nothing_is_claimed() -> None:
    assert powers(plan(benchmarks=BENCHMARKS)) == [] == powers(plan(CLAIMS, models=[model(architecture=RELU)]))
    checkpoints = powers(training(TRAINING + "claims: double_dissociation\n"))
    assert {entry.model for entry in checkpoints} == {"m@step10"}, "the others follow its neurons"
    assert low_powers([], plan()) == [] == power_lines([])


def test_warnings_name_the_benchmark_and_what_would_help() -> None:
    study_plan = plan(CLAIMS, benchmarks=BENCHMARKS)
    lines = low_powers(powers(study_plan), study_plan)
    assert lines[0] == (
        "by-hand.yaml:8: evaluate.1: syntax_loss/embedded_pairs has 31 % power to show an effect of 0.04 with "
        "12 paradigms of 20 items by defaults (discordance 0.06, SD over paradigms 0.02); "
        "about 3 times as many items would give 80 %"
    )
    assert "syntax_spared/embedded_pairs has under 1 % power to show that there is no effect with " in lines[1]
    assert lines[2].startswith("by-hand.yaml:8: evaluate.2: knowledge_spared has under 1 % power")
    assert len(lines) == 4 and "double_dissociation has 42 % power" in lines[3]
    few = plan(CLAIMS)
    told = low_powers(powers(few), few)
    assert told[0].endswith("evaluate.0: perplexity_cost cannot be supported: too few windows, at least 6 needed")
    reason = "syntax_loss/embedded_pairs cannot be supported: too few items, at least 100 needed; about "
    assert reason in told[1], "with the defaults more items are known to help"


def test_one_line_for_models_with_the_same_power() -> None:
    low = ClaimPower("c", 0.2, 0.04, ("embedded_pairs",), "9 items", "defaults", remedy="about 5 times as many items")
    planned = [
        PlannedPower("a", low),
        PlannedPower("b", low),
        PlannedPower("a", low._replace(claim="d", power=None, reason="why")),
    ]
    assert power_lines(planned) == [
        ["c", "20 %", "an effect of 0.04, 9 items, by defaults; about 5 times as many items"],
        ["d (a)", "unknown", "why; about 5 times as many items"],
    ]
    study_plan = plan(CLAIMS, models=[model("a"), model("b"), model("c")])
    (line,) = low_powers(planned, study_plan)
    assert "c has 20 % power for a, b to show an effect of 0.04 with 9 items by defaults; about 5 times" in line


def test_the_keys_of_a_planned_power() -> None:
    (record,) = power_records(
        [PlannedPower("a", ClaimPower("c", 0.2, 0.04, ("b",), "9 items", "defaults", "", "more"))]
    )
    assert record == {
        "model": "a",
        "claim": "c",
        "power": 0.2,
        "effect": 0.04,
        "benchmarks": ["b"],
        "units": "9 items",
        "basis": "defaults",
        "reason": "",
        "remedy": "more",
    }


class Reports:
    """In place of a record: reports, newest first, and which of them were read."""

    def __init__(self, *reports: Any) -> None:
        self.reports, self.read = reports, list[int]()

    def last_of_studies(self, step_name: str) -> list[tuple[str, Any]]:
        assert step_name == "report"
        return [(f"2026-12-{20 - i}T10:00:00+00:00", SimpleNamespace(number=i)) for i in range(len(self.reports))]

    def document(self, committed: Any, path: str) -> Any:
        assert path == "report.json"
        self.read.append(committed.number)
        if self.reports[committed.number] is None:
            raise RecordError("damaged")
        return self.reports[committed.number]


def report(digest: str) -> dict[str, Any]:
    entry = {"benchmark": "b", "comparison": "treated/baseline", "sd_items": 0.2, "sd_units": 0.1, "discordance": None}
    return {"models": [{"label": "m", "digest": digest, "spreads": [{**entry, "sd_random_sets": None}]}]}


def test_reports_are_read_until_every_model_is_known() -> None:
    record: Any = Reports(report("other"), None, {"models": "damaged"}, report("d1"), report("d1"))
    found = earlier_spreads(record, plan(CLAIMS))
    assert [(entry.digest, entry.day) for entry in found] == [("other", "2026-12-20"), ("d1", "2026-12-17")]
    assert record.read == [0, 1, 2, 3]
    unasked: Any = Reports(report("d1"))
    assert earlier_spreads(unasked, plan()) == [] and unasked.read == []
    many: Any = Reports(*[report("other")] * 30)
    assert len(earlier_spreads(many, plan(CLAIMS))) == 10


def test_the_roles_of_conditions() -> None:
    text = STUDY.replace(
        "evaluate:",
        "  md: {select: top, score: mapping_difficulty, fraction: 0.1, clamp: negative}\n"
        "  md_random: {select: random, like: md, seeds: [4], clamp: negative}\n"
        "  flip: {select: top, fraction: 0.1, clamp: signflip}\n"
        "  relu: {select: top, fraction: 0.1, clamp: posrelu}\n"
        "  other: {select: top, fraction: 0.2, clamp: posrelu}\nevaluate:",
    )
    study_plan = plan(text)
    found = roles(study_plan, study_plan.study.models[0])
    assert found is not None and found.conditions == {
        "baseline": "baseline",
        "treated": "treated",
        "matched": "matched",
        "difficulty": "md",
        "signflip": "flip",
        "posrelu": "relu",
    }
    assert found.randoms == {"random": ("random/seed=0", "random/seed=1"), "difficulty random": ("md_random/seed=4",)}
    other = text.replace("flip:", "odd: {select: random, like: treated, seeds: [7], clamp: positive}\n  flip:")
    odd_plan = plan(other)
    assert roles(odd_plan, odd_plan.study.models[0]) == found, "another clamp is no control"
    twice = plan(text.replace("flip:", "again: {select: random, like: treated, seeds: [0], clamp: negative}\n  flip:"))
    assert roles(twice, twice.study.models[0]) == found, "a set of neurons counts once"
    positive = plan(text.replace("clamp: negative", "clamp: positive"))
    assert roles(positive, positive.study.models[0]) is None, "the claims are about the negative clamp"
    relu = plan(text, models=[model(architecture=replace(RELU))])
    of_relu = roles(relu, relu.study.models[0])
    assert of_relu is not None and not any(of_relu.randoms.values()), "a control of what does not apply is none"
    assert powers(relu) == []
