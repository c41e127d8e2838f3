"""Multiple choice: embedded knowledge or a user's jsonl -> items; log-probabilities -> per-item results.

Owns what is predicted: the choice with the highest sum of log-probabilities (accuracy), and the highest sum divided by
the choice's length in characters (accuracy_norm, as lm-evaluation-harness does). The text scored is
context + " " + choice; a choice may have a context of its own.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from studies.benchmarks.minimal_pairs import read_jsonl
from studies.errors import StudyError


class Item(NamedTuple):
    """One question."""

    id: str
    context: str
    choices: tuple[str, ...]
    gold: int
    contexts: tuple[str, ...] = ()
    """One a choice, where they differ; then `context` is not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceBenchmark:
    """A set of multiple-choice items, ready to be scored."""

    name: str
    label: str
    items: tuple[Item, ...]

    @property
    def contexts(self) -> tuple[str, ...]:
        return tuple(context for item in self.items for context in item.contexts or (item.context,) * len(item.choices))

    @property
    def continuations(self) -> tuple[str, ...]:
        return tuple(f" {choice}" for item in self.items for choice in item.choices)

    @property
    def choices(self) -> tuple[str, ...]:
        """What stands before `/accuracy` in its metrics."""
        return (self.name,)

    @property
    def headlines(self) -> tuple[str, ...]:
        """The metric that stands for the whole."""
        return (f"{self.name}/accuracy",)

    @property
    def digest(self) -> str:
        """sha256 of the items; contexts of the choices' own enter where there are any."""
        plain = [item if item.contexts else item[:4] for item in self.items]
        return hashlib.sha256(json.dumps(plain).encode()).hexdigest()

    def results(self, sums: np.ndarray, counts: np.ndarray) -> pd.DataFrame:
        """Per-item results: id, logprobs (nats, one a choice), gold, predicted, correct, correct_norm.

        Ties go to the first choice, as `argmax` does; `counts` (tokens) is not used: lengths are in characters.
        """
        rows, start = [], 0
        for item in self.items:
            logprobs = sums[start : start + len(item.choices)]
            start += len(item.choices)
            predicted = int(np.argmax(logprobs))
            normed = int(np.argmax(logprobs / [len(choice) for choice in item.choices]))
            correct, correct_norm = float(predicted == item.gold), float(normed == item.gold)
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
    items = []
    for number, row in read_jsonl(path):
        context, choices, gold = row.get("context"), row.get("choices"), row.get("gold")
        if not isinstance(context, str) or not context.strip():
            raise StudyError(f"{path}:{number}: 'context' must be a non-empty text; found {context!r}")
        if (
            not isinstance(choices, list)
            or len(choices) < 2
            or not all(isinstance(c, str) and c.strip() for c in choices)
        ):
            raise StudyError(f"{path}:{number}: 'choices' must be a list of at least 2 non-empty texts")
        if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < len(choices):
            raise StudyError(f"{path}:{number}: 'gold' must be an index from 0 to {len(choices) - 1}; found {gold!r}")
        items.append(Item(str(row.get("id", len(items))), context, tuple(choices), gold))
    if not items:
        raise StudyError(f"{path} holds no items")
    if len({item.id for item in items}) != len(items):
        raise StudyError(f"{path}: an 'id' is used twice")
    return tuple(items)
