"""The page beside its report: looked up, or made and recorded.

Owns the step of a page, whose id follows from that of the report, so that a page is made once for each report. Callers
rely on: a page is made of what the record holds, what waits in the outbox among it, and of nothing else; while a server
is away it is not made (Unreachable), because the study file lies there; one that is on disk already is not read back.
"""

from pathlib import Path

from orchestrator.page.content import page_content
from orchestrator.page.files import BESIDE, is_written, page_files, write_page
from orchestrator.record.client.failures import DamagedArtifact, RecordError
from orchestrator.record.keys import Committed, RunKey
from orchestrator.record.reader import Reader
from orchestrator.record.record import Record
from orchestrator.record.recorded_study import RecordedStudy
from orchestrator.steps.step import review_id
from studies.reporting.page.render import PAGE, Page, page

STEP = "page"


def publish_page(record: Record, study: str, folder: Path) -> Path:
    """The place of the page of the last report on disk, made, recorded and written unless it is there already.

    record: open. folder: of the page on disk. Raises RecordError where the study has no report.
    """
    last = record.latest(study).get(("", "", "report"))
    if last is None:
        raise RecordError(f"{study} has no report yet; run it first")
    step_id = review_id(STEP, {"study": study}, [last.step_id], {last.step_id: last})
    known = record.intact([step_id]).get(step_id)
    if known is not None and is_written(folder, known.artifacts):
        return folder / PAGE
    found = _read(record, known) if known is not None else None
    return write_page(folder, _made(record, study, step_id) if found is None else found)


def _made(record: Record, study: str, step_id: str) -> Page:
    """The page, made and recorded."""
    made = page(page_content(RecordedStudy(record, study)))
    key = RunKey(kind="study", name=study)
    record.commit(key, step_id, STEP, metrics={}, frames={}, documents=page_files(made))
    return made


def _read(record: Reader, known: Committed) -> Page | None:
    """A recorded page; None where it is damaged, so that it is made again."""
    try:
        html = record.document(known, PAGE)
        names = [path.removeprefix(BESIDE) for path in known.artifacts if path.startswith(BESIDE)]
        return Page(html=html, beside={name: record.document(known, BESIDE + name) for name in names})
    except DamagedArtifact:
        return None
