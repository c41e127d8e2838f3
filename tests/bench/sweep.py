"""A sweep over layer groups against one plain pass a condition, on real sentences, in one run.

Halfwave runs the real thing: BLiMP, and TSE on whole cases, one condition and then baseline, 8 single and 8 cumulative
groups (16 distinct conditions; the peer is charged for 17, as it must run them). The peer is plain Transformers with
padded batches, a hook that clamps and a full log-softmax, one condition on an evenly spaced sample, scaled by the
tokens of its padded batches.
Prints the ratio, the layer computations against the fewest possible, the share of the machine's measured float32 GEMM
rate, where the engine's time goes, and peak memory.

    python -m tests.bench.sweep --data ../shared/data --model .models/SmolLM2-135M-Instruct
"""

import argparse
import json
import os
import platform
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from studies.benchmarks import minimal_pairs
from studies.layers import layer_groups
from tests.bench import scoring
from tests.sources import source_of

NUM_GROUPS = 8
FRACTION = 0.01
SAMPLE = 1000


def conditions(num_layers: int, d_mlp: int) -> dict:
    """Baseline, single and cumulative groups of one random set of neurons; only the numbers of neurons matter here."""
    from actors.messages import Intervention

    rng = np.random.default_rng(0)
    size = round(FRACTION * d_mlp)
    chosen = [tuple(sorted(rng.choice(d_mlp, size, replace=False).tolist())) for _ in range(num_layers)]
    found = {"baseline": Intervention()}
    for schedule in ("single", "cumulative"):
        for group in layer_groups(NUM_GROUPS, schedule, num_layers):
            neurons = {layer: chosen[layer] for layer in group.layers}
            found[f"{schedule} {group.name}"] = Intervention(neurons=neurons, floor=0.0)
    return found


def start_engine(model: str, threads: int) -> None:
    """In the engine's process: timers around planning, forward and head, then the engine."""
    from actors import ablation, vllm_worker

    state = scoring._STATE
    state["spent"] = dict.fromkeys(("planning", "forward", "head"), 0.0)
    for owner, name, label in (
        (ablation, "plan_packs", "planning"),
        (ablation, "tokenise", "planning"),
        (vllm_worker._VllmDecoder, "hidden", "forward"),
        (vllm_worker._VllmDecoder, "logits", "head"),
    ):
        setattr(owner, name, _timed(getattr(owner, name), label, state["spent"]))
    state["actor"] = ablation.AblationActor(source_of(Path(model), threads=threads))


def _timed(function, label: str, spent: dict[str, float]):
    def wrapper(*arguments, **named):
        started = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            spent[label] += time.perf_counter() - started

    return wrapper


