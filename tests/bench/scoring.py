"""Sentences per second on BLiMP, float32, in one run: the token tree inside vLLM against what users would pick.

(a) plain Transformers, padded batches of 128 with full log-softmax; (b) vLLM's `prompt_logprobs` from a plain
`LLM(model)`, asked as lm-eval asks it; (c) the same through Halfwave's flat route, which runs the engine in its own
process and pins no threads. The engines take turns and the whole round is repeated; ratios are per round, so a machine
whose speed drifts does not decide them.

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
from tests.sources import source_of

PADDED_BATCH = 128
_STATE: dict = {}


def start_engine(model: str, texts: tuple[str, ...], threads: int, route: str) -> None:
    """In an engine's process: load it and plan once."""
    from actors.ablation import AblationActor
    from actors.messages import Sentences

    _STATE["actor"] = AblationActor(source_of(Path(model), threads=threads, route=route))
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


def score_transformers() -> tuple[float, np.ndarray]:
    import torch

    tokenizer, model, texts = _STATE["tokenizer"], _STATE["model"], _STATE["texts"]
    started, sums = time.perf_counter(), []
    with torch.inference_mode():
        for first in range(0, len(texts), PADDED_BATCH):
            batch = tokenizer(list(texts[first : first + PADDED_BATCH]), padding=True, return_tensors="pt")
            log_probabilities = model(**batch).logits[:, :-1].float().log_softmax(-1)
            targets = batch["input_ids"][:, 1:, None]
            tokens = log_probabilities.gather(-1, targets)[..., 0] * batch["attention_mask"][:, 1:]
            sums += tokens.sum(-1).tolist()
    return time.perf_counter() - started, np.array(sums)


def start_vllm(model: str, texts: tuple[str, ...]) -> None:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm import LLM

    _STATE["engine"] = LLM(model, dtype="float32", max_model_len=2048, disable_log_stats=True)
    _STATE["texts"] = texts


def score_vllm() -> tuple[float, np.ndarray]:
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt

    engine = _STATE["engine"]
    parameters = SamplingParams(temperature=0, prompt_logprobs=1, max_tokens=1, detokenize=False)
    started = time.perf_counter()
    tokenizer = engine.get_tokenizer()
    prompts = [TokensPrompt(prompt_token_ids=ids) for ids in tokenizer(list(_STATE["texts"]))["input_ids"]]
    outputs = engine.generate(prompts, parameters, use_tqdm=False)
    sums = [
        sum(
            entry[token].logprob for entry, token in zip(one.prompt_logprobs[1:], one.prompt_token_ids[1:], strict=True)
        )
        for one in outputs
    ]
    return time.perf_counter() - started, np.array(sums)


def stop_vllm() -> None:
    _STATE.pop("engine").llm_engine.engine_core.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=str, required=True)
    parser.add_argument("--per-paradigm", type=int, default=15, help="pairs; more of them share more prefixes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    texts = blimp(arguments.data, arguments.per_paradigm, True).texts
    threads = len(os.sched_getaffinity(0))
    peers = {
        "halfwave token tree": (start_engine, (arguments.model, texts, threads, "auto"), score_engine),
        f"transformers, padded {PADDED_BATCH}": (
            start_transformers,
            (arguments.model, texts, threads),
            score_transformers,
        ),
        "vLLM prompt_logprobs": (start_vllm, (arguments.model, texts), score_vllm),
        "vLLM, our flat route": (start_engine, (arguments.model, texts, threads, "flat"), score_engine),
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
    pools["vLLM prompt_logprobs"].submit(stop_vllm).result()
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
