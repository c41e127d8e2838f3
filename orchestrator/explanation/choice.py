"""Which step a user means: by its id or a beginning of it, by its title or a part of it.

Owns the order of these rules. Invariant: where more than one step fits, none is chosen.
"""

import re
from collections.abc import Mapping

from studies.errors import StudyError, did_you_mean

MIN_DIGITS = 4
"""Digits of an id from which on a word counts as the beginning of one."""
SHOWN = 5
"""Steps that a message lists."""


def chosen(wanted: str, titles: Mapping[str, str]) -> str:
    """The id of the step that is meant.

    wanted: as a user typed it. titles: {step id: title}. StudyError, one line, where no step fits or several do.
    """
    fitting = _by_id(wanted, titles) or _by_title(wanted, titles)
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise StudyError(f"STEP: no step {wanted!r}{did_you_mean(wanted, titles.values(), '`halfwave plan`')}")
    listed = ", ".join(f"{titles[step]} ({step[:8]})" for step in fitting[:SHOWN])
    more = f" and {len(fitting) - SHOWN} more" if len(fitting) > SHOWN else ""
    raise StudyError(f"STEP: {len(fitting)} steps fit {wanted!r}; did you mean one of these? {listed}{more}")


def _by_id(wanted: str, titles: Mapping[str, str]) -> list[str]:
    if len(wanted) < MIN_DIGITS or not re.fullmatch(r"[0-9a-f]+", wanted):
        return []
    return [step for step in titles if step.startswith(wanted)]


def _by_title(wanted: str, titles: Mapping[str, str]) -> list[str]:
    """The steps of this title; else those whose title has these words; else those whose title has them as parts."""
    words = wanted.casefold().split()
    split = {step: title.casefold().split() for step, title in titles.items()}
    for fits in (
        lambda of_title: of_title == words,
        lambda of_title: set(words) <= set(of_title),
        lambda of_title: all(any(word in one for one in of_title) for word in words),
    ):
        if words and (fitting := [step for step, of_title in split.items() if fits(of_title)]):
            return fitting
    return []
