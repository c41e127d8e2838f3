"""Which special tokens each kind of text gets, from tokenizers of every kind."""

import pytest

from studies.benchmarks.special_tokens import SpecialTokens, Token, TokenizerMarks, marks_around, special_tokens
from studies.benchmarks.texts import Bos, Continuations, Documents, Sentences, TextRequest, Windows
from studies.errors import StudyError

S, E = Token(0, "<s>"), Token(1, "</s>")
BARE = TokenizerMarks()
SILENT = TokenizerMarks(bos=S, eos=E)
LLAMA = TokenizerMarks(before=(S,), bos=S, eos=E)
BOTH = TokenizerMarks(before=(S,), after=(E,), bos=S, eos=E)
TRAILING = TokenizerMarks(after=(E,), eos=E)

SENTENCES, CHOICES = Sentences(texts=("a",)), Continuations(contexts=("a",), continuations=(" b",))


def windows(bos: Bos) -> Windows:
    return Windows(text="a b c", window=4, stride=4, bos=bos)


def documents(bos: Bos) -> Documents:
    return Documents(texts=("a b c",), window=4, stride=2, bos=bos)


DECIDED = [
    (SENTENCES, SILENT, (), (), ()),
    (SENTENCES, BOTH, (S,), (), (E,)),
    (SENTENCES, TRAILING, (), (), (E,)),
    (CHOICES, SILENT, (), (), ()),
    (CHOICES, BOTH, (S,), (), ()),
    (CHOICES, TRAILING, (), (), ()),
    (windows("tokenizer"), SILENT, (), (), ()),
    (windows("tokenizer"), BOTH, (S,), (S,), ()),
    (windows("first"), BOTH, (S,), (), ()),
    (windows("first"), SILENT, (), (), ()),
    (windows("every_window"), BOTH, (S,), (S,), ()),
    (windows("every_window"), SILENT, (S,), (S,), ()),
    (windows("none"), BOTH, (), (), ()),
    (documents("tokenizer"), LLAMA, (S,), (S,), ()),
    (documents("tokenizer"), SILENT, (S,), (), ()),
    (documents("tokenizer"), TRAILING, (E,), (), ()),
    (documents("first"), LLAMA, (S,), (), ()),
    (documents("first"), SILENT, (S,), (), ()),
    (documents("every_window"), SILENT, (S,), (S,), ()),
    (documents("none"), LLAMA, (), (), ()),
    (documents("none"), BARE, (), (), ()),
]


@pytest.mark.parametrize(("request_", "marks", "first", "later", "last"), DECIDED)
def test_what_a_kind_of_text_gets(
    request_: TextRequest,
    marks: TokenizerMarks,
    first: tuple[Token, ...],
    later: tuple[Token, ...],
    last: tuple[Token, ...],
) -> None:
    kinds = {Sentences: "sentences", Continuations: "choices", Windows: "windows", Documents: "documents"}
    expected = SpecialTokens(kind=kinds[type(request_)], first=first, later=later, last=last)
    assert special_tokens(request_, marks) == expected


REFUSED = {
    "every window": (windows("every_window"), "bos: every_window needs a tokenizer with BOS, and this one has none"),
    "every window of documents": (
        documents("every_window"),
        "bos: every_window needs a tokenizer with BOS, and this one has none",
    ),
    "documents": (
        documents("tokenizer"),
        "the tokenizer has neither BOS nor EOS to put in front of a document; write bos: none to leave the first token "
        "of every document unscored",
    ),
}


@pytest.mark.parametrize(("request_", "message"), REFUSED.values(), ids=REFUSED)
def test_a_token_that_the_tokenizer_lacks_is_one_line(request_: TextRequest, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        special_tokens(request_, BARE)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("request_", "marks", "missing"),
    [
        (SENTENCES, SILENT, "<s>"),
        (CHOICES, SILENT, "<s>"),
        (windows("tokenizer"), SILENT, "<s>"),
        (windows("none"), LLAMA, "<s>"),
        (windows("first"), LLAMA, ""),
        (windows("every_window"), SILENT, ""),
        (SENTENCES, LLAMA, ""),
        (SENTENCES, BARE, ""),
    ],
)
def test_a_bos_that_the_model_was_trained_with_and_does_not_get(
    request_: TextRequest, marks: TokenizerMarks, missing: str
) -> None:
    assert special_tokens(request_, marks, ("<s>",)).missing_bos == missing
    assert special_tokens(request_, marks, ("<bos>",)).missing_bos == "", "another family's"


def test_what_stands_around_a_text() -> None:
    assert marks_around([0, 5, 6, 1], [5, 6]) == ([0], [1])
    assert marks_around([5, 6], [5, 6]) == ([], [])
    assert marks_around([7, 8, 5], [5]) == ([7, 8], [])
    with pytest.raises(StudyError, match=r"^the tokenizer splits a text differently when it adds special"):
        marks_around([0, 5, 7], [5, 6])
