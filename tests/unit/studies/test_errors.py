"""Errors that a user can fix, and the hint at their end."""

import pickle

import pytest

from studies.errors import InterventionError, StudyError, did_you_mean


@pytest.mark.parametrize("error", [StudyError("a: b is wrong"), InterventionError("not applied")])
def test_errors_survive_a_pickle_round_trip(error: StudyError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and isinstance(again, StudyError)


def test_the_hint_is_a_near_miss_or_the_allowed_values_or_what_lists_them() -> None:
    assert did_you_mean("bilmp", ["tse", "blimp"]) == "; did you mean 'blimp'?"
    assert did_you_mean("x", ["tse", "blimp"]) == "; allowed: blimp, tse"
    assert did_you_mean("x", ["tse", "blimp"], listed="`halfwave ls`") == "; `halfwave ls` lists them"
    assert did_you_mean("x", []) == ""
