"""The last recorded report of a study, found by its study file or by its name: the work behind `report`.

Needs the record alone: of a study file only `study` and `tracking_uri` are used, nothing of it is looked up or run, and
nothing is written but the page, when asked for. Raises StudyError, one line, where there is no such store, study or
report.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.definition import report_note
from orchestrator.notebook import load_from, open_reader, reader_of
from orchestrator.record.local_store import locate
from orchestrator.record.recorded_study import REPORT, RecordedStudy
from orchestrator.study_file.load import load_spec
from orchestrator.workspace import default_store, default_workdir, outbox_folder, store_of_study_file
from studies.errors import StudyError


class LastReport(NamedTuple):
    """A recorded report, and the study that it is of."""

    study: RecordedStudy
    document: Mapping[str, Any]
    """The report as it was recorded."""
    note: str
    """What to say above it where the study file is not what it was made from; else empty."""
    workdir: Path
    """The working folder, which may be absent."""

    def write_page(self, folder: Path | None = None) -> Path:
        """Make the page of the study, and write it into a folder, by default in the working folder; returns where.

        StudyError where it cannot be made or written."""
        from orchestrator.page.content import page_content
        from orchestrator.page.files import page_folder, write_page
        from studies.reporting.page.render import page

        return write_page(folder or page_folder(self.workdir, self.study.name), page(page_content(self.study)))


def last_report(
    file: Path | None,
    name: str | None,
    *,
    workdir: Path | None = None,
    tracking_uri: str | None = None,
    artifact_root: str | None = None,
) -> LastReport:
    """The last report of the study of a file, or of this name, or of the only study of a store.

    workdir: default as of every verb. tracking_uri: default that of the file, else the store in the working folder.
    """
    if file is not None and name is not None:
        raise StudyError(f"--study: {file} names its study itself; give the file or the name")
    place = workdir or default_workdir(file or Path("study.yaml"))
    if file is None:
        uri = tracking_uri or default_store(place)
        _require_store(uri, name)
        is_of_place = workdir is not None or tracking_uri is None  # else what waits in its outbox is for another store
        reader = open_reader(uri, outbox_folder(place), artifact_root) if is_of_place else reader_of(uri, artifact_root)
        study = load_from(reader, name)
        return LastReport(study, _document(study), "", place)
    spec, located = load_spec(file, trusted=True)  # nothing of it is run
    uri = tracking_uri or store_of_study_file(spec.tracking_uri, located, place)
    _require_store(uri, spec.study)
    study = load_from(open_reader(uri, outbox_folder(place), artifact_root), spec.study)
    return LastReport(study, _document(study), report_note(file, located, study.last_reported), place)


def _require_store(uri: str, name: str | None) -> None:
    """StudyError where a SQLite store is absent, so that the study has no report in it."""
    database = locate(uri).database
    if database is not None and not database.exists():
        whose = "no report" if name is None else f"{name} has no report yet"
        remedy = "run the study first, or name its store with --workdir or --tracking-uri"
        raise StudyError(f"{whose}: there is no MLflow store at {database}; {remedy}")


def _document(study: RecordedStudy) -> Mapping[str, Any]:
    """The report of a study as it was recorded. StudyError where there is none."""
    if not study.has_report:
        raise StudyError(study.why_no_report)
    document: Mapping[str, Any] = study.document("", "", REPORT)
    return document
