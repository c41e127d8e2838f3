"""Shortened names: they fit, and none is mistaken for another."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from orchestrator.terminal.names import CUT, shortened


def test_a_name_is_cut_in_the_middle_and_one_that_fits_stays() -> None:
    names = ["HuggingFaceTB/SmolLM2-135M-Instruct", "gpt2"]
    assert shortened(names, 16) == {names[0]: "HuggingF…nstruct", "gpt2": "gpt2"}


def test_the_cut_moves_to_keep_what_tells_names_apart() -> None:
    names = ["evaluate.blimp_of_a_long_name", "evaluate.tse_of_a_long_name", "profile_of_a_long_name"]
    assert list(shortened(names, 16).values()) == ["evaluate.b…_name", "evaluate.t…_name", "profile_…ng_name"]


def test_names_with_equal_ends_stay_different() -> None:
    names = [f"evaluate/layers={i}-{i + 3}/of the model" for i in range(0, 40, 4)]
    short = shortened(names, 14)
    assert len(set(short.values())) == len(names) and list(short) == names


def test_a_short_name_is_never_that_of_another_whole_name() -> None:
    whole = f"ab{CUT}yz"
    assert shortened(["abcdefwxyz", whole], 5)["abcdefwxyz"] != whole


def test_wide_characters_count_twice() -> None:
    (short,) = shortened(["模型" * 8], 9).values()
    assert cell_len(short) <= 9 and CUT in short


@given(st.lists(st.text("ab模", min_size=1, max_size=12), max_size=8), st.integers(1, 12))
def test_no_two_names_become_equal(names: list[str], width: int) -> None:
    short = shortened(names, width)
    assert set(short) == set(names) and len(set(short.values())) == len(set(names))
    for name, shown in short.items():
        assert shown == name or (cell_len(name) > width and cell_len(shown) < cell_len(name))
