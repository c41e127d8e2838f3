"""The project of a study file: the folder it belongs to, wherever a verb is typed."""

import os
from pathlib import Path

FOLDER = ".halfwave"
"""The working folder's name."""


def default_workdir(study_file: Path) -> Path:
    """`.halfwave` in the project that holds the study file, wherever `run` is typed.

    The project is the nearest folder above the file with a `.halfwave`, `.git` or `pyproject.toml`, else its own.
    """
    folder = study_file.resolve().parent
    for candidate in (folder, *folder.parents):
        if any((candidate / name).exists() for name in (FOLDER, ".git", "pyproject.toml")):
            return candidate / FOLDER
    return folder / FOLDER


def expand(path: str, folder: Path) -> Path:
    """A path of the study file in `folder`, with `~` expanded. A home that does not exist stays as typed, and is then
    not found."""
    return folder / os.path.expanduser(path)
