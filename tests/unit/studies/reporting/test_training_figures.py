"""Every figure of a training is drawn."""

import pandas as pd
import pytest

from studies.benchmarks.measures import MINIMAL_PAIRS
from studies.reporting import figures, training_figures
from studies.statistics import training
from tests.unit.studies.claims.trainings import COHORT, GROWN, RANDOM, evidence

PNG = b"\x89PNG"
ROLES = training_figures.Roles("top", {"random/seed=0"})


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A low resolution, which is drawn sooner."""
    monkeypatch.setattr(figures, "DPI", 30)


def test_trajectories_of_scores_and_weights() -> None:
    given = evidence()
    scores = training.trajectories(given.neurons, {"top": COHORT, "random/seed=0": RANDOM}, training.SCORES)
    weights = training.trajectories(given.weights, {"top": COHORT}, ("pre_activation", "up", "down"))
    assert training_figures.trajectory_figure(scores, ROLES, title="m").startswith(PNG)
    assert training_figures.trajectory_figure(weights, ROLES, title="m", log=True).startswith(PNG)


def test_headlines_effects_and_the_correlation() -> None:
    effects = pd.DataFrame(
        [(step, "top", "tse", grown, grown - 0.1, grown + 0.1) for step, grown in GROWN.items()],
        columns=["step", "condition", "benchmark", "estimate", "low", "high"],
    )
    points = {"tse": [(step, grown, grown) for step, grown in GROWN.items()]}
    values = {"baseline": GROWN, "top": GROWN, "random/seed=0": GROWN}
    headlines = {"TSE": values, "Perplexity": {name: dict.fromkeys(GROWN, 20.0) for name in values}}
    drawn = [
        training_figures.condition_figure(headlines, ROLES, logarithmic=["Perplexity"], title="m"),
        training_figures.effect_figure(effects, ROLES, {"tse": MINIMAL_PAIRS}, title="m"),
        training_figures.correlation_figure(points, title="m", note="n"),
    ]
    assert all(png.startswith(PNG) for png in drawn)
