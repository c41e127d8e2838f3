"""What a config.json can ask for that vLLM 0.32 computes otherwise than Transformers, or does not load: plain data.

Owns the fields of which this is known, for every family of the site table; `refuse_unsupported` raises before anything
is started. It proves nothing of the other fields: actors compare every engine with Transformers. Refuses nothing that
the engine honours; `tests/integration/test_engine_limits.py` runs configs on both sides of every limit. Imports no
torch, so the control plane can read it.
"""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from actors.sites import SITES, Architecture
from studies.errors import StudyError, one_line

Config = Mapping[str, Any]
"""The contents of a config.json."""

ENGINE = "vLLM 0.32"
ANOTHER_MODEL = "take another checkpoint"
IGNORED = "Transformers does not read it: a local copy of the model without it gives the model's numbers"
"""The two remedies: of a field that Transformers honours, and of one that it ignores."""

BACKEND = ("gpt_neox", "phi", "olmo2")
"""Families that run through vLLM's Transformers backend, with Transformers' own rotary positions."""
NATIVE_ROPE = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text")
"""Families whose rotary positions vLLM implements itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One field of config.json that the engine honours for some values alone."""

    field: str
    families: Sequence[str]
    honoured: Sequence[Any]
    """Values with which engine and Transformers agree; a field that is absent or null always is one."""
    engine: str
    """What the engine does with any other value."""
    remedy: str


LIMITS: tuple[Limit, ...] = (
    Limit(
        field="scale_attn_weights",
        families=("gpt2",),
        honoured=(True,),
        engine="divides attention scores by the square root of the head size all the same",
        remedy=ANOTHER_MODEL,
    ),
    *(
        Limit(
            field=field,
            families=("gpt2",),
            honoured=(False,),
            engine="does not load a model that asks for it",
            remedy=ANOTHER_MODEL,
        )
        for field in ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention")
    ),
    Limit(
        field="tie_word_embeddings",
        families=("bloom",),
        honoured=(True,),
        engine="does not load a head of its own",
        remedy=ANOTHER_MODEL,
    ),
    Limit(
        field="slow_but_exact",
        families=("bloom",),
        honoured=(False,),
        engine="adds the biases that Transformers then leaves out where `pretraining_tp` is above 1",
        remedy="set it to false in a local copy, for the numbers that the model was trained to give",
    ),
    Limit(
        field="attention_bias",
        families=("qwen3",),
        honoured=(False,),
        engine="leaves out the bias of the attention's output projection",
        remedy=ANOTHER_MODEL,
    ),
    Limit(
        field="is_causal",
        families=tuple(SITES),
        honoured=(True,),
        engine="scores texts with causal attention alone",
        remedy=ANOTHER_MODEL,
    ),
    Limit(
        field="use_bidirectional_attention",
        families=("gemma3_text",),
        honoured=(False,),
        engine="scores texts with causal attention alone",
        remedy=ANOTHER_MODEL,
    ),
    *(
        Limit(field=field, families=families, honoured=honoured, engine=engine, remedy=IGNORED)
        for field, families, honoured, engine in (
            ("attention_bias", ("mistral",), (False,), "gives the attention biases that no weights are loaded for"),
            ("bias", ("llama", "mistral"), (False,), "gives the attention biases that no weights are loaded for"),
            ("qkv_bias", ("llama", "mistral"), (False,), "gives the attention biases that no weights are loaded for"),
            ("mlp_bias", ("mistral",), (False,), "gives the MLP biases that no weights are loaded for"),
            ("qk_norm", ("qwen2",), (False,), "gives the attention norms that no weights are loaded for"),
            ("logit_scale", ("llama", "mistral", *BACKEND), (1.0,), "multiplies the logits by it"),
            ("final_logit_softcapping", BACKEND, (), "caps the logits at it"),
            ("attn_logit_softcapping", BACKEND, (), "caps the attention scores at it"),
            ("llama_4_scaling", ("mistral",), (), "scales the queries by position"),
            ("dual_chunk_attention_config", ("qwen2", "qwen3"), (), "attends in chunks"),
            ("partial_rotary_factor", NATIVE_ROPE, (1.0,), "rotates that share of each head alone"),
            ("rotary_pct", NATIVE_ROPE, (1.0,), "rotates that share of each head alone"),
            ("rotary_emb_fraction", NATIVE_ROPE, (1.0,), "rotates that share of each head alone"),
        )
    ),
)

