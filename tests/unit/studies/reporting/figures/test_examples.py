"""Tokens in their contexts: whole words, as many as fit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.reporting.figures.examples import in_context
from studies.reporting.figures.style import width_of


@pytest.mark.parametrize(
    ("context", "token", "shown"),
    [
        (" to the cap", "ital", "… to the cap[ital]"),
        (" to the", " capital", "… to the [capital]"),
        ("ld birds hear a ", "child", "… birds hear a [child]"),
        ("hear a", "\n", "… a [⏎]"),
        ("hear a", " ", "… a [␣]"),
        ("", "The", "… [The]"),
        ("qui", "ck", "… qui[ck]"),
    ],
)
def test_a_token_stands_in_brackets_after_whole_words(context: str, token: str, shown: str) -> None:
    assert in_context(context, token, 300.0) == shown


def test_a_context_is_cut_between_words() -> None:
    context = " one two three four"
    assert in_context(context, " five", width_of("… three four [five]") + 1) == "… three four [five]"


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=80), st.text(max_size=40), st.floats(60, 300))
def test_no_context_is_wider_than_its_place(context: str, token: str, width: float) -> None:
    shown = in_context(context, token, width)
    assert width_of(shown) <= width and shown.startswith("… ") and shown.endswith("]")
