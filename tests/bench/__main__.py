"""The speed of Halfwave against the engines that a user would pick instead, as ratios in one run on this machine.

Halfwave scores BLiMP, and TSE on whole cases: one condition, and a sweep of baseline, 8 single and 8 cumulative layer
groups. The sweep has 16 distinct conditions; a peer must run all 17. Peers score one condition on an evenly spaced
sample, and their time is scaled by tokens: padded ones for Transformers, which pads batches in the order of the
benchmark, plain ones for the others. Every round runs all engines in turn. `--full` takes the whole sets, and leaves
out the smaller figures and the sweep of BLiMP.

    python -m tests.bench --data ../shared/data --model .models/SmolLM2-135M-Instruct
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from studies.benchmarks import minimal_pairs
from tests.bench import engines, scores
from tests.bench.engines import Process
from tests.sources import source_of

SAMPLE = 1000
"""Sentences that a peer scores."""
MARK = "<!-- bench: written by `make bench` -->\n"
CHARGED = 2 * engines.NUM_GROUPS + 1
"""Conditions of the sweep that a peer must run."""
Figures = dict[str, Any]
"""Everything that was measured, as `--json` writes it."""

PEERS = {
    "Transformers, padded": (engines.start_transformers, engines.score_transformers, "padded"),
    "vLLM prompt_logprobs": (engines.start_vllm, engines.score_vllm, "tokens"),
    "lm-eval, Transformers backend": (engines.start_lm_eval, engines.score_lm_eval, "tokens"),
    "vLLM, our flat route": (engines.start_flat, engines.score_flat, "tokens"),
}
"""{peer: (start, score, the key of `token_counts` by which its time is scaled)}."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=str, required=True)
    parser.add_argument("--per-paradigm", type=int, default=50, help="BLiMP pairs of each paradigm")
    parser.add_argument("--every", type=int, default=10, help="TSE: every n-th case, whole")
    parser.add_argument("--full", action="store_true", help="all of BLiMP and TSE")
    parser.add_argument("--only", choices=["BLiMP", "TSE"], help="one of the two")
    parser.add_argument("--rounds", type=int, default=3, help="of single conditions and peers; the sweeps run once")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--page", type=Path, help="write the tables between the marks of this file")
    arguments = parser.parse_args()
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    threads = len(os.sched_getaffinity(0))
    tse = minimal_pairs.tse(arguments.data, None, True)
    blimp = minimal_pairs.blimp(arguments.data, None if arguments.full else arguments.per_paradigm, True)
    benchmarks = {"BLiMP": blimp.texts, "TSE": whole_cases(tse, 1 if arguments.full else arguments.every)}
    if arguments.only:
        benchmarks = {arguments.only: benchmarks[arguments.only]}
    sweeps = ["TSE"] if arguments.full else ["BLiMP", "TSE"]
    figures: Figures = {"hardware": hardware(threads), "model": Path(arguments.model).name, "rows": []}
    with Process() as bare:
        figures["gemm_gflops"], parameters = bare(engines.gemm_gflops, arguments.model, threads)
    if not arguments.full:
        with Process() as bare:
            figures["planning"] = bare(engines.plan_everything, tse.texts, arguments.model)
        figures["scores"] = bench_scores(threads, arguments.rounds)
        figures["bfloat16"] = bench_dtype(arguments.model, threads, evenly(blimp.texts, SAMPLE))
        figures["ray"] = bench_ray(arguments.model, threads, blimp.texts[:SAMPLE])
    rate = figures["gemm_gflops"]
    bench_sentences(arguments.model, threads, benchmarks, sweeps, arguments.rounds, figures)
    for row in figures["rows"]:
        computed = row["nodes"] * row["layer_passes"] / source_of(Path(arguments.model)).num_layers
        row["gemm_share"] = 2 * parameters * computed / row["seconds_by_part"]["forward"] / 1e9 / rate
    text = tables(figures)
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    if arguments.page:
        before, _, after = arguments.page.read_text().split(MARK)
        arguments.page.write_text(before + MARK + text + MARK + after)


def hardware(threads: int) -> str:
    """One line for the tables."""
    cpus = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpus.read_text().splitlines() if line.startswith("model name")]
    return f"{threads} threads of {names[0] if names else platform.machine()}, float32"


