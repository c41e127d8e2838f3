"""The scorecard on a terminal: as much detail as fits, and nothing but the verdicts' own numbers."""

from typing import Any

import pytest
from rich.cells import cell_len

from orchestrator.terminal.scorecard import scorecard_lines
from tests.unit.studies.reporting.page.examples import model, report, verdict

WIDE, NARROW = 200, 80
CLAIMS = ("perplexity_cost", "syntax_loss/embedded_pairs", "double_dissociation")
LABELS = ("SmolLM2", "pythia")


def judged(label: str, *statuses: str) -> dict[str, Any]:
    """A model with a verdict on each of `CLAIMS`."""
    found = zip(CLAIMS, statuses, strict=True)
    return model(label, [verdict(status, claim=claim, model=label) for claim, status in found])


def lines(width: int, *models: dict[str, Any]) -> list[str]:
    return [line.plain for line in scorecard_lines(report(*models), width)]


def test_one_model_has_verdict_effect_interval_and_agreement() -> None:
    shown = lines(NARROW + 10, judged("m", "supported", "undecided", "contradicted"))
    assert [line.split() for line in shown] == [
        ["claim", "verdict", "effect", "[95", "%]", "against", "the", "paper"],
        ["perplexity_cost", "SUPPORTED", "−2.5", "pp", "[−4.0,", "−1.0]", "same", "direction"],
        ["syntax_loss/embedded_pairs", "UNDECIDED", "−2.5", "pp", "[−4.0,", "−1.0]", "–"],
        ["double_dissociation", "CONTRADICTED", "−2.5", "pp", "[−4.0,", "−1.0]", "opposite"],
    ]
    assert all(cell_len(line) <= NARROW + 10 for line in shown)


def test_several_models_have_a_column_each_with_what_fits() -> None:
    models = [judged(label, "supported", "undecided", "absent") for label in LABELS]
    wide, middle, narrow = (lines(width, *models) for width in (WIDE, 80, 55))
    assert "supported, −2.5 pp [−4.0, −1.0]" in wide[1] and all(label in wide[0] for label in LABELS)
    assert "supported, −2.5 pp" in middle[1] and "[" not in middle[1]
    assert narrow[2].split() == ["syntax_loss/embedded_pairs", "undecided", "undecided"]


def test_many_models_are_counted_by_verdict() -> None:
    models = [judged(f"model-{i}", "supported" if i else "absent", "undecided", "supported") for i in range(9)]
    heading, first, *_ = lines(NARROW, *models)
    assert heading.split() == ["claim", "supported", "absent", "undecided"]
    assert first.split() == ["perplexity_cost", "8", "1", "·"]


def test_a_claim_that_one_model_lacks_is_a_dash_there() -> None:
    lacking = model(LABELS[1], [verdict(claim=CLAIMS[0], model=LABELS[1])])
    shown = lines(WIDE, judged(LABELS[0], "supported", "supported", "supported"), lacking)
    assert shown[3].split()[-1] == "–" and shown[1].count("supported") == 2


def test_without_verdicts_there_is_no_scorecard() -> None:
    assert lines(NARROW, model("m", [])) == []


@pytest.mark.parametrize("status", ["supported", "contradicted", "absent", "undecided", "not applicable"])
def test_a_verdict_is_in_its_colour(status: str) -> None:
    (_, line) = scorecard_lines(report(model("m", [verdict(status)])), WIDE)
    (span,) = (span for span in line.spans if line.plain[span.start : span.end] == status.upper())
    assert span.style
