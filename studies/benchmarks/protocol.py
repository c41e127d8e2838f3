"""The one interface between benchmarks and everything that runs, records or reviews them.

Owns the meaning of each member. Planning, steps, statistics and review use only these members and never ask for the
class of a benchmark, so a new benchmark is one file and one line of `studies.benchmarks.registry`.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import pandas as pd

from studies.benchmarks.annotation import Annotation
from studies.benchmarks.measures import Measure
from studies.benchmarks.texts import TextRequest

NOISE_FLOOR_NODES = 160
"""`noise_floor_nodes` of benchmarks that are not windows; no device has it as its default pack size."""


class Benchmark(Protocol):
    """What to score, and what the scores say. Frozen: a benchmark is loaded once and shared by all models.

    A whole file, for the mean surprisal of each sentence's last word. With the line `"last_words": LastWordsOptions` in
    `BENCHMARKS`, a study file may ask for `last_words: {path: sentences.jsonl, sentences: 100}`::

        import hashlib
        import json
        from collections.abc import Mapping
        from dataclasses import dataclass
        from typing import ClassVar

        import numpy as np
        import pandas as pd

        from studies.benchmarks.annotation import Annotation
        from studies.benchmarks.measures import Measure
        from studies.benchmarks.options import Count, StudySettings, Text
        from studies.benchmarks.protocol import NOISE_FLOOR_NODES
        from studies.benchmarks.rows import read_jsonl, required_texts
        from studies.benchmarks.texts import Continuations

        LAST_WORD = Measure(
            name="last_word",
            value="surprisal",
            higher_is_better=False,
            key=("sentence",),
            block="sentence",
            log_probabilities=("surprisal",),
            noun="sentences",
            increase_label="rise of the last word's surprisal (nats)",
        )

        @dataclass(frozen=True, slots=True, kw_only=True)
        class LastWordsOptions:
            path: Text
            sentences: Count | None = None
            measure: ClassVar[Measure] = LAST_WORD

            def load(self, name: str, study: StudySettings) -> "LastWords":
                path = study.path(self.path)
                rows = read_jsonl(path, limit=self.sentences)
                texts = [required_texts(row, f"{path}:{number}", "sentence") for number, row in rows]
                return LastWords(name=name, label=f"last words of {name}", sentences=tuple(text for (text,) in texts))

        @dataclass(frozen=True, slots=True, kw_only=True)
        class LastWords:
            name: str
            label: str
            sentences: tuple[str, ...]
            measure: ClassVar[Measure] = LAST_WORD
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
                return (f"{self.name}/surprisal",)

            @property
            def digest(self) -> str:
                return hashlib.sha256(json.dumps(self.sentences).encode()).hexdigest()

            @property
            def request(self) -> Continuations:
                contexts, _, words = zip(*(sentence.rpartition(" ") for sentence in self.sentences))
                return Continuations(contexts=contexts, continuations=tuple(f" {word}" for word in words))

            @property
            def estimated_tokens(self) -> float:
                return self.request.estimated_tokens

            @property
            def item_texts(self) -> pd.DataFrame | None:
                return pd.DataFrame({"sentence": self.sentences})

            def results(
                self,
                sums: np.ndarray,
                counts: np.ndarray,
                margins: np.ndarray | None = None,
                tokens: Mapping[str, np.ndarray] | None = None,
            ) -> pd.DataFrame:
                return pd.DataFrame({"sentence": self.sentences, "surprisal": -sums, "num_tokens": counts})

            def metrics(self, items: pd.DataFrame) -> dict[str, float]:
                return {f"{self.name}/surprisal": float(items["surprisal"].mean())}
    """

    @property
    def name(self) -> str:
        """Unique in a study; names the step `evaluate.<name>` and the artifact `items/<name>.parquet`."""

    @property
    def label(self) -> str:
        """The name for people, beside its numbers; says "embedded" where the material ships with Halfwave."""

    @property
    def measure(self) -> Measure:
        """What it measures on an item: one of `studies.benchmarks.measures`, or one of its own."""

    @property
    def headlines(self) -> tuple[str, ...]:
        """Names of the metrics that summarise the benchmark, the first the most important."""

    @property
    def digest(self) -> str:
        """sha256 of all data that can change a result; enters the identity of every evaluation."""

    @property
    def request(self) -> TextRequest:
        """The texts to score. With `items`, an item that a model cannot score is left out; otherwise it is an error."""

    @property
    def estimated_tokens(self) -> float:
        """Estimated number of tokens, for the size of a step and the time left."""

    @property
    def item_texts(self) -> pd.DataFrame | None:
        """The texts of the items, for people to read; recorded once. None where an item is no text: a window.

        The measure's key columns, then, of pairs, `good` and `bad`; of questions, `context`, `choices` (a list) and
        `gold` (the index of the right choice). Of tokens, a row for each document: `document` and `text`.
        """

    @property
    def identity_params(self) -> Mapping[str, int | str | None]:
        """Parameters that enter the identity of an evaluation beside name and digest."""

    @property
    def scoring_version(self) -> int:
        """Version of `request`, `results` and `metrics`, from 1 on: raise it with every change that moves a number.

        All evaluations of the benchmark are then computed again, in every store.
        """

    @property
    def noise_floor_nodes(self) -> int:
        """Pack size (token-tree nodes) of the noise floor, the baseline on another pack plan."""

    @property
    def is_syntactic(self) -> bool | None:
        """Whether the benchmark tests grammar, another skill (False), or neither (None: perplexity, surprisal).

        The claims on accuracy count those whose measure is graded.
        """

    @property
    def metric_prefixes(self) -> tuple[str, ...]:
        """The first parts of its metrics' names, up to the first slash; no other benchmark may have one of them."""

    @property
    def choices(self) -> tuple[str, ...]:
        """Prefixes P of its metrics `P/accuracy` that enter `multiple_choice/mean_accuracy`; empty for most."""

    @property
    def annotation(self) -> Annotation | None:
        """The words of its documents, where items are tokens whose surprisal is broken down by part of speech."""

    def results(
        self,
        sums: np.ndarray,
        counts: np.ndarray,
        margins: np.ndarray | None = None,
        tokens: Mapping[str, np.ndarray] | None = None,
    ) -> pd.DataFrame:
        """Per-item results, one row each, from the answer to `request`.

        The sums of items that were left out are nan; their rows are dropped afterwards.

        sums: [num_sequences] float64, sum of the scored tokens' log-probabilities, nats. A sequence is a sentence, a
        context with its continuation, or a window.
        counts: [num_sequences] scored tokens.
        margins: [num_sequences] float64, sum of log p(token) - max log p; 0 where greedy decoding produces the whole
        continuation. Present where `Continuations.margins` is set.
        tokens: columns document, start, end (characters) and log_probability, one row per scored token. Present for
        `Documents`.
        """

    def metrics(self, items: pd.DataFrame) -> dict[str, float]:
        """Metrics {name: value} from what `results` returned."""
