"""The study files that ship with the package, by name, and what a STUDY argument stands for.

Owns the convention by which a file of the catalog describes itself: its first comment says what it asks, and the line
`# Needs: ...` behind it what it takes. A name of the catalog is used as a path: as if a file of that name lay in the
current folder, so that relative paths, the project and its working folder are those of that folder, and nothing is ever
written where the package is installed. Only its text comes from the package.
Invariant: a file in the current folder wins over the catalog.
"""

import os
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

from studies.errors import StudyError, did_you_mean, why_unreadable

SUFFIX = ".yaml"
NEEDS = ("weights", "hub", "weights or hub", "data", "GPUs")
"""What a study may need: weights in a folder (`--model-root`), models of the hub, evaluation data (`--data-root`)."""
_NEEDS_LINE = re.compile(r"^# Needs: (.+)$", re.M)


class Entry(NamedTuple):
    """What a file of the catalog says of itself."""

    name: str
    about: str
    """What it asks, in a sentence."""
    needs: tuple[str, ...]
    """Of `NEEDS`."""
    text: str
    """The whole file."""


def names() -> list[str]:
    """The names in the catalog, sorted."""
    found = (file.name for file in _folder().iterdir())
    return sorted(name.removesuffix(SUFFIX) for name in found if name.endswith(SUFFIX))


def entry(name: str) -> Entry:
    """The study of this name. StudyError, with the nearest name, if there is none."""
    if name not in (known := names()):
        raise StudyError(f"the catalog has no study {name!r}{did_you_mean(name, known, '`halfwave catalog`')}")
    text = (_folder() / f"{name}{SUFFIX}").read_text(encoding="utf-8")
    needs = _NEEDS_LINE.search(text)
    about = text[: needs.start()] if needs else ""
    lines = (line.removeprefix("#").strip() for line in about.splitlines())
    return Entry(name, " ".join(lines), tuple(needs[1].split(", ")) if needs else (), text)


def is_of_catalog(study: Path) -> bool:
    """Whether a path is a name of the catalog, and no file of that name lies in the current folder."""
    return len(study.parts) == 1 and not study.suffix and not _is_file(study) and str(study) in names()


def found_study(study: Path) -> Path:
    """The study file that a user means: the path as it is, `NAME.yaml` of the current folder, or NAME of the catalog.

    StudyError, with the nearest name, for a bare name that is none of these. A path with a folder or a suffix is left
    to whoever reads it."""
    if len(study.parts) != 1 or study.suffix or _is_file(study):
        return study
    if _is_file(beside := study.with_name(f"{study.name}{SUFFIX}")):
        return beside
    if not is_of_catalog(study):
        hint = did_you_mean(str(study), [*_beside(), *names()], "`halfwave catalog`")
        raise StudyError(f"{study} is neither a study file nor a study of the catalog{hint}")
    return study


def copy(name: str, file: Path | None) -> Path:
    """Write a study of the catalog to a file, by default `NAME.yaml` in the current folder; returns where.

    StudyError if there is something already, or if it cannot be written."""
    text, file = entry(name).text, file or Path(f"{name}{SUFFIX}")
    try:
        with file.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except FileExistsError:
        raise StudyError(f"{file} exists and is left as it is; name another file: --copy FILE") from None
    except OSError as error:
        raise StudyError(f"{file} cannot be written: {why_unreadable(error)}; name another file: --copy FILE") from None
    return file


def _beside() -> list[str]:
    """Names of the study files in the current folder, without their suffix."""
    return [file.stem for file in Path().glob(f"*{SUFFIX}")]


def _is_file(study: Path) -> bool:
    """Whether there is anything to read: a file, or something else that is no folder."""
    return os.path.exists(study) and not os.path.isdir(study)


def _folder() -> Traversable:
    """The folder of the catalog, wherever the package is installed."""
    return files("studies") / "catalog"
