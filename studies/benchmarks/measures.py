"""What a benchmark measures on an item: the one description from which all statistics, figures and texts follow.

Plain frozen data. Owns the meaning of each field and the measures that several benchmarks share; `studies.statistics`
owns the arithmetic. Refuses to know any benchmark, condition or model.
"""

from dataclasses import dataclass, replace

import numpy as np

MIN_ITEMS = 100
"""Fewest graded items on each side of a test (pooled benchmarks count together)."""
MIN_WINDOWS = 6
"""Fewest perplexity windows: 6 paired differences share a sign by chance with 2^-6 < 2.5 %, 5 of them with more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """The value of an item, what identifies the item, and how conditions are compared. Fields name columns of items."""

    name: str
    """In the report, beside the benchmark's name."""
    value: str
    """Column whose mean over the items is estimated."""
    higher_is_better: bool
    """Whether an ablation that does harm lowers the value (accuracy) or raises it (nats)."""
    is_graded: bool = False
    """Whether the value is 0, 0.5 (a tie) or 1, right or wrong: conditions are compared with McNemar's test."""
    is_log: bool = False
    """Whether the value is a loss in nats of which people read exp of the mean, on a logarithmic axis."""
    key: tuple[str, ...]
    """Columns that identify an item; two conditions are paired by them."""
    is_ordered: bool = False
    """Whether several items may share a key: conditions are then paired row by row, and the keys must agree."""
    is_of_tokens: bool = False
    """Whether items are made of a model's tokens: with another tokenizer they are others, whatever their keys say."""
    stratum: str | None = None
    """Column whose values are a fixed mix: the bootstrap resamples items within them. None = one stratum."""
    cluster: str | None = None
    """Column whose values may be a sample of all possible ones: a further interval resamples them whole."""
    resamples_clusters: bool = False
    """Whether the interval over clusters is the only one, because the items of a cluster are not independent."""
    fixed: str | None = None
    """Column whose values are all there are, of equal weight in a claim: phenomena, tasks. None = one for all items."""
    unit: str | None = None
    """Column whose values are a sample of all possible ones, in a claim: paradigms, templates. None = the items are."""
    unit_before: str | None = None
    """The unit is what stands before this in its column: of `template:case` the template. None = all of it."""
    unit_noun: str = ""
    """What the units are called; empty = as the items are."""
    most_units: float = 0
    """How many units there are, also those that a study leaves out; inf = more can be written; 0 = all are in use."""
    block: str
    """Column of the blocks of Page's test for a trend."""
    phenomenon: str | None = None
    """Column by which results are broken down."""
    log_probabilities: tuple[str, ...]
    """Columns of log-probabilities, or of lists of them, in nats: the noise floor is their largest shift."""
    decision: str | None = None
    """Column of what the model decided; the noise floor counts changes."""
    noun: str = "items"
    """What the items are called."""
    fewest: int = MIN_ITEMS
    """Fewest items that can decide a claim."""
    digits: int = 3
    """Decimal places of the estimate in a table."""
    increase_label: str
    """Label of the axis of increases over the baseline, with the unit."""

    def __post_init__(self) -> None:
        if self.is_log and self.higher_is_better:
            raise ValueError(f"{self.name}: a logarithm is a loss, of which less is better")

    @property
    def units(self) -> str:
        """What the units of a claim are called."""
        return self.unit_noun or self.noun

    @property
    def can_grow(self) -> bool:
        """Whether a study can have more units: items, units that it leaves out; not where all are in use."""
        return self.unit is None or self.most_units > 0

    def summary(self, mean: float) -> float:
        """The number that people read, from a mean over items: exp of the mean where the value is a logarithm."""
        with np.errstate(over="ignore"):  # an infinite perplexity is refused where it would be recorded
            return float(np.exp(mean)) if self.is_log else float(mean)


MULTIPLE_CHOICE = Measure(
    name="accuracy",
    value="correct",
    higher_is_better=True,
    is_graded=True,
    key=("id",),
    block="id",
    log_probabilities=("logprobs",),
    decision="predicted",
    increase_label="increase of the error",
)
"""Accuracy on questions."""

TASKS = replace(MULTIPLE_CHOICE, key=("uid", "pair"), stratum="uid", cluster="uid", block="uid", fixed="uid")
"""Accuracy on the documents (pair) of several tasks (uid)."""

MINIMAL_PAIRS = replace(
    TASKS,
    fixed="phenomenon",
    unit="uid",
    unit_noun="paradigms",
    phenomenon="phenomenon",
    log_probabilities=("logprob_good", "logprob_bad"),
    decision="correct",
)
"""Accuracy on pairs; a uid is a paradigm."""

OWN_PAIRS = replace(MINIMAL_PAIRS, most_units=np.inf)
"""Accuracy on pairs of a user's own, who can write more paradigms."""

TEMPLATES = replace(MINIMAL_PAIRS, unit_before=":", unit_noun="templates")
"""Accuracy on pairs made from templates; a uid is `template:case`."""

PERPLEXITY = Measure(
    name="perplexity",
    value="nll",
    higher_is_better=False,
    is_log=True,
    key=("window", "num_tokens"),  # a window of another length is another window
    is_of_tokens=True,
    block="window",
    log_probabilities=("nll",),
    noun="windows",
    fewest=MIN_WINDOWS,
    digits=2,
    increase_label="rise of log-perplexity (nats)",
)
"""Mean negative log-likelihood of windows."""

SURPRISAL = Measure(
    name="surprisal",
    value="surprisal",
    higher_is_better=False,
    key=("document", "start", "end"),
    is_ordered=True,  # several tokens may lie within one character
    is_of_tokens=True,
    cluster="document",
    resamples_clusters=True,
    block="document",
    log_probabilities=("surprisal",),
    noun="tokens",
    increase_label="rise of surprisal (nats a token)",
)
"""Surprisal of the tokens of documents."""
