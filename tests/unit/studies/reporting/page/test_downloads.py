"""The numbers of the page as CSV."""

import base64
import csv
import io

from studies.reporting.page.downloads import downloads
from tests.unit.studies.reporting.page.examples import DELTAS, model, report, verdict


def tables(found: dict[str, object]) -> dict[str, list[dict[str, str]]]:
    texts = {one.name: base64.b64decode(one.source.partition(",")[2]).decode() for one in downloads(found)}
    return {name: list(csv.DictReader(io.StringIO(text))) for name, text in texts.items()}


def test_every_bit_of_a_number_is_that_of_the_report() -> None:
    found = tables(report(model('a, b\n"c"')))
    rows = {(row["condition"], row["benchmark"]): row for row in found["costs.csv"]}
    for condition, deltas in DELTAS.items():
        for benchmark, numbers in deltas.items():
            row = rows.pop((condition, benchmark))
            read = [float(row[name]) if row[name] else None for name in ("estimate", "low", "high")]
            assert tuple(read) == numbers and row["model"] == 'a, b\n"c"'
    assert not rows
    (judged,) = found["verdicts.csv"]
    assert (judged["claim"], judged["unit"], float(judged["p_value"])) == ("double_dissociation", "accuracy", 0.0031)
    assert float(judged["estimate"]) == -0.025


def test_a_name_is_no_formula_and_nothing_is_no_file() -> None:
    found = tables(report(model("=1+1", [verdict(model="=1+1", claim="@x", effect=None)])))
    assert found["verdicts.csv"][0]["model"] == "'=1+1" and found["verdicts.csv"][0]["claim"] == "'@x"
    assert found["costs.csv"][0]["estimate"] == "0.106" and found["verdicts.csv"][0]["estimate"] == ""
    assert tables(report({**model(verdicts=[]), "rows": []})) == {}
