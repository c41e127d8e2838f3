"""Where the names of a study file are looked up."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.study_file.located import Located, Problem
from orchestrator.study_file.spec import StudySpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The folders of one study."""

    folder: Path
    """The study file's folder; relative paths start here."""
    data_root: Path | None
    """Local evaluation data; None = the hub."""
    model_roots: tuple[Path, ...]
    """Where models are looked up by name before the hub."""

    def path(self, written: str) -> Path:
        """A path of the study file, with `~` expanded; `~name` stays as typed where there is no such user."""
        return self.folder / os.path.expanduser(written)


def places(
    spec: StudySpec, located: Located, *, folder: Path, data_root: Path | None, model_roots: Sequence[Path]
) -> tuple[Places, list[Problem]]:
    """The folders of a study, those of the command line, else the file's own; and a problem for each missing one."""
    in_file = Places(folder=folder, data_root=None, model_roots=())
    root = data_root or (in_file.path(spec.data.root) if spec.data.root else None)
    roots = list(model_roots) or ([in_file.path(spec.model_root)] if spec.model_root else [])
    problems = [located.problem(("model_root",), f"there is no folder {place}") for place in roots if not _is(place)]
    if root is not None and not _is(root):
        problems.append(located.problem(("data", "root"), f"there is no folder {root}"))
        root = None
    return Places(folder=folder, data_root=root, model_roots=tuple(filter(_is, roots))), problems


def _is(folder: Path) -> bool:
    return os.path.isdir(folder)  # `Path.is_dir` raises for a name that is too long
