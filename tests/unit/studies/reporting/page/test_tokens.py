"""Tokens coloured by what a condition adds to their surprisal."""

import numpy as np

from studies.reporting.page.content import Passages
from studies.reporting.page.quantities import signed
from studies.reporting.page.tokens import shown
from tests.unit.studies.reporting.page.examples import passages


def test_the_text_of_a_sentence_is_whole_and_the_same_under_every_condition() -> None:
    given = passages()
    found = shown(given)
    assert found is not None and [toggle.condition for toggle in found.toggles] == ["wasserstein", "matched"]
    for toggle in found.toggles:
        texts = ["".join(piece.text for piece in sentence.pieces) for sentence in toggle.sentences]
        assert texts == ["The cat sat on the old mat today. ", "It was not the last one there."]


def test_numbers_and_scale_are_those_of_the_data() -> None:
    given = passages()
    found = shown(given)
    assert found is not None
    table = given.tokens["wasserstein"]
    changes = np.concatenate([np.abs(t["after"] - t["before"]) for t in given.tokens.values()])
    assert found.scale == f"{np.quantile(changes, 0.98):.2g}"
    first = found.toggles[0].sentences[0]
    assert first.mean == signed((table["after"] - table["before"]).iloc[:8].mean(), 2)
    assert first.pieces[0].title == f"2.00 → {table['after'][0]:.2f} nats, {signed(table['after'][0] - 2, 2)}"
    surprising = table["after"][0] > 2
    assert first.pieces[0].colour.startswith("rgba(213" if surprising else "rgba(0,114")


def test_tokens_within_one_character_and_outside_sentences_lose_no_text() -> None:
    given = passages("Héllo wörld again and again and more.")
    table = given.tokens["wasserstein"]
    table.loc[1, "start"], table.loc[1, "end"] = table["start"][0], table["end"][0]  # two tokens in one word
    found = shown(Passages("m", "b", given.texts, {"wasserstein": table}))
    assert found is not None
    assert "".join(piece.text for piece in found.toggles[0].sentences[0].pieces) == given.texts[0]


def test_nothing_scored_is_nothing_shown() -> None:
    given = passages()
    assert shown(given._replace(tokens={})) is None
    assert shown(given._replace(tokens={"a": given.tokens["matched"].iloc[:0]})) is None
