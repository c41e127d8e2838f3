"""The scorecard, the costs and the grid of what was forgotten: every number is the recorded one."""

import numpy as np
import pandas as pd
import pytest

from studies.reporting.page import costs, forgotten, scorecard
from studies.reporting.page.content import Cell
from tests.unit.studies.reporting.page.examples import comparisons, content, flips, model, report, verdict


@pytest.mark.parametrize(
    ("status", "agreement"),
    [
        ("supported", "same direction"), ("absent", "no effect here"), ("contradicted", "opposite"),
        ("undecided", "–"), ("not applicable", "–"),
    ],
)  # fmt: skip
def test_agreement_with_the_paper_follows_from_our_verdict_alone(status: str, agreement: str) -> None:
    """Whatever the sign of the effect, and whatever the paper found."""
    for estimate in (-0.5, 0.5):
        effect = {"estimate": estimate, "low": estimate - 0.1, "high": estimate + 0.1}
        (row,) = scorecard.rows(report(model(verdicts=[verdict(status, effect=effect)])))
        assert [one.agreement for one in row.judged] == [agreement]


def test_a_claim_is_one_row_with_all_models_and_those_on_a_training_come_last() -> None:
    found = report(model("a"), model("b", [verdict("undecided"), verdict(claim="other", unit="log_perplexity")]))
    found["series"] = [{"label": "pythia", "verdicts": [verdict("absent", claim="wd_rises", unit="number")]}]
    rows = scorecard.rows(found)
    assert [row.claim for row in rows] == ["double_dissociation", "other", "wd_rises"]
    assert [(one.model, one.status) for one in rows[0].judged] == [("a", "supported"), ("b", "undecided")]
    assert rows[0].judged[0].here == "−2.5 pp [−4.0, −1.0]" and rows[1].judged[0].here == "−2.5 % [−3.9, −1.0]"
    assert scorecard.roles(found)[0] == (
        "a: baseline (baseline); wasserstein (treated); matched (matched); random/seed=0, random/seed=1 (random)"
    )
    assert scorecard.counts(found) == [("supported", 2), ("absent", 1), ("undecided", 1)]


def test_costs_are_the_recorded_differences_and_seeds_are_one_line() -> None:
    (table,) = costs.tables(report())
    assert table.baseline == ("43.31", "0.862") and table.benchmarks[0] == "perplexity (validation) (%)"
    treated, random, matched = table.rows
    assert [cost.estimate for cost in treated.costs] == ["+11.2 % [+9.7, +12.7]", "−4.1 pp [−6.0, −2.2]"]
    assert treated.neurons == "450 (1 %)" and treated.costs[1].basis == "640 items, 9 units"
    assert random.condition == "random (2 seeds)"
    assert [cost.estimate for cost in random.costs] == ["+1.0 %, +0.8 to +1.1", "−0.1 pp, −0.3 to +0.2"]
    assert (matched.condition, matched.part) == ("matched", "matched")


def test_members_of_schedules_and_conditions_without_results_have_no_line() -> None:
    part = model()
    part["rows"][1]["spread"] = True
    part["rows"][4]["deltas"] = {}
    (table,) = costs.tables(report(part))
    assert [row.condition for row in table.rows] == ["random (2 seeds)"]
    part["rows"][4]["remark"] = "cannot be matched"
    (table,) = costs.tables(report(part))
    assert table.rows[1].remark == "cannot be matched" and table.rows[1].costs[0].estimate == "–"


def test_the_grid_has_the_claims_mean_first_and_marks_what_survives_the_correction() -> None:
    (grid,) = forgotten.grids(content())
    assert grid.conditions == ("wasserstein", "matched"), "one seed of random neurons says little"
    assert [line.phenomenon for line in grid.lines] == ["mean over phenomena", "island", "npi"]
    changes = [line.changes[0] for line in grid.lines]
    assert [change and (change.difference, change.num_items, change.corrected) for change in changes] == [
        ("−4.1", 640, False), ("−1.2", 40, False), ("−7.0", 600, True),
    ]  # fmt: skip
    assert changes[1] is not None and changes[1].interval == "−1.2 pp [−2.2, −0.2]"


