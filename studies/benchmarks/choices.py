"""Multiple choice: the embedded knowledge items or a user's jsonl, and what their log-probabilities say.

Owns what is predicted: the choice with the highest sum of log-probabilities (accuracy), or with the highest sum divided
by the choice's length in characters (accuracy_norm), as lm-evaluation-harness does. The text scored is
context + " " + choice; a choice may have a context of its own. Knows nothing of tokens or models.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd

from studies.benchmarks.annotation import Annotation
from studies.benchmarks.measures import MULTIPLE_CHOICE, Measure
from studies.benchmarks.options import StudySettings, Text
from studies.benchmarks.protocol import NOISE_FLOOR_NODES
from studies.benchmarks.rows import Row, RowNames, optional_name, read_jsonl, required_texts
from studies.benchmarks.texts import Continuations, TextItems
from studies.errors import StudyError, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedKnowledgeOptions:
    """Multiple-choice questions that come with Halfwave."""

    measure: ClassVar[Measure] = MULTIPLE_CHOICE

    def load(self, name: str, study: StudySettings) -> "ChoiceBenchmark":  # noqa: ARG002
        return embedded_knowledge()


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChoicesOptions:
    """Multiple-choice questions from a file of your own."""

    path: Text
    """A .jsonl file with `context`, `choices` and `gold`, the index of the right choice."""
    measure: ClassVar[Measure] = MULTIPLE_CHOICE

    def load(self, name: str, study: StudySettings) -> "ChoiceBenchmark":  # noqa: ARG002
        return user_choices(study.path(self.path))


class Item(NamedTuple):
    """One question."""

    id: str
    context: str
    choices: tuple[str, ...]
    gold: int
    """Index of the right choice."""
    contexts: tuple[str, ...] = ()
    """One context for each choice, where they differ; `context` is not used then."""
    place: str = ""
    """Where it comes from, for messages; its id where that is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceBenchmark:
    """A set of multiple-choice items. Members as in `Benchmark`."""

    name: str
    label: str
    items: tuple[Item, ...]
    identity_params: ClassVar[Mapping[str, int | str | None]] = {}
    measure: ClassVar[Measure] = MULTIPLE_CHOICE
    noise_floor_nodes: ClassVar[int] = NOISE_FLOOR_NODES
    is_syntactic: ClassVar[bool | None] = False
    scoring_version: ClassVar[int] = 1
    annotation: ClassVar[Annotation | None] = None

    @property
    def contexts(self) -> tuple[str, ...]:
        """[num_choices] contexts, item after item."""
        return tuple(context for item in self.items for context in item.contexts or (item.context,) * len(item.choices))

    @property
    def continuations(self) -> tuple[str, ...]:
        """[num_choices] choices with a space in front, item after item."""
        return tuple(f" {choice}" for item in self.items for choice in item.choices)

    @property
    def request(self) -> Continuations:
        of_texts = tuple(i for i, item in enumerate(self.items) for _ in item.choices)
        items = TextItems(of_texts=of_texts, places=tuple(item.place or item.id for item in self.items))
        return Continuations(contexts=self.contexts, continuations=self.continuations, items=items)

    @property
    def estimated_tokens(self) -> float:
        return self.request.estimated_tokens

    @property
    def item_texts(self) -> pd.DataFrame | None:
        """A choice with a context of its own stands behind it, as it was scored."""
        rows = [
            (
                item.id,
                item.context,
                [" ".join(parts) for parts in zip(item.contexts, item.choices, strict=True)],
                item.gold,
            )
            if item.contexts
            else (item.id, item.context, list(item.choices), item.gold)
            for item in self.items
        ]
        return pd.DataFrame(rows, columns=["id", "context", "choices", "gold"])

    @property
    def metric_prefixes(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def choices(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def headlines(self) -> tuple[str, ...]:
        return (f"{self.name}/accuracy",)

    @property
    def digest(self) -> str:
        """sha256 of the items; `contexts` enters only where an item has them, so that other items keep their digest."""
        items = [item[:5] if item.contexts else item[:4] for item in self.items]
        return hashlib.sha256(json.dumps(items).encode()).hexdigest()

    def results(
        self,
        sums: np.ndarray,
        counts: np.ndarray,  # noqa: ARG002
        margins: np.ndarray | None = None,  # noqa: ARG002
        tokens: Mapping[str, np.ndarray] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """Columns id, logprobs (nats, one for each choice), gold, predicted, correct and correct_norm; a row per item.

        Ties go to the first choice, as with `argmax`. Lengths are in characters, so `counts` (tokens) is not used.
        """
        rows, start = [], 0
        for item in self.items:
            logprobs = sums[start : start + len(item.choices)]
            start += len(item.choices)
            predicted = int(np.argmax(logprobs))
            predicted_norm = int(np.argmax(logprobs / [len(choice) for choice in item.choices]))
            correct, correct_norm = float(predicted == item.gold), float(predicted_norm == item.gold)
            rows.append((item.id, logprobs.tolist(), item.gold, predicted, correct, correct_norm))
        return pd.DataFrame(rows, columns=["id", "logprobs", "gold", "predicted", "correct", "correct_norm"])

    def metrics(self, items: pd.DataFrame) -> dict[str, float]:
        """`<name>/accuracy` and `<name>/accuracy_norm`."""
        return {
            f"{self.name}/accuracy": float(items["correct"].mean()),
            f"{self.name}/accuracy_norm": float(items["correct_norm"].mean()),
        }


def embedded_knowledge() -> ChoiceBenchmark:
    """The embedded everyday-knowledge items."""
    path = resources.files("studies") / "embedded" / "knowledge.jsonl"
    return ChoiceBenchmark(name="embedded_knowledge", label="embedded knowledge", items=_items(Path(str(path))))


def user_choices(path: Path) -> ChoiceBenchmark:
    """A user's jsonl: context, choices, gold, optional id. Raises StudyError naming the line."""
    return ChoiceBenchmark(name=path.stem, label=path.stem, items=_items(path))


def _items(path: Path) -> tuple[Item, ...]:
    names = RowNames()
    items = []
    for i, (number, row) in enumerate(read_jsonl(path)):
        where = f"{path}:{number}"
        items.append(checked_item(row, where, names.add(optional_name(row, where, "id"), i, where)))
    if not items:
        raise StudyError(f"{path} holds no items")
    return tuple(items)


def checked_item(row: Row, where: str, name: str) -> Item:
    """The item of a row with context, choices and gold. Raises StudyError for anything else."""
    (context,) = required_texts(row, where, "context")
    choices, gold = row.get("choices"), row.get("gold")
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c.strip() for c in choices):
        raise StudyError(f"{where}: 'choices' must be a list of at least 2 non-empty texts; found {shown(choices)}")
    if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < len(choices):
        raise StudyError(f"{where}: 'gold' must be an index from 0 to {len(choices) - 1}; found {shown(gold)}")
    return Item(name, context, tuple(choices), gold, place=where)
