"""Words and their places: CoNLL-U files, their broken lines, taggers."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from studies.benchmarks.annotation import WORD_COLUMNS, GoldWords, Tagger, installed_tagger, read_conllu
from tests.unit.studies.benchmarks.conllu import TWO_DOCUMENTS, write_conllu
from tests.unit.studies.benchmarks.files import study_error


def test_text_is_rebuilt_and_every_word_has_its_place(tmp_path: Path) -> None:
    documents, words = read_conllu(write_conllu(tmp_path, TWO_DOCUMENTS))
    assert documents == ("Don't go, Ann. Yes\nGonna", "No")
    spans = [(documents[w.document][w.start : w.end], w.upos, w.relation) for w in words.itertuples()]
    assert spans[:2] == [("Do", "AUX", "aux"), ("n't", "PART", "advmod")]
    assert spans[2:4] == [("go", "VERB", "root"), (",", "PUNCT", "punct")]
    assert [text for text, *_ in spans[4:]] == ["Ann", ".", "Yes", "Gonna", "No"]
    assert words["sentence"].tolist() == [0, 0, 0, 0, 0, 0, 1, 2, 3]
    assert words["features"][2] == "Mood=Imp|VerbForm=Fin"


def test_a_byte_order_mark_means_nothing(tmp_path: Path) -> None:
    plain = write_conllu(tmp_path, TWO_DOCUMENTS)
    marked = tmp_path / "marked.conllu"
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    assert read_conllu(marked).documents == read_conllu(plain).documents


def test_a_sentence_is_a_document_where_none_is_named(tmp_path: Path) -> None:
    row = "1\tNo\tno\tINTJ\tUH\t_\t0\troot\t_\t_\n\n"
    assert read_conllu(write_conllu(tmp_path, row * 3)).documents == ("No", "No", "No")


def test_forms_that_do_not_spell_their_token_leave_it_to_the_first_word(tmp_path: Path) -> None:
    text = TWO_DOCUMENTS.replace("2\tn't", "2\tnot")
    documents, words = read_conllu(write_conllu(tmp_path, text))
    assert [documents[0][w.start : w.end] for w in words.head(3).itertuples()] == ["Don't", "", "go"]


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("3\tgo\tgo\tVERB", "3\tgo go\tVERB", 7, "a word has 10 columns with tabs between them; found 9"),
        ("3\tgo\tgo\tVERB", "3\tgo\tgo\tVERBS", 7, "'VERBS' is not a universal part of speech; did you mean 'VERB'?"),
        ("3\tgo\tgo", "8\tgo\tgo", 7, "expected word 3; found '8'"),
        ("3\tgo\tgo", "3\t\tgo", 7, "column 2 is empty; write _ for no value"),
        ("3\tgo\tgo", f"{'9' * 5000}\tgo\tgo", 7, f"expected word 3; found '{'9' * 60}'"),
        ("1-2\tDon't", f"1-{'9' * 5000}\tDon't", 4, f"expected word 1; found '1-{'9' * 58}'"),
        ("1-2\tDon't", "2-3\tDon't", 4, "the range 2-3 does not begin with word 1"),
        ("1-2\tDon't", "1-9\tDon't", 11, "word 7 of a multi-word token is missing"),
        ("1\tYes\tyes\tINTJ\tUH\t_\t0\troot\t_\t_\n", "", 13, "a sentence without words"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, old: str, new: str, line: int, problem: str) -> None:
    path = write_conllu(tmp_path, TWO_DOCUMENTS.replace(old, new, 1))
    assert study_error(read_conllu, path) == f"{path}:{line}: {problem}"


def test_files_that_are_no_text_or_hold_nothing(tmp_path: Path) -> None:
    absent = tmp_path / "absent.conllu"
    assert study_error(read_conllu, absent) == f"{absent} cannot be read: No such file or directory"
    binary = tmp_path / "binary.conllu"
    binary.write_bytes(b"\xff")
    assert study_error(read_conllu, binary) == f"{binary} cannot be read: it is not UTF-8 text"
    empty = write_conllu(tmp_path, "\n\n")
    assert study_error(read_conllu, empty) == f"{empty} holds no words"


def test_ud_ewt_is_read_whole(data_root: Path) -> None:
    documents, words = read_conllu(data_root / "ud_ewt" / "en_ewt-ud-dev.conllu")
    assert (len(documents), len(words), words["sentence"].nunique()) == (318, 25147, 2001)
    covered: list[set[int]] = [set() for _ in documents]
    for word in words.itertuples():
        place = set(range(word.start, word.end))
        assert not place & covered[word.document]
        covered[word.document] |= place
    for text, inside in zip(documents, covered, strict=True):
        assert all(i in inside or character.isspace() for i, character in enumerate(text))


# ---- where words come from


def test_identities_of_words_do_not_change() -> None:
    """They enter step ids."""
    words = pd.DataFrame([(0, 0, 0, 1, "DET", "det", "_")], columns=list(WORD_COLUMNS))
    gold = GoldWords(table=words)
    assert gold.identity == "gold 8beb68e5a89dcf32837ea7e624136de7773c3240d3a36f5761b57cc39a717cb1"
    assert gold.word_table(("a",)) is words
    tagger = Tagger(pipeline="en", version="3.8.0, spaCy 3.8.7")
    assert tagger.identity == "Tagger(pipeline='en', version='3.8.0, spaCy 3.8.7')"


def stub_spacy(monkeypatch: pytest.MonkeyPatch, *pipeline: str) -> None:
    """A spaCy that has one pipeline, `en_core_web_sm` 3.8.0, with these components."""
    util = SimpleNamespace(
        is_package=lambda name: name == "en_core_web_sm",
        get_installed_models=lambda: ["en_core_web_sm"],
        get_package_path=lambda name: name,
        get_model_meta=lambda path: {"version": "3.8.0", "pipeline": list(pipeline)},
    )
    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(util=util, __version__="3.8.7"))


def test_a_tagger_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_spacy(monkeypatch, "tagger", "parser")
    assert study_error(installed_tagger, "en_core_web_md") == (
        "the spaCy pipeline 'en_core_web_md' is not installed; install it with `python -m spacy download "
        "en_core_web_md`; did you mean 'en_core_web_sm'?"
    )


def test_a_tagger_has_its_versions_and_must_tag_and_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_spacy(monkeypatch, "tok2vec", "tagger", "parser")
    assert installed_tagger("en_core_web_sm") == Tagger(pipeline="en_core_web_sm", version="3.8.0, spaCy 3.8.7")
    stub_spacy(monkeypatch, "tagger")
    assert study_error(installed_tagger, "en_core_web_sm") == (
        "the spaCy pipeline 'en_core_web_sm' has no parser; choose one that tags and parses"
    )


def test_a_missing_spacy_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    assert study_error(installed_tagger, "en") == "a tagger needs the extra: pip install 'halfwave[tagger]'"


@pytest.mark.long
def test_the_real_spacy_says_what_is_not_installed() -> None:
    assert study_error(installed_tagger, "en_core_web_md").startswith(
        "the spaCy pipeline 'en_core_web_md' is not installed; install it with `python -m spacy download "
        "en_core_web_md`"
    )
