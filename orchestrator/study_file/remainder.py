"""What is left of a study file without its mistakes, so that the rest of it can be checked all the same.

Owns the placeholders: a part with a mistake is replaced by one that is valid, looks nothing up and keeps the place of
the others in the file. Invariant: whatever is reported of a part in `Remainder.left_out` follows from a mistake that is
reported already.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from orchestrator.study_file.located import KeyPath, Located, Problem
from orchestrator.study_file.messages import grammar_problems
from orchestrator.study_file.spec import WITHOUT_MISTAKES, StudySpec

_CONDITION = {"select": "top", "fraction": 0.5, "clamp": "zero"}
_ROUNDS = 5
"""How often the rest is validated: where parts are left out, other mistakes can appear."""


class Remainder(NamedTuple):
    """A study without the parts that have mistakes; never planned or run."""

    spec: StudySpec
    left_out: Collection[KeyPath]
    """Places of parts that are placeholders, or the file's default; () once names cannot be told from one another."""

    def concerns(self, path: KeyPath) -> bool:
        """Whether what is found at this place is news: it is not part of, or due to, what was left out."""
        if any(path[: len(place)] == place for place in self.left_out):
            return False
        by_name = len(path) > 2 and path[0] == "conditions" and path[2] in ("evaluate", "match")
        return not (by_name and any(place[0] == "evaluate" for place in self.left_out))


def remainder(data: dict[str | int, Any], problems: Sequence[Problem], located: Located) -> Remainder | None:
    """The study of this data without the parts at these problems; None where too little is left."""
    left_out: set[KeyPath] = set()
    for _ in range(_ROUNDS):
        for problem in problems:
            left_out |= _parts(problem.path, data)
        data = _with_placeholders(data, left_out)
        try:
            return Remainder(StudySpec.model_validate(data, context=WITHOUT_MISTAKES), left_out)
        except ValidationError as error:
            problems = grammar_problems(error, located)
    return None


def _parts(path: KeyPath, data: dict[str | int, Any]) -> set[KeyPath]:
    """The smallest parts to leave out for a mistake at this path; of the whole file, all that is missing."""
    if not path or path == ("",):
        return {(key,) for key in ("study", "conditions", "evaluate") if data.get(key) is None}
    if path[0] in ("models", "evaluate", "checkpoints", "conditions", "profile", "data") and len(path) > 1:
        block = data.get(path[0])
        if isinstance(block, list) or path[0] in ("conditions", "profile", "data"):
            return {path[:2]}
    return {path[:1]}


def _with_placeholders(data: dict[str | int, Any], left_out: Iterable[KeyPath]) -> dict[str | int, Any]:
    data = {key: _copy(value) for key, value in data.items()}
    for place in left_out:
        block = data.get(place[0])
        if len(place) == 1:
            data.pop(place[0], None)
        elif isinstance(block, dict) and place[0] == "conditions":
            block[place[1]] = _CONDITION
        elif isinstance(block, dict):
            block.pop(place[1], None)
        elif isinstance(block, list) and isinstance(place[1], int):
            block[place[1]] = _entry(str(place[0]), place[1])
    data.setdefault("study", "placeholder")
    data.setdefault("conditions", {"placeholder": _CONDITION})
    data.setdefault("evaluate", ["embedded_knowledge"])
    return data


def _copy(block: Any) -> Any:
    return dict(block) if isinstance(block, dict) else list(block) if isinstance(block, list) else block


def _entry(block: str, i: int) -> dict[str, Any]:
    """A valid entry of one of the lists, with a name that no other entry has."""
    name = f"placeholder-{i}"
    entries: dict[str, dict[str, Any]] = {
        "models": {"name": name},
        "evaluate": {"surprisal": {"name": f"surprisal-{name}"}},
        "checkpoints": {"of": name, "revisions": ["step1", "step2"]},
    }
    return entries[block]
