"""The page beside its report: looked up, or made and recorded.

Owns the artifacts of a page and its step, whose id follows from that of the report, so that a page is made once for
each report. Callers rely on: a page is made of what the record holds, also while a server is away, and of nothing else.
"""

from orchestrator.page.content import page_content
from orchestrator.record.client.failures import DamagedArtifact
from orchestrator.record.keys import Committed, RunKey
from orchestrator.record.reader import Reader
from orchestrator.record.record import Record
from orchestrator.record.recorded_study import RecordedStudy
from orchestrator.steps.step import review_id
from studies.reporting.page.render import PAGE, Page, page

STEP = "page"
BESIDE = "pages/"
"""Folder of the pages beside a page, as an artifact and on disk."""


def record_page(record: Record, study: str) -> Page:
    """The page of the last report of an open record, made and recorded unless it is known.

    Raises RecordError where the study has no report.
    """
    last = record.latest(study).get(("", "", "report"))
    step_id = None if last is None else review_id(STEP, {"study": study}, [last.step_id], {last.step_id: last})
    known = record.intact([step_id]).get(step_id) if step_id else None
    if known is not None and (found := _read(record, known)) is not None:
        return found
    made = page(page_content(RecordedStudy(record, study)))
    if step_id:
        record.commit(
            RunKey(kind="study", name=study),
            step_id,
            STEP,
            metrics={},
            frames={},
            documents={PAGE: made.html, **{BESIDE + name: html for name, html in made.beside.items()}},
        )
    return made


def _read(record: Reader, known: Committed) -> Page | None:
    """A recorded page; None where it is damaged, so that it is made again."""
    try:
        html = record.document(known, PAGE)
        names = [path.removeprefix(BESIDE) for path in known.artifacts if path.startswith(BESIDE)]
        return Page(html=html, beside={name: record.document(known, BESIDE + name) for name in names})
    except DamagedArtifact:
        return None
