"""Notes for MLflow's pages."""

from typing import Any

import pytest

from studies.reporting.notes import condition_note, cut_at_a_row, experiment_note, failure_lines

PERPLEXITY, ACCURACY = {"name": "perplexity", "logarithmic": True}, {"name": "accuracy", "logarithmic": False}
BENCHMARKS = [
    {"name": "ppl", "label": "perplexity", "measure": PERPLEXITY, "higher_is_better": False},
    {"name": "blimp", "label": "BLiMP", "measure": ACCURACY, "higher_is_better": True},
]
ROLES: dict[str, Any] = {"conditions": {}, "randoms": {}}
MODEL: dict[str, Any] = {
    "label": "m", "display": "m", "benchmarks": BENCHMARKS, "roles": ROLES, "rows": [], "verdicts": [],
}  # fmt: skip


def row(**fields: Any) -> dict[str, Any]:
    return {"part": "treated", "neurons": "top 1 %, negative", "remark": "", "deltas": {}, **fields}


def test_a_condition_costs_what_the_report_says_in_the_unit_of_a_reader() -> None:
    deltas = {
        "blimp": {"estimate": -0.031, "low": -0.039, "high": -0.023},
        "ppl": {"estimate": 0.1064, "low": None, "high": None},
    }
    assert condition_note(MODEL, row(deltas=deltas)) == (
        "top 1 %, negative: perplexity +11.2 %; BLiMP −3.1 pp [−3.9, −2.3], against the baseline on the same items, "
        "with 95 % intervals."
    )


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"part": "baseline", "neurons": "none"}, "m as it is, on the same path as every condition."),
        ({"remark": "cannot be matched"}, "top 1 %, negative: cannot be matched"),
        ({}, ""),
        ({"deltas": {"gone": {"estimate": 1.0, "low": None, "high": None}}}, ""),
    ],
    ids=["the baseline", "a remark", "nothing yet", "a benchmark that the study has no more"],
)
def test_without_a_difference_it_says_what_there_is(fields: dict[str, Any], note: str) -> None:
    assert condition_note(MODEL, row(**fields)) == note


def test_a_long_reason_is_cut_and_is_text() -> None:
    (line,) = failure_lines([("evaluate.x", "<img src=x>" + "y" * 9000)])
    assert line.startswith("**evaluate.x did not finish:** &lt;img") and 500 < len(line) < 700 and line.endswith("...")


def test_a_note_is_cut_at_a_row_and_says_so() -> None:
    rows = [f"| {i} |" for i in range(100)]
    assert cut_at_a_row(rows, 10_000) == "\n".join(rows)
    cut = cut_at_a_row(rows, 300)
    assert len(cut) <= 300 and "cut here" in cut
    kept = cut.split("\n\n(cut here")[0].split("\n")
    assert kept == rows[: len(kept)] and len(kept) > 20


def test_the_note_of_an_experiment_has_links_scorecard_and_what_is_missing() -> None:
    effect = {"estimate": 0.02, "low": 0.01, "high": 0.03}
    verdict = {"statement": "Grammar | goes.", "published": "", "contrast": None, "num_items": 9, "detail": "d"}
    verdicts = [
        {**verdict, "claim": "syntax_loss", "status": "supported", "effect": effect, "unit": "accuracy"},
        {**verdict, "claim": "other", "statement": "Other.", "status": "undecided", "effect": None, "unit": "accuracy"},
    ]
    report = {"study": "s", "models": [{**MODEL, "verdicts": verdicts}], "unfinished": ["evaluate.x m: failed (<b>)"]}
    note = experiment_note(report, {"runs": "#/r", "absent": "", "page": "#/p"}, 19_000)
    assert note.startswith("[runs](#/r) · ") and "\n\n[page](#/p)\n\n" in note and "absent" not in note
    assert experiment_note(report, {}, 19_000).split(" ")[0] not in ("", "·")
    assert "| Grammar \\| goes. | supported, +2.0 pp [+1.0, +3.0] |" in note and "| Other. | undecided |" in note
    assert note.endswith("- evaluate.x m: failed (&lt;b>)")
