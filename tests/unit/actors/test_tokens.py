"""Where a context ends, and which token replaces an empty one."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from actors.tokens import tokenise
from studies.benchmarks.texts import Continuations
from studies.errors import StudyError
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
    sequences = tokenise(Continuations(contexts=(context,), continuations=(continuation,)), tokenizer, 100)
    return sequences.ids[0].tolist(), int(sequences.score_from[0])


@pytest.mark.parametrize("name", ["tokenizer", "bare"])
def test_only_the_continuation_is_scored(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    ids, start = tokenised(tokenizer, "abc", " de")
    assert tokenizer.decode(ids[start:]) == " de" and start == len(ids) - 3


def test_a_context_that_is_too_long_loses_its_beginning(bare: PreTrainedTokenizerBase) -> None:
    request = Continuations(contexts=("abcdefgh", "abc"), continuations=(" ij", " de"))
    sequences = tokenise(request, bare, 7)
    assert bare.decode(sequences.ids[0]) == "efgh ij" and bare.decode(sequences.ids[1]) == "abc de"
    assert sequences.score_from.tolist() == [4, 3] and sequences.num_cut == 1


@pytest.mark.parametrize("name", ["tokenizer", "bare"])
def test_all_of_a_continuation_without_a_context_is_scored_after_bos(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    ids, start = tokenised(tokenizer, "", "abc")
    assert ids[:start] == [tokenizer.bos_token_id] and tokenizer.decode(ids[start:]) == "abc"


def test_eos_replaces_a_missing_bos(bare: PreTrainedTokenizerBase) -> None:
    bare.bos_token = None
    ids, start = tokenised(bare, "", "abc")
    assert ids[:start] == [bare.eos_token_id]


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
        tokenise(Continuations(contexts=(before,), continuations=(" ij",)), bare, positions)
    assert str(caught.value) == message
