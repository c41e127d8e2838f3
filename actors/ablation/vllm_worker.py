"""The worker extension that runs the logits pass inside vLLM's workers.

vLLM loads it through `worker_extension_cls`; its methods are called by name with `collective_rpc`, plain data in and
out (bytes and lists: tensors do not cross the process boundary as such). Owns the activation modules and the layerwise
reload; `vllm_decoder` has the forward pass. Ordinary generation on the same engine still works, and passes through the
same clamps. Importing it imports vLLM, and registers the loader of `vllm_loader`.
"""

import copy
import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from actors.ablation import vllm_loader
from actors.ablation.clamps import ClampSet, LayerClamp
from actors.ablation.condition_tree import Pass, layer_passes
from actors.ablation.coverage import Account
from actors.ablation.engine import LAST_WORDS
from actors.ablation.logits_pass import LayerWalk, bits_of_pack, score_pack, sweep_pack
from actors.ablation.token_tree import pack_from_wire
from actors.ablation.vllm_decoder import VllmDecoder
from actors.loaded_files import verify
from actors.messages.model import ModelSource
from studies.errors import InterventionError, StudyError
from studies.neurons.clamps import UNCLAMPED, Clamp

P = ParamSpec("P")
R = TypeVar("R")

vllm_loader.register()


def exit_all_ranks_on_error(
    method: Callable[Concatenate["LogitsPass", P], R],
) -> Callable[Concatenate["LogitsPass", P], R]:
    """Decorate a method in which the ranks of a tensor-parallel engine wait for each other.

    An error on one rank would leave the others waiting, and the engine with them: the loops of vLLM's workers, under
    Ray too, catch it and live on. So the rank writes its last words and ends its process, which vLLM notices. On
    another node the file cannot be read, but the error is logged.
    """

    @functools.wraps(method)
    def run(self: "LogitsPass", *arguments: P.args, **named: P.kwargs) -> R:
        try:
            return method(self, *arguments, **named)
        except Exception as error:
            if self.vllm_config.parallel_config.world_size == 1:
                raise
            _write_last_words(f"rank {self.rank}: {type(error).__name__}: {error}")
            logging.getLogger(__name__).exception("rank %d ends its process", self.rank)
            os._exit(1)

    return run


def _write_last_words(words: str) -> None:
    """Say why this process ends, unless another rank has failed first, which this one missed in a collective."""
    with suppress(FileExistsError), open(os.environ[LAST_WORDS], "x", encoding="utf-8") as file:
        file.write(words)


