"""Checkpoints of one training run: ONE engine that reloads weights in place, against a fresh actor for each checkpoint.

Every actor has a process of its own, as in the pool. The time covers everything: process, imports, engine, proofs,
scoring, shutdown. The sentences are those of the embedded minimal pairs.

    python -m tests.bench.reload --checkpoints ../shared/models/gpt-neox-mini
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np

from studies.embedded.pairs import minimal_pairs
from tests.bench.engines import Process, evaluation
from tests.sources import source_of

NUM_CHECKPOINTS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=Path, required=True, help="a folder with one folder a checkpoint")
    parser.add_argument("--sentences", type=int, default=500)
    arguments = parser.parse_args()
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    pairs = minimal_pairs()
    chosen = np.linspace(0, len(pairs) - 1, arguments.sentences // 2).astype(int)
    texts = tuple(sentence for i in chosen for sentence in (pairs[i].good, pairs[i].bad))
    folders = sorted(arguments.checkpoints.glob("step*"), key=lambda folder: int(folder.name[4:]))[-NUM_CHECKPOINTS:]
    reload_seconds, reloaded = timed(folders, texts)
    fresh = [timed([folder], texts) for folder in folders]
    fresh_seconds = sum(seconds for seconds, _ in fresh)
    equal = all(np.array_equal(sums, expected) for sums, (_, [expected]) in zip(reloaded, fresh, strict=True))
    distinct = len({sums.tobytes() for sums in reloaded})
    print(f"{len(folders)} checkpoints of {arguments.checkpoints.name}, {len(texts)} sentences each")
    print(f"one engine, reloaded   {reload_seconds:6.1f} s")
    print(f"a fresh actor for each {fresh_seconds:6.1f} s")
    print(f"ratio                  {fresh_seconds / reload_seconds:6.1f}")
    print(f"numbers                {'equal to the last bit' if equal else 'DIFFER'}, {distinct} of them distinct")


def timed(folders: list[Path], texts: tuple[str, ...]) -> tuple[float, list[np.ndarray]]:
    """(seconds of everything, `score_all` of one engine in a fresh process)."""
    started = time.perf_counter()
    with Process() as engine:
        sums = engine(score_all, folders, texts)
    return time.perf_counter() - started, sums


def score_all(folders: list[Path], texts: tuple[str, ...]) -> list[np.ndarray]:
    """The sentences' log-probabilities under every checkpoint; called in the engine's process."""
    from actors.ablation.actor import AblationActor
    from actors.messages.ablation import Intervention, Scored

    threads = len(os.sched_getaffinity(0))
    first, *others = (source_of(folder, threads=threads) for folder in folders)
    actor, sums = AblationActor(first), []
    for source in (first, *others):
        if source is not first:
            actor.reload(source)
        messages = actor.evaluate(evaluation("pairs", texts, {"baseline": Intervention()}))
        sums += [message.sums for message in messages if isinstance(message, Scored)]
    actor.close()
    return sums


if __name__ == "__main__":
    main()