def bench_sentences(
    model: str,
    threads: int,
    benchmarks: Mapping[str, tuple[str, ...]],
    sweeps: Sequence[str],
    rounds: int,
    figures: Figures,
) -> None:
    """Time one condition and the sweeps against the peers; fills `rows` and `switch_milliseconds` of `figures`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    with contextlib.ExitStack() as stack:
        ours, *others = (stack.enter_context(Process()) for _ in range(1 + len(PEERS)))
        peers = dict(zip(PEERS, others, strict=True))
        ours(engines.start_engine, model, threads)
        for name, process in peers.items():
            process(PEERS[name][0], model, threads)
        bench_benchmarks(tokenizer, ours, peers, benchmarks, sweeps, rounds, figures)
        figures["switch_milliseconds"] = ours(engines.switch_milliseconds)


def bench_benchmarks(
    tokenizer: Any,
    ours: Process,
    peers: Mapping[str, Process],
    benchmarks: Mapping[str, tuple[str, ...]],
    sweeps: Sequence[str],
    rounds: int,
    figures: Figures,
) -> None:
    """Add one row for every benchmark and sweep; all engines are up."""
    for benchmark, texts in benchmarks.items():
        sample = evenly(texts, SAMPLE)
        whole, sampled = token_counts(tokenizer, texts), token_counts(tokenizer, sample)
        scale = {way: whole[way] / sampled[way] for way in whole}
        for name, process in peers.items():  # a first pass is slower: kernels are chosen, memory is mapped
            process(PEERS[name][1], sample[: SAMPLE // 4])
        singles: list[Figures] = []
        spent: dict[str, list[float]] = {name: [] for name in peers}
        for _ in range(rounds):
            singles.append(ours(engines.score_engine, benchmark, texts))
            for name, process in peers.items():
                spent[name].append(process(PEERS[name][1], sample) * scale[PEERS[name][2]])
            progress(benchmark, singles[-1], spent)
        median = sorted(singles, key=lambda run: run["seconds"])[rounds // 2]
        figures["rows"].append(make_row(benchmark, texts, 1, median, [run["seconds"] for run in singles], spent))
        if benchmark in sweeps:
            swept = ours(engines.score_engine, benchmark, texts, True)
            figures["rows"].append(make_row(benchmark, texts, CHARGED, swept, [swept["seconds"]] * rounds, spent))
            progress(benchmark, swept, spent)


def make_row(
    benchmark: str,
    texts: tuple[str, ...],
    charged: int,
    run: Figures,
    seconds: Sequence[float],
    spent: Mapping[str, Sequence[float]],
) -> Figures:
    """One row of the tables: Halfwave's figures and the ratios to each peer, round by round.

    charged: conditions that a peer must run. run: `engines.score_engine`, of the median round. seconds: of Halfwave.
    spent: {peer: seconds of one condition}.
    """
    parts = {part: run[part] for part in ("planning", "forward", "head")}
    return {
        "benchmark": benchmark,
        "sentences": len(texts),
        "conditions": charged,
        "seconds": statistics.median(seconds),
        "seconds_by_part": parts | {"rest": run["seconds"] - sum(parts.values())},
        "ratios": {
            name: [charged * theirs / mine for theirs, mine in zip(all_theirs, seconds, strict=True)]
            for name, all_theirs in spent.items()
        },
        **{name: run[name] for name in ("nodes", "prefixes", "tokens", "layer_passes", "ideal_layer_passes")},
        "peak_gibibytes": run["peak_gibibytes"],
    }


def progress(benchmark: str, run: Figures, spent: Mapping[str, Sequence[float]]) -> None:
    theirs = ", ".join(f"{name} {seconds[-1]:.0f}" for name, seconds in spent.items())
    print(f"{benchmark}: {run['seconds']:.1f} s; peers, scaled: {theirs}", flush=True)


def bench_scores(threads: int, rounds: int) -> Figures:
    """Wasserstein distance of every neuron of a layer over 131,072 tokens; peak memory for that and for 16,384."""
    peaks = {}
    for num_tokens in (16_384, 131_072):
        with Process() as bare:
            peaks[num_tokens] = bare(scores.peak, num_tokens, 1536, threads)
    with Process() as bare:
        return bare(scores.compare, 131_072, 1536, 200, rounds, threads) | {"peak_gibibytes": peaks}


def bench_dtype(model: str, threads: int, texts: tuple[str, ...]) -> Figures:
    """bfloat16 against float32: the speed-up, and by how much a sentence's log-probability moves."""
    runs = {}
    for dtype in ("float32", "bfloat16"):
        with Process() as engine:
            engine(engines.start_engine, model, threads, dtype)
            engine(engines.score_engine, "warm-up", texts)
            runs[dtype] = engine(engines.score_engine, "BLiMP", texts)
    difference = np.abs(runs["bfloat16"]["sums"] - runs["float32"]["sums"])
    return {
        "ratio": runs["float32"]["seconds"] / runs["bfloat16"]["seconds"],
        "median_difference_nats": float(np.median(difference)),
        "largest_difference_nats": float(difference.max()),
    }


def bench_ray(model: str, threads: int, texts: tuple[str, ...]) -> Figures:
    """One request, timed by the driver and by the actor."""
    with Process() as driver:
        return driver(engines.through_ray, "BLiMP", texts, model, threads)


