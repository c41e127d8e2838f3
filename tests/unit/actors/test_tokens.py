"""Where a context ends, what a window begins with, and which texts a model cannot score."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from actors.tokens import special_tokens_of, tokenise, windows
from studies.benchmarks.special_tokens import Token
from studies.benchmarks.texts import Bos, Continuations, Documents, Sentences, TextRequest, Windows
from studies.errors import StudyError, TextError
from tests import oracles


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """One token a character, and a BOS in front of every text."""
    folder = tmp_path_factory.mktemp("tokenizer")
    oracles.make_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def bare(tmp_path: Path) -> PreTrainedTokenizerBase:
    """The same, but without any special token around a text."""
    from tokenizers import processors

    oracles.make_tokenizer(tmp_path)
    bare = AutoTokenizer.from_pretrained(tmp_path)
    bare.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    assert bare("ab")["input_ids"] == bare("ab", add_special_tokens=False)["input_ids"]
    return bare


def tokenised(tokenizer: PreTrainedTokenizerBase, context: str, continuation: str) -> tuple[list[int], int]:
    """(token ids, first scored position)."""
    sequences = tokenise(
        Continuations(contexts=(context,), continuations=(continuation,)), tokenizer, 100, oracles.VOCABULARY
    )
    return sequences.ids[0].tolist(), int(sequences.score_from[0])


@pytest.mark.parametrize("name", ["tokenizer", "bare"])
def test_only_the_continuation_is_scored(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    ids, start = tokenised(tokenizer, "abc", " de")
    assert tokenizer.decode(ids[start:]) == " de" and start == len(ids) - 3


def test_a_context_that_is_too_long_loses_its_beginning(bare: PreTrainedTokenizerBase) -> None:
    request = Continuations(contexts=("abcdefgh", "abc"), continuations=(" ij", " de"))
    sequences = tokenise(request, bare, 7, oracles.VOCABULARY)
    assert bare.decode(sequences.ids[0]) == "efgh ij" and bare.decode(sequences.ids[1]) == "abc de"
    assert sequences.score_from.tolist() == [4, 3] and sequences.num_cut == 1


@pytest.mark.parametrize("name", ["tokenizer", "bare"])
def test_all_of_a_continuation_without_a_context_is_scored_after_bos(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    ids, start = tokenised(tokenizer, "", "abc")
    assert ids[:start] == [tokenizer.bos_token_id] and tokenizer.decode(ids[start:]) == "abc"


@pytest.fixture
def closing(tmp_path: Path) -> PreTrainedTokenizerBase:
    """The same, with `</s>` behind every text too, as add_eos_token saves it."""
    oracles.make_tokenizer(tmp_path, "<s> $A </s>")
    return AutoTokenizer.from_pretrained(tmp_path)


def test_what_the_tokenizer_puts_behind_a_text_is_scored_in_sentences_alone(closing: PreTrainedTokenizerBase) -> None:
    ids, start = tokenised(closing, "abc", " d")
    assert closing.decode(ids) == "<s>abc d" and start == 4, "no </s>, and a continuation of two tokens"
    sentence = tokenise(Sentences(texts=("ab",)), closing, 100, oracles.VOCABULARY)
    assert closing.decode(sentence.ids[0]) == "<s>ab</s>" and sentence.score_from.tolist() == [1]
    document = tokenise(Documents(texts=("ab",), window=8, stride=4), closing, 100, oracles.VOCABULARY)
    assert closing.decode(document.ids[0]) == "<s>ab"


def window_texts(
    tokenizer: PreTrainedTokenizerBase, bos: Bos, stride: int = 4, num_tokens: int | None = None, positions: int = 100
) -> list[str]:
    request = Windows(text="abcdefghijkl", window=4, stride=stride, num_tokens=num_tokens, bos=bos)
    ids = windows(request, tokenizer, positions, oracles.VOCABULARY)
    scored = tokenise(request, tokenizer, positions, oracles.VOCABULARY)
    assert [row.tolist() for row in scored.ids] == ids.tolist() and set(scored.score_from) == {1}
    return [tokenizer.decode(row) for row in ids]


@pytest.mark.parametrize("name", ["tokenizer", "closing"])
def test_windows_of_a_tokenizer_with_bos(name: str, request: pytest.FixtureRequest) -> None:
    """A BOS takes one place of each window; only the one at the very start counts among the tokens of the text."""
    tokenizer = request.getfixturevalue(name)
    every = ["<s>abc", "<s>def", "<s>ghi", "<s>jkl"]
    assert window_texts(tokenizer, "tokenizer") == window_texts(tokenizer, "every_window") == every
    assert window_texts(tokenizer, "first") == ["<s>abc", "defg", "hijk"]
    assert window_texts(tokenizer, "none") == ["abcd", "efgh", "ijkl"]
    assert window_texts(tokenizer, "tokenizer", num_tokens=7) == every[:2]
    assert window_texts(tokenizer, "tokenizer", num_tokens=6) == every[:1]
    assert window_texts(tokenizer, "first", num_tokens=8) == ["<s>abc", "defg"]
    assert window_texts(tokenizer, "none", num_tokens=4) == ["abcd"]
    assert window_texts(tokenizer, "tokenizer", stride=3, num_tokens=8) == ["<s>abc", "<s>cde", "<s>efg"]
    assert window_texts(tokenizer, "first", stride=2, num_tokens=8) == ["<s>abc", "bcde", "defg"]
    assert window_texts(tokenizer, "tokenizer", positions=3) == ["<s>ab", "<s>cd", "<s>ef", "<s>gh", "<s>ij", "<s>kl"]


def test_windows_of_a_tokenizer_without_bos_of_its_own(bare: PreTrainedTokenizerBase) -> None:
    plain = ["abcd", "efgh", "ijkl"]
    assert window_texts(bare, "tokenizer") == window_texts(bare, "first") == window_texts(bare, "none") == plain
    assert window_texts(bare, "every_window") == ["<s>abc", "<s>def", "<s>ghi", "<s>jkl"]
    assert window_texts(bare, "tokenizer", num_tokens=8) == plain[:2]


@pytest.mark.parametrize(
    ("bos", "expected"),
    [
        ("tokenizer", ["<s>|abcd", "<s>cd|ef", "<s>ef|gh"]),
        ("first", ["<s>|abcd", "bcd|ef", "def|gh"]),
        ("none", ["a|bcde", "cde|fg", "defg|h"]),
    ],
)
def test_windows_of_a_document(tokenizer: PreTrainedTokenizerBase, bos: Bos, expected: list[str]) -> None:
    """Every token after the first special one is scored once, in windows of five; `|` stands before the scored ones."""
    request = Documents(texts=("abcdefgh", "", "i"), window=5, stride=2, bos=bos)
    sequences = tokenise(request, tokenizer, 100, oracles.VOCABULARY)
    decoded = [
        f"{tokenizer.decode(ids[:start])}|{tokenizer.decode(ids[start:])}"
        for ids, start in zip(sequences.ids, sequences.score_from, strict=True)
    ]
    assert decoded == [*expected, *(["<s>|i"] if bos != "none" else [])]
    spans = sequences.spans
    assert spans is not None
    covered = [request.texts[i][a:b] for i, a, b in zip(spans.document_T, spans.start_T, spans.end_T, strict=True)]
    assert "".join(covered) == ("bcdefgh" if bos == "none" else "abcdefghi")


def test_a_warning_needs_the_models_family(bare: PreTrainedTokenizerBase, tokenizer: PreTrainedTokenizerBase) -> None:
    texts = Sentences(texts=("a",))
    assert special_tokens_of(texts, bare, "llama").missing_bos == "<s>"
    assert special_tokens_of(texts, bare, "gpt_neox").missing_bos == ""
    assert special_tokens_of(texts, tokenizer, "llama").first == (Token(0, "<s>"),)


UNKNOWN = {
    "sentence": Sentences(texts=("ab", "az")),
    "context": Continuations(contexts=("b", "z"), continuations=("b", "b")),
    "target": Continuations(contexts=("b", "b"), continuations=("b", "z")),
    "corpus": Windows(text="abaz", window=2, stride=2, bos="none"),
    "document": Documents(texts=("b", "bz"), window=8, stride=4),
}


@pytest.mark.parametrize("texts", UNKNOWN.values(), ids=UNKNOWN)
def test_a_token_without_an_embedding_is_refused_wherever_it_stands(
    tokenizer: PreTrainedTokenizerBase, texts: TextRequest
) -> None:
    unknown = tokenizer.convert_tokens_to_ids("z")
    message = (
        f"item 1 has the token 'z' with the id {unknown}; the model has embeddings for {unknown} tokens: is the "
        "tokenizer another model's?"
    )
    with pytest.raises(TextError) as caught:
        tokenise(texts, tokenizer, 100, unknown)
    assert str(caught.value) == message
    if isinstance(texts, Windows):
        with pytest.raises(TextError) as caught:
            windows(texts, tokenizer, 100, unknown)
        assert str(caught.value) == message
    assert tokenise(texts, tokenizer, 100, oracles.VOCABULARY).ids


def test_eos_replaces_a_missing_bos(bare: PreTrainedTokenizerBase) -> None:
    bare.bos_token = None
    ids, start = tokenised(bare, "", "abc")
    assert ids[:start] == [bare.eos_token_id]


REFUSED_WINDOWS: dict[str, tuple[TextRequest, str]] = {
    "too short": (
        Windows(text="ab", window=4, stride=4, bos="none"),
        "the corpus has 2 tokens, fewer than one window of 4",
    ),
    "every window": (
        Windows(text="abcd", window=4, stride=4, bos="every_window"),
        "bos: every_window needs a tokenizer with BOS, and this one has none",
    ),
    "a document of one token": (
        Documents(texts=("a", ""), window=4, stride=2, bos="none"),
        "the documents have no tokens to score",
    ),
}


@pytest.mark.parametrize(("texts", "message"), REFUSED_WINDOWS.values(), ids=REFUSED_WINDOWS)
def test_windows_that_cannot_be_made_are_one_line(
    bare: PreTrainedTokenizerBase, texts: TextRequest, message: str
) -> None:
    bare.bos_token = None
    with pytest.raises(TextError) as caught:
        tokenise(texts, bare, 100, oracles.VOCABULARY)
    assert str(caught.value) == message


REFUSED = {
    "too long": ("abcdefgh", 2, "item 0 has 11 tokens; the model has positions for 2"),
    "nothing in front": (
        "", 100,
        "item 0 has an empty context, and the tokenizer has no BOS or EOS to replace it",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "positions", "message"), REFUSED.values(), ids=REFUSED)
def test_a_continuation_that_cannot_be_scored_is_one_line(
    bare: PreTrainedTokenizerBase, before: str, positions: int, message: str
) -> None:
    bare.bos_token = bare.eos_token = None
    with pytest.raises(StudyError) as caught:
        tokenise(Continuations(contexts=(before,), continuations=(" ij",)), bare, positions, oracles.VOCABULARY)
    assert str(caught.value) == message
