"""Study file -> validated StudySpec and its lines, or all that is wrong with it.

Owns the order: read, parse, fill in the preset, validate each block (`spec`), then each block against the others
(`references`), and what its user has to trust it with (`trust`). Where blocks have mistakes, the others are checked all
the same. Looks nothing up.
Invariant: whatever the file holds, it is a valid StudySpec, or a StudyError with one line for each mistake.
"""

from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from orchestrator.study_file import catalog
from orchestrator.study_file.located import MAX_PROBLEMS, KeyPath, Located, Problem
from orchestrator.study_file.messages import grammar_problems
from orchestrator.study_file.references import contradictions
from orchestrator.study_file.remainder import Remainder, remainder
from orchestrator.study_file.spec import PRESETS, StudySpec
from orchestrator.study_file.trust import unknown_options, untrusted
from studies.errors import StudyError, why_unreadable

MAX_CHARACTERS = 2**21
"""Longest study file; `located.MAX_NODES` values of reasonable length fit into it."""


class Faults(NamedTuple):
    """What is wrong with a study file."""

    problems: Sequence[Problem] = ()
    left_out: Collection[KeyPath] = ()
    """Places of the file for which its study has placeholders."""


NO_FAULTS = Faults()


class Reading(NamedTuple):
    """A study file that was read."""

    spec: StudySpec | None
    """The study; if the file has mistakes, what is left of it, only to be looked up; None where that is too little."""
    located: Located
    faults: Faults


def load_spec(path: Path, *, trusted: bool = False) -> tuple[StudySpec, Located]:
    """Read and validate a study file.

    trusted: whether its user trusts it with what `trust` lists. Raises StudyError: for each mistake a line with file,
    line, key path, value and remedy.
    """
    return _required(read(path, trusted=trusted))


def parse_spec(text: str, name: str, *, trusted: bool = False) -> tuple[StudySpec, Located]:
    """As `load_spec`, from text; `name` is the file's name in messages."""
    return _required(read_text(text, name, trusted=trusted))


def read(path: Path, *, trusted: bool = False) -> Reading:
    """Read a study file; trusted: as in `load_spec`. Raises StudyError, one line, where it is no YAML mapping."""
    return read_text(study_text(path), str(path), trusted=trusted)


def study_text(path: Path) -> str:
    """The text of a study file, or of the study of the catalog that has this name. Raises StudyError, one line."""
    if catalog.is_of_catalog(path):
        return catalog.entry(str(path)).text
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(MAX_CHARACTERS + 1)
    except IsADirectoryError:
        raise StudyError(f"{path}: a folder, not a study file; name one{_in_folder(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: the study file cannot be read: {why_unreadable(error)}") from None
    if len(text) > MAX_CHARACTERS:
        raise StudyError(
            f"{path}: a study file has at most {MAX_CHARACTERS} characters; put neurons into a .parquet file"
        )
    return text


def _in_folder(folder: Path) -> str:
    """` in it: a.yaml, b.yaml`; empty where there is none."""
    names = sorted(path.name for path in folder.glob("*.y*ml"))
    return f" in it: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}" if names else ""


def read_text(text: str, name: str, *, trusted: bool = False) -> Reading:
    """As `read`, from text; `name` is the file's name in messages."""
    located = Located(text, name)
    data = _with_preset(located.data)
    problems = list(located.problems)
    try:
        rest: Remainder | None = Remainder(StudySpec.model_validate(data), ())
    except ValidationError as error:
        problems += grammar_problems(error, located)
        rest = None
    if problems:
        rest = remainder(data, problems, located)
    if rest is None:
        return Reading(None, located, Faults(problems))
    refused = [] if trusted else [one for one in untrusted(rest.spec, located) if rest.concerns(one.path)]
    others = (*unknown_options(rest.spec, located), *contradictions(rest.spec, located))
    found = (problem for problem in others if rest.concerns(problem.path))
    # What a benchmark is not trusted with would run when it is looked up; models are not loaded yet.
    left_out = {*rest.left_out, *(problem.path[:2] for problem in refused if problem.path[0] == "evaluate")}
    return Reading(rest.spec, located, Faults([*problems, *refused, *islice(found, MAX_PROBLEMS)], left_out))


def _required(reading: Reading) -> tuple[StudySpec, Located]:
    reading.located.refuse(reading.faults.problems)
    assert reading.spec is not None, "a file without problems is a study"
    return reading.spec, reading.located


def _with_preset(data: dict[str | int, Any]) -> dict[str | int, Any]:
    """The file's data with the preset's profile under the file's own, and its dtype, if it has one, under the models'.

    An unknown preset is left to the validation."""
    name, profile = data.get("preset", "strict"), data.get("profile", {})
    preset = PRESETS.get(name) if isinstance(name, str) else None
    if not isinstance(profile, dict):
        return data
    defaults = {**preset.profile, "bos": preset.bos} if preset else {}
    if "window" in profile:
        defaults.pop("stride", None)  # the preset's stride belongs to its window
    models = _with_dtype(data, preset.dtype) if preset and preset.dtype else {}
    return {**data, **models, "profile": {**defaults, **profile}}


def _with_dtype(data: dict[str | int, Any], dtype: str) -> dict[str | int, Any]:
    """The entries of models and checkpoints as they are written, with this dtype where they have none."""
    filled: dict[str | int, Any] = {}
    for key in ("models", "checkpoints"):
        match data.get(key):
            case list(entries):
                filled[key] = [_filled(entry, dtype) for entry in entries]
            case entry if entry is not None:
                filled[key] = _filled(entry, dtype)
    return filled


def _filled(entry: Any, dtype: str) -> Any:
    needs_one = isinstance(entry, dict) and entry.get("dtype") is None
    return {**entry, "dtype": dtype} if needs_one else entry
