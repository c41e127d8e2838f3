"""Which step is meant: ids before titles, whole titles before parts, and never one of several."""

import pytest

from orchestrator.explanation.choice import chosen
from studies.errors import StudyError

TITLES = {
    "3fa9c1d2e0": "evaluate.blimp SmolLM2 wasserstein",
    "3fa9ffffff": "evaluate.blimp SmolLM2 wasserstein/layers=0-3",
    "77aa00bb11": "select SmolLM2 wasserstein",
    "00cc00cc00": "profile SmolLM2",
}


@pytest.mark.parametrize(
    ("wanted", "step"),
    [
        ("3fa9c1d2e0", "3fa9c1d2e0"),
        ("3fa9c", "3fa9c1d2e0"),
        ("77aa", "77aa00bb11"),
        ("evaluate.blimp SmolLM2 wasserstein", "3fa9c1d2e0"),  # and not also the one that begins with it
        ("EVALUATE.blimp  smollm2 wasserstein", "3fa9c1d2e0"),
        ("evaluate.blimp wasserstein", "3fa9c1d2e0"),  # of whose words these are
        ("layers=0", "3fa9ffffff"),
        ("prof", "00cc00cc00"),
    ],
)
def test_what_fits_one_step_names_it(wanted: str, step: str) -> None:
    assert chosen(wanted, TITLES) == step


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            "3fa9",
            "STEP: 2 steps fit '3fa9'; did you mean one of these? evaluate.blimp SmolLM2 wasserstein (3fa9c1d2), "
            "evaluate.blimp SmolLM2 wasserstein/layers=0-3 (3fa9ffff)",
        ),
        (
            "blimp",
            "STEP: 2 steps fit 'blimp'; did you mean one of these? evaluate.blimp SmolLM2 wasserstein (3fa9c1d2)",
        ),
        (
            "evaluate.blimp SmolLM wasserstien",
            "STEP: no step 'evaluate.blimp SmolLM wasserstien'; did you mean 'evaluate.blimp SmolLM2 wasserstein'?",
        ),
        ("xyz", "STEP: no step 'xyz'; `halfwave plan` lists them"),
        ("", "STEP: no step ''; `halfwave plan` lists them"),
        ("3fa", "STEP: no step '3fa'; `halfwave plan` lists them"),
    ],
)
def test_anything_else_is_one_line(wanted: str, message: str) -> None:
    with pytest.raises(StudyError) as refused:
        chosen(wanted, TITLES)
    assert str(refused.value).startswith(message)


def test_a_long_list_is_cut() -> None:
    titles = {f"{i:020x}": f"evaluate.b m {i}" for i in range(9)}
    with pytest.raises(StudyError, match=r"9 steps fit 'evaluate'.*\) and 4 more$"):
        chosen("evaluate", titles)
