"""The site of the pre-activation in every supported architecture: one row per family, plain data.

Owns the paths to the decoder layers, to the projection whose output is the pre-activation, and to the activation
module that vLLM applies to it; reads a model's dimensions from its config.json. Rejects mixture-of-experts models and
families without a row, because an intervention at a guessed site would give a wrong number. Imports no torch, so the
control plane can read it.

To add a family, add a row here and one in `FAMILIES` of `tests/oracles.py`; `tests/integration/test_families.py` runs
every row.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from studies.errors import StudyError, did_you_mean, shown

MAX_LAYERS, MAX_SIZE = 10**4, 10**9
"""Largest number of layers, and of anything else, in a config.json that can be meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The pre-activation site of one family (`model_type` in config.json)."""

    layers: str
    """Path of the decoder layers in the Transformers causal language model."""
    projection: str
    """Path, inside a Transformers layer, of the projection whose OUTPUT is the pre-activation and whose INPUT is x."""
    gated: bool
    """True: a GLU, down(act(a) * up), where a is the gate half; False: a plain MLP, down(act(a))."""
    vllm_layers: str
    """Path of the decoder layers in vLLM's model."""
    vllm_activation: str
    """Path, inside a vLLM layer, of the activation module; its input is the pre-activation (GLU: [gate | up] fused)."""
    down: str
    """Path, inside a Transformers layer, of the projection back to the residual stream."""
    up: str = ""
    """Path, inside a Transformers layer, of a GLU's up projection; '' in a plain MLP."""
    activation: str = "hidden_act"
    """config.json field that names the activation function; `=name` where all models of the family use that one."""
    vllm_exchange: str = ""
    """Name of the activation that replaces vLLM's own where that is not the one the checkpoint was trained with."""
    width: str = "intermediate_size"
    """config.json field of d_mlp; where it is absent or null, d_mlp = 4 * d_model. '' where it is so in any case."""
    depth: str = "num_hidden_layers"
    """config.json field of the number of layers."""
    hidden: str = "hidden_size"
    """config.json field of d_model; `new|old` where newer and older files name it differently."""
    context: str = "max_position_embeddings"
    """config.json field of the number of positions."""
    trained_with: tuple[str, ...] = ()
    """BOS tokens that begin every training text of a model that has one of them: a warning where it gets none. A family
    may hold models of both kinds: SmolLM2 is a Llama, has another BOS token, and was trained without it."""


_GATED = Site(
    layers="model.layers",
    projection="mlp.gate_proj",
    gated=True,
    vllm_layers="model.layers",
    vllm_activation="mlp.act_fn",
    down="mlp.down_proj",
    up="mlp.up_proj",
)

SITES: Mapping[str, Site] = {
    "llama": replace(_GATED, trained_with=("<s>", "<|begin_of_text|>")),
    "mistral": replace(_GATED, trained_with=("<s>",)),
    "qwen2": _GATED,
    "qwen3": _GATED,
    "gemma3_text": replace(_GATED, activation="hidden_activation", trained_with=("<bos>",)),
    "gpt_neox": Site(
        layers="gpt_neox.layers",
        projection="mlp.dense_h_to_4h",
        gated=False,
        vllm_layers="model.layers",
        vllm_activation="mlp.act",
        down="mlp.dense_4h_to_h",
    ),
    "opt": Site(
        layers="model.decoder.layers",
        projection="fc1",
        gated=False,
        vllm_layers="model.decoder.layers",
        vllm_activation="activation_fn",
        down="fc2",
        activation="activation_function",
        width="ffn_dim",
    ),
    "gpt2": Site(
        layers="transformer.h",
        projection="mlp.c_fc",
        gated=False,
        vllm_layers="transformer.h",
        vllm_activation="mlp.act",
        down="mlp.c_proj",
        activation="activation_function",
        width="n_inner",
        depth="n_layer",
        hidden="n_embd",
        context="n_positions",
    ),
    "phi": Site(
        layers="model.layers",
        projection="mlp.fc1",
        gated=False,
        vllm_layers="model.layers",
        vllm_activation="mlp.activation_fn",
        down="mlp.fc2",
    ),
    "olmo2": _GATED,
    "bloom": Site(
        layers="transformer.h",
        projection="mlp.dense_h_to_4h",
        gated=False,
        vllm_layers="transformer.h",
        vllm_activation="mlp.gelu_impl",
        vllm_exchange="gelu_pytorch_tanh",  # vLLM uses the exact GELU
        down="mlp.dense_4h_to_h",
        activation="=gelu_pytorch_tanh",
        width="",
        depth="n_layer",
        hidden="hidden_size|n_embed",
        context="seq_length",
    ),
}
"""{`model_type` in config.json: site}."""

