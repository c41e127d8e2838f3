"""What a user types to name a thing to compare."""

from pathlib import Path

import pytest

from orchestrator.comparison.sides import Named, parse
from studies.errors import StudyError

TYPED = {
    "dissociation": ("dissociation", "", None),
    "dissociation@m": ("dissociation", "m", None),
    "dissociation@pythia@step512": ("dissociation", "pythia@step512", None),
    "dissociation#2": ("dissociation", "", 2),
    "a/b.yaml@m@x#12": ("a/b.yaml", "m@x", 12),
}


@pytest.mark.parametrize(("typed", "expected"), TYPED.items(), ids=TYPED)
def test_a_study_may_have_a_model_and_an_invocation(typed: str, expected: tuple[str, str, int | None]) -> None:
    assert parse(typed) == expected and str(parse(typed)) == typed


@pytest.mark.parametrize("typed", ["", "@m", "#1", "s#", "s#-1", "s@", "s#one", "s@#1"])
def test_anything_else_is_one_line(typed: str) -> None:
    with pytest.raises(StudyError, match="names nothing to compare; write STUDY, STUDY@MODEL, STUDY#2"):
        parse(typed)


def test_an_existing_file_may_have_any_name(tmp_path: Path) -> None:
    odd = tmp_path / "me@home" / "a@b#1.yaml"
    odd.parent.mkdir()
    odd.write_text("")
    assert parse(str(odd)) == Named(str(odd), "", None)
    assert parse(f"{odd}@pythia@step512#2") == Named(str(odd), "pythia@step512", 2)
