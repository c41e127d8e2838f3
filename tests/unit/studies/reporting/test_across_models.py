"""One claim over several models: the persisted keys, and the lines on terminal and page."""

import math
from typing import Any

from studies.reporting.markdown import markdown
from studies.reporting.records import across_models_record
from studies.reporting.text import across_models_lines
from studies.statistics.across_models import Family, Summary
from studies.statistics.intervals import Interval

NAN = float("nan")
STATUSES = {"A": "supported", "B": "supported", "C": "undecided", "D": "contradicted", "E": "not applicable"}
SUMMARY = Summary(
    (
        Family("pythia", ("A", "B", "C"), Interval(0.1, 0.05, 0.15), 0.02),
        Family("llama", ("D",), Interval(0.2, 0.1, 0.3), 0.04),
        Family("opt", ("F",), Interval(0.25, 0.2, 0.3), 0.03),
    ),
    Interval(0.12, 0.05, 0.19),
    Interval(0.12, -0.1, 0.3),
    0.04,
)


def lines(*entries: dict[str, Any]) -> list[str]:
    return across_models_lines({"across_models": entries})


def test_below_five_models_it_is_a_list() -> None:
    entry = across_models_record("syntax_loss/blimp", STATUSES, None, ["A", "B", "C"])
    assert entry == {
        "claim": "syntax_loss/blimp",
        "num_models": 4,
        "by_status": {"supported": ["A", "B"], "undecided": ["C"], "contradicted": ["D"]},
        "not_applicable": ["E"],
        "without_effect": ["D"],
        "summary": None,
    }
    assert lines(entry) == [
        "syntax_loss/blimp: supported in 2 of 4 models: A, B; undecided: C; contradicted: D; not applicable to E"
    ]
    nowhere = across_models_record("c", {"A": "absent", "B": "absent"}, None, [])
    assert lines(nowhere) == ["c: supported in 0 of 2 models; absent: A, B"]
    relu = across_models_record("c", {"A": "not applicable", "B": "not applicable"}, None, [])
    assert relu["num_models"] == 0 and lines(relu) == ["c: not applicable to A, B"]


def test_from_five_on_it_has_a_summary_over_families() -> None:
    statuses = {**STATUSES, "F": "supported", "G": "undecided"}
    entry = across_models_record("c", statuses, SUMMARY, ["A", "B", "C", "D", "F"])
    assert entry["summary"] == {
        "estimate": 0.12,
        "low": 0.05,
        "high": 0.19,
        "prediction_low": -0.1,
        "prediction_high": 0.3,
        "tau": 0.04,
        "num_models": 5,
        "families": [
            {"family": "pythia", "models": ["A", "B", "C"], "estimate": 0.1, "low": 0.05, "high": 0.15},
            {"family": "llama", "models": ["D"], "estimate": 0.2, "low": 0.1, "high": 0.3},
            {"family": "opt", "models": ["F"], "estimate": 0.25, "low": 0.2, "high": 0.3},
        ],
    }
    assert lines(entry)[1] == (
        "c, effect: +0.120 [0.050, 0.190] over 5 models (3 families), prediction [-0.100, 0.300]; by family: "
        "pythia +0.100 [0.050, 0.150] (A, B, C), llama +0.200 [0.100, 0.300] (D), opt +0.250 [0.200, 0.300] (F); "
        "without an effect to add: G"
    )


def test_one_family_says_nothing_of_others() -> None:
    alone = Interval(0.1, NAN, NAN)
    of_one = Summary((Family("p", ("A", "B", "C", "D", "E"), Interval(0.1, 0.0, 0.2), 0.05),), alone, alone, NAN)
    entry = across_models_record("c", dict.fromkeys("ABCDE", "supported"), of_one, list("ABCDE"))
    assert (entry["summary"]["low"], entry["summary"]["prediction_low"], entry["summary"]["tau"]) == (None, None, None)
    assert lines(entry)[1] == (
        "c, effect: +0.100 over 5 models (one family, which says nothing of others); by family: "
        "p +0.100 [0.000, 0.200] (A, B, C, D, E)"
    )
    assert not math.isnan(entry["summary"]["estimate"])


def test_the_page_has_a_section_where_there_are_several_models() -> None:
    entry = across_models_record("syntax_loss/blimp", STATUSES, None, [])
    page = markdown({"study": "s", "models": [], "across_models": [entry], "unfinished": []}).split("\n")
    assert page[page.index("## Across models") + 2].startswith("- syntax_loss/blimp: supported in 2 of 4 models: A, B;")
    assert "## Across models" not in markdown({"study": "s", "models": [], "unfinished": []}), "an earlier version's"
