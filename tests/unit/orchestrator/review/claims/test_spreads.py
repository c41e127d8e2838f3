"""How comparisons varied: of items by role, of documents from the report's contrasts."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.review.claims.spreads import record_spreads
from studies.benchmarks.measures import MINIMAL_PAIRS, PERPLEXITY, SURPRISAL
from studies.statistics.items import Items
from tests.plans import STUDY, plan


def pairs(correct: np.ndarray) -> Items:
    item = np.arange(len(correct))
    table = {"uid": (item // 10).astype(str), "phenomenon": "all", "pair": item.astype(str), "correct": correct}
    return Items(pd.DataFrame(table), MINIMAL_PAIRS)


def windows(nll: np.ndarray) -> Items:
    return Items(pd.DataFrame({"window": range(len(nll)), "num_tokens": 100, "nll": nll}), PERPLEXITY)


def tokens(surprisal: float) -> Items:
    return Items(pd.DataFrame({"document": [0], "start": [0], "end": [1], "surprisal": [surprisal]}), SURPRISAL)


class Scored:
    """In place of `Findings`: the items of conditions."""

    def __init__(self, items: dict[str, dict[str, Items]], annotated: tuple[str, ...] = ()) -> None:
        study_plan = plan()
        self.plan = SimpleNamespace(conditions=study_plan.conditions, annotations=dict.fromkeys(annotated))
        self.model, self._items = study_plan.study.models[0], items

    def comparable(self, model: Any, condition: str) -> dict[str, Items]:
        return self._items.get(condition, {})


def recorded(scored: Any, excess: Any = ()) -> dict[tuple[str, str], dict[str, Any]]:
    entries = record_spreads(scored, scored.model, excess)
    return {(entry["benchmark"], entry["comparison"]): entry for entry in entries}


def test_every_comparison_of_the_claims_is_measured() -> None:
    rng = np.random.default_rng(0)
    right, level = np.ones(100), rng.normal(3, 0.1, 20)
    worse = right.copy()
    worse[::10] = 0.0
    scored = Scored(
        {
            "baseline": {"pairs": pairs(right), "perplexity": windows(level)},
            "treated": {"pairs": pairs(worse), "perplexity": windows(level + np.linspace(0, 0.2, 20))},
            "matched": {"pairs": pairs(right)},
            "random/seed=0": {"perplexity": windows(level + 0.01)},
            "random/seed=1": {"perplexity": windows(level + 0.03)},
        }
    )
    found = recorded(scored)
    assert set(found) == {
        ("pairs", "treated/baseline"),
        ("pairs", "treated/matched"),
        ("perplexity", "treated/baseline"),
        ("perplexity", "treated/random"),
    }
    assert ("pairs", "matched/baseline") not in found, "which differ nowhere, and so show no spread"
    lost = found["pairs", "treated/baseline"]
    assert lost["discordance"] == 0.1 and lost["sd_units"] == 0.0, "every paradigm loses one of ten"
    assert lost["sd_items"] == pytest.approx(np.std([-1] + [0] * 9, ddof=1))
    over = found["perplexity", "treated/random"]
    assert over["sd_random_sets"] == pytest.approx(np.std([0.01, 0.03], ddof=1)) and over["discordance"] is None
    assert over["sd_items"] == pytest.approx(np.std(np.linspace(0, 0.2, 20), ddof=1))
    assert found["perplexity", "treated/baseline"]["sd_random_sets"] is None


def test_items_that_cannot_be_compared_are_left_out() -> None:
    odd = {"baseline": {"pairs": pairs(np.ones(20))}, "treated": {"pairs": pairs(np.ones(10))}}
    assert recorded(Scored(odd)) == {}
    broken = {"baseline": {"p": windows(np.ones(3))}, "treated": {"p": windows(np.array([1.0, np.nan, 1.0]))}}
    assert recorded(Scored(broken)) == {}


def test_documents_vary_as_the_interval_of_their_contrast_says() -> None:
    def excess(condition: str, estimate: float) -> dict[str, Any]:
        contrast = {"estimate": estimate, "low": estimate - 0.0196, "high": estimate + 0.0196, "documents": 100}
        return {"benchmark": "surprisal", "condition": condition, "contrast": contrast}

    entries = [excess("treated", 0.1), excess("random/seed=0", 0.0), excess("random/seed=1", 0.02)]
    items = {name: {"surprisal": tokens(1.0)} for name in ("baseline", "treated")}
    found = recorded(Scored(items, annotated=("surprisal",)), entries)
    assert set(found) == {("surprisal", "treated/baseline"), ("surprisal", "treated/random")}, "tokens are no sample"
    assert found["surprisal", "treated/baseline"]["sd_items"] == pytest.approx(0.1, rel=1e-3)
    assert found["surprisal", "treated/random"]["sd_random_sets"] == pytest.approx(np.std([0, 0.02], ddof=1))


def test_a_study_without_top_neurons_has_none() -> None:
    text = STUDY[: STUDY.index("conditions:")]
    text += "conditions:\n  all: {select: random, fraction: 0.1, clamp: negative}\nevaluate: [perplexity]\n"
    study_plan = plan(text)
    findings: Any = SimpleNamespace(plan=study_plan)
    assert record_spreads(findings, study_plan.study.models[0], []) == []
