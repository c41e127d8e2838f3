"""Numbers in the units of a reader."""

import math

import pytest

from studies.reporting.page import quantities
from studies.reporting.page.quantities import interval, margin, number, p_value, share, unit_of
from tests.unit.studies.reporting.page.examples import benchmark, verdict


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.106, "log_perplexity", "+11.2"),
        (-0.1, "log_perplexity", "−9.5"),
        (-0.0021, "accuracy", "−0.2"),
        (-0.0004, "accuracy", "0.0"),
        (0.079, "fraction", "+7.9"),
        (0.12345, "surprisal", "+0.123"),
        (0.5, "number", "+0.500"),
        (None, "accuracy", "–"),
        (math.nan, "accuracy", "–"),
    ],
)
def test_a_number(value: float | None, unit: str, shown: str) -> None:
    assert number(value, unit) == shown


def test_an_interval_without_bounds_is_its_estimate() -> None:
    whole = {"estimate": -0.002, "low": -0.025, "high": 0.02}
    assert interval(whole, "accuracy") == "−0.2 pp [−2.5, +2.0]"
    assert interval({**whole, "low": None, "high": None}, "accuracy") == "−0.2 pp"
    assert interval(None, "accuracy") == interval({**whole, "estimate": None}, "accuracy") == "–"
    assert interval(whole, "surprisal") == "−0.002 nats [−0.025, +0.020]"
    assert interval(whole, "number") == "−0.002 [−0.025, +0.020]"


def test_the_unit_of_a_claim_on_a_benchmark_is_that_of_its_benchmark() -> None:
    surprisal = {**benchmark("blimp"), "name": "ewt", "higher_is_better": False}
    benchmarks = [benchmark("perplexity"), benchmark("blimp"), surprisal]
    named = {"perplexity": "log_perplexity", "blimp": "accuracy", "ewt": "surprisal", "gone": "number"}
    for name, unit in named.items():
        assert unit_of(verdict(claim=f"early_layers/{name}", unit="of_benchmark"), benchmarks) == unit
    assert unit_of(verdict(unit="fraction"), benchmarks) == "fraction"
    old = verdict()
    del old["unit"]
    assert unit_of(old, benchmarks) == "number"


def test_margins_shares_and_p_values() -> None:
    assert (margin(0.02, "accuracy"), margin(None, "accuracy")) == ("±2.0 pp", "–")
    assert (share(0.348), share(None), share(0.01)) == ("34.8 %", "–", "1 %")
    assert (p_value(0.00312), p_value(None), p_value(1e-12)) == ("0.0031", "–", "< 1e-12")


def test_a_perplexity_beyond_all_bounds_is_a_number() -> None:
    assert math.isfinite(quantities.scaled(1e6, "log_perplexity"))
