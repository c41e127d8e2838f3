"""The last recorded report of a study, found by its study file or by its name: the work behind `report`.

Needs the record alone, as `named_study` finds it; nothing is written but the page, when asked for. Raises StudyError,
one line, where there is no such store, study or report.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.definition import report_note
from orchestrator.named_study import named_study
from orchestrator.notebook import load_from
from orchestrator.record.recorded_study import REPORT, RecordedStudy
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
    """The last report of the study of a file, or of this name, or of the only study of a store; arguments as
    `named_study`."""
    named = named_study(
        file, name, workdir=workdir, tracking_uri=tracking_uri, artifact_root=artifact_root, wanted="report"
    )
    study = load_from(named.reader, named.name)
    document, note = _document(study), ""
    if named.file is not None and named.located is not None:
        note = report_note(named.file, named.located, study.last_reported)
    return LastReport(study, document, note, named.workdir)


def _document(study: RecordedStudy) -> Mapping[str, Any]:
    """The report of a study as it was recorded. StudyError where there is none."""
    if not study.has_report:
        raise StudyError(study.why_no_report)
    document: Mapping[str, Any] = study.document("", "", REPORT)
    return document