def test_few_items_are_painted_paler_than_many() -> None:
    def strength(num_items: int) -> float:
        table = comparisons().assign(num_items=num_items)
        (grid,) = forgotten.grids(content(comparisons=table))
        change = grid.lines[2].changes[0]
        assert change is not None
        return float(change.colour.rpartition(",")[2].rstrip(")"))

    assert 0 < strength(10) < strength(100) < strength(1000) == strength(5000)


def test_a_cell_opens_its_items_and_no_page_holds_too_many() -> None:
    (grid,) = forgotten.grids(content())
    by_anchor = {one.anchor: one for one in grid.behind}
    change = grid.lines[2].changes[0]
    assert change is not None
    behind = by_anchor[change.anchor]
    assert (behind.num_lost, behind.num_gained) == (2, 0) and len(behind.flips) == 2
    assert behind.flips[0].texts[0] == ("good", "good sentence 0", "-10.25 → -14.00")
    matched = grid.lines[2].changes[1]
    assert matched is not None and matched.anchor == "", "nothing is recorded of it"
    many = {Cell("m", "wasserstein", "blimp"): flips(500)}
    (grid,) = forgotten.grids(content(flips=many))
    assert max(len(one.flips) for one in grid.behind) == forgotten.PER_CELL
    conditions = [f"c{i}" for i in range(60)]
    cells = {Cell("m", name, f"b{j}"): flips(500) for name in conditions for j in range(5)}
    everything = [comparisons().assign(condition=name) for name in conditions]
    part = model()
    part["rows"] = [{**part["rows"][1], "condition": name, "of": name} for name in conditions]
    part["benchmarks"] = [{**part["benchmarks"][1], "name": f"b{j}"} for j in range(5)]
    tables = pd.concat([table.assign(benchmark=f"b{j}") for table in everything for j in range(5)])
    grids = forgotten.grids(content(report=report(part), comparisons=tables, flips=cells))
    shown = sum(len(one.flips) for grid in grids for one in grid.behind)
    assert len(grids) == 5 and forgotten.BUDGET / 2 < shown <= forgotten.BUDGET


def test_a_question_shows_its_choices_and_an_item_without_texts_its_key() -> None:
    question = {"id": "q", "change": "lost", "context": "Why?", "choices": ["a", "b"], "gold": 1,
                "logprobs_before": [-2.0, -1.0], "logprobs_after": [-1.0, -3.0]}  # fmt: skip
    assert forgotten.flip(question).texts == (
        ("question", "Why?", ""), ("wrong", "a", "-2.00 → -1.00"), ("right", "b", "-1.00 → -3.00"),
    )  # fmt: skip
    for gold in (None, float("nan"), [0, 1], "b"):
        texts = forgotten.flip({**question, "gold": gold}).texts
        assert [text[0] for text in texts] == ["question", "choice", "choice"], gold
    assert forgotten.flip({"uid": "u", "pair": 3, "change": "gained"}).texts == (("item", "uid u, pair 3", ""),)


def test_every_condition_and_benchmark_has_a_page_of_its_own() -> None:
    long = "x" * 300
    cells = [Cell("m", "top", "x-blimp"), Cell("m", "top-x", "blimp"), Cell("m", "a/b", "c"), Cell("m", "a_b", "c"),
             Cell(long, long, "one"), Cell(long, long, "two"), Cell("é" * 200, "日本", "b")]  # fmt: skip
    names = [forgotten.page_name(cell) for cell in cells]
    assert len(set(names)) == len(cells) and all(name.isascii() and len(name) < 200 for name in names)


def test_seeds_without_results_are_not_counted() -> None:
    part = model()
    part["rows"][3]["deltas"] = {}
    (table,) = costs.tables(report(part))
    assert table.rows[1].condition == "random (1 of 2 seeds)"
    assert table.rows[1].costs[0].estimate == "+0.8 % [+0.4, +1.2]"


def test_without_comparisons_there_is_no_grid() -> None:
    assert forgotten.grids(content(comparisons=comparisons().iloc[:0])) == []
    assert forgotten.grids(content(comparisons=comparisons().assign(p_value=np.nan))) == [], "nothing is graded"