_PLAIN_ACTIVATIONS = (
    *("gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "quick_gelu"),
    *("relu", "relu2", "silu", "swish", "tanh", "sigmoid"),
)
ACTIVATIONS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), ("silu",)),
    **dict.fromkeys(("gemma3_text", "olmo2"), ("gelu", "gelu_pytorch_tanh", "silu", "swish")),
    **dict.fromkeys(("gpt2", "opt"), _PLAIN_ACTIVATIONS),
}
"""{family: the activations that vLLM has for it}; the other families run Transformers' own."""

HEADS: Mapping[str, tuple[str, ...]] = {
    "llama": ("LlamaForCausalLM", "LlamaModel"),
    "mistral": ("MistralForCausalLM", "MistralModel"),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Model"),
    "qwen3": ("Qwen3ForCausalLM",),
    "gemma3_text": ("Gemma3ForCausalLM",),
    "gpt_neox": ("GPTNeoXForCausalLM",),
    "opt": ("OPTForCausalLM",),
    "gpt2": ("GPT2LMHeadModel",),
    "phi": ("PhiForCausalLM",),
    "olmo2": ("Olmo2ForCausalLM",),
    "bloom": ("BloomForCausalLM",),
}
"""{family: the classes in `architectures` with which vLLM computes log-probabilities}; the first is the family's own,
the second, where there is one, that of the model without its head."""
_HEADLESS = re.compile(r"(?<!LMHead)(?<!Chat)Model$|For(TextEncoding|RewardModeling|\w*Classification)$")

SLIDING = "sliding_attention"
"""The entry of `layer_types` for a layer with a sliding window."""
ROTARY_KINDS = ("default", "linear", "dynamic", "yarn", "longrope", "llama3")
"""Kinds of rotary positions that both have, in the families of `NATIVE_ROPE`."""
ENGINE_ONLY = frozenset({"alpha", "max_trained_positions", "mrope_section", "rope_dim", "use_fope"})
"""Rotary parameters that vLLM reads and Transformers ignores."""


class _Refusal(NamedTuple):
    """One field that the engine does not honour, the value found, what the engine does, and the remedy."""

    field: str
    value: Any
    engine: str
    remedy: str


def refuse_unsupported(config: Config, model: Architecture, where: str) -> None:
    """Raise StudyError for the first field of a config.json that the engine is known not to honour.

    model: the architecture read from `config`. where: the file, as the message names it. Also raised where a field
    is of a type that the limits cannot be compared with.
    """
    try:
        found = next(_refusals(config, model), None)
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise StudyError(f"{where}: a field is of another type than Transformers writes: {one_line(error)}") from None
    if found is not None:
        value = textwrap.shorten(json.dumps(found.value), 80, placeholder=" ...")
        raise StudyError(f"{where}: {found.field} is {value}; {ENGINE} {found.engine}; {found.remedy}")


def _refusals(config: Config, model: Architecture) -> Iterator[_Refusal]:
    yield from _fields(config, model)
    if (honoured := ACTIVATIONS.get(model.family)) and model.activation not in honoured:
        field, engine = SITES[model.family].activation, f"runs {model.family} with {', '.join(honoured)}"
        yield _Refusal(field, model.activation, engine, ANOTHER_MODEL)
    yield from _head(config, model)
    yield from _head_size(config, model)
    yield from _windows(config, model)
    yield from _rotary_positions(config, model)


def _fields(config: Config, model: Architecture) -> Iterator[_Refusal]:
    if found := config.get("quantization_config"):
        method = found.get("quant_method") if isinstance(found, dict) else found
        engine = "rounds with kernels of its own: scores and ablations would be those of two different models"
        yield _Refusal("quantization_config", method, engine, "take the checkpoint that is not quantised")
    for limit in LIMITS:
        value = config.get(limit.field)
        if model.family in limit.families and value is not None and value not in limit.honoured:
            yield _Refusal(limit.field, value, limit.engine, limit.remedy)


