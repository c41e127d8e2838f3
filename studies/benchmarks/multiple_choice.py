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

from studies.benchmarks.choices import ChoiceBenchmark, Item
from studies.benchmarks.measures import MULTIPLE_CHOICE, Measure
from studies.benchmarks.options import Count, StudySettings
from studies.benchmarks.rows import Row, evenly, read_jsonl
from studies.errors import StudyError


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipleChoiceOptions:
    """A multiple-choice benchmark in its zero-shot form."""

    items: Count | None = None
    """None = all items."""
    measure: ClassVar[Measure] = MULTIPLE_CHOICE

    def load(self, name: str, study: StudySettings) -> ChoiceBenchmark:
        return multiple_choice(name, study.data_root, self.items)


def _plain(row: Row, index: int) -> Item:  # noqa: ARG001
    return Item(row["id"], row["context"], tuple(row["choices"]), row["gold"])


def _boolq(row: Row, index: int) -> Item:  # noqa: ARG001
    """The harness lists `no` first."""
    return Item(row["id"], row["context"], tuple(row["choices"][::-1]), 1 - row["gold"])


def _sciq(row: Row, index: int) -> Item:
    """The supporting paragraph first, and the right choice last.

    The choices of a local row are in the order right, wrong, wrong, wrong, rotated left by the row's index.
    """
    rotation = index % len(row["choices"])
    gold, *wrong = (row["choices"][(i - rotation) % len(row["choices"])] for i in range(len(row["choices"])))
    if gold != row["choices"][row["gold"]]:
        raise ValueError("its choices are not rotated by its place in the file")
    context = f"{row['raw']['support'].lstrip()}\n{row['context']}"
    return Item(row["id"], context, (*wrong, gold), len(wrong))


def _winogrande(row: Row, index: int) -> Item:  # noqa: ARG001
    """Partial scoring: each option completes a context, and the rest of the sentence is the continuation."""
    before, _, after = row["raw"]["sentence"].partition("_")
    contexts = tuple(before + row["raw"][option] for option in ("option1", "option2"))
    rest = after.strip()
    return Item(row["id"], "", (rest, rest), int(row["raw"]["answer"]) - 1, contexts)


TASKS: dict[str, tuple[str, Callable[[Row, int], Item]]] = {
    "arc_easy": ("ARC-Easy", _plain),
    "arc_challenge": ("ARC-Challenge", _plain),
    "piqa": ("PIQA", _plain),
    "hellaswag": ("HellaSwag", _plain),
    "winogrande": ("WinoGrande", _winogrande),
    "openbookqa": ("OpenBookQA", _plain),
    "boolq": ("BoolQ", _boolq),
    "sciq": ("SciQ", _sciq),
}
"""{name: (label, function of a jsonl row and its index that makes the item)}."""


def multiple_choice(name: str, root: Path | None, items: int | None) -> ChoiceBenchmark:
    """One of the eight tasks.

    items: keep this many, evenly spaced; None = all. Raises StudyError without a root or with too few rows, and naming
    file and line for a row that is not the task's.
    """
    label, make_item = TASKS[name]
    if root is None:
        raise StudyError(f"{name} needs local rows: point data: {{root: ...}} at a folder with mc/{name}.jsonl")
    path = root / "mc" / f"{name}.jsonl"
    rows = read_jsonl(path)
    if items is not None and items > len(rows):
        raise StudyError(f"{path} holds {len(rows)} items; {items} were asked for")
    chosen = []
    for index in evenly(len(rows), len(rows) if items is None else items):
        number, row = rows[index]
        try:
            item = make_item(row, index)
            if not 0 <= item.gold < len(item.choices):
                raise ValueError(f"gold {item.gold} of {len(item.choices)} choices")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"the field {error} is missing" if isinstance(error, KeyError) else error
            raise StudyError(f"{path}:{number}: not a row of {label}: {problem}") from None
        chosen.append(item._replace(place=f"{path}:{number}"))
    return ChoiceBenchmark(name=name, label=label, items=tuple(chosen))
