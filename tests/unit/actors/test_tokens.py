"""Where a context ends, what a window begins with, and which texts a model cannot score."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from actors import tokens
from actors.tokens import num_windows, special_tokens_of, tokenise, windows
from studies.benchmarks.special_tokens import Token
from studies.benchmarks.texts import Bos, Continuations, Documents, Sentences, TextItems, TextRequest, Windows
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


@pytest.mark.parametrize("bos", ["tokenizer", "first", "every_window", "none"])
@pytest.mark.parametrize("name", ["tokenizer", "bare", "closing"])
@pytest.mark.parametrize("stride", [2, 4])
def test_some_windows_are_those_of_the_whole_text(
    name: str, bos: Bos, stride: int, request: pytest.FixtureRequest
) -> None:
    """With `first`, a later window has no BOS of its own: it begins as it does inside the whole text."""
    tokenizer = request.getfixturevalue(name)
    whole = Windows(text="abcdefghijkl", window=4, stride=stride, bos=bos)
    rows = windows(whole, tokenizer, 100, oracles.VOCABULARY).tolist()
    part = replace(whole, num_tokens=8)
    total = num_windows(whole, tokenizer, 100)
    assert total == len(rows) and num_windows(part, tokenizer, 100) == len(windows(part, tokenizer, 100, 300))
    for only in (range(1, total), range(0, total, 2), range(1, total, 2), range(total - 1, total)):
        some = tokenise(replace(whole, only=only), tokenizer, 100, oracles.VOCABULARY)
        assert [row.tolist() for row in some.ids] == [rows[i] for i in only]
        assert num_windows(replace(whole, only=only), tokenizer, 100) == total


def test_a_window_that_the_text_does_not_have_is_refused(bare: PreTrainedTokenizerBase) -> None:
    request = Windows(text="abcdefghijkl", window=4, stride=4, only=range(2, 5))
    with pytest.raises(TextError, match="the corpus has 3 windows; there is no window 3"):
        tokenise(request, bare, 100, oracles.VOCABULARY)


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


ITEMS = TextItems(of_texts=(0, 0, 1, 1, 2, 2), places=("a.jsonl:1", "a.jsonl:3", "a.jsonl:4"))
SOME_REFUSED: dict[str, tuple[TextRequest, dict[int, str]]] = {
    "a sentence that is too long": (
        Sentences(texts=("ab", "cd", "ef", "x" * 50, "gh", "ij"), items=ITEMS),
        {1: "has 50 tokens; the model has positions for 10"},
    ),
    "a sentence of one token": (
        Sentences(texts=("ab", "cd", "ef", "gh", "i", "ij"), items=ITEMS),
        {2: "'i' has 1 tokens; at least 2 are needed to score one"},
    ),
    "both sentences of an item": (
        Sentences(texts=("x" * 40, "x" * 30, "ef", "gh", "ij", "kl"), items=ITEMS),
        {0: "has 40 tokens; the model has positions for 10"},
    ),
    "a continuation that is too long": (
        Continuations(contexts=("a",) * 6, continuations=(" b", " c", " d", " e", " f", " " + "g" * 30), items=ITEMS),
        {2: "has 32 tokens; the model has positions for 10"},
    ),
    "a context without a token": (
        Continuations(contexts=("a", "b", "", "c", "d", "e"), continuations=(" x",) * 6, items=ITEMS),
        {1: "has an empty context, and the tokenizer has no BOS or EOS to replace it"},
    ),
    "a join without a token": (
        Continuations(
            contexts=("a", "b", "c", "d", "e", "f"), continuations=(" x", "", " x", " x", " x", " x"), items=ITEMS
        ),
        {0: "'b': no token of the continuation is left to score"},
    ),
}


@pytest.mark.parametrize(("texts", "left_out"), SOME_REFUSED.values(), ids=SOME_REFUSED)
def test_an_item_that_cannot_be_scored_is_left_out_alone(
    bare: PreTrainedTokenizerBase, texts: Sentences | Continuations, left_out: dict[int, str]
) -> None:
    bare.bos_token = bare.eos_token = None
    sequences = tokenise(texts, bare, 10, oracles.VOCABULARY)
    assert sequences.left_out == left_out and sequences.kept is not None
    assert sequences.kept.tolist() == [item not in left_out for item in ITEMS.of_texts]
    rest = [i for i, item in enumerate(ITEMS.of_texts) if item not in left_out]
    others = {"texts", "contexts", "continuations"} & set(texts.__dataclass_fields__)
    alone = type(texts)(**{name: tuple(getattr(texts, name)[i] for i in rest) for name in others})
    expected = tokenise(alone, bare, 10, oracles.VOCABULARY)
    assert [ids.tolist() for ids in sequences.ids] == [ids.tolist() for ids in expected.ids]
    assert sequences.score_from.tolist() == expected.score_from.tolist()


def test_texts_of_which_no_item_can_be_scored_are_an_error_that_names_the_first(bare: PreTrainedTokenizerBase) -> None:
    texts = Sentences(texts=("abcdef", "abc", "ab", "abcdefgh", "abcd", "abcd"), items=ITEMS)
    with pytest.raises(TextError) as caught:
        tokenise(texts, bare, 3, oracles.VOCABULARY)
    assert str(caught.value) == (
        "none of the 3 items can be scored: a.jsonl:1 has 6 tokens; the model has positions for 3"
    )


def test_a_document_with_text_that_no_token_covers_is_left_out(
    bare: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = tokens.character_spans

    def character_spans(text: str, offsets: list[tuple[int, int]]) -> np.ndarray:
        if text == "odd":
            raise ValueError("no token covers 'dd' at character 1")
        return original(text, offsets)

    monkeypatch.setattr(tokens, "character_spans", character_spans)
    texts = Documents(texts=("abc", "odd", "de"), window=8, stride=7, bos="none")
    sequences = tokenise(texts, bare, 10, oracles.VOCABULARY)
    assert sequences.left_out == {1: "has text without a token: no token covers 'dd' at character 1"}
    assert sequences.spans is not None and set(sequences.spans.document_T.tolist()) == {0, 2}
    with pytest.raises(TextError, match="the documents have no tokens to score: document 0 has text without a token"):
        tokenise(Documents(texts=("odd",), window=8, stride=7), bare, 10, oracles.VOCABULARY)