def score_engine(name: str, texts: tuple[str, ...], model: str, sweep: bool) -> dict:
    """One request through the engine, and what it took."""
    from actors.messages import EvaluateRequest, Intervention, Scored, Sentences

    actor, spent = scoring._STATE["actor"], scoring._STATE["spent"]
    facts = source_of(Path(model))
    chosen = conditions(facts.num_layers, facts.d_mlp) if sweep else {"baseline": Intervention()}
    actor._plans.clear()
    spent.update(dict.fromkeys(spent, 0.0))
    started = time.perf_counter()
    request = EvaluateRequest(benchmark=name, texts=Sentences(texts=texts), interventions=chosen)
    results = [message for message in actor.evaluate(request) if isinstance(message, Scored)]
    seconds = time.perf_counter() - started
    assert len(results) == len(chosen)
    return {
        "seconds": seconds,
        **spent,
        "nodes": results[0].num_nodes,
        "tokens": results[0].num_tokens,
        "layer_passes": results[0].layer_passes,
        "ideal_layer_passes": results[0].ideal_layer_passes,
        "peak_gibibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def start_transformers(model: str, threads: int) -> None:
    """Transformers with a hook in front of every activation that clamps 1 % of its neurons."""
    import torch

    scoring.start_transformers(model, (), threads)
    loaded = scoring._STATE["model"]
    rng = np.random.default_rng(0)
    for layer in loaded.model.layers:
        size = round(FRACTION * layer.mlp.gate_proj.out_features)
        columns = torch.as_tensor(rng.choice(layer.mlp.gate_proj.out_features, size, replace=False))

        def clamp(module, arguments, output, columns=columns):
            output[..., columns] = output[..., columns].clamp(min=0)
            return output

        layer.mlp.gate_proj.register_forward_hook(clamp)


def score_transformers(texts: tuple[str, ...]) -> float:
    scoring._STATE["texts"] = texts
    return scoring.score_transformers()[0]


def gemm_rate(threads: int, d_model: int, d_mlp: int, rows: int = 512) -> float:
    """GFLOP/s of float32 products of the gate and up projection's shape, the median of many."""
    import torch

    torch.set_num_threads(threads)
    x, weight = torch.randn(rows, d_model), torch.randn(2 * d_mlp, d_model)
    seconds = []
    for _ in range(60):
        started = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        seconds.append(time.perf_counter() - started)
    return 4 * rows * d_model * d_mlp / statistics.median(seconds[10:]) / 1e9


def layer_parameters(model: str) -> int:
    """Weights of all decoder layers: two operations each and node are what a forward takes, attention left out."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
    return sum(parameter.numel() for parameter in made.model.layers.parameters())


def flops(found: dict, parameters: int, num_layers: int) -> float:
    """Of all layers that were computed on all nodes."""
    return 2 * parameters * found["nodes"] * found["layer_passes"] / num_layers


def evenly(texts: tuple[str, ...], count: int) -> tuple[str, ...]:
    return tuple(texts[i * len(texts) // count] for i in range(min(count, len(texts))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=str, required=True)
    parser.add_argument("--per-paradigm", type=int, default=50, help="BLiMP pairs of each paradigm")
    parser.add_argument("--per-case", type=int, default=400, help="TSE pairs of each case: whole small ones, a block")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    threads = len(os.sched_getaffinity(0))
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    benchmarks = {
        "BLiMP": minimal_pairs.blimp(arguments.data, arguments.per_paradigm, True).texts,
        "TSE": minimal_pairs.tse(arguments.data, arguments.per_case, True).texts,
    }
    facts = source_of(Path(arguments.model))
    engine, peer, bare = (ProcessPoolExecutor(1, mp_context=get_context("spawn")) for _ in range(3))
    rate = bare.submit(gemm_rate, threads, facts.d_model, facts.d_mlp).result()
    parameters = bare.submit(layer_parameters, arguments.model).result()
    engine.submit(start_engine, arguments.model, threads).result()
    peer.submit(start_transformers, arguments.model, threads).result()
    print(f"float32, {threads} threads, {platform.machine()}, measured GEMM rate {rate:.0f} GFLOP/s")
    figures = []
    for _ in range(arguments.rounds):
        for name, texts in benchmarks.items():
            sample = evenly(texts, SAMPLE)
            whole = padded_tokens(tokenizer, texts) / padded_tokens(tokenizer, sample)
            plain = peer.submit(score_transformers, sample).result() * whole
            for sweep in (False, True):
                found = engine.submit(score_engine, name, texts, arguments.model, sweep).result()
                charged = 2 * NUM_GROUPS + 1 if sweep else 1
                found |= {
                    "benchmark": name,
                    "sentences": len(texts),
                    "conditions": charged,
                    "ratio": charged * plain / found["seconds"],
                    "gemm_share": flops(found, parameters, facts.num_layers) / found["forward"] / 1e9 / rate,
                }
                figures.append(found)
                print(line(found), flush=True)
    for pool in (engine, peer, bare):
        pool.shutdown()
    if arguments.json:
        arguments.json.write_text(json.dumps({"gemm_gflops": rate, "rows": figures}, indent=2) + "\n")


def padded_tokens(tokenizer, texts: tuple[str, ...]) -> int:
    """Tokens that padded batches in this order compute; a thin sample pads more than the whole."""
    lengths = np.array([len(ids) for ids in tokenizer(list(texts))["input_ids"]])
    batches = np.split(lengths, range(scoring.PADDED_BATCH, len(lengths), scoring.PADDED_BATCH))
    return int(sum(batch.max() * len(batch) for batch in batches))


def line(found: dict) -> str:
    """One line of the table."""
    what = f"{found['benchmark']:<6} {found['sentences']:>7} sentences x {found['conditions']:>2}"
    rest = found["seconds"] - found["planning"] - found["forward"] - found["head"]
    spent = ", ".join(f"{part} {found[part]:.1f}" for part in ("planning", "forward", "head"))
    return (
        f"{what}: {found['seconds']:7.1f} s, {found['ratio']:5.1f}x Transformers; "
        f"layers {found['layer_passes']} (fewest {found['ideal_layer_passes']}); "
        f"forward at {found['gemm_share']:.0%} of GEMM; {spent}, rest {rest:.1f} s; "
        f"peak {found['peak_gibibytes']:.1f} GiB"
    )


if __name__ == "__main__":
    main()
