"""The style sheet: roles that differ without colour, names that fit, numbers that differ."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from studies.reporting.figures.style import (
    LOOKS,
    blended,
    by_part,
    fitted,
    ink_on,
    looks,
    numbers,
    plain,
    scale_numbers,
    span,
    spoken,
    width_of,
    wrapped,
)


def test_roles_differ_in_grey() -> None:
    """By marker, and those that form curves by line."""
    assert len({look.marker for look in LOOKS.values()}) == len(LOOKS)
    lines = [str(look.line) for part, look in LOOKS.items() if part != "neighbour"]  # a control beside its own control
    assert len(set(lines)) == len(lines)


def test_roles_differ_to_colour_blind_readers() -> None:
    """Okabe and Ito's palette keeps apart what deuteranopes confuse: treated and matched differ in blue and red."""
    for one, other in (("treated", "matched"), ("treated", "sign"), ("treated", "random")):
        red, _, blue = (a - b for a, b in zip(to_rgb(LOOKS[one].colour), to_rgb(LOOKS[other].colour), strict=True))
        assert abs(red) + abs(blue) > 0.7


def test_conditions_of_one_role_are_told_apart() -> None:
    found = looks({"a": "treated", "b": "treated", "c": "treated", "d": "matched", "e": "unheard of"})
    assert found["a"] == LOOKS["treated"] and found["d"] == LOOKS["matched"] and found["e"] == LOOKS["other"]
    assert len({found[name].marker for name in "abc"}) == len({found[name].colour for name in "abc"}) == 3


def test_treated_conditions_come_first_and_the_rest_keeps_its_order() -> None:
    parts = {"r": "random", "t": "treated", "n": "neighbour", "m": "matched", "u": "treated", "x": "other"}
    assert by_part(parts, parts) == ["t", "u", "m", "n", "r", "x"]


@given(st.text(max_size=60), st.integers(1, 3), st.floats(12, 300))
@settings(max_examples=60, deadline=None)
def test_a_name_fits_its_place(name: str, lines: int, width: float) -> None:
    shown = fitted(name, width, lines=lines).split("\n")
    assert len(shown) <= lines
    assert all(len(line) <= 2 or width_of(line) <= width for line in shown)
    if "…" not in "".join(shown):
        assert "".join("".join(shown).split()) == "".join(plain(name).split()), "nothing is lost without a sign"


def test_a_name_breaks_between_words_and_a_cut_is_shown() -> None:
    assert fitted("one two three", width_of("one two") + 1, lines=2) == "one two\nthree"
    assert fitted("one two three", width_of("one two") + 1) == "one t…"
    assert wrapped("one two three", width_of("three") + 1, 8.0) == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0, 0.25, 0.5], ["0.00", "+0.25", "+0.50"]),
        ([-10, 0, 10], ["−10", "0", "+10"]),
        ([0, 5e-7, 1e-6], ["0", "+5e−7", "+1e−6"]),
        ([0, 1e6, 2e6], ["0", "+1e6", "+2e6"]),
        ([1000, 1500], ["+1,000", "+1,500"]),
        ([20.00001, 20.00002], ["+20.00001", "+20.00002"]),
        ([], []),
    ],
)
def test_numbers_of_an_axis(values: list[float], shown: list[str]) -> None:
    assert numbers(values, signed=True) == shown


@given(st.lists(st.floats(-1e9, 1e9).filter(lambda v: v == 0 or abs(v) > 1e-9), min_size=2, max_size=6, unique=True))
def test_numbers_of_an_axis_keep_their_sides(values: list[float]) -> None:
    for value, text in zip(values, numbers(values), strict=True):
        assert ("−" in text.replace("e−", "")) <= (value < 0), "no negative zero, and no lost minus"


def test_numbers_over_decades_are_no_powers_where_that_is_longer() -> None:
    assert scale_numbers([0.05, 2, 3000, 1e6, 1e-6]) == ["0.05", "2", "3,000", "1e6", "1e−6"]


def test_words() -> None:
    assert spoken("random/seed=0") == "random, seed 0" and spoken("a/b_c") == "a/b_c"
    assert span([10, 7000]) == "10 to 7,000" and span([4, 4]) == "4" and span([]) == "0"


def test_colours_fade_to_white_and_what_is_written_on_them_is_read() -> None:
    assert blended("#d55e00", 1) == "#d55e00" and blended("#d55e00", 0) == "#ffffff"
    assert ink_on("#ffffff") == "#000000" and ink_on("#8b0000") == "#ffffff"


def test_a_negative_zero_has_no_sign() -> None:
    assert numbers([1.0, -0.0]) == ["1", "0"] and numbers([0.5, -1e-12], signed=True) == ["+0.5", "0.0"]
