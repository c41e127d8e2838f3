"""Comparisons of two conditions: each number against a second way to it."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from studies.benchmarks.measures import MINIMAL_PAIRS
from studies.statistics.comparisons import (
    COLUMNS,
    NoiseFloor,
    compare,
    holm,
    mcnemar,
    noise_floor,
    paired,
    seed_summary,
    within_noise,
)
from studies.statistics.increases import ALL
from studies.statistics.items import Items
from tests.unit.studies.statistics.frames import altered, choices, pairs, windows


def phenomena_pairs(correct: np.ndarray, uids: int = 6, phenomena: int = 3) -> Items:
    """Pairs graded `correct`, dealt out to the uids in turn, and the uids to the phenomena."""
    number = np.arange(len(correct))
    uid = number % uids
    table = {
        "uid": [f"u{i}" for i in uid],
        "phenomenon": [f"p{i % phenomena}" for i in uid],
        "pair": number,
        "correct": correct.astype(float),
    }
    return Items(pd.DataFrame(table), MINIMAL_PAIRS)


def graded(seed: int, share: float, count: int = 600) -> np.ndarray:
    """True with this probability."""
    return np.random.default_rng(seed).random(count) < share


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    before = graded(0, 0.8)
    after = before & ~((np.arange(600) % 3 == 1) & graded(1, 0.3))  # only p1 loses
    window = np.arange(12)
    nll = 3 + 0.1 * np.sin(window)
    treated = {"blimp": phenomena_pairs(after), "perplexity": windows(nll + 0.2 + 0.01 * np.cos(window))}
    control = {"blimp": phenomena_pairs(before), "perplexity": windows(nll)}
    return compare(treated, control, condition="treated", against="baseline")


def test_one_row_a_phenomenon_and_one_for_all(table: pd.DataFrame) -> None:
    assert table.columns.tolist() == list(COLUMNS)
    assert table[["benchmark", "phenomenon"]].to_numpy().tolist() == [
        *(["blimp", name] for name in (ALL, "p0", "p1", "p2")),
        ["perplexity", ALL],
    ]
    assert table["num_items"].tolist() == [600, 200, 200, 200, 12]


def test_only_the_phenomenon_that_lost_items_is_lower(table: pd.DataFrame) -> None:
    rows = table.set_index("phenomenon")[:4]
    assert rows.loc["p1", "high"] < 0 and rows.loc["p1", "p_holm"] < 1e-6
    assert rows.loc["p0", "difference"] == 0 and rows.loc["p0", "p_holm"] == 1
    assert rows.loc["p1", "num_lost"] > 20 and rows.loc["p1", "num_gained"] == 0
    assert rows.loc[ALL, "difference"] == pytest.approx(rows.loc["p1", "difference"] / 3)


def test_p_values_are_exact_and_corrected_over_the_phenomena_alone(table: pd.DataFrame) -> None:
    rows = table.set_index("phenomenon")[:4]
    assert rows.loc["p1", "p_value"] == pytest.approx(
        binomtest(int(rows.loc["p1", "num_lost"]), int(rows.loc["p1", "num_lost"])).pvalue
    )
    parts = rows.loc[["p0", "p1", "p2"]]
    np.testing.assert_allclose(parts["p_holm"].astype(float), multipletests(parts["p_value"], method="holm")[1])
    assert np.isnan(rows.loc[ALL, "p_holm"])


def test_effect_sizes_are_cohens(table: pd.DataFrame) -> None:
    p1 = table[table["phenomenon"] == "p1"].iloc[0]
    before = phenomena_pairs(graded(0, 0.8))
    share = before.of_phenomenon("p1").values.mean()
    expected = 2 * (np.arcsin(np.sqrt(share + p1["difference"])) - np.arcsin(np.sqrt(share)))
    assert p1["effect_size"] == pytest.approx(expected)
    perplexity = table.iloc[-1]
    moves = 0.2 + 0.01 * np.cos(np.arange(12))
    assert perplexity["effect_size"] == pytest.approx(moves.mean() / moves.std(ddof=1))
    assert perplexity["low"] < 0.2 < perplexity["high"]


def test_intervals_over_paradigms_are_wider_where_paradigms_differ(table: pd.DataFrame) -> None:
    rows = table.set_index("phenomenon")[:4]
    assert rows.loc[ALL, "high_clustered"] - rows.loc[ALL, "low_clustered"] > 2 * (
        rows.loc[ALL, "high"] - rows.loc[ALL, "low"]
    )
    assert np.isnan(rows.loc["p1", "low_clustered"]), "two paradigms are no sample of paradigms"


def test_seeds_are_a_mean_and_a_range_of_what_all_of_them_have() -> None:
    summary = seed_summary({"a": {"x": 1.0, "y": 5.0}, "b": {"x": 4.0}, "c": {"x": 1.0}})
    assert summary == {"x": {"mean": 2.0, "lowest": 1.0, "highest": 4.0}}


def test_mcnemar_is_the_exact_binomial_and_drops_ties() -> None:
    control = pairs([1] * 8 + [0] * 1 + [1, 0] * 5 + [0.5, 0.5, 1])
    treated = pairs([0] * 8 + [1] * 1 + [1, 0] * 5 + [0, 0.5, 0.5])
    result = mcnemar(treated, control)
    assert result[:3] == (8, 1, 3)
    assert result.p_value == pytest.approx(2 * (1 + 9) / 2**9)
    assert mcnemar(control, treated)[:2] == (1, 8)


def test_mcnemar_without_changes() -> None:
    assert mcnemar(pairs([1, 0]), pairs([1, 0])) == (0, 0, 0, 1.0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_noise_floor_of_pairs_choices_and_perplexity() -> None:
    baseline = pairs([1, 1, 0])
    moved = altered(baseline, logprob_bad=[-12.0, -12.25, -12.0], correct=[1, 1, 1])
    moved = altered(moved, lambda table: table.iloc[::-1])
    assert noise_floor(baseline, moved) == (3, 0.25, 1, None)

    questions = altered(choices([1, 1]), logprobs=[[-1.0, -2.0], [-3.0]], predicted=[0, 0])
    others = altered(questions, logprobs=[[-1.5, -2.0], [-3.0]], predicted=[1, 0])
    assert noise_floor(questions, others) == (2, 0.5, 1, None)

    losses = windows([3.0, 4.0])
    assert noise_floor(losses, altered(losses, nll=losses.values - 0.1))[3] == pytest.approx(1 - np.exp(-0.1))


def test_effects_within_the_noise_floor_of_pairs_and_perplexity() -> None:
    baseline = pairs([1, 1, 1, 0])
    floor = NoiseFloor(4, 0.1, 1, None)
    assert within_noise(altered(baseline, correct=[1, 1, 0, 0]), baseline, floor) == (-0.25, 0.25)
    assert within_noise(altered(baseline, correct=[1, 0, 0, 0]), baseline, floor) is None
    assert within_noise(baseline, baseline, floor._replace(num_changed_decisions=0)) is None, "nothing moves at all"

    losses = windows([3.0, 4.0])
    higher = altered(losses, nll=losses.values + 0.1)
    found = within_noise(higher, losses, NoiseFloor(2, None, None, 0.2))
    assert found is not None and found == pytest.approx((np.expm1(0.1), 0.2))
    assert within_noise(higher, losses, NoiseFloor(2, None, None, 0.1)) is None, "10.5 %"


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "noise floor": (
        lambda: noise_floor(pairs([1, 1]), altered(pairs([1, 1]), logprob_bad=[-np.inf, -12.0])),
        "1 of 4 differences of log-probabilities are not finite",
    ),
}


@pytest.mark.parametrize(("compared", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_compared_is_refused(compared: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as error:
        compared()
    assert str(error.value) == message


def test_two_results_are_paired_on_the_items_of_both_and_estimated_on_them_alone() -> None:
    one, other = windows([2.0, 3.0, 4.0, 9.0]), windows([2.5, 3.5, 4.5])
    found = paired(one, other)
    assert found.num_items == 3
    assert found.one.estimate == pytest.approx(np.exp(3.0)) and found.other.estimate == pytest.approx(np.exp(3.5))
    assert found.difference == pytest.approx((0.5, 0.5, 0.5)), "the other minus the one, in nats"
    assert paired(other, one).difference.estimate == pytest.approx(-0.5)
