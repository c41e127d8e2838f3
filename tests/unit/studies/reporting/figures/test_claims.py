"""How the figures of claims name them."""

import pytest

from studies.reporting.figures.claims import _name

LABELS = {"perplexity": "perplexity (embedded validation)", "blimp": "BLiMP", "a": "pairs (a)", "b": "pairs (b)"}


@pytest.mark.parametrize(
    ("claim", "shown"),
    [
        ("double_dissociation", "double dissociation"),
        ("syntax_loss/blimp", "syntax loss: BLiMP"),
        ("early_layers_matter_most/perplexity", "early layers matter most: perplexity"),
        ("syntax_loss/a", "syntax loss: pairs (a)"),
        ("syntax_loss/of_an_earlier_study", "syntax loss: of_an_earlier_study"),
    ],
)
def test_a_claim_is_named_with_as_much_of_its_benchmark_as_tells_it_apart(claim: str, shown: str) -> None:
    assert _name(claim, LABELS) == shown
