"""The probe: a few texts on which every engine is compared with plain Transformers.

Owns the texts, and their log-probabilities under Transformers, in float32 and in the model's own dtype. Which
difference is accepted is decided where both sides arrive, in `orchestrator.execution.engine_proofs`.

T scored tokens, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.messages.model import ModelSource
from actors.messages.probe import Reference
from actors.tokens import tokenise
from studies.benchmarks.texts import Sentences

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SENTENCES = (
    "The keys to the cabinet are on the table.",
    "The keys to the cabinet is on the table.",
    "The author that the critics praised has never been to Chicago, nor did she want to go.",
    "In 1911, about 40 % of the river's water came from snow; today it is less than half of that!",
    "Water boils at a lower temperature on a mountain than it does at the sea.",
    '"Why," asked the boy, "would anybody lock a door that no one wants to open?"',
)
"""Also scored on both routes at start-up, and forwarded once after every change of the clamps."""

TEXTS = (*SENTENCES, " ".join(SENTENCES))
"""The last is long enough to reach past a short attention window."""

UNLIMITED = 10**9
"""Tokens: no text is longer."""


def probe_ids(source: ModelSource, tokenizer: "PreTrainedTokenizerBase") -> list[np.ndarray]:
    """The token ids of each text, with the special tokens of a sentence, cut to what an engine takes as one request."""
    longest = min(source.context, int(str(source.engine.get("max_model_len", source.context)))) - 1
    return [ids[:longest] for ids in tokenise(Sentences(texts=TEXTS), tokenizer, UNLIMITED, source.vocabulary).ids]


def reference(model: "PreTrainedModel", source: ModelSource, tokenizer: "PreTrainedTokenizerBase") -> Reference:
    """The probe under a loaded Transformers model, which is left as it was."""
    import transformers

    sequences = probe_ids(source, tokenizer)
    rounded = exact = log_probabilities(model, sequences)
    if source.dtype != "float32":
        with in_float32(model):
            exact = log_probabilities(model, sequences)
    return Reference(
        model=source.label,
        ids=tuple(tuple(ids.tolist()) for ids in sequences),
        log_probabilities=exact,
        rounded=rounded,
        transformers=transformers.__version__,
    )


def log_probabilities(model: "PreTrainedModel", sequences: Sequence[np.ndarray]) -> np.ndarray:
    """[T] float32 log p of every token after a sequence's first, sequence after sequence, in nats.

    One sequence at a time, so that nothing is padded.
    """
    import torch

    forward: Any = model  # Transformers' base class declares no forward
    scored = []
    with torch.no_grad():
        for sequence in sequences:
            ids = torch.as_tensor(sequence).to(model.device)
            log_softmax_TV = forward(ids[None], use_cache=False).logits[0, :-1].float().log_softmax(-1)
            scored.append(log_softmax_TV.gather(-1, ids[1:, None].to(log_softmax_TV.device))[:, 0].cpu().numpy())
    return np.concatenate(scored)


@contextmanager
def in_float32(model: "nn.Module") -> Iterator[None]:
    """Inside, the model computes in float32, with the parameters that it has.

    Each module's own parameters are converted just before it runs and put back right after it, so that memory for one
    module more is enough.
    """
    kept: dict[nn.Module, list[tuple[nn.Parameter, Any]]] = {}

    def convert(module: "nn.Module", _: Any) -> None:
        kept[module] = [(parameter, parameter.data) for parameter in module.parameters(recurse=False)]
        for parameter, data in kept[module]:
            parameter.data = data.float()

    def put_back(module: "nn.Module", *_: Any) -> None:
        for parameter, data in kept.pop(module, ()):
            parameter.data = data

    owners = [module for module in model.modules() if next(module.parameters(recurse=False), None) is not None]
    handles = [module.register_forward_pre_hook(convert) for module in owners]
    handles += [module.register_forward_hook(put_back, always_call=True) for module in owners]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
