"""Contexts and continuations against lm-evaluation-harness's own encoding, with tokenizers of every kind."""

import itertools
from typing import Any

import pytest
from tokenizers import Tokenizer, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from actors.tokens import tokenise
from studies.benchmarks.texts import Continuations
from studies.errors import TextError
from tests.unit.actors.trained_tokenizers import KINDS, trained

pytest.importorskip("lm_eval", reason="the extra `harness` is not installed")

TEXTS = ["the sky is blue and the cat sat on the mat", "bluebird skylark", "Question: who? Answer: he, she or they"]
CONTEXTS = (
    "the sky is",
    "the sky is ",
    "Question:\n\n",
    "the cat s",
    "blue",
    "",
    "  ",
    "<s>the sky",
    "\u00e9t\u00e9 \t",
)
CONTINUATIONS = (" blue", "blue", "at on the mat", "bird", " Answer: they", "<s> he", "<s>")
TEMPLATES = {"neither": "$A", "bos": "<s> $A", "bos and eos": "<s> $A </s>", "eos": "$A </s>"}


def tokenizers(kind: str, *templates: str) -> list[PreTrainedTokenizerBase]:
    """One trained tokenizer with each template."""
    made = trained(kind, TEXTS)
    made.add_special_tokens({"eos_token": "</s>"})
    special = [(text, made.convert_tokens_to_ids(text)) for text in ("<s>", "</s>")]
    copies = []
    for template in templates:
        backend = Tokenizer.from_str(made.backend_tokenizer.to_str())
        backend.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
        copies.append(PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>"))
    return copies


def harness(tokenizer: PreTrainedTokenizerBase) -> Any:
    """lm-eval's Transformers backend with this tokenizer and no model; it returns what it would have scored."""
    from lm_eval.models.huggingface import HFLM

    class Encoding(HFLM):
        def __init__(self) -> None:
            self.tokenizer, self.backend, self.enable_thinking = tokenizer, "causal", False
            self.add_bos_token = self.custom_prefix_token_id = None

        def _loglikelihood_tokens(self, requests: Any, **options: Any) -> Any:
            return [(context, continuation) for _, context, continuation in requests]

    return Encoding()


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", KINDS)
def test_contexts_and_continuations_are_encoded_as_the_harness_does(kind: str, template: str) -> None:
    """The harness keeps what a template puts behind a text: it is given the same template without that."""
    from lm_eval.api.instance import Instance

    ours, without_eos = tokenizers(kind, TEMPLATES[template], TEMPLATES[template].removesuffix(" </s>"))
    theirs, compared = harness(without_eos), 0
    for pair in itertools.product(CONTEXTS, CONTINUATIONS):
        request = Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0)
        ((context, continuation),) = theirs.loglikelihood([request], disable_tqdm=True)
        asked = Continuations(contexts=pair[:1], continuations=pair[1:])
        if not context:  # the harness fails; here BOS replaces white space without tokens of its own
            context = [ours.bos_token_id]
            continuation = continuation[continuation[:1] == context :]
        if not continuation:
            with pytest.raises(TextError, match="no token of the continuation is left to score"):
                tokenise(asked, ours, 100, len(ours))
            continue
        sequences = tokenise(asked, ours, 100, len(ours))
        assert sequences.ids[0].tolist() == [*context, *continuation], pair
        assert sequences.score_from[0] == len(context), pair
        compared += 1
    assert compared > 50
