"""Sentences per second on BLiMP, float32, in one run: the token tree inside vLLM against what users would pick.

(a) plain Transformers, padded batches of 128 with full log-softmax; (b) vLLM's own `prompt_logprobs`. The engines take
turns and the whole round is repeated; ratios are per round, so a machine whose speed drifts does not decide them.

    python -m tests.bench.scoring --data ../shared/data --model .models/SmolLM2-135M-Instruct
"""

import argparse
import json
import os
import platform
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from studies.benchmarks.minimal_pairs import blimp

PER_PARADIGM = 15
_STATE: dict = {}


def start_engine(model: str, texts: tuple[str, ...], threads: int, route: str) -> None:
    """In an engine's process: load it and plan once."""
    from actors.ablation import AblationActor
    from actors.messages import ModelSource, Sentences
    from actors.sites import architecture

    facts = architecture(json.loads((Path(model) / "config.json").read_text()))
    source = ModelSource(
        label="bench",
        path=model,
        family=facts.family,
        num_layers=facts.num_layers,
        d_mlp=facts.d_mlp,
        d_model=facts.d_model,
        context=facts.context,
        threads=threads,
        route=route,
    )
    _STATE["actor"] = AblationActor(source)
    _STATE["texts"] = Sentences(texts=texts)


def score_engine() -> tuple[float, np.ndarray]:
    """(seconds, [num_sentences] log-probabilities) of one pass through the engine."""
    from actors.messages import EvaluateRequest, Intervention

    request = EvaluateRequest(benchmark="blimp", texts=_STATE["texts"], interventions={"baseline": Intervention()})
    started = time.perf_counter()
    *_, scored = _STATE["actor"].evaluate(request)
    return time.perf_counter() - started, scored.sums


def start_transformers(model: str, texts: tuple[str, ...], threads: int) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(threads)
    _STATE["tokenizer"] = AutoTokenizer.from_pretrained(model, padding_side="right")
    _STATE["model"] = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    _STATE["texts"] = texts


def score_transformers(batch_size: int = 128) -> tuple[float, np.ndarray]:
    import torch

    tokenizer, model, texts = _STATE["tokenizer"], _STATE["model"], _STATE["texts"]
    started, sums = time.perf_counter(), []
    with torch.inference_mode():
        for first in range(0, len(texts), batch_size):
            batch = tokenizer(list(texts[first : first + batch_size]), padding=True, return_tensors="pt")
            log_probabilities = model(**batch).logits[:, :-1].float().log_softmax(-1)
            targets = batch["input_ids"][:, 1:, None]
            tokens = log_probabilities.gather(-1, targets)[..., 0] * batch["attention_mask"][:, 1:]
            sums += tokens.sum(-1).tolist()
    return time.perf_counter() - started, np.array(sums)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=str, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    texts = blimp(arguments.data, PER_PARADIGM, True).texts
    threads = len(os.sched_getaffinity(0))
    peers = {
        "halfwave token tree": (start_engine, (arguments.model, texts, threads, "auto"), score_engine),
        "transformers, padded 128": (start_transformers, (arguments.model, texts, threads), score_transformers),
        "vLLM prompt_logprobs": (start_engine, (arguments.model, texts, threads, "flat"), score_engine),
    }
    pools = {name: ProcessPoolExecutor(1, mp_context=get_context("spawn")) for name in peers}
    for name, (start, options, _) in peers.items():
        pools[name].submit(start, *options).result()
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    sums = {}
    for _ in range(arguments.rounds):
        for name, (_, _, score) in peers.items():
            spent, sums[name] = pools[name].submit(score).result()
            seconds[name].append(spent)
    for pool in pools.values():
        pool.shutdown()
    ours = seconds["halfwave token tree"]
    figures = {
        name: {
            "sentences_per_second": len(texts) / statistics.median(spent),
            "ratio_median": statistics.median(theirs / mine for theirs, mine in zip(spent, ours, strict=True)),
            "ratio_min": min(theirs / mine for theirs, mine in zip(spent, ours, strict=True)),
            "largest_difference_nats": float(np.abs(sums[name] - sums["halfwave token tree"]).max()),
        }
        for name, spent in seconds.items()
    }
    print(f"{len(texts)} BLiMP sentences, float32, {threads} threads, {platform.machine()}, {arguments.rounds} rounds")
    for name, figure in figures.items():
        print(
            f"{name:<26} {figure['sentences_per_second']:8.1f} sentences/s   halfwave is {figure['ratio_median']:.2f}x "
            f"(least {figure['ratio_min']:.2f}x)   differs by {figure['largest_difference_nats']:.1e} nats"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