def whole_cases(tse: minimal_pairs.PairBenchmark, every: int) -> tuple[str, ...]:
    """All sentences of every n-th case, because prefixes are shared within a case."""
    chosen = set(sorted({pair.uid for pair in tse.pairs})[::every])
    return tuple(text for pair in tse.pairs if pair.uid in chosen for text in (pair.good, pair.bad))


def evenly(texts: tuple[str, ...], count: int) -> tuple[str, ...]:
    """`count` evenly spaced texts, or all if there are fewer."""
    return tuple(texts[i * len(texts) // count] for i in range(min(count, len(texts))))


def token_counts(tokenizer: Any, texts: tuple[str, ...]) -> dict[str, int]:
    """Tokens without padding, and in padded batches in this order; a thin sample pads more than the whole set."""
    lengths = np.array([len(ids) for ids in tokenizer(list(texts))["input_ids"]])
    batches = np.split(lengths, range(engines.PADDED_BATCH, len(lengths), engines.PADDED_BATCH))
    return {"tokens": int(lengths.sum()), "padded": int(sum(batch.max() * len(batch) for batch in batches))}


def tables(figures: Figures) -> str:
    """Markdown: the ratios, the parts of the time, and the smaller figures."""
    names = list(PEERS)
    rounds = len(figures["rows"][0]["ratios"][names[0]])
    lines = [
        "",
        f"{figures['model']}, {figures['hardware']}; ratios of seconds, median [least, most] of {rounds} rounds:",
        "",
        "| | sentences | conditions | seconds | over " + " | over ".join(names) + " |",
        "|---" * (4 + len(names)) + "|",
    ]
    for row in figures["rows"]:
        cells = [spread(row["ratios"][name]) for name in names]
        head = f"| {row['benchmark']} | {row['sentences']:,} | {row['conditions']} | {row['seconds']:.0f} | "
        lines.append(head + " | ".join(cells) + " |")
    lines += [
        "",
        "| | conditions | layers x tokens, millions (fewest possible) | forward, head, planning, rest (s) | forward, "
        f"of the GEMM rate ({figures['gemm_gflops']:.0f} GFLOP/s) | peak memory |",
        "|---" * 6 + "|",
    ]
    for row in figures["rows"]:
        parts = ", ".join(f"{row['seconds_by_part'][part]:.1f}" for part in ("forward", "head", "planning", "rest"))
        lines.append(
            f"| {row['benchmark']} | {row['conditions']} | {row['nodes'] * row['layer_passes'] / 1e6:.2f} "
            f"({row['prefixes'] * row['ideal_layer_passes'] / 1e6:.2f}) | "
            f"{parts} | {row['gemm_share']:.0%} | {row['peak_gibibytes']:.1f} GiB |"
        )
    return "\n".join([*lines, "", *([] if "scores" not in figures else smaller_figures(figures)), ""])


def smaller_figures(figures: Figures) -> list[str]:
    """One line each: Wasserstein distance, planning, change of condition, bfloat16, Ray."""
    wd, half, ray, plan = (figures[name] for name in ("scores", "bfloat16", "ray", "planning"))
    switch = figures["switch_milliseconds"]
    small, large = wd["peak_gibibytes"].values()
    return [
        f"- Wasserstein distance over {wd['tokens']:,} tokens: {wd['milliseconds']:.2f} ms a neuron, "
        f"{spread(wd['ratios'])} over `scipy.stats.wasserstein_distance` (one thread) on stored values; largest error "
        f"{wd['largest_error']:.0e}, outliers included; peak memory {large / small - 1:+.1%} against 16,384 tokens.",
        f"- Planning all of TSE ({plan['sentences']:,} sentences, {plan['tokens']:,} tokens, {plan['nodes']:,} nodes): "
        f"{plan['plan_seconds']:.1f} s after {plan['tokenise_seconds']:.1f} s of tokenising, {plan['gibibytes']:.1f} "
        "GiB.",
        f"- Another condition on a live engine: {switch['clamps']:.1f} ms, {switch['with receipt']:.0f} ms with the "
        "probe that proves it.",
        f"- bfloat16: {half['ratio']:.2f}x as fast as float32; a sentence's log-probability moves by "
        f"{half['median_difference_nats']:.2f} nats (median), {half['largest_difference_nats']:.2f} at most.",
        f"- Ray and the pool add {ray['driver'] - ray['actor']:.2f} s to a request of {ray['actor']:.1f} s.",
    ]


def spread(ratios: list[float]) -> str:
    """The median and, if there are several rounds, the range."""
    digits = 1 if max(ratios) >= 10 else 2
    middle = f"{statistics.median(ratios):.{digits}f}x"
    return middle if len(ratios) == 1 else f"{middle} [{min(ratios):.{digits}f}, {max(ratios):.{digits}f}]"


if __name__ == "__main__":
    main()
