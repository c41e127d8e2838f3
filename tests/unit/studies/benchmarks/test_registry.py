"""Every word of a study file: its options are plain frozen data, and it loads the benchmark that they promise."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from studies.benchmarks.multiple_choice import TASKS
from studies.benchmarks.options import StudySettings
from studies.benchmarks.registry import BENCHMARKS
from tests.unit.studies.benchmarks.conllu import TWO_DOCUMENTS, write_conllu
from tests.unit.studies.benchmarks.files import GOOD, QUESTION, write_jsonl

BLIMP = GOOD | {"UID": "u", "linguistics_term": "agreement"}
TSE = GOOD | {"case": "c"}
ROW = {"id": "0", "context": "c", "choices": ["p", "q"], "gold": 0}
RAW = {"support": "s", "sentence": "a _ b", "option1": "p", "option2": "q", "answer": "1"}
OPTIONS: dict[str, dict[str, Any]] = {
    "perplexity": {"corpus": "embedded"},
    "surprisal": {"corpus": "some.conllu", "window": 8},
    "pairs": {"path": "pairs/mine.jsonl"},
    "choices": {"path": "choices/mine.jsonl"},
}
"""{word: options with which it needs nothing but the files below}."""


@pytest.fixture
def settings(tmp_path: Path) -> StudySettings:
    """A folder with all data."""
    write_jsonl(tmp_path / "blimp" / "u.jsonl", BLIMP)
    write_jsonl(tmp_path / "tse" / "t.jsonl", TSE)
    for task in TASKS:
        write_jsonl(tmp_path / "mc" / f"{task}.jsonl", ROW | {"raw": RAW})
    write_jsonl(tmp_path / "pairs" / "mine.jsonl", GOOD)
    write_jsonl(tmp_path / "choices" / "mine.jsonl", QUESTION)
    write_conllu(tmp_path, TWO_DOCUMENTS)
    return StudySettings(data_root=tmp_path, path=tmp_path.joinpath, half_ties=False, bos="first")


@pytest.mark.parametrize("word", BENCHMARKS)
def test_options_are_frozen_and_written_by_name(word: str) -> None:
    assert vars(BENCHMARKS[word])["__dataclass_params__"].frozen
    assert all(field.kw_only for field in dataclasses.fields(BENCHMARKS[word]))


@pytest.mark.parametrize("word", [word for word in BENCHMARKS if word != "lm_eval"])  # the harness is an extra
def test_a_word_loads_the_benchmark_that_its_options_promise(word: str, settings: StudySettings) -> None:
    options = BENCHMARKS[word](**OPTIONS.get(word, {}))
    name = "mine" if "path" in OPTIONS.get(word, {}) else word
    loaded = options.load(name, settings)
    assert loaded.name == name and loaded.metric_prefixes == (name,) and loaded.measure == options.measure


@pytest.mark.parametrize("word", ["perplexity", "surprisal"])
def test_bos_stands_where_the_options_say_or_else_the_study(word: str, settings: StudySettings) -> None:
    options = OPTIONS[word]
    for own, asked in ((None, "first"), ("none", "none"), ("every_window", "every_window")):
        loaded = BENCHMARKS[word](**options, bos=own).load(word, settings)
        assert loaded.request.bos == loaded.identity_params["bos"] == asked


def test_a_tie_is_counted_as_the_study_says(settings: StudySettings) -> None:
    for word in ("blimp", "tse", "embedded_pairs", "pairs"):
        options = BENCHMARKS[word](**OPTIONS.get(word, {}))
        half = options.load("n", dataclasses.replace(settings, half_ties=True))
        assert half.digest != options.load("n", settings).digest, word


def test_a_surprisal_may_have_a_name_of_its_own(settings: StudySettings) -> None:
    options = BENCHMARKS["surprisal"](corpus="some.conllu", window=8, stride=3, split="dev", name="surprisal-b")
    loaded = options.load("surprisal-b", settings)
    assert (loaded.name, loaded.identity_params) == ("surprisal-b", {"window": 8, "stride": 3, "bos": "first"})
