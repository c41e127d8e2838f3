"""Spreads in a report: the persisted keys, and what is read back of reports of any shape."""

from typing import Any

import pytest

from studies.reporting.spreads import EarlierSpread, spread_record, spreads_of_report
from studies.statistics.power import Spread

RECORD = {
    "benchmark": "blimp",
    "comparison": "treated/baseline",
    "sd_items": 0.25,
    "sd_units": 0.02,
    "discordance": 0.06,
    "sd_random_sets": None,
}


def report(entry: Any = RECORD, **model: Any) -> dict[str, Any]:
    return {"models": [{"label": "m", "digest": "d", "spreads": [entry], **model}]}


def test_a_spread_is_read_back() -> None:
    written = spread_record("blimp", "treated/baseline", Spread(0.25, 0.02), discordance=0.06, random_sets=None)
    assert written == RECORD
    expected = EarlierSpread("m", "d", "2026-12-01", "blimp", "treated/baseline", Spread(0.25, 0.02), None)
    assert list(spreads_of_report(report(written), "2026-12-01")) == [expected]
    (of_sets,) = spreads_of_report(report({**RECORD, "sd_random_sets": 0.5}), "")
    assert of_sets.random_sets == 0.5


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"models": 3},
        {"models": [4]},
        {"models": [{"label": "m"}]},  # of an earlier version
        {"models": [{"spreads": [RECORD]}]},
        report("damaged"),
        report({}),
        report({**RECORD, "sd_items": -1.0}),
        report({**RECORD, "sd_items": None}),
        report({**RECORD, "sd_items": True} | {"sd_units": "0"}),
        report({**RECORD, "sd_random_sets": float("nan")}),
        report({**RECORD, "benchmark": ["blimp"]}),
        report(digest=None),
    ],
)
def test_a_report_of_another_shape_has_none(document: Any) -> None:
    assert list(spreads_of_report(document, "2026-12-01")) == []