class _FailedStart(logging.Handler):
    """Writes why a worker process of vLLM's multiprocessing executor did not start: the engine learns only that."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and record.getMessage().startswith("WorkerProc failed to start"):
            _write_last_words(f"{type(error).__name__}: {error}")


logging.getLogger("vllm.v1.executor.multiproc_executor").addHandler(_FailedStart(logging.ERROR))


class LogitsPass:
    """Mixed into vLLM's worker class. All state lives in `self._halfwave`."""

    # Attributes of vLLM's worker, declared without values: vLLM refuses an extension that defines one of its names.
    device: torch.device
    rank: int
    get_model: Callable[[], nn.Module]
    vllm_config: Any  # a vllm.config.VllmConfig; vllm is imported in functions only
    _halfwave: VllmDecoder

    def halfwave_install(self, site: dict[str, Any], d_mlp: int) -> dict[str, Any]:
        """Hook the activations and the attention layers.

        site: the fields of `sites.Site`. Returns {"layers": number of layers hooked, "tree_refused": why the tree route
        is impossible or '', "attention": the attention kernel of the tree route}. Raises StudyError where attention is
        quantised.
        """
        from vllm.distributed import get_tensor_model_parallel_rank, get_tensor_model_parallel_world_size

        model = self.get_model()
        layers = model.get_submodule(site["vllm_layers"])
        clamps = [
            LayerClamp(
                _unshared_activation(layer, site["vllm_activation"], site["vllm_exchange"]),
                d_mlp=d_mlp,
                gated=site["gated"],
                device=self.device,
                dtype=self.vllm_config.model_config.dtype,
                rank=get_tensor_model_parallel_rank(),
                num_ranks=get_tensor_model_parallel_world_size(),
            )
            for layer in layers
        ]
        decoder = self._halfwave = VllmDecoder(
            model, self.vllm_config, self.device, ClampSet(clamps), LayerWalk(layers)
        )
        decoder.enter_pass()
        decoder.refuse_quantised_attention()
        refusal = decoder.wrap_attention()
        attention = "" if refusal else decoder.choose_attention()
        return {"layers": len(clamps), "tree_refused": refusal, "attention": attention}

    def halfwave_account(self) -> Account:
        """What this rank loaded of the checkpoint in force."""
        return self.get_model().halfwave_account

    def halfwave_reload(self, path: str, revision: str | None, load_format: str) -> dict[str, tuple[list[int], float]]:
        """Load another checkpoint of the same architecture into the model; the hooks stay, the clamps are cleared.

        Returns {tensor of the checkpoint: (shape, sum)}. What was loaded is in `halfwave_account`; after any error the
        engine must not be used again.
        """
        from huggingface_hub import constants
        from vllm.config import set_current_vllm_config
        from vllm.transformers_utils.repo_utils import get_model_path

        config = self.vllm_config.model_config  # without a network, vLLM starts from the folder of the cached snapshot
        config.model = get_model_path(path, revision) if constants.HF_HUB_OFFLINE else path
        config.model_weights, config.revision = "", revision
        self.vllm_config.load_config.load_format = load_format
        with set_current_vllm_config(self.vllm_config):
            read = _load_in_place(self.get_model(), self.vllm_config)
        self._halfwave.clamps.set({}, UNCLAMPED)
        self._halfwave.kept.clear()
        return read

    def halfwave_verify_files(self, source: dict[str, Any]) -> str:
        """Why the files on this rank's node are not those of the source, given by its fields; '' if they are."""
        try:
            verify(ModelSource(**source))
        except StudyError as error:
            return str(error)
        return ""

    def halfwave_set_clamps(
        self, neurons: dict[int, list[int]], clamp: dict[str, Any], values: dict[int, list[float]]
    ) -> list[int]:
        """Select exactly these neurons; returns the number on this rank, per layer. clamp: its `payload`."""
        by_layer = {int(layer): list(indices) for layer, indices in neurons.items()}
        own = {int(layer): list(of_layer) for layer, of_layer in values.items()}
        return self._halfwave.clamps.set(by_layer, Clamp.from_payload(clamp), own)

    def halfwave_start_counting(self) -> None:
        """Count hook calls and changed pre-activations from zero."""
        self._halfwave.clamps.start_counting()

    def halfwave_stop_counting(self) -> tuple[list[int], list[int], str]:
        """(hook calls per layer, changed pre-activations per layer, digest of the buffers read back)."""
        calls, clipped = self._halfwave.clamps.stop_counting()
        return calls, clipped, self._halfwave.clamps.digest()

    def halfwave_keep(self, condition: int) -> None:
        """Keep the current clamps under this number, for `halfwave_sweep`; number 0 drops all that were kept before."""
        if condition == 0:
            self._halfwave.kept.clear()
        self._halfwave.kept[condition] = self._halfwave.clamps.settings()

    def halfwave_digests(self) -> list[str]:
        """Digests of the kept clamps, in the order of their numbers, read back; leaves the last of them in force."""
        digests = []
        for _, settings in sorted(self._halfwave.kept.items()):
            self._halfwave.clamps.restore(settings)
            digests.append(self._halfwave.clamps.digest())
        return digests

    @exit_all_ranks_on_error
    def halfwave_sweep(
        self, wire: list[bytes], passes: list[tuple[Any, ...]], margins: bool
    ) -> dict[int, bytes | str] | None:
        """{condition: float32 numbers of the pack's edges, or why there are none}; None as in `halfwave_score`.

        wire: from `pack_to_wire`; passes: the fields of each `Pass`; margins: whether the edges' margins follow their
        log-probabilities. Raises InterventionError unless every layer's clamp was called as often as the passes say.
        """
        decoder, planned = self._halfwave, [Pass(*fields) for fields in passes]
        decoder.enter_pass()
        pack = pack_from_wire(wire)
        before = decoder.clamps.calls()

        def switch(condition: int) -> None:
            decoder.clamps.restore(decoder.kept[condition])

        outcomes = sweep_pack(decoder, decoder.walk, pack, planned, switch, margins=margins)
        calls = [after - earlier for after, earlier in zip(decoder.clamps.calls(), before, strict=True)]
        expected = layer_passes(planned, len(calls)) if len(pack.rows) else [0] * len(calls)
        if calls != expected:
            raise InterventionError(f"the clamps were called {calls} times in one pack, expected {expected}")
        results: dict[int, bytes | str] = {}
        for condition, outcome in outcomes.items():
            if outcome is None:
                return None
            results[condition] = str(outcome) if isinstance(outcome, FloatingPointError) else outcome.numpy().tobytes()
        return results

    @exit_all_ranks_on_error
    def halfwave_score(self, wire: list[bytes]) -> bytes | None:
        """float32 log-probabilities of the pack's edges; None on a rank without the gathered head."""
        self._halfwave.enter_pass()
        log_probabilities_E = score_pack(self._halfwave, pack_from_wire(wire))
        return None if log_probabilities_E is None else log_probabilities_E.numpy().tobytes()

    @exit_all_ranks_on_error
    def halfwave_repeat(self, wire: list[bytes], count: int) -> int:
        """Score a pack so many times; returns how many different results this rank saw, hidden states among them."""
        decoder = self._halfwave
        decoder.enter_pass()
        pack = pack_from_wire(wire)
        return len({bits_of_pack(decoder, pack) for _ in range(count)})


