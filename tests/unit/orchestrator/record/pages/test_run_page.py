"""The difference between a run and the page that it should show."""

import pytest

from orchestrator.record.pages.run_page import Difference, RunInput, RunPage, difference

MODEL = RunInput("tiny", "ab" * 32, "/models/tiny", "model")
NOTE = "mlflow.note.content"
JUDGED = RunPage(note="n", tags={"claim.a": "supported"}, owned=("claim.",), metrics={"delta/x": 0.5}, inputs=(MODEL,))


def found(page: RunPage, **held: object) -> Difference:
    given = {"tags": {}, "metrics": {}, "inputs": set(), **held}
    return difference(page, NOTE, given["tags"], given["metrics"], given["inputs"])  # type: ignore[arg-type]


def test_a_new_run_gets_all_of_its_page() -> None:
    assert found(JUDGED) == Difference({"claim.a": "supported", NOTE: "n"}, [], {"delta/x": 0.5}, {}, [MODEL])


def test_a_run_that_shows_its_page_gets_nothing() -> None:
    held = {"tags": {"claim.a": "supported", NOTE: "n", "other": "x"}, "metrics": {"delta/x": 0.5, "y": 1.0}}
    assert found(JUDGED, **held, inputs={("tiny", "ab" * 16)}) == Difference({}, [], {}, {}, [])


def test_only_what_differs_is_written() -> None:
    metrics = {"a": 1.0, "b": 2.0, "c": 3.0}
    page = RunPage(note="new", tags={"claim.a": "absent"}, owned=("claim.",), metrics=metrics)
    held = {"tags": {"claim.a": "supported", "claim.b": "x", NOTE: "old"}, "metrics": {"a": 1.0, "b": 2.5}}
    tags = {"claim.a": "absent", NOTE: "new"}
    assert found(page, **held) == Difference(tags, ["claim.b"], {"c": 3.0}, {"b": 2.0}, [])


@pytest.mark.parametrize(("note", "removed"), [("", [NOTE]), (None, [])])
def test_an_empty_note_is_removed_and_no_note_is_left_alone(note: str | None, removed: list[str]) -> None:
    assert found(RunPage(note=note), tags={NOTE: "by a person", "claim.a": "x"}).removed == removed


@pytest.mark.parametrize(
    ("digest", "short"),
    [
        ("0123456789abcdef" * 4, "0123456789abcdef" * 2),
        ("org/model@" + "c0ffee" * 6 + "aaaa", "c0ffee" * 5 + "c0"),
        ("f" * 64 + "+code", "f" * 32),
        ("no digest", "0fba808cc1e37e38"),
    ],
    ids=["sha256", "a commit of the hub", "with code", "anything else"],
)
def test_a_digest_is_cut_to_what_mlflow_takes(digest: str, short: str) -> None:
    cut = RunInput("m", digest, "", "model").short_digest
    assert cut.startswith(short) and len(cut) == 32 and int(cut, 16) >= 0
