"""All of BLiMP and of TSE as token forests: planned in bounded memory, every sampled token read under its prefix."""

import json
import resource
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.ablation.token_tree import PackPlan, plan_packs
from actors.tokens import load_tokenizer, tokenise
from studies.benchmarks import minimal_pairs
from studies.benchmarks.texts import Sentences
from tests.sources import source_of

MAX_NODES = 512


def plan_all(name: str, root: Path, model: Path) -> dict[str, Any]:
    """In a process of its own: size of a whole benchmark's plan, peak memory beyond the tokens, and mistakes in it."""
    source = source_of(model)
    texts = getattr(minimal_pairs, name)(root, None, True).texts
    sequences = tokenise(Sentences(texts=texts), load_tokenizer(source), source.context, source.vocabulary)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    plan = plan_packs(sequences.ids, sequences.score_from, MAX_NODES)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "sentences": len(texts),
        "tokens": plan.num_tokens,
        "nodes": plan.num_nodes,
        "largest": max(len(pack.ids) for pack in plan.packs),
        "gibibytes": (peak - before) / 2**20,
        "mistakes": mistakes(plan, sequences.ids),
    }


def mistakes(plan: PackPlan, sequences: list[np.ndarray], sample: int = 300) -> list[str]:
    """Positions, in sampled sequences, whose edges are not read under exactly their own prefixes."""
    starts = np.cumsum([0, *(len(pack.rows) for pack in plan.packs)])
    misread = []
    for i in np.random.default_rng(0).choice(len(sequences), sample, replace=False):
        edges = plan.edges[plan.offsets[i] : plan.offsets[i + 1]]
        first = len(sequences[i]) - len(edges)
        for position, edge in enumerate(edges, first):
            number = int(np.searchsorted(starts, edge, side="right")) - 1
            pack = plan.packs[number]
            row = pack.rows[edge - starts[number]]
            ancestors = [int(pack.ids[j]) for j in range(row + 1) if pack.end[j] > row]
            seen = [*ancestors, int(pack.targets[edge - starts[number]])]
            if seen != list(sequences[i][: position + 1]):
                misread.append(json.dumps([int(i), position]))
    return misread


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "sentences", "sharing"), [("blimp", 134_000, 1.7), ("tse", 320_000, 15.0)], ids=["blimp", "tse"]
)
def test_a_whole_benchmark_is_one_forest(
    name: str, sentences: int, sharing: float, data_root: Path, smollm2: Path
) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        plan = executor.submit(plan_all, name, data_root, smollm2).result(timeout=600)
    assert plan["sentences"] >= sentences
    assert plan["tokens"] / plan["nodes"] > sharing
    assert plan["largest"] <= MAX_NODES
    assert plan["gibibytes"] < 2
    assert plan["mistakes"] == []
