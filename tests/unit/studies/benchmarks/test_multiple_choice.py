"""The eight tasks in the harness's prompt form, from local rows."""

from pathlib import Path
from typing import Any

import pytest

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
    rows = [row | {"choices": ["g", "x", "y", "z"], "gold": 0}]
    rows.append(row | {"id": "1", "choices": ["x", "y", "z", "g"], "gold": 3})
    for item in multiple_choice("sciq", write_rows(tmp_path, "sciq", *rows), None).items:
        assert item.context == "A text.\nQuestion: q\nAnswer:"
        assert item.choices == ("x", "y", "z", "g") and item.gold == 3
    swapped = write_rows(tmp_path, "sciq", rows[1])
    assert study_error(multiple_choice, "sciq", swapped, None).endswith(
        "mc/sciq.jsonl:1: its choices are not rotated by its place in the file"
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
    assert "needs local rows: give --data-root, or data: {root: ...}" in study_error(multiple_choice, "piqa", None, 1)
    write_rows(tmp_path, "piqa", rows[0], {"id": "1", "context": "c", "gold": 0})
    message = study_error(multiple_choice, "piqa", root, None)
    assert message.endswith("piqa.jsonl:2: 'choices' must be a list of at least 2 non-empty texts; found null")


PLAIN = {"id": "0", "context": "c", "choices": ["a", "b"], "gold": 0}
GRANDE = {"sentence": "A _ b.", "option1": "x", "option2": "y", "answer": "1"}
BAD_ROWS = {
    "gold": ("piqa", PLAIN | {"gold": 2}, "'gold' must be an index from 0 to 1; found 2"),
    "choices as one text": ("boolq", PLAIN | {"choices": "ab"}, "'choices' must be a list of at least 2 non-empty"),
    "context": ("hellaswag", PLAIN | {"context": 3}, "every line needs a non-empty text 'context'; found 3"),
    "no fields of its own": ("sciq", PLAIN, "'raw' must hold the row's original fields; found null"),
    "no support": ("sciq", PLAIN | {"raw": {}}, "'support' in 'raw' must be a text; found null"),
    "no option": (
        "winogrande", PLAIN | {"raw": GRANDE | {"option2": None}},
        "in 'raw': every line needs a non-empty text 'option2'; found null",
    ),
    "no gap": (
        "winogrande", PLAIN | {"raw": GRANDE | {"sentence": "A b."}},
        "'sentence' in 'raw' needs a _ in the place of the options, and text behind it",
    ),
    "no answer": (
        "winogrande", PLAIN | {"raw": GRANDE | {"answer": "3"}}, "'answer' in 'raw' must be \"1\" or \"2\"",
    ),
    "id": ("piqa", PLAIN | {"id": {}}, "'id' must be a non-empty text or a whole number; found {}"),
}  # fmt: skip


@pytest.mark.parametrize(("task", "row", "expected"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_row_of_another_form_is_named_by_file_and_line(
    tmp_path: Path, task: str, row: dict[str, Any], expected: str
) -> None:
    root = write_rows(tmp_path, task, row)
    assert study_error(multiple_choice, task, root, None).startswith(f"{root}/mc/{task}.jsonl:1: {expected}")


def test_an_id_that_two_rows_have_is_refused(tmp_path: Path) -> None:
    """Also where only the first is chosen: the others would clash in a larger study."""
    root = write_rows(tmp_path, "piqa", PLAIN, PLAIN)
    assert f'piqa.jsonl:2: the id "0" is that of {root}/mc/piqa.jsonl:1' in study_error(
        multiple_choice, "piqa", root, 1
    )
