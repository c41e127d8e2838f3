"""The engines that the benches time, each in a process of its own: Halfwave's and those a user would pick instead.

Peers: plain Transformers with padded batches, a clamping hook and a full log-softmax; vLLM's `prompt_logprobs` on a
plain `LLM(model)`, called as lm-eval calls it; lm-eval's Transformers backend; Halfwave's flat route, which is
`prompt_logprobs` again, in one process and without pinned threads. `start_*` loads a model into the process, `score_*`
returns the seconds of one condition.
"""

import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from actors.messages.ablation import EvaluateRequest, Intervention, Scored
from actors.messages.stream import Finished
from studies.benchmarks.texts import Sentences
from studies.neurons.clamps import NAMED_CLAMPS
from studies.neurons.layer_groups import layer_groups
from tests.sources import source_of

PADDED_BATCH = 128
NUM_GROUPS = 8
FRACTION = 0.01
"""Of each layer's neurons that are clamped."""
_STATE: dict[str, Any] = {}
"""Of this process: its engine, by whatever name its `start_*` gave it."""


class Process:
    """A fresh process that runs one function at a time; use as a context manager."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._pool.submit(function, *arguments).result()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *exception: object) -> None:
        self(_close)
        self._pool.shutdown()


def _close() -> None:
    for engine in _STATE.values():
        if hasattr(engine, "close"):
            engine.close()
        if hasattr(engine, "llm_engine"):
            engine.llm_engine.engine_core.shutdown()


def peak_gibibytes() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


# -- Halfwave --------------------------------------------------------------------------------------------------------


def conditions(num_layers: int, d_mlp: int) -> dict[str, Intervention]:
    """Baseline, 8 single and 8 cumulative groups of one random set of neurons; here only their counts matter."""
    rng = np.random.default_rng(0)
    size = round(FRACTION * d_mlp)
    chosen = [tuple(sorted(rng.choice(d_mlp, size, replace=False).tolist())) for _ in range(num_layers)]
    interventions = {"baseline": Intervention()}
    for schedule in ("single", "cumulative"):
        for group in layer_groups(NUM_GROUPS, schedule, num_layers):
            neurons = {layer: chosen[layer] for layer in group.layers}
            interventions[f"{schedule} {group.name}"] = Intervention(clamp=NAMED_CLAMPS["negative"], neurons=neurons)
    return interventions


def start_engine(model: str, threads: int, dtype: str = "float32", route: str = "auto") -> None:
    """An ablation actor with timers around planning, forward and head."""
    from actors.ablation import routes, vllm_worker
    from actors.ablation.actor import AblationActor

    spent = _STATE["spent"] = dict.fromkeys(("planning", "forward", "head"), 0.0)
    for owner, name, label in (
        (routes, "plan_packs", "planning"),
        (routes, "tokenise", "planning"),
        (vllm_worker.VllmDecoder, "hidden", "forward"),
        (vllm_worker.VllmDecoder, "logits", "head"),
    ):
        setattr(owner, name, _timed(getattr(owner, name), label, spent))
    source = source_of(Path(model), threads=threads, dtype=dtype, route=route)
    _STATE["source"], _STATE["actor"] = source, AblationActor(source)


def _timed(function: Callable[..., Any], label: str, spent: dict[str, float]) -> Callable[..., Any]:
    """The function, which adds its seconds to `spent[label]`."""

    def wrapper(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            spent[label] += time.perf_counter() - started

    return wrapper


def score_engine(name: str, texts: tuple[str, ...], sweep: bool = False) -> dict[str, Any]:
    """The costs of one request to the engine, with a new pack plan; sweep: all `conditions`, else the baseline."""
    source, spent = _STATE["source"], _STATE["spent"]
    chosen = conditions(source.num_layers, source.d_mlp) if sweep else {"baseline": Intervention()}
    benchmark = f"{name} {_STATE.setdefault('num_requests', 0)}"  # a name of its own, so that the plan is made anew
    _STATE["num_requests"] += 1
    spent.update(dict.fromkeys(spent, 0.0))
    started = time.perf_counter()
    messages = list(_STATE["actor"].evaluate(evaluation(benchmark, texts, chosen)))
    seconds = time.perf_counter() - started
    results = [message for message in messages if isinstance(message, Scored)]
    assert len(results) == len(chosen)
    return {
        "seconds": seconds,
        **spent,
        "nodes": results[0].num_nodes,
        "prefixes": _STATE["actor"].model.plan(benchmark, Sentences(texts=texts), None).num_prefixes,
        "tokens": results[0].num_tokens,
        "layer_passes": results[0].layer_passes,
        "ideal_layer_passes": results[0].ideal_layer_passes,
        "peak_gibibytes": peak_gibibytes(),
        "sums": results[0].sums,
    }


def evaluation(name: str, texts: tuple[str, ...], interventions: Mapping[str, Intervention]) -> EvaluateRequest:
    return EvaluateRequest(benchmark=name, texts=Sentences(texts=texts), interventions=interventions)


def switch_milliseconds() -> dict[str, float]:
    """Median time to change the condition of a live engine: the clamps alone, and with the probe that proves them."""
    from actors.ablation.receipts import apply

    model, source = _STATE["actor"].model, _STATE["source"]
    chosen = [each for each in conditions(source.num_layers, source.d_mlp).values() if each.neurons]
    spent: dict[str, list[float]] = {"clamps": [], "with receipt": []}
    for intervention in chosen:
        started = time.perf_counter()
        model.engine.call("halfwave_set_clamps", intervention.neurons, intervention.clamp.payload, {})
        spent["clamps"].append(time.perf_counter() - started)
        started = time.perf_counter()
        apply(model, intervention)
        spent["with receipt"].append(time.perf_counter() - started)
    return {name: 1e3 * statistics.median(seconds) for name, seconds in spent.items()}


def through_ray(name: str, texts: tuple[str, ...], model: str, threads: int) -> dict[str, float]:
    """Seconds of one request, measured by the driver, through Ray and the pool, and by the actor."""
    from orchestrator.execution.pool import Pool
    from orchestrator.execution.ray_session import ray_session
    from orchestrator.scheduling.decisions import Start
    from orchestrator.scheduling.placement import Bundle
    from orchestrator.steps.step import Role

    with ray_session(None, num_cpus=threads, configure_logging=False):
        with Pool({"model": source_of(Path(model), threads=threads)}) as pool:
            (node,) = pool.nodes()
            placement = (Bundle(node.id, float(threads)),)
            for batch in (texts[:2], texts):  # the first request loads the model
                started, scored = time.perf_counter(), None
                request = evaluation(f"{name} {len(batch)}", batch, {"baseline": Intervention()})
                pool.start(Start(Role.ABLATION, ("baseline",), "model", "model", placement), "evaluate", request)
                messages: list = []
                while not any(isinstance(message, Finished) for message in messages):
                    messages = [message for _, message in pool.wait(60)]
                    scored = next((message for message in messages if isinstance(message, Scored)), scored)
                seconds = time.perf_counter() - started
        assert scored is not None
        return {"driver": seconds, "actor": scored.seconds}


def plan_everything(texts: tuple[str, ...], model: str) -> dict[str, float]:
    """Costs of tokenising and planning a whole benchmark."""
    from actors.ablation.token_tree import plan_packs
    from actors.tokens import load_tokenizer, tokenise

    source = source_of(Path(model))
    tokenizer, before = load_tokenizer(source), peak_gibibytes()
    started = time.perf_counter()
    sequences = tokenise(Sentences(texts=texts), tokenizer, source.context, source.vocabulary)
    tokenised = time.perf_counter()
    plan = plan_packs(sequences.ids, sequences.score_from, 512)
    return {
        "sentences": len(texts),
        "tokenise_seconds": tokenised - started,
        "plan_seconds": time.perf_counter() - tokenised,
        "tokens": plan.num_tokens,
        "nodes": plan.num_nodes,
        "gibibytes": peak_gibibytes() - before,
    }


# -- peers -----------------------------------------------------------------------------------------------------------


def start_transformers(model: str, threads: int) -> None:
    """Transformers, with a hook on every gate projection that clamps 1 % of its neurons."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(threads)
    _STATE["tokenizer"] = AutoTokenizer.from_pretrained(model, padding_side="right")
    _STATE["model"] = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    rng = np.random.default_rng(0)
    for layer in _STATE["model"].model.layers:
        width = layer.mlp.gate_proj.out_features
        columns = torch.as_tensor(rng.choice(width, round(FRACTION * width), replace=False))

        def clamp(module: Any, arguments: Any, output: Any, columns: Any = columns) -> Any:
            output[..., columns] = output[..., columns].clamp(min=0)
            return output

        layer.mlp.gate_proj.register_forward_hook(clamp)