_MULTIMODAL_FIELDS = ("text_config", "vision_config", "audio_config")
_MIXTURE_FIELDS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_intermediate_size")


class Shape(Protocol):
    """What an `Architecture` and a model to be loaded have in common: the sizes that memory follows from."""

    @property
    def num_layers(self) -> int: ...
    @property
    def d_mlp(self) -> int: ...
    @property
    def d_model(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The dimensions of one model, and its activation, read from its config.json."""

    family: str
    num_layers: int
    d_mlp: int
    d_model: int
    activation: str
    """Name of the activation function."""
    context: int
    """Longest sequence in tokens that the model has positions for."""
    vocabulary: int
    """Number of tokens in the vocabulary."""

    @property
    def is_relu(self) -> bool:
        """Whether a negative clamp, max(a, 0) before the activation, changes nothing."""
        return self.activation in ("relu", "relu2")


def architecture(config: Mapping[str, Any], where: str = "config.json") -> Architecture:
    """Read an `Architecture` from the contents of a config.json.

    where: the file, as messages name it. Raises StudyError for a family without a row in `SITES`, a multimodal model, a
    mixture of experts, or a missing field.
    """
    site = _site(config, where)
    experts = [name for name in _MIXTURE_FIELDS if config.get(name)]
    if experts:
        raise StudyError(f"mixture-of-experts MLPs are not supported ({where} has {experts[0]})")
    family = config["model_type"]

    d_model = _size(config, site.hidden, where, family)
    return Architecture(
        family=family,
        num_layers=_size(config, site.depth, where, family, most=MAX_LAYERS),
        d_mlp=4 * d_model if config.get(site.width) is None else _size(config, site.width, where, family),
        d_model=d_model,
        activation=site.activation[1:] if site.activation.startswith("=") else _word(config, site, where, family),
        context=_size(config, site.context, where, family),
        vocabulary=_size(config, "vocab_size", where, family),
    )


def _required(config: Mapping[str, Any], alternatives: str, where: str, family: str) -> tuple[str, Any]:
    """The first of these fields that a config has, and its value. Raises StudyError if all are absent or null."""
    names = alternatives.split("|")
    for name in names:
        if config.get(name) is not None:
            return name, config[name]
    raise StudyError(f"{where} has no {' or '.join(map(repr, names))}, which family {family!r} needs")


def _size(config: Mapping[str, Any], alternatives: str, where: str, family: str, most: int = MAX_SIZE) -> int:
    name, value = _required(config, alternatives, where, family)
    if type(value) is not int or not 0 < value <= most:
        raise StudyError(f"{where}: {name} must be a whole number from 1 to {most}; found {shown(value)}")
    return value


def _word(config: Mapping[str, Any], site: Site, where: str, family: str) -> str:
    """The name of the activation function."""
    name, value = _required(config, site.activation, where, family)
    if not isinstance(value, str):
        raise StudyError(f"{where}: {name} must be the name of an activation; found {shown(value)}")
    return value


def _site(config: Mapping[str, Any], where: str) -> Site:
    """The row of a config's family. Raises StudyError if there is none, or the model reads more than text."""
    family = config.get("model_type")
    if not isinstance(family, str):
        found = f"is {shown(family)}" if "model_type" in config else "is missing"
        raise StudyError(f"{where}: model_type {found}; it names the model's family: {', '.join(sorted(SITES))}")
    parts = [name for name in _MULTIMODAL_FIELDS if config.get(name)]
    if parts or f"{family}_text" in SITES:
        found = f" ({where} has {' and '.join(parts)})" if parts else f" ({where}: model_type {family!r})"
        raise StudyError(f"multimodal models are not supported{found}; take a text-only checkpoint")
    if family in SITES:
        return SITES[family]
    may_be_meant = [name for name in SITES if _has_classes_of(config, name)]
    hint = did_you_mean(family, may_be_meant) if may_be_meant else f"; allowed: {', '.join(sorted(SITES))}"
    raise StudyError(f"{where}: model family {family!r} is not in the site table{hint}")


def _has_classes_of(config: Mapping[str, Any], family: str) -> bool:
    """Whether the model classes that a config names, if any, are a family's: else `model_type` is no misspelling."""
    stem = family.removesuffix("_text").replace("_", "")
    classes = config.get("architectures")
    if not isinstance(classes, list):
        return True
    return all(re.match(rf"{stem}(For|LM|Text|Model|DoubleHeads)", str(name), re.IGNORECASE) for name in classes)
