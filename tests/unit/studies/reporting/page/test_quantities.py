"""Numbers in the units of a reader."""

import math

import pytest

from studies.reporting.page.quantities import interval, margin, number, p_value, share
from studies.reporting.units import FRACTION, PERCENT, POINTS, SURPRISAL, Unit, of_verdict
from tests.unit.studies.reporting.page.examples import benchmark, verdict

PLAIN = Unit("", "a number")


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.106, PERCENT, "+11.2"),
        (-0.1, PERCENT, "−9.5"),
        (-0.0021, POINTS, "−0.2"),
        (-0.0004, POINTS, "0.0"),
        (0.079, FRACTION, "+7.9"),
        (0.12345, SURPRISAL, "+0.123"),
        (0.5, PLAIN, "+0.500"),
        (None, POINTS, "–"),
        (4.97e37, POINTS, "+5.0e+39"),
        (-123456.0, PLAIN, "−123456.000"),
        (math.nan, POINTS, "–"),
    ],
)
def test_a_number(value: float | None, unit: Unit, shown: str) -> None:
    assert number(value, unit) == shown


def test_an_interval_without_bounds_is_its_estimate() -> None:
    whole = {"estimate": -0.002, "low": -0.025, "high": 0.02}
    assert interval(whole, POINTS) == "−0.2 pp [−2.5, +2.0]"
    assert interval({**whole, "low": None, "high": None}, POINTS) == "−0.2 pp"
    assert interval(None, POINTS) == interval({**whole, "estimate": None}, POINTS) == "–"
    assert interval(whole, SURPRISAL) == "−0.002 nats [−0.025, +0.020]"
    assert interval(whole, PLAIN) == "−0.002 [−0.025, +0.020]"


def test_the_unit_of_a_claim_on_a_benchmark_is_that_of_its_benchmark() -> None:
    measures = {name: benchmark(name)["measure"] for name in ("perplexity", "blimp")}
    measures["ewt"] = {"name": "surprisal", "digits": 3, "logarithmic": False}
    named = {"perplexity": " %", "blimp": " pp", "ewt": " nats", "gone": ""}
    for name, suffix in named.items():
        assert of_verdict(verdict(claim=f"early_layers/{name}", unit="of_benchmark"), measures).suffix == suffix
    assert of_verdict(verdict(unit="fraction"), measures) == FRACTION
    old = verdict()
    del old["unit"]
    assert of_verdict(old, measures).suffix == "" and of_verdict(old, measures).read(0.5) == 0.5


def test_margins_shares_and_p_values() -> None:
    assert (margin(0.02, POINTS), margin(None, POINTS)) == ("±2.0 pp", "–")
    assert (share(0.348), share(None), share(0.01)) == ("34.8 %", "–", "1 %")
    assert (p_value(0.00312), p_value(None), p_value(1e-12)) == ("0.0031", "–", "< 1e-12")


def test_a_perplexity_beyond_all_bounds_is_a_number() -> None:
    assert math.isfinite(PERCENT.read(1e6))