def _head(config: Config, model: Architecture) -> Iterator[_Refusal]:
    """The language-model head: vLLM goes by the first class in `architectures`, Transformers by `model_type`."""
    own, *others = HEADS[model.family]
    names = config.get("architectures") or [own]
    if names[0] not in others and _HEADLESS.search(str(names[0])):
        remedy = f"take a checkpoint that names {own}"
        yield _Refusal("architectures", names, "loads such a model without its language-model head", remedy)


def _head_size(config: Config, model: Architecture) -> Iterator[_Refusal]:
    heads, size = config.get("num_attention_heads"), config.get("head_dim")
    if model.family == "qwen2" and heads and size and size * heads != model.d_model:
        engine = f"takes hidden_size / num_attention_heads = {model.d_model // heads}"
        yield _Refusal("head_dim", size, engine, ANOTHER_MODEL)


def _windows(config: Config, model: Architecture) -> Iterator[_Refusal]:
    """Sliding windows: in all layers or none of Qwen, in any layer of Mistral and Gemma, in no layer of the others."""
    types, window = config.get("layer_types"), config.get("sliding_window")
    if model.family in ("qwen2", "qwen3"):
        slides = config.get("use_sliding_window") and config.get("sliding_window", 4096)
        first = config.get("max_window_layers", 28) if slides else model.num_layers
        mixed = len(set(types)) > 1 if types else 0 < first < model.num_layers
        if mixed:
            field, value = ("layer_types", types) if types else ("max_window_layers", first)
            yield _Refusal(field, value, "has sliding windows in all layers of Qwen or in none", ANOTHER_MODEL)
    elif (
        model.family not in ("mistral", "gemma3_text")
        and window
        and window < model.context
        and (not types or SLIDING in types)
    ):
        yield _Refusal("sliding_window", window, "attends to so many tokens alone", IGNORED)


def _rotary_positions(config: Config, model: Architecture) -> Iterator[_Refusal]:
    field = "rope_scaling" if config.get("rope_scaling") else "rope_parameters"
    given = config.get(field)
    if not isinstance(given, dict) or model.family in ("gpt2", "opt", "bloom"):
        return
    nested = [value for value in given.values() if isinstance(value, dict)]
    for parameters in nested or [given]:
        for engine, remedy in _rotary_limits(parameters, config, model):
            yield _Refusal(field, given, engine, remedy)


def _rotary_limits(parameters: Config, config: Config, model: Architecture) -> Iterator[tuple[str, str]]:
    """(how the engine departs from these rotary parameters, the remedy); nothing if it honours them."""
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    original = config.get("original_max_position_embeddings", parameters.get("original_max_position_embeddings"))
    original, factor = original or model.context, parameters.get("factor") or 1.0
    if kind == "longrope" and original < model.context:
        yield "takes the long or the short factors for all texts, not for each by its length", ANOTHER_MODEL
    if model.family not in NATIVE_ROPE:
        return
    if kind not in ROTARY_KINDS:
        yield f"has the kinds {', '.join(ROTARY_KINDS)}", ANOTHER_MODEL
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        yield "rotates that share of each head alone", "Transformers rotates whole heads; take another checkpoint"
    if own := sorted(ENGINE_ONLY.intersection(parameters)):
        yield f"reads {' and '.join(own)}", IGNORED
    if kind == "linear" and isinstance(factor, int):
        yield "starts with a decimal number alone", f"a local copy of the model with {float(factor)} is the same model"
    if kind == "longrope" and (parameters.get("attention_factor", 1.0) != 1.0 or factor > 1.0):
        yield "does not scale attention by this attention_factor or factor", ANOTHER_MODEL
    if kind == "yarn" and factor * original < model.context:
        yield f"has positions for {factor * original:g} tokens alone", ANOTHER_MODEL
