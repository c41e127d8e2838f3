"""A benchmark of our own: by how much a model prefers a text that ends with its first word to one that reverses it.

Its pieces: a measure that no benchmark of the product has, the options, the benchmark; and a line in `BENCHMARKS`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from annotated_types import Ge, Le

from studies.benchmarks.annotation import Annotation
from studies.benchmarks.measures import Measure
from studies.benchmarks.options import Count, Name, StudySettings
from studies.benchmarks.protocol import NOISE_FLOOR_NODES
from studies.benchmarks.texts import Sentences

MARGIN = Measure(
    name="echo_margin",
    value="margin",
    higher_is_better=True,
    key=("initial", "item"),
    stratum="initial",
    cluster="initial",
    block="initial",
    phenomenon="distance",
    log_probabilities=("logprob_echo", "logprob_other"),
    decision="prefers_echo",
    noun="texts",
    fewest=10,
    digits=1,
    increase_label="loss of margin (nats)",
)
BETWEEN = {"near": "", "far": " and then again"}
"""{distance: what stands between the two words}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoOptions:
    """Texts of the first letters of the alphabet."""

    initials: Annotated[int, Ge(2), Le(8)] = 6
    per_initial: Count = 10
    name: Name = "echo"
    measure: ClassVar[Measure] = MARGIN

    def __post_init__(self) -> None:
        if self.per_initial % len(BETWEEN):
            raise ValueError(f"per_initial must be even, as many near as far; found {self.per_initial}")

    def load(self, name: str, study: StudySettings) -> "Echo":
        texts = [
            Text(initial, item, distance, initial + "eiou"[item // 2 % 4] + "bcdfg"[item // 8 % 5])
            for initial in "abcdefgh"[: self.initials]
            for item in range(self.per_initial)
            for distance in [list(BETWEEN)[item % 2]]
        ]
        return Echo(name=name, label="echoes", texts=tuple(texts))


class Text(NamedTuple):
    """One item."""

    initial: str
    item: int
    distance: str
    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """Texts, each with an echo and with a reversal."""

    name: str
    label: str
    texts: tuple[Text, ...]
    measure: ClassVar[Measure] = MARGIN
    identity_params: ClassVar[Mapping[str, int | str | None]] = {}
    scoring_version: ClassVar[int] = 1
    noise_floor_nodes: ClassVar[int] = NOISE_FLOOR_NODES
    is_syntactic: ClassVar[bool | None] = None
    choices: ClassVar[tuple[str, ...]] = ()
    annotation: ClassVar[Annotation | None] = None

    @property
    def metric_prefixes(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def headlines(self) -> tuple[str, ...]:
        return (f"{self.name}/margin",)

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.texts).encode()).hexdigest()

    @property
    def request(self) -> Sentences:
        """Echo, reversal, echo, reversal, ..."""
        return Sentences(
            texts=tuple(
                f"{text.word}{BETWEEN[text.distance]} {last}"
                for text in self.texts
                for last in (text.word, text.word[::-1])
            )
        )

    @property
    def estimated_tokens(self) -> float:
        return self.request.estimated_tokens

    @property
    def item_texts(self) -> pd.DataFrame | None:
        return pd.DataFrame(self.texts).drop(columns="distance")

    def results(
        self,
        sums: np.ndarray,
        counts: np.ndarray,
        margins: np.ndarray | None = None,
        tokens: Mapping[str, np.ndarray] | None = None,
    ) -> pd.DataFrame:
        items = pd.DataFrame(self.texts).drop(columns="word")
        items = items.assign(logprob_echo=sums[0::2], logprob_other=sums[1::2], margin=sums[0::2] - sums[1::2])
        return items.assign(prefers_echo=items["margin"] > 0)

    def metrics(self, items: pd.DataFrame) -> dict[str, float]:
        means = {f"{self.name}/{distance}": float(of["margin"].mean()) for distance, of in items.groupby("distance")}
        return {f"{self.name}/margin": float(items["margin"].mean()), **means}
