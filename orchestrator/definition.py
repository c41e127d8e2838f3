"""The study file that a study was last run from, and what is said or refused where it is another one.

A store knows a study by its name, so two files of one name would overwrite each other's results. Owns the place of a
file in its project, which stays the same when the project is moved or uploaded, and the rule by which another file is
recognised. An edited, renamed or moved file is the ordinary case and passes; so does a store that does not know. A
study of the catalog is one file, known by its name alone from whatever folder of the project it is run.
"""

from datetime import datetime
from pathlib import Path

from orchestrator.record.tags import Definition
from orchestrator.study_file import catalog
from orchestrator.study_file.located import Located
from orchestrator.workspace import project_of
from studies.errors import StudyError
from studies.files import read_text

SECOND_FILE = (
    "{study} was last run from {other} ({date}), which still has this name, and would be mixed with it in the record; "
    "give one of the two files another name after `study:`, or this one another --workdir"
)
EDITED = "this is the report of {file} as it was run on {date}; the file says something else now: run it for its own"
OTHER_FILE = "this is the report of {other}, run on {date}, not of {file}, whose study has the same name"


def definition_of(path: Path, located: Located) -> Definition:
    """Where a study file lies in its project, and the digest of what it says; a study of the catalog has its name."""
    if catalog.is_of_catalog(path):
        return Definition(path.name, located.digest)
    file = path.resolve()
    place = file.relative_to(project_of(path)).as_posix()
    return Definition(place.encode(errors="backslashreplace").decode(), located.digest)


def second_file(path: Path, located: Located, study: str, last: Definition | None) -> str:
    """Why this file must not be run: another one with this study's name was, and still exists. Empty if it may be."""
    own = definition_of(path, located)
    if last is None or last.digest == own.digest or last.file == own.file:
        return ""
    other = project_of(path) / last.file
    of_catalog = last.file in catalog.names() and not other.exists()
    if not (of_catalog or _is_named(other, study)):
        return ""
    shown = f"the catalog's {last.file}" if of_catalog else last.file
    problem = SECOND_FILE.format(study=study, other=shown, date=_date(last))
    return str(located.error(("study",), problem))


def report_note(path: Path, located: Located, shown: Definition | None) -> str:
    """What to say above a report that was not made from the study file as it is now; empty where it was."""
    own = definition_of(path, located)
    if shown is None or shown.digest == own.digest:
        return ""
    words = EDITED if shown.file == own.file else OTHER_FILE
    return words.format(file=own.file, other=shown.file, date=_date(shown))


def _is_named(file: Path, study: str) -> bool:
    """Whether a file exists and is a study of this name."""
    try:
        return str(Located(read_text(file, most=2**23), str(file)).data.get("study")) == study
    except (OSError, ValueError, StudyError):
        return False


def _date(definition: Definition) -> str:
    return f"{datetime.fromisoformat(definition.started):%Y-%m-%d %H:%M %Z}"
