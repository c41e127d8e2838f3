"""Documents to tokens with the characters they stand for: every character is covered once, for kinds of tokenizers."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from transformers import PreTrainedTokenizerFast

from actors.tokens import TokenSequences, character_spans, tokenise
from studies.benchmarks.annotation import AnnotatedDocuments, read_conllu
from studies.benchmarks.texts import Documents
from studies.errors import StudyError
from studies.statistics.excess_surprisal import annotate
from tests.tiers import first_tier
from tests.unit.actors.trained_tokenizers import KINDS, trained

TRICKY = "Na\u00efve caf\u00e9 \u2014 \u4f60\u597d, \U0001f44d\U0001f3fd!\n\n  2,345 don't\u00a0stop\u2026 \ufb01n\t(x)"

VOCABULARY = 900
"""Of the trained tokenizers, at most."""


@pytest.fixture(scope="module")
def ewt(data_root: Path) -> AnnotatedDocuments:
    """UD English Web Treebank, the development part."""
    return read_conllu(data_root / "ud_ewt" / "en_ewt-ud-dev.conllu")


def coverage(text: str, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """In how many spans each character lies."""
    count = np.zeros(len(text), dtype=int)
    for start, end in zip(starts, ends, strict=True):
        count[start:end] += 1
    return count


def frame_of(tokens: TokenSequences, surprisal: np.ndarray) -> pd.DataFrame:
    """The items of a surprisal benchmark."""
    spans = tokens.spans
    columns = {"document": spans.document_T, "start": spans.start_T, "end": spans.end_T}
    return pd.DataFrame(columns).assign(surprisal=surprisal.astype(np.float32))


@pytest.mark.parametrize("kind", first_tier(KINDS, kept=("smollm2",)))
def test_every_character_of_ud_ewt_belongs_to_one_token_or_is_white_space(ewt: AnnotatedDocuments, kind: str) -> None:
    tokenizer = trained(kind, ewt.documents)
    documents = (*ewt.documents, TRICKY)
    sequences = tokenise(Documents(texts=documents, window=96, stride=64), tokenizer, 4096, VOCABULARY)
    for i, text in enumerate(documents):
        is_in_document = sequences.spans.document_T == i
        count = coverage(text, sequences.spans.start_T[is_in_document], sequences.spans.end_T[is_in_document])
        assert all(n == 1 or (n == 0 and c.isspace()) for n, c in zip(count, text, strict=True)), (kind, i)
    scored = sum(len(ids) - first for ids, first in zip(sequences.ids, sequences.score_from, strict=True))
    whole = sum(map(len, tokenizer(list(documents), add_special_tokens=False)["input_ids"]))
    assert scored == whole == len(sequences.spans.start_T)
    assert max(map(len, sequences.ids)) == 96 and min(sequences.score_from) == 1


@pytest.mark.parametrize("kind", first_tier(KINDS, kept=("smollm2",)))
def test_sums_over_words_are_the_documents_own(ewt: AnnotatedDocuments, kind: str) -> None:
    tokenizer = trained(kind, ewt.documents)
    sequences = tokenise(Documents(texts=ewt.documents, window=512, stride=256), tokenizer, 4096, VOCABULARY)
    tokens = frame_of(sequences, np.random.default_rng(0).gamma(2.0, size=len(sequences.spans.start_T)))
    by_word = annotate(tokens, ewt.words, "word", ("surprisal",))
    sums = [items.astype({"surprisal": float}).groupby("document")["surprisal"].sum() for items in (tokens, by_word)]
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-5)
    scored = by_word[by_word["word"] >= 0]
    assert scored["word"].is_unique
    assert len(scored) > 0.9 * len(ewt.words)  # the rest shares a token with a longer word
    if kind == "smollm2":
        assert len(scored) > 0.99 * len(ewt.words)


def test_windows_score_each_token_once_with_context() -> None:
    tokenizer = trained("smollm2", ["a b c d"])
    text = "abcdefghij" * 3
    sequences = tokenise(Documents(texts=(text, "", "x"), window=8, stride=4), tokenizer, 4096, VOCABULARY)
    ids = tokenizer(text)["input_ids"]
    assert [len(window) for window in sequences.ids][:2] == [8, 8]
    assert sequences.score_from.tolist()[:2] == [1, 4]
    scored = [window[first:].tolist() for window, first in zip(sequences.ids, sequences.score_from, strict=True)]
    assert list(chain(*scored[:-1])) == ids and scored[-1] == tokenizer("x")["input_ids"]
    assert sequences.ids[0][0] == tokenizer.bos_token_id


def without_special_tokens() -> object:
    bare = PreTrainedTokenizerFast(tokenizer_object=trained("smollm2", ["a"]).backend_tokenizer)
    return tokenise(Documents(texts=("a",), window=8, stride=4), bare, 64, VOCABULARY)


REFUSED: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "nothing in front": (
        without_special_tokens,
        StudyError,
        "the tokenizer has neither BOS nor EOS to put in front of a document; write bos: none to leave the first token "
        "of every document unscored",
    ),
    "end left out": (lambda: character_spans("ab", [(0, 1)]), ValueError, "no token covers 'b' at character 1"),
    "gap": (lambda: character_spans("abc", [(0, 1), (2, 3)]), ValueError, "no token covers 'b' at character 1"),
}


@pytest.mark.parametrize(("act", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_a_document_that_cannot_be_scored_is_one_line(
    act: Callable[[], object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        act()
    assert str(caught.value) == message


def test_bytes_of_one_character_and_white_space_get_empty_spans() -> None:
    # "é" in two bytes, a space of its own, and a token that holds the space in front of its word
    spans = character_spans("\u00e9  b c", [(0, 1), (0, 1), (1, 2), (2, 4), (4, 6)])
    assert spans.tolist() == [[0, 1], [1, 1], [2, 2], [3, 4], [5, 6]]


def test_marks_that_a_tokenizer_composes_belong_to_the_token_before() -> None:
    text = "cafe\u0301 o\u0301"
    spans = character_spans(text, [(0, 3), (3, 4), (5, 7)])
    assert spans.tolist() == [[0, 3], [3, 5], [6, 8]]
    tokenizer = trained("pythia", ["cafe o"])
    documents = (text, "\u1100\u1161\u11a8")
    tokens = tokenise(Documents(texts=documents, window=64, stride=32), tokenizer, 64, VOCABULARY).spans
    for i, document in enumerate(documents):
        is_in_document = tokens.document_T == i
        count = coverage(document, tokens.start_T[is_in_document], tokens.end_T[is_in_document])
        assert all(n == 1 or c == " " for n, c in zip(count, document, strict=True))
