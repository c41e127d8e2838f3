"""From tokens to words to excess surprisal: exact alignment for kinds of tokenizers, sums, statistics, the page."""

from itertools import chain, pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from actors.tokens import character_spans, tokenise
from studies.benchmarks.annotation import WORD_COLUMNS, read_conllu
from studies.benchmarks.texts import Documents
from studies.errors import StudyError
from studies.reporting.figures import excess_bars
from studies.reporting.surprisal_page import examples_page
from studies.statistics.excess_surprisal import Excess, annotate, words_of_tokens

LLAMA_3_SPLIT = "|".join(
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
TRICKY = "Na\u00efve caf\u00e9 \u2014 \u4f60\u597d, \U0001f44d\U0001f3fd!\n\n  2,345 don't\u00a0stop\u2026 \ufb01n\t(x)"


def byte_level(pre_tokenizer) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoders.ByteLevel()
    return tokenizer


def smollm2() -> Tokenizer:
    split = pre_tokenizers.Digits(individual_digits=True)
    return byte_level(pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)]))


def llama_3() -> Tokenizer:
    split = pre_tokenizers.Split(Regex(LLAMA_3_SPLIT), behavior="isolated")
    whole = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return byte_level(whole)


def pythia() -> Tokenizer:
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True))
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def sentence_piece_bpe() -> Tokenizer:
    """As Llama 2: spaces become metaspace in the normalizer, bytes stand for what is unknown."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    return tokenizer


def sentence_piece_unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


KINDS = {kind.__name__: kind for kind in (smollm2, llama_3, pythia, sentence_piece_bpe, sentence_piece_unigram)}


def trained(kind: str, texts) -> PreTrainedTokenizerFast:
    """A small tokenizer of a kind, trained on these texts; the first special token stands for documents' beginnings."""
    tokenizer, special = KINDS[kind](), ["<s>", "<unk>"]
    if kind == "sentence_piece_unigram":
        trainer = trainers.UnigramTrainer(
            vocab_size=600, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    else:
        bytes_ = [f"<0x{i:02X}>" for i in range(256)] if kind == "sentence_piece_bpe" else []
        alphabet = [] if bytes_ else pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=900, special_tokens=special + bytes_, initial_alphabet=alphabet, show_progress=False
        )
    tokenizer.train_from_iterator([text[:400] for text in texts], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")


@pytest.fixture(scope="module")
def ewt(data_root):
    return read_conllu(data_root / "ud_ewt" / "en_ewt-ud-dev.conllu")


def coverage(text: str, starts, ends) -> np.ndarray:
    count = np.zeros(len(text), dtype=int)
    for start, end in zip(starts, ends, strict=True):
        count[start:end] += 1
    return count


def frame_of(found, surprisal=None) -> pd.DataFrame:
    spans = found.spans
    columns = {"document": spans.document_T, "start": spans.start_T, "end": spans.end_T}
    values = np.arange(len(spans.start_T)) % 7 + 0.25 if surprisal is None else surprisal
    return pd.DataFrame(columns).assign(surprisal=values.astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_every_character_of_ud_ewt_belongs_to_one_token_or_is_white_space(ewt, kind):
    tokenizer = trained(kind, ewt.documents)
    documents = (*ewt.documents, TRICKY)
    found = tokenise(Documents(texts=documents, window=96, stride=64), tokenizer, 4096)
    for i, text in enumerate(documents):
        mine = found.spans.document_T == i
        count = coverage(text, found.spans.start_T[mine], found.spans.end_T[mine])
        assert all(n == 1 or (n == 0 and c.isspace()) for n, c in zip(count, text, strict=True)), (kind, i)
    scored = sum(len(ids) - first for ids, first in zip(found.ids, found.score_from, strict=True))
    whole = sum(map(len, tokenizer(list(documents), add_special_tokens=False)["input_ids"]))
    assert scored == whole == len(found.spans.start_T)
    assert max(map(len, found.ids)) == 96 and min(found.score_from) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_sums_over_words_are_the_documents_own(ewt, kind):
    found = tokenise(Documents(texts=ewt.documents, window=512, stride=256), trained(kind, ewt.documents), 4096)
    tokens = frame_of(found, np.random.default_rng(0).gamma(2.0, size=len(found.spans.start_T)))
    by_word = annotate(tokens, ewt.words, "word")
    sums = [one.astype({"surprisal": float}).groupby("document")["surprisal"].sum() for one in (tokens, by_word)]
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-5)
    scored = by_word[by_word["word"] >= 0]
    assert scored["word"].is_unique
    assert len(scored) > 0.9 * len(ewt.words)  # the rest shares a token with a longer word
    if kind == "smollm2":
        assert len(scored) > 0.99 * len(ewt.words)


def test_windows_score_each_token_once_with_context():
    tokenizer = trained("smollm2", ["a b c d"])
    text = "abcdefghij" * 3
    found = tokenise(Documents(texts=(text, "", "x"), window=8, stride=4), tokenizer, 4096)
    ids = tokenizer(text)["input_ids"]
    assert [len(one) for one in found.ids][:2] == [8, 8]
    assert found.score_from.tolist()[:2] == [1, 4]
    told = [one[first:].tolist() for one, first in zip(found.ids, found.score_from, strict=True)]
    assert list(chain(*told[:-1])) == ids and told[-1] == tokenizer("x")["input_ids"]
    assert found.ids[0][0] == tokenizer.bos_token_id


def test_a_document_needs_something_to_stand_in_front():
    bare = PreTrainedTokenizerFast(tokenizer_object=trained("smollm2", ["a"]).backend_tokenizer)
    with pytest.raises(StudyError, match="neither BOS nor EOS"):
        tokenise(Documents(texts=("a",), window=8, stride=4), bare, 64)


def test_bytes_of_one_character_and_white_space_get_empty_spans():
    # "é" in two bytes, a space of its own, and a token that holds the space in front of its word
    spans = character_spans("\u00e9  b c", [(0, 1), (0, 1), (1, 2), (2, 4), (4, 6)])
    assert spans.tolist() == [[0, 1], [1, 1], [2, 2], [3, 4], [5, 6]]
    with pytest.raises(ValueError, match="no token covers 'b' at character 1"):
        character_spans("ab", [(0, 1)])
    with pytest.raises(ValueError, match="no token covers 'b' at character 1"):
        character_spans("abc", [(0, 1), (2, 3)])


def test_marks_that_a_tokenizer_composes_belong_to_the_token_before():
    text = "cafe\u0301 o\u0301"
    spans = character_spans(text, [(0, 3), (3, 4), (5, 7)])
    assert spans.tolist() == [[0, 3], [3, 5], [6, 8]]
    tokenizer = trained("pythia", ["cafe o"])
    found = tokenise(Documents(texts=(text, "\u1100\u1161\u11a8"), window=64, stride=32), tokenizer, 64).spans
    for i, one in enumerate((text, "\u1100\u1161\u11a8")):
        mine = found.document_T == i
        count = coverage(one, found.start_T[mine], found.end_T[mine])
        assert all(n == 1 or c == " " for n, c in zip(count, one, strict=True))


def test_annotation_without_features_is_enough():
    _, words = texts(3)
    words = words.assign(features="_", relation="_")
    table = Excess(scored(words, BASE | {"DET": 1.5}), scored(words, BASE), words, "token").table()
    assert set(table["kind"]) == {"all", "upos", "relation"} and table["num_items"].dtype == int
    assert excess_bars(table, kind="upos", title="t").startswith(b"\x89PNG")


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), min_size=1, max_size=12), st.data())
def test_a_token_goes_to_the_word_that_it_overlaps_most(lengths, data):
    """Against the definition, for random words and random cuts into tokens."""
    at, rows = 0, []
    for length, gap in lengths:
        rows.append((0, 0, at, at + length, "NOUN", "_", "_"))
        at += length + gap
    words = pd.DataFrame(rows, columns=list(WORD_COLUMNS))
    cuts = sorted(data.draw(st.sets(st.integers(1, at), max_size=8)) | {0, at})
    pairs = [(a, b) for a, b in pairwise(cuts) if a < b]
    tokens = pd.DataFrame([(0, a, b) for a, b in pairs], columns=["document", "start", "end"])
    for (a, b), word in zip(pairs, words_of_tokens(tokens, words), strict=True):
        shared = (np.minimum(words["end"], b) - np.maximum(words["start"], a)).clip(lower=0)
        assert word == (shared.argmax() if shared.max() else -1)


