"""The eight non-syntactic benchmarks, from local jsonl in lm-evaluation-harness's zero-shot prompt form.

Rows of `<root>/mc/<task>.jsonl` hold `id`, `context`, `choices`, `gold` and, in `raw`, the original fields that the
harness's prompt needs in addition. Every task but WinoGrande scores context + " " + choice; WinoGrande is scored
partially, as in the harness: the rest of the sentence after either option. Choices are in the harness's order, so
that ties resolve alike.

Deviations from the harness: HellaSwag's second half of the context keeps its lower-case start (the local copy has no
`ctx_b` to capitalise); SciQ rows without a supporting paragraph begin with an empty line, as the harness's do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from studies.benchmarks.choices import ChoiceBenchmark, Item, checked_item
from studies.benchmarks.measures import MULTIPLE_CHOICE, Measure
from studies.benchmarks.options import Count, StudySettings
from studies.benchmarks.rows import Row, RowNames, evenly, optional_name, read_jsonl, required_texts
from studies.errors import DataRootError, StudyError, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipleChoiceOptions:
    """A multiple-choice benchmark in its zero-shot form."""

    items: Count | None = None
    """How many questions, evenly spaced; without it, all."""
    measure: ClassVar[Measure] = MULTIPLE_CHOICE

    def load(self, name: str, study: StudySettings) -> ChoiceBenchmark:
        return multiple_choice(name, study.data_root, self.items)


MakeItem = Callable[[Row, str, str, int], Item]
"""(a jsonl row, its file and line, its name, its index) -> the item. Raises StudyError for a row that is none."""


def _plain(row: Row, where: str, name: str, index: int) -> Item:  # noqa: ARG001
    return checked_item(row, where, name)


def _boolq(row: Row, where: str, name: str, index: int) -> Item:  # noqa: ARG001
    """The harness lists `no` first."""
    item = checked_item(row, where, name)
    return item._replace(choices=item.choices[::-1], gold=len(item.choices) - 1 - item.gold)


def _sciq(row: Row, where: str, name: str, index: int) -> Item:
    """The supporting paragraph first, and the right choice last.

    The choices of a local row are in the order right, wrong, wrong, wrong, rotated left by the row's index.
    """
    item = checked_item(row, where, name)
    size = len(item.choices)
    gold, *wrong = (item.choices[(i - index) % size] for i in range(size))
    if gold != item.choices[item.gold]:
        raise StudyError(f"{where}: its choices are not rotated by its place in the file")
    context = f"{_raw(row, where, 'support', may_be_empty=True).lstrip()}\n{item.context}"
    return Item(name, context, (*wrong, gold), len(wrong))


def _winogrande(row: Row, where: str, name: str, index: int) -> Item:  # noqa: ARG001
    """Partial scoring: each option completes a context, and the rest of the sentence is the continuation."""
    before, _, after = _raw(row, where, "sentence").partition("_")
    contexts = tuple(before + _raw(row, where, option) for option in ("option1", "option2"))
    rest, answer = after.strip(), row["raw"].get("answer")
    if not rest:
        raise StudyError(f"{where}: 'sentence' in 'raw' needs a _ in the place of the options, and text behind it")
    if isinstance(answer, bool) or str(answer) not in ("1", "2"):
        raise StudyError(f"{where}: 'answer' in 'raw' must be \"1\" or \"2\"; found {shown(answer)}")
    return Item(name, "", (rest, rest), int(answer) - 1, contexts)


def _raw(row: Row, where: str, field: str, *, may_be_empty: bool = False) -> str:
    """A text among the original fields. Raises StudyError if it is missing or not a text."""
    raw = row.get("raw")
    if not isinstance(raw, dict):
        raise StudyError(f"{where}: 'raw' must hold the row's original fields; found {shown(raw)}")
    if not may_be_empty:
        return required_texts(raw, f"{where}: in 'raw'", field)[0]
    if not isinstance(raw.get(field), str):
        raise StudyError(f"{where}: {field!r} in 'raw' must be a text; found {shown(raw.get(field))}")
    return str(raw[field])


TASKS: dict[str, tuple[str, MakeItem]] = {
    "arc_easy": ("ARC-Easy", _plain),
    "arc_challenge": ("ARC-Challenge", _plain),
    "piqa": ("PIQA", _plain),
    "hellaswag": ("HellaSwag", _plain),
    "winogrande": ("WinoGrande", _winogrande),
    "openbookqa": ("OpenBookQA", _plain),
    "boolq": ("BoolQ", _boolq),
    "sciq": ("SciQ", _sciq),
}
"""{name: (label, how its items are made)}."""


def multiple_choice(name: str, root: Path | None, items: int | None) -> ChoiceBenchmark:
    """One of the eight tasks.

    items: keep this many, evenly spaced; None = all. Raises StudyError without a root or with too few rows, and naming
    file and line for a row that is not the task's.
    """
    label, make_item = TASKS[name]
    if root is None:
        raise DataRootError(
            f"{name} needs local rows: give --data-root, or data: {{root: ...}}, a folder with mc/{name}.jsonl"
        )
    path = root / "mc" / f"{name}.jsonl"
    rows = read_jsonl(path)
    if items is not None and items > len(rows):
        raise StudyError(f"{path} holds {len(rows)} items; {items} were asked for")
    ids = []
    names = RowNames()
    for i, (number, row) in enumerate(rows):
        where = f"{path}:{number}"
        ids.append(names.add(optional_name(row, where, "id"), i, where))
    chosen = []
    for i in evenly(len(rows), len(rows) if items is None else items):
        number, row = rows[i]
        where = f"{path}:{number}"
        chosen.append(make_item(row, where, ids[i], i)._replace(place=where))
    if not chosen:
        raise StudyError(f"{path} holds no items")
    return ChoiceBenchmark(name=name, label=label, items=tuple(chosen))
