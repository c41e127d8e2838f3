"""vLLM's default loader of weights, with an account of every tensor.

Owns the load formats `halfwave_safetensors` and `halfwave_hf`, which read what vLLM's formats of these names read, and
the account that a loaded model carries, `model.halfwave_account`. `vllm_worker` registers the formats where vLLM loads
its worker extension, which is before any weights. Judges nothing: `Engine` collects the accounts of all ranks. torch
is imported in functions too, because an engine sets the environment before.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from actors.ablation.load_account import Tying

PREFIX = "halfwave_"
FORMATS = ("safetensors", "hf")


def register() -> None:
    """Register the loader with vLLM, in this process."""
    from vllm.model_executor.model_loader import register_model_loader
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

    from actors.ablation.load_account import LoadAccount

    class AccountedLoader(DefaultModelLoader):
        """As vLLM's, but every tensor of the checkpoint and every parameter of the model is accounted for."""

        def __init__(self, load_config: Any):
            config = copy.copy(load_config)
            config.load_format = load_config.load_format.removeprefix(PREFIX)
            super().__init__(config)
            self._account: LoadAccount | None = None

        def load_weights(self, model: "nn.Module", model_config: Any) -> None:
            expected = {name: parameter.numel() for name, parameter in model.named_parameters()}
            with self.account(model, model_config, expected):
                super().load_weights(model, model_config)

        @contextlib.contextmanager
        def account(self, model: "nn.Module", model_config: Any, expected: Mapping[str, int]) -> Iterator[None]:
            """Keep account of all that is loaded in the context. expected: {parameter to be filled: elements}."""
            self._account = LoadAccount(model, expected, _tying(model, model_config))
            with self._account:
                yield
            model.halfwave_account = self._account.result()

        def get_all_weights(self, model_config: Any, model: "nn.Module") -> Iterator[tuple[str, "Tensor"]]:
            assert self._account is not None, "weights are read without an account"
            return self._account.reading(super().get_all_weights(model_config, model))

        def track_weights_loading(self, *arguments: Any, **named: Any) -> None:
            """Replaces a check of names, which exempts every linear layer. The account is judged by `Engine`."""

    for name in FORMATS:
        register_model_loader(PREFIX + name)(AccountedLoader)


def ties_head(model_config: Any) -> bool:
    """Whether config.json ties the head to the word embeddings; vLLM unties them where the checkpoint has both."""
    tied = getattr(model_config.hf_config, "tie_word_embeddings", False)
    return tied or model_config.word_embeddings_untied_by_checkpoint


def _tying(model: "nn.Module", model_config: Any) -> "Tying | None":
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding

    from actors.ablation.load_account import Tying

    modules = {
        f"{name}.weight": module for name, module in model.named_modules() if isinstance(module, VocabParallelEmbedding)
    }
    heads = frozenset(name for name, module in modules.items() if isinstance(module, ParallelLMHead))
    embeddings = modules.keys() - heads
    if not ties_head(model_config) or not embeddings:
        return None
    module = modules[min(embeddings)]
    return Tying((module.org_vocab_size, module.embedding_dim), frozenset(embeddings), heads)