def _load_in_place(model: nn.Module, config: Any) -> dict[str, tuple[list[int], float]]:
    """vLLM's layerwise reload, with an account of what was loaded: on its own it only warns of missing weights."""
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod
    from vllm.model_executor.model_loader import get_model_loader, reload

    source, loader = config.model_config, get_model_loader(config.load_config)
    # it warns about every module without weights, such as a rotary embedding
    logging.getLogger("vllm.model_executor.model_loader.reload.layerwise").setLevel(logging.ERROR)
    read: dict[str, tuple[list[int], float]] = {}
    filled_before = {name: num_elements for name, (_, num_elements) in model.halfwave_account.filled.items()}
    with loader.account(model, source, filled_before):
        reload.initialize_layerwise_reload(model)
        model.load_weights(_noting_sums(loader.get_all_weights(source, model), read))
        reload.finalize_layerwise_reload(model, source)
    for module in model.modules():
        # on CPU a head multiplies with a packed copy, which is stale in a tied head: another module loads its weights
        if isinstance(getattr(module, "quant_method", None), UnquantizedEmbeddingMethod):
            module.quant_method.process_weights_after_loading(module)
    return read


def _noting_sums(
    weights: Iterable[tuple[str, Tensor]], read: dict[str, tuple[list[int], float]]
) -> Iterator[tuple[str, Tensor]]:
    """Pass the weights through and note the shape and float64 sum of each in `read`."""
    for name, tensor in weights:
        read[name] = list(tensor.shape), float(tensor.sum(dtype=torch.float64))
        yield name, tensor


def _unshared_activation(layer: nn.Module, path: str, exchange: str) -> nn.Module:
    """Give the layer an activation of its own: vLLM's registry hands ONE instance to all layers (Gemma, GPT-2, OPT).

    exchange: name of the activation that the checkpoint was trained with if vLLM uses another; '' = keep vLLM's.
    """
    from vllm.model_executor.layers.activation import get_act_fn

    parent, _, name = path.rpartition(".")
    owner = layer.get_submodule(parent)
    module = copy.deepcopy(get_act_fn(exchange) if exchange else getattr(owner, name))
    setattr(owner, name, module)
    return module
