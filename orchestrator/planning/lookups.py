"""Looks names up one by one, and notes each that cannot be found.

Owns the order: first what lies on this machine, then, if it is asked to, what only the hub has. Knows nothing of what
is looked up.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple, ParamSpec

from orchestrator.study_file.located import KeyPath, Located, Problem
from studies.benchmarks.hub import HubHeldBackError, held_back
from studies.errors import DataRootError, StudyError

P = ParamSpec("P")


class _LookUp(NamedTuple):
    place: KeyPath
    function: Callable[[], Any]


class LookUps:
    """The look-ups of one study file."""

    def __init__(self, located: Located, left_out: Collection[KeyPath] = ()) -> None:
        """left_out: places of the file at which nothing is looked up."""
        self.problems: list[Problem] = []
        self.without_data_root: list[Problem] = []
        """Data that only a data root can have, where there is none."""
        self.found: dict[KeyPath, Any] = {}
        """{place: what its name stands for}."""
        self._located, self._left_out = located, left_out
        self._waiting: list[_LookUp] = []

    def add(self, place: KeyPath, function: Callable[P, Any], *arguments: P.args, **options: P.kwargs) -> None:
        """Look up the name at this place of the file with this call, now or, if only the hub can know, in `ask_hub`."""
        if any(place[: len(part)] == part for part in self._left_out):
            return
        look_up = _LookUp(place, lambda: function(*arguments, **options))
        try:
            with held_back():
                self._try(look_up)
        except HubHeldBackError:
            self._waiting.append(look_up)

    def ask_hub(self) -> None:
        """Make the look-ups that have waited."""
        for look_up in self._waiting:
            self._try(look_up)
        self._waiting = []

    def _try(self, look_up: _LookUp) -> None:
        try:
            self.found[look_up.place] = look_up.function()
        except StudyError as error:
            problems = self.without_data_root if isinstance(error, DataRootError) else self.problems
            problems.append(self._located.problem(look_up.place, str(error)))
        except OSError as error:  # the file exists and may not be read
            problem = f"{error.filename} cannot be read: {error.strerror}"
            self.problems.append(self._located.problem(look_up.place, problem))