def score_transformers(texts: tuple[str, ...]) -> float:
    import torch

    tokenizer, model = _STATE["tokenizer"], _STATE["model"]
    started, sums = time.perf_counter(), []
    with torch.inference_mode():
        for first in range(0, len(texts), PADDED_BATCH):
            batch = tokenizer(list(texts[first : first + PADDED_BATCH]), padding=True, return_tensors="pt")
            log_probabilities = model(**batch).logits[:, :-1].float().log_softmax(-1)
            tokens = log_probabilities.gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
            sums += (tokens * batch["attention_mask"][:, 1:]).sum(-1).tolist()
    return time.perf_counter() - started


def start_vllm(model: str, threads: int) -> None:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm import LLM

    _STATE["engine"] = LLM(model, dtype="float32", max_model_len=2048, disable_log_stats=True)


def score_vllm(texts: tuple[str, ...]) -> float:
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt

    engine = _STATE["engine"]
    parameters = SamplingParams(temperature=0, prompt_logprobs=1, max_tokens=1, detokenize=False)
    started = time.perf_counter()
    prompts = [TokensPrompt(prompt_token_ids=ids) for ids in engine.get_tokenizer()(list(texts))["input_ids"]]
    for output in engine.generate(prompts, parameters, use_tqdm=False):
        pairs = zip(output.prompt_logprobs[1:], output.prompt_token_ids[1:], strict=True)
        sum(entry[token].logprob for entry, token in pairs)
    return time.perf_counter() - started


