"""Study file -> validated StudySpec and its lines.

Owns the order: read, parse, fill in the preset, validate each block (`spec`), then each block against the others
(`references`). Looks nothing up.
Invariant: whatever the file holds, it is a valid StudySpec or a StudyError of one line.
"""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.study_file.located import Located
from orchestrator.study_file.messages import first_error
from orchestrator.study_file.references import check_references
from orchestrator.study_file.spec import PRESETS, StudySpec
from studies.errors import StudyError, why_unreadable

MAX_CHARACTERS = 2**21
"""Longest study file; `located.MAX_NODES` values of reasonable length fit into it."""


def load_spec(path: Path) -> tuple[StudySpec, Located]:
    """Read and validate a study file. Raises StudyError: one line with file, line, key path, value and remedy."""
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(MAX_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: the study file cannot be read: {why_unreadable(error)}") from None
    if len(text) > MAX_CHARACTERS:
        raise StudyError(
            f"{path}: a study file has at most {MAX_CHARACTERS} characters; put neurons into a .parquet file"
        )
    return parse_spec(text, str(path))


def parse_spec(text: str, name: str) -> tuple[StudySpec, Located]:
    """As `load_spec`, from text; `name` is the file's name in messages."""
    located = Located(text, name)
    data = _with_preset(located.data)
    try:
        spec = StudySpec.model_validate(data)
    except ValidationError as error:
        raise first_error(error, located) from None
    check_references(spec, located)
    return spec, located


def _with_preset(data: dict[str | int, Any]) -> dict[str | int, Any]:
    """The file's data with the preset's profile under the file's own. An unknown preset is left to the validation."""
    name, profile = data.get("preset", "strict"), data.get("profile", {})
    preset = PRESETS.get(name) if isinstance(name, str) else None
    if not isinstance(profile, dict):
        return data
    defaults = {**preset.profile, "bos": preset.bos} if preset else {}
    if "window" in profile:
        defaults.pop("stride", None)  # the preset's stride belongs to its window
    return {**data, "profile": {**defaults, **profile}}
