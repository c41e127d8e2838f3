"""The eight tasks in the harness's prompt form, from local rows."""

from pathlib import Path
from typing import Any

from studies.benchmarks.multiple_choice import multiple_choice
from tests.unit.studies.benchmarks.files import study_error, write_jsonl


def write_rows(root: Path, name: str, *rows: dict[str, Any]) -> Path:
    """A data root that holds these rows of a task."""
    write_jsonl(root / "mc" / f"{name}.jsonl", *rows)
    return root


def test_boolq_asks_no_first_and_sciq_puts_the_support_in_front(tmp_path: Path) -> None:
    row = {"id": "0", "context": "P\nQuestion: q?\nAnswer:", "choices": ["yes", "no"], "gold": 0, "raw": {}}
    (item,) = multiple_choice("boolq", write_rows(tmp_path, "boolq", row), None).items
    assert item.choices == ("no", "yes") and item.gold == 1
    row = {"id": "0", "context": "Question: q\nAnswer:", "raw": {"support": " A text."}}
    rows = [row | {"choices": ["g", "x", "y", "z"], "gold": 0}, row | {"choices": ["x", "y", "z", "g"], "gold": 3}]
    for item in multiple_choice("sciq", write_rows(tmp_path, "sciq", *rows), None).items:
        assert item.context == "A text.\nQuestion: q\nAnswer:"
        assert item.choices == ("x", "y", "z", "g") and item.gold == 3
    swapped = write_rows(tmp_path, "sciq", rows[1])
    assert study_error(multiple_choice, "sciq", swapped, None).endswith(
        "mc/sciq.jsonl:1: not a row of SciQ: its choices are not rotated by its place in the file"
    )


def test_winogrande_is_scored_partially(tmp_path: Path) -> None:
    raw = {"sentence": "Ann saw Eve so _ left early.", "option1": "Ann", "option2": "Eve", "answer": "2"}
    choices = ["Ann left early.", "Eve left early."]
    row = {"id": "0", "context": "Ann saw Eve so", "choices": choices, "gold": 1, "raw": raw}
    benchmark = multiple_choice("winogrande", write_rows(tmp_path, "winogrande", row), None)
    assert benchmark.contexts == ("Ann saw Eve so Ann", "Ann saw Eve so Eve")
    assert benchmark.continuations == (" left early.",) * 2 and benchmark.items[0].gold == 1


def test_items_are_taken_evenly_and_bad_rows_are_named(tmp_path: Path) -> None:
    rows = [{"id": str(i), "context": "c", "choices": ["a", "b"], "gold": 0, "raw": {}} for i in range(10)]
    root = write_rows(tmp_path, "piqa", *rows)
    assert [item.id for item in multiple_choice("piqa", root, 4).items] == ["0", "2", "5", "7"]
    assert "holds 10 items; 11 were asked for" in study_error(multiple_choice, "piqa", root, 11)
    assert "needs local rows: point data" in study_error(multiple_choice, "piqa", None, 1)
    write_rows(tmp_path, "piqa", rows[0], {"id": "1", "context": "c", "gold": 0})
    message = study_error(multiple_choice, "piqa", root, None)
    assert "piqa.jsonl:2: not a row of PIQA: the field 'choices' is missing" in message
    write_rows(tmp_path, "piqa", rows[0] | {"gold": 2})
    assert study_error(multiple_choice, "piqa", root, None).endswith("not a row of PIQA: gold 2 of 2 choices")