def start_flat(model: str, threads: int) -> None:
    start_engine(model, threads, route="flat")


def score_flat(texts: tuple[str, ...]) -> float:
    return score_engine("flat", texts)["seconds"]


def start_lm_eval(model: str, threads: int) -> None:
    import torch
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(threads)
    _STATE["harness"] = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=PADDED_BATCH)


def score_lm_eval(texts: tuple[str, ...]) -> float:
    from lm_eval.api.instance import Instance

    requests = [Instance("loglikelihood", {}, ("", text), i) for i, text in enumerate(texts)]
    started = time.perf_counter()
    _STATE["harness"].loglikelihood(requests, disable_tqdm=True)
    return time.perf_counter() - started


# -- the machine -----------------------------------------------------------------------------------------------------


def gemm_gflops(model: str, threads: int, rows: int = 512) -> tuple[float, int]:
    """(float32 GFLOP/s, number of linear weights in the decoder layers).

    Products of random inputs with every layer's own weights in turn, as a forward reads them; the median of several
    walks through the layers.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.set_num_threads(threads)
    network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
    layers = network.model.layers
    weights = [module.weight.detach() for module in layers.modules() if isinstance(module, torch.nn.Linear)]
    inputs = {weight.shape[1]: torch.randn(rows, weight.shape[1]) for weight in weights}
    seconds = []
    for _ in range(12):
        started = time.perf_counter()
        for weight in weights:
            torch.nn.functional.linear(inputs[weight.shape[1]], weight)
        seconds.append(time.perf_counter() - started)
    parameters = sum(weight.numel() for weight in weights)
    return 2 * rows * parameters / statistics.median(seconds[4:]) / 1e9, parameters