def test_the_rest_of_a_character_stays_with_its_word():
    words = pd.DataFrame([(0, 0, 0, 1, "NOUN", "_", "_"), (0, 0, 3, 5, "VERB", "_", "_")], columns=list(WORD_COLUMNS))
    tokens = pd.DataFrame({"document": 0, "start": [0, 1, 3, 3, 4, 5], "end": [1, 1, 3, 4, 4, 5]})
    assert words_of_tokens(tokens, words).tolist() == [0, 0, -1, 1, 1, 1]


def texts(num_documents: int = 40):
    """Documents of `the dog is here .`: a word and its UPOS; a token a word."""
    upos = ["DET", "NOUN", "AUX", "ADV", "PUNCT"]
    starts, ends = [0, 4, 8, 11, 16], [3, 7, 10, 15, 17]
    rows = [
        (d, d, s, e, u, u.lower(), "Number=Sing" if u == "NOUN" else "_")
        for d in range(num_documents)
        for s, e, u in zip(starts, ends, upos, strict=True)
    ]
    words = pd.DataFrame(rows, columns=list(WORD_COLUMNS))
    return ("the dog is here .",) * num_documents, words


def scored(words: pd.DataFrame, by_upos: dict[str, float], noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    values = words["upos"].map(by_upos) + noise * np.random.default_rng(seed).normal(size=len(words))
    return words[["document", "start", "end"]].assign(surprisal=values.astype(np.float32))


BASE = {"DET": 1.0, "NOUN": 4.0, "AUX": 1.5, "ADV": 3.0, "PUNCT": 0.5}


def test_the_contrast_finds_what_was_put_in_and_nothing_else():
    _, words = texts()
    baseline = scored(words, BASE, noise=0.3)
    shifted = scored(words, BASE | {"DET": 1.6, "AUX": 2.1, "PUNCT": 1.1}, noise=0.3, seed=1)
    found = Excess(shifted, baseline, words, "token").contrast()
    assert found.interval.low < 0.6 < found.interval.high and found.interval.low > 0.4
    assert found.p_value < 1e-6 and found.num_documents == 40 and found.num_items == 200
    null = Excess(scored(words, BASE, noise=0.3, seed=2), baseline, words, "token").contrast()
    assert null.interval.low < 0 < null.interval.high and null.p_value > 0.05
    same = Excess(baseline, baseline, words, "token").contrast()
    assert same.interval == (0.0, 0.0, 0.0) and np.isnan(same.p_value)


def test_the_table_has_means_counts_and_intervals_by_class():
    _, words = texts()
    baseline, treated = scored(words, BASE), scored(words, BASE | {"DET": 1.5}, noise=0.1)
    table = Excess(treated, baseline, words, "token").table().set_index(["kind", "name"])
    assert table.loc[("all", "all"), "num_items"] == 200
    row = table.loc[("upos", "DET")]
    assert (row["num_items"], row["share"], row["surprisal"]) == (40, 0.2, 1.0)
    assert row["low"] < row["excess"] < row["high"] and abs(row["excess"] - 0.5) < 0.05
    assert table.loc["feature"].index.tolist() == ["Number=Sing"]
    whole = treated["surprisal"].astype(float).mean() - baseline["surprisal"].astype(float).mean()
    assert table.loc[("all", "all"), "excess"] == pytest.approx(whole, rel=1e-6)


def test_one_document_has_no_interval():
    _, words = texts(1)
    found = Excess(scored(words, BASE | {"DET": 2.0}), scored(words, BASE), words, "token").contrast()
    assert found.interval.estimate == pytest.approx(1 / 3) and np.isnan(found.interval.low) and np.isnan(found.p_value)


def test_other_tokens_and_numbers_that_are_not_finite_are_refused():
    _, words = texts(3)
    baseline = scored(words, BASE)
    with pytest.raises(ValueError, match="different tokens"):
        Excess(baseline.iloc[1:], baseline, words, "token")
    with pytest.raises(ValueError, match="not finite"):
        Excess(baseline.assign(surprisal=np.nan), baseline, words, "token")


def test_the_page_escapes_and_shows_the_whole_sentence():
    documents, words = texts(20)
    documents = tuple(text.replace("dog", "<b>") for text in documents)
    words = pd.concat([words, words.assign(sentence=words["sentence"], upos="X").iloc[:0]])
    long_enough = words.assign(sentence=words["document"] // 2)  # ten words a sentence would span two documents
    long_enough["document"], documents = words["document"] // 2, tuple(a + " " + a for a in documents[:10])
    shift = np.where(words["document"] % 2, 18, 0)
    long_enough[["start", "end"]] += shift[:, None]
    baseline = scored(long_enough, BASE)
    items = Excess(scored(long_enough, BASE | {"DET": 3.0}), baseline, long_enough, "token").items
    page = examples_page(items, documents, long_enough, title="a <title>")
    assert "&lt;b&gt;" in page and "<b>" not in page and "a &lt;title&gt;" in page
    assert page.count('<p class="s">') == 20 and "rgba(221,107,32,0.67)" in page
    assert "<script" not in page and "http" not in page


def test_the_figure_is_drawn_for_both_kinds():
    _, words = texts()
    table = Excess(scored(words, BASE | {"DET": 1.5}, noise=0.1), scored(words, BASE), words, "token").table()
    for kind in ("upos", "relation"):
        assert excess_bars(table, kind=kind, title="t").startswith(b"\x89PNG")
