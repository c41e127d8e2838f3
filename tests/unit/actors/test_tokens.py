"""Where a context ends, and what stands in front of a text that has none."""

import pytest
from transformers import AutoTokenizer

from actors.tokens import tokenise
from studies.benchmarks.texts import Continuations
from studies.errors import StudyError
from tests import oracles


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """One token a character, and a BOS in front of every text."""
    folder = tmp_path_factory.mktemp("tokenizer")
    oracles.make_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def bare(tmp_path):
    """The same, but it adds nothing to a text."""
    from tokenizers import processors

    oracles.make_tokenizer(tmp_path)
    found = AutoTokenizer.from_pretrained(tmp_path)
    found.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    assert found("ab")["input_ids"] == found("ab", add_special_tokens=False)["input_ids"]
    return found


def asked(tokenizer, context: str, continuation: str):
    found = tokenise(Continuations(contexts=(context,), continuations=(continuation,)), tokenizer, 100)
    return found.ids[0].tolist(), int(found.score_from[0])


@pytest.mark.parametrize("name", ["tokenizer", "bare"])
def test_only_the_continuation_is_scored(name, request):
    tokenizer = request.getfixturevalue(name)
    ids, start = asked(tokenizer, "abc", " de")
    assert tokenizer.decode(ids[start:]) == " de" and start == len(ids) - 3


def test_a_context_that_is_too_long_loses_its_beginning(bare):
    request = Continuations(contexts=("abcdefgh", "abc"), continuations=(" ij", " de"))
    found = tokenise(request, bare, 7)
    assert bare.decode(found.ids[0]) == "efgh ij" and found.score_from.tolist() == [4, 3] and found.num_cut == 1
    assert bare.decode(found.ids[1]) == "abc de"
    with pytest.raises(StudyError, match="item 0 has 11 tokens; the model has positions for 2"):
        tokenise(request, bare, 2)


@pytest.mark.parametrize("name", ["tokenizer", "bare"])
def test_all_of_a_continuation_without_a_context_is_scored_after_bos(name, request):
    tokenizer = request.getfixturevalue(name)
    ids, start = asked(tokenizer, "", "abc")
    assert ids[:start] == [tokenizer.bos_token_id] and tokenizer.decode(ids[start:]) == "abc"


def test_eos_stands_in_for_bos_and_without_either_it_is_an_error(bare):
    bare.bos_token = None
    ids, start = asked(bare, "", "abc")
    assert ids[:start] == [bare.eos_token_id]
    bare.eos_token = None
    with pytest.raises(StudyError, match="item 0 has an empty context"):
        asked(bare, "", "abc")
