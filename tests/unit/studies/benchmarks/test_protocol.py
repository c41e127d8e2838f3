"""Every member of every benchmark class, and the example in the protocol's docstring."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from studies.benchmarks.annotation import WORD_COLUMNS, Annotation, GoldWords
from studies.benchmarks.choices import ChoiceBenchmark, Item
from studies.benchmarks.corpora import Corpus
from studies.benchmarks.harness.lm_eval import Question, TaskBenchmark
from studies.benchmarks.measures import MINIMAL_PAIRS, MULTIPLE_CHOICE, PERPLEXITY, SURPRISAL, TASKS
from studies.benchmarks.minimal_pairs import Pair, PairBenchmark
from studies.benchmarks.options import StudySettings
from studies.benchmarks.perplexity import PerplexityBenchmark
from studies.benchmarks.protocol import Benchmark
from studies.benchmarks.surprisal import AnnotatedCorpus, SurprisalBenchmark
from studies.benchmarks.texts import Continuations, Documents, Sentences, TextItems, Windows
from tests.toys.documented import documented_benchmark
from tests.unit.studies.benchmarks.files import write_jsonl

TEXT = "nine characters"
CORPUS = Corpus(label="c", text=TEXT, source="s")
PAIRS = (
    Pair("short:a", "agreement", "0", "good one", "bad one"),
    Pair("short:a", "agreement", "1", "good two", "bad two"),
    Pair("long:b", "npi", "0", "good three", "bad three"),
)
ITEMS = (Item("a", "c", ("p", "q"), 1), Item("b", "", ("r", "r"), 0, ("c1", "c2")))
WORDS = pd.DataFrame([(0, 0, 0, 1, "DET", "det", "_")], columns=list(WORD_COLUMNS))
DOCUMENTS = AnnotatedCorpus("d, gold", ("a bc", "dé"), GoldWords(table=WORDS))


def tasks(**fields: Any) -> TaskBenchmark:
    """Two tasks of the harness, whose evaluator is never called."""
    given: dict[str, Any] = {"choices": ("x", "y"), "is_syntactic": False, "margins": False} | fields
    texts: dict[str, Any] = {"contexts": ("a", "bb"), "continuations": (" c", " ddd")}
    rest: dict[str, Any] = {
        "questions": (Question("x", 3, (0,)), Question("y", 0, (1,), 0)),
        "digest": "d",
        "evaluate": lambda answers: {},
        "aggregations": {},
    }
    return TaskBenchmark(name="lm_eval", label="x, y", tasks=("x", "y"), **given, **texts, **rest)


SHORT_TEXT = Continuations(
    contexts=("a", "bb"),
    continuations=(" c", " ddd"),
    items=TextItems(of_texts=(0, 1), places=("x, document 3", "y, document 0")),
)
MEMBERS: dict[str, tuple[Benchmark, dict[str, Any]]] = {
    "perplexity of a whole corpus": (
        PerplexityBenchmark(corpus=CORPUS, window=4, num_tokens=None),
        {
            "name": "perplexity",
            "label": "perplexity (c)",
            "measure": PERPLEXITY,
            "headlines": ("perplexity",),
            "digest": "88cde4b3d71aac46d4089bbbed0731bf0b3b89fe57862932bcd017518a790032",
            "request": Windows(text=TEXT, window=4, stride=4, num_tokens=None),
            "estimated_tokens": 15 / 4.5,
            "item_texts": None,
            "identity_params": {"window": 4, "tokens": None, "bos": "tokenizer"},
            "scoring_version": 1,
            "metric_prefixes": ("perplexity",),
            "noise_floor_nodes": 8,
            "is_syntactic": None,
            "choices": (),
            "annotation": None,
        },
    ),
    "perplexity of the first tokens": (
        PerplexityBenchmark(corpus=CORPUS, window=4, num_tokens=2),
        {
            "request": Windows(text=TEXT, window=4, stride=4, num_tokens=2),
            "estimated_tokens": 2,
            "identity_params": {"window": 4, "tokens": 2, "bos": "tokenizer"},
        },
    ),
    "perplexity of more tokens than there are": (
        PerplexityBenchmark(corpus=CORPUS, window=4, num_tokens=99),
        {"estimated_tokens": 15 / 4.5, "identity_params": {"window": 4, "tokens": 99, "bos": "tokenizer"}},
    ),
    "pairs": (
        PairBenchmark(name="pairs", label="my pairs", pairs=PAIRS),
        {
            "name": "pairs",
            "label": "my pairs",
            "measure": MINIMAL_PAIRS,
            "headlines": ("pairs/accuracy",),
            "digest": "ae7098d1cd7df9d71e26f9f433ee48a818f07a317f3d880d290a06b981186641",
            "request": Sentences(
                texts=("good one", "bad one", "good two", "bad two", "good three", "bad three"),
                items=TextItems(of_texts=(0, 0, 1, 1, 2, 2), places=("short:a 0", "short:a 1", "long:b 0")),
            ),
            "estimated_tokens": 49 / 4.5,
            "item_texts": [
                {"uid": "short:a", "pair": "0", "good": "good one", "bad": "bad one"},
                {"uid": "short:a", "pair": "1", "good": "good two", "bad": "bad two"},
                {"uid": "long:b", "pair": "0", "good": "good three", "bad": "bad three"},
            ],
            "identity_params": {},
            "scoring_version": 1,
            "metric_prefixes": ("pairs",),
            "noise_floor_nodes": 160,
            "is_syntactic": True,
            "choices": (),
            "annotation": None,
        },
    ),
    "pairs compared by means": (
        PairBenchmark(name="tse", label="TSE", pairs=PAIRS, per_token=True, half_ties=False),
        {"digest": "f8a8dcf69324259bc1fe4cd1234cba6c4ea58aa511297a3b2ea952f9b884758c", "identity_params": {}},
    ),
    "choices": (
        ChoiceBenchmark(name="know", label="knowledge", items=ITEMS),
        {
            "name": "know",
            "label": "knowledge",
            "measure": MULTIPLE_CHOICE,
            "headlines": ("know/accuracy",),
            "digest": "4f6659bc456eab18b2e27c6fcc83ad6ffc30fe544e9ad354483ccbda21cae471",
            "request": Continuations(
                contexts=("c", "c", "c1", "c2"),
                continuations=(" p", " q", " r", " r"),
                items=TextItems(of_texts=(0, 0, 1, 1), places=("a", "b")),
            ),
            "estimated_tokens": 14 / 4.5,
            "item_texts": [
                {"id": "a", "context": "c", "choices": ["p", "q"], "gold": 1},
                {"id": "b", "context": "", "choices": ["c1 r", "c2 r"], "gold": 0},
            ],
            "identity_params": {},
            "scoring_version": 1,
            "metric_prefixes": ("know",),
            "noise_floor_nodes": 160,
            "is_syntactic": False,
            "choices": ("know",),
            "annotation": None,
        },
    ),
    "tasks of the harness": (
        tasks(),
        {
            "name": "lm_eval",
            "label": "x, y",
            "measure": TASKS,
            "headlines": ("x/accuracy", "y/accuracy"),
            "digest": "d",
            "request": SHORT_TEXT,
            "estimated_tokens": 9 / 4.5,
            "item_texts": [
                {"uid": "x", "pair": 3, "context": "a", "choices": ["c"], "gold": None},
                {"uid": "y", "pair": 0, "context": "bb", "choices": ["ddd"], "gold": 0},
            ],
            "identity_params": {},
            "scoring_version": 1,
            "metric_prefixes": ("x", "y"),
            "noise_floor_nodes": 160,
            "is_syntactic": False,
            "choices": ("x", "y"),
            "annotation": None,
        },
    ),
    "tasks of grammar with margins": (
        tasks(choices=(), is_syntactic=True, margins=True),
        {
            "request": Continuations(
                contexts=SHORT_TEXT.contexts,
                continuations=SHORT_TEXT.continuations,
                margins=True,
                items=SHORT_TEXT.items,
            ),
            "is_syntactic": True,
            "choices": (),
            "annotation": None,
        },
    ),
    "surprisal": (
        SurprisalBenchmark(name="surprisal-x", corpus=DOCUMENTS, unit="token", window=8, stride=7),
        {
            "name": "surprisal-x",
            "label": "surprisal, nats a token (d, gold)",
            "measure": SURPRISAL,
            "headlines": ("surprisal-x/nats_per_token",),
            "digest": "effec99b87c132beec51361af8710c83bdcc1f17ec26269f0a8c009a554c6116",
            "request": Documents(texts=("a bc", "dé"), window=8, stride=7),
            "estimated_tokens": 6 / 4.5,
            "item_texts": [{"document": 0, "text": "a bc"}, {"document": 1, "text": "dé"}],
            "identity_params": {"window": 8, "stride": 7, "bos": "tokenizer"},
            "scoring_version": 1,
            "metric_prefixes": ("surprisal-x",),
            "noise_floor_nodes": 16,
            "is_syntactic": None,
            "choices": (),
            "annotation": Annotation(documents=("a bc", "dé"), annotator=DOCUMENTS.annotator, unit="token"),
        },
    ),
}
CLASSES = (PerplexityBenchmark, PairBenchmark, ChoiceBenchmark, TaskBenchmark, SurprisalBenchmark)
PROPERTIES = [name for name, member in vars(Benchmark).items() if isinstance(member, property)]


@pytest.mark.parametrize(("benchmark", "expected"), MEMBERS.values(), ids=MEMBERS)
def test_the_members_of_a_benchmark(benchmark: Benchmark, expected: dict[str, Any]) -> None:
    assert {name: plain(getattr(benchmark, name)) for name in expected} == expected


def plain(member: Any) -> Any:
    """A member; of a table, its rows."""
    if not isinstance(member, pd.DataFrame):
        return member
    return member.astype(object).where(member.notna(), None).to_dict("records")


def test_every_member_of_every_class_is_held_above() -> None:
    held: dict[type, set[str]] = {}
    for benchmark, expected in MEMBERS.values():
        held.setdefault(type(benchmark), set()).update(expected)
    assert held == {benchmark_class: set(PROPERTIES) for benchmark_class in CLASSES} and len(PROPERTIES) == 15


@pytest.mark.parametrize("benchmark_class", CLASSES)
def test_results_and_metrics_have_one_signature(benchmark_class: type) -> None:
    for method in ("results", "metrics"):
        assert inspect.signature(getattr(benchmark_class, method)) == inspect.signature(getattr(Benchmark, method))


def test_the_example_in_the_docstring_is_a_benchmark(tmp_path: Path) -> None:
    """It has every member of the protocol, and its numbers are the mean surprisal of each sentence's last word."""
    write_jsonl(tmp_path / "s.jsonl", *({"sentence": text} for text in ("the cat sat", "it ran", "no more")))
    settings = StudySettings(data_root=None, path=tmp_path.joinpath, half_ties=True, bos="tokenizer")
    options = documented_benchmark(tmp_path).LastWordsOptions(path="s.jsonl", sentences=2)
    example: Benchmark = options.load("s", settings)
    assert all(hasattr(example, name) for name in PROPERTIES) and example.measure == options.measure
    assert example.request == Continuations(contexts=("the cat", "it"), continuations=(" sat", " ran"))
    assert plain(example.item_texts) == [{"sentence": "the cat sat"}, {"sentence": "it ran"}]
    items = example.results(np.array([-2.0, -4.0]), np.array([1, 2]))
    assert items["surprisal"].tolist() == [2.0, 4.0]
    assert example.metrics(items) == {"s/surprisal": 3.0} and example.headlines == ("s/surprisal",)


@pytest.mark.parametrize("benchmark", [benchmark for benchmark, _ in MEMBERS.values()], ids=MEMBERS)
def test_texts_have_the_key_of_the_items(benchmark: Benchmark) -> None:
    """Of tokens a row is a document; else every item has one row, under the columns by which conditions are paired."""
    texts = benchmark.item_texts
    if texts is not None:
        key = [column for column in benchmark.measure.key if column in texts]
        assert key == (["document"] if benchmark.annotation else list(benchmark.measure.key))
        assert not texts.duplicated(key).any()
