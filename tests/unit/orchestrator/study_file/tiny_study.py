"""A small valid study file, pieces of it to replace, and what a replacement is refused with."""

import pytest

from orchestrator.study_file.load import parse_spec
from orchestrator.study_file.spec import StudySpec
from studies.errors import StudyError

STUDY = """\
study: tiny
models:
  - org/a
profile: {corpus: embedded, tokens: 100}
conditions:
  w: {select: top, fraction: 0.01, clamp: negative}
  r: {select: random, like: w, seeds: [0, 1], clamp: negative}
  m: {select: bottom, match: {perplexity_of: w}, clamp: negative}
evaluate:
  - perplexity: {corpus: embedded}
  - embedded_pairs: {per_construction: 40}
claims: double_dissociation
"""
MODEL = "  - org/a\n"
MODELS = "models:\n" + MODEL
PROFILE = "profile: {corpus: embedded, tokens: 100}"
TOP = "{select: top, fraction: 0.01, clamp: negative}"
LIKE = "like: w, seeds: [0, 1]"
MATCH = "match: {perplexity_of: w}"
PERPLEXITY = "  - perplexity: {corpus: embedded}\n"
LAST = "claims: double_dissociation\n"
"""Pieces of STUDY, each of which occurs once in it."""
SERIES = "checkpoints: {of: org/m, revisions: [step0, step10, {main: 50}], dtype: bfloat16, gpus: 1}\n"


def parse(text: str = STUDY) -> StudySpec:
    return parse_spec(text, "f.yaml")[0]


def changed(old: str, new: str) -> str:
    """STUDY with one piece replaced; fails unless the piece occurs exactly once."""
    assert STUDY.count(old) == 1, old
    return STUDY.replace(old, new)


def with_series(series: str = SERIES) -> str:
    """STUDY with checkpoints instead of its model."""
    return changed(MODELS, series)


def mistakes(text: str) -> list[str]:
    """The lines with which a study file is refused."""
    with pytest.raises(StudyError) as caught:
        parse(text)
    lines = str(caught.value).split("\n")
    assert str(caught.value).splitlines() == lines and all(line.isprintable() for line in lines), lines
    return lines


def message(text: str) -> str:
    """The one line with which a study file is refused."""
    (line,) = mistakes(text)
    return line


def assert_refused(old: str, new: str, expected: str) -> None:
    """STUDY with one piece replaced is refused; `expected` begins after the file's name, or is part of the line."""
    line = message(changed(old, new))
    assert line.startswith(f"f.yaml{expected}") if expected.startswith(":") else expected in line, line
