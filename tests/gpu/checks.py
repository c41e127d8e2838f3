"""What is checked on a GPU that has torch alone: every kernel against float64 on the CPU, then speed and memory.

Each check is one row of a table. Correctness runs on any device, so that the checks themselves are tested without a
GPU; speed and memory need one.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from actors.ablation.condition_tree import plan_passes
from actors.ablation.logits_pass import bits_of_pack, score_pack, sweep_pack
from actors.ablation.memory import ACTIVATION_BYTES, HEAD_BYTES
from actors.ablation.token_tree import Pack, plan_packs
from actors.ablation.tree_attention import Tree, attend, flex_refusal
from actors.scoring.histograms import RangeCalibration
from actors.scoring.mapping_difficulty import MappingDifficultySketch
from actors.scoring.sketches import PreActivationSketch
from studies.neurons.clamps import UNCLAMPED, Clamp
from tests.gpu.decoder import LARGE, SMALL, RandomDecoder, Shape

HEADS, GROUPS, SIZE = 8, 2, 64
SLOPES = tuple(2.0 ** -(i + 1) for i in range(HEADS))
GIB = 2**30
GEMM_ROWS = 4096
DTYPES = {torch.float32: 1e-2, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""{dtype: largest error of attention whose exact values are of order 1; float32 may be rounded to TF32}."""


class Row(NamedTuple):
    """One line of the table."""

    name: str
    found: float
    unit: str = ""
    at_most: float = float("inf")

    @property
    def verdict(self) -> str:
        """`ok`, `FAILED`, or '' for a measurement without a limit."""
        return "" if self.at_most == float("inf") else "ok" if self.found <= self.at_most else "FAILED"


def forest(num_sequences: int, max_nodes: int, vocabulary: int = 4) -> list[Pack]:
    """Packs of random sentences that share prefixes."""
    generator = np.random.default_rng(0)
    sequences = [generator.integers(0, vocabulary, generator.integers(4, 24)) for _ in range(num_sequences)]
    return plan_packs(sequences, np.ones(num_sequences, dtype=int), max_nodes).packs


def path(num_nodes: int) -> Pack:
    """One long text."""
    ids = np.random.default_rng(1).integers(0, SMALL.vocabulary, num_nodes)
    (pack,) = plan_packs([ids], np.ones(1, dtype=int), num_nodes).packs
    return pack


def random_heads(num_nodes: int, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Random queries, keys and values, [N, heads, SIZE] each."""
    generator = torch.Generator().manual_seed(0)
    shapes = (HEADS, GROUPS, GROUPS)
    return [torch.randn(num_nodes, count, SIZE, generator=generator).to(device, dtype) for count in shapes]


# -- correctness -------------------------------------------------------------------------------------------------------


def correctness(device: torch.device) -> Iterator[Row]:
    """Every kernel against the same code in float64 on the CPU, or against itself."""
    yield from attention(device)
    yield from logits_pass(device)
    yield sketches(device)


def attention(device: torch.device) -> Iterator[Row]:
    """FlexAttention, where there is a GPU, and block attention: trees with windows and ALiBi, and one long text."""
    rules: list[tuple[str, int | None, tuple[float, ...]]]
    rules = [("trees", None, ()), ("trees, window of 5", 5, ()), ("trees, ALiBi", None, SLOPES)]
    for dtype, allowed in DTYPES.items():
        name = str(dtype).removeprefix("torch.")
        for kernel, flex in {"FlexAttention": True, "block attention": False}.items():
            if flex and device.type != "cuda":
                continue
            for what, window, slopes in rules:
                packs = forest(300, 512)
                error = max(attention_error(pack, device, dtype, flex, window, slopes) for pack in packs)
                yield Row(f"{kernel}, {name}, {what}", error, "error", allowed)
        yield Row(
            f"causal attention, {name}, one text",
            attention_error(path(300), device, dtype, False, None, ()),
            "error",
            allowed,
        )
        if device.type == "cuda":
            refusal = flex_refusal(device, HEADS, GROUPS, SIZE, dtype)
            yield Row(f"FlexAttention, {name}, refused at start-up {refusal}".rstrip(), float(bool(refusal)), "", 0)


def attention_error(
    pack: Pack,
    device: torch.device,
    dtype: torch.dtype,
    flex: bool,
    window: int | None,
    slopes: tuple[float, ...],
) -> float:
    """The largest difference from float64 on the CPU, computed from the same rounded numbers."""
    q, k, v = random_heads(len(pack.ids), device, dtype)
    tree = Tree(pack, device, flex)
    got = attend(q, k, v, scale=SIZE**-0.5, tree=tree, window=window, slopes=slopes)
    assert not tree.flex_failure, tree.flex_failure
    exact = attend(
        *(x.cpu().double() for x in (q, k, v)),
        scale=SIZE**-0.5,
        tree=Tree(pack, "cpu"),
        window=window,
        slopes=slopes,
    )
    return float((got.cpu().double() - exact).abs().max())


CONDITIONS: dict[str, dict[int, list[int]]] = {
    "none": {},
    "all layers": {0: [1, 7], 1: [0, 159], 2: [3]},
    "last layer": {2: [3, 4, 5]},
    "first layer": {0: [2]},
}
"""{condition: clamped neurons of each layer of SMALL}."""


def logits_pass(device: torch.device) -> Iterator[Row]:
    """Log-probabilities under clamps, sweeps and repetitions, of a whole decoder."""
    packs = forest(120, 256, SMALL.vocabulary)
    exact = scores_by_condition(RandomDecoder(SMALL, "cpu", torch.float64), packs)
    for dtype, allowed in {torch.float32: 1e-2, torch.bfloat16: 0.2}.items():
        name = str(dtype).removeprefix("torch.")
        decoder = RandomDecoder(SMALL, device, dtype, flex=device.type == "cuda")
        alone = scores_by_condition(decoder, packs)
        error = max(float((alone[key] - exact[key]).abs().mean()) for key in exact)
        yield Row(f"log-probabilities under clamps, {name}", error, "nats, mean", allowed)
        together = swept(decoder, packs)
        differing = sum(not torch.equal(together[key], alone[key]) for key in alone)
        yield Row(f"conditions that differ from separate passes, {name}", differing, "", 0)
        repeated = {bits_of_pack(decoder, packs[0]) for _ in range(5)}
        yield Row(f"different results of five passes, {name}", len(repeated), "", 1)
        changed = float((alone["all layers"] - alone["none"]).abs().max())
        yield Row(f"clamps that change nothing, {name}", float(changed == 0), "", 0)


def switch_to(decoder: RandomDecoder, condition: str) -> None:
    clamp = Clamp(floor=0.0) if CONDITIONS[condition] else UNCLAMPED
    decoder.clamps.set(CONDITIONS[condition], clamp)


def scores_by_condition(decoder: RandomDecoder, packs: list[Pack]) -> dict[str, Tensor]:
    """{condition: [E] log-probabilities, each in passes of its own}."""
    scores = {}
    for condition in CONDITIONS:
        switch_to(decoder, condition)
        parts = [score_pack(decoder, pack) for pack in packs]
        scores[condition] = torch.cat([part for part in parts if part is not None])
    return scores


def swept(decoder: RandomDecoder, packs: list[Pack]) -> dict[str, Tensor]:
    """The same in one sweep that computes shared layers once."""
    names = list(CONDITIONS)
    keys = [[tuple(CONDITIONS[name].get(i, ())) or None for i in range(SMALL.num_layers)] for name in names]
    passes = plan_passes(keys, 8)
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for pack in packs:
        scored = sweep_pack(decoder, decoder.walk, pack, passes, lambda i: switch_to(decoder, names[i]))
        for i, name in enumerate(names):
            found = scored[i]
            assert isinstance(found, Tensor), found
            parts[name].append(found)
    return {name: torch.cat(of_condition) for name, of_condition in parts.items()}


def sketches(device: torch.device) -> Row:
    """Every statistic of a profile on the device against the CPU."""
    y_TF = torch.randn(8192, 96, generator=torch.Generator().manual_seed(1)) ** 3
    i_P, j_P = torch.arange(0, 4000), torch.arange(4000, 8000)
    scores = []
    for place in (torch.device("cpu"), device):
        calibration = RangeCalibration(96, place)
        calibration.update(y_TF[:1024].to(place))
        ranges = calibration.ranges(1024)
        sketch, difficulty = PreActivationSketch(ranges, place), MappingDifficultySketch(ranges, place)
        sketch.update(y_TF.to(place))
        difficulty.update(y_TF[:, :32].to(place), y_TF.to(place), *(rows_P.to(place) for rows_P in (i_P, j_P, i_P % 2)))
        reliability = torch.tensor([difficulty.reliability()])
        scores.append(torch.cat([*sketch.statistics(), difficulty.mapping_difficulty(), reliability]))
    on_cpu, on_device = scores
    return Row(
        "statistics of neurons", float(((on_device - on_cpu).abs() / (1 + on_cpu.abs())).max()), "relative", 1e-6
    )


# -- speed and memory --------------------------------------------------------------------------------------------------


def seconds_of(call: Callable[[], object], repeats: int = 10) -> float:
    """Median seconds of a call, warm."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def peak_of(call: Callable[[], object]) -> int:
    """Bytes that a call takes beside what is there."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def speed_and_memory(device: torch.device) -> Iterator[Row]:
    """A pack of four layers of Llama-3-8B: seconds, share of the GEMM rate, peak memory; then the parts."""
    for dtype in (torch.bfloat16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        rate = gemm_rate(device, dtype, LARGE)
        yield Row(f"GEMM rate, {name}", rate / 1e12, "TFLOP/s")
        decoder = RandomDecoder(LARGE, device, dtype, flex=True)
        pack = largest(forest(6000, 4096))
        score = partial(score_pack, decoder, pack)
        seconds = seconds_of(score)
        work = 2 * (LARGE.num_layers * LARGE.layer_parameters * len(pack.ids))
        work += 2 * LARGE.d_model * LARGE.vocabulary * len(np.unique(pack.rows))
        yield Row(f"pack of {len(pack.ids):,} nodes through four layers and head, {name}", seconds * 1e3, "ms")
        yield Row(f"... share of the GEMM rate, {name}", work / seconds / rate, "")
        allowed = (ACTIVATION_BYTES + 2 * HEAD_BYTES["cuda"]) / GIB
        yield Row(f"... peak memory, {name}", peak_of(score) / GIB, "GiB", allowed)
        del decoder, score
        torch.cuda.empty_cache()
    yield from attention_speed(device)
    yield from head_speed(device)
    yield sketch_speed(device)


def gemm_rate(device: torch.device, dtype: torch.dtype, shape: Shape) -> float:
    """Operations a second of the MLP's first product."""
    x = torch.randn(GEMM_ROWS, shape.d_model, device=device, dtype=dtype)
    w = torch.randn(shape.d_model, 2 * shape.d_mlp, device=device, dtype=dtype)
    return 2 * GEMM_ROWS * shape.d_model * 2 * shape.d_mlp / seconds_of(lambda: x @ w)


def attention_speed(device: torch.device) -> Iterator[Row]:
    """Packs of the smallest and of the largest default size; the mask is made anew, as for every pack."""
    for pack in (largest(forest(6000, 4096)), largest(forest(9000, 65_536, SMALL.vocabulary))):
        q, k, v = random_heads(len(pack.ids), device, torch.bfloat16)
        for name, flex in (("FlexAttention", True), ("block attention", False)):

            def call(pack: Pack = pack, flex: bool = flex) -> Tensor:
                return attend(q, k, v, scale=SIZE**-0.5, tree=Tree(pack, device, flex), window=None)  # noqa: B023

            yield Row(f"{name} and its mask, {len(pack.ids):,} nodes, bfloat16", seconds_of(call) * 1e3, "ms")
            yield Row("... peak memory", peak_of(call) / GIB, "GiB", ACTIVATION_BYTES / GIB)


def largest(packs: list[Pack]) -> Pack:
    return max(packs, key=lambda pack: len(pack.ids))


def head_speed(device: torch.device) -> Iterator[Row]:
    """log-softmax and gather, as the head does it, against gather minus logsumexp."""
    logits_RV = torch.randn(1024, 128_256, device=device, dtype=torch.bfloat16)
    target_R = torch.arange(1024, device=device)
    spare_RV = torch.empty(logits_RV.shape, device=device)

    def log_softmax() -> Tensor:
        return torch.log_softmax(logits_RV, -1, dtype=torch.float32, out=spare_RV).gather(1, target_R[:, None])

    def logsumexp() -> Tensor:
        return logits_RV.gather(1, target_R[:, None]).float() - logits_RV.float().logsumexp(-1, keepdim=True)

    for name, call in {"log-softmax, then gather": log_softmax, "gather minus logsumexp": logsumexp}.items():
        yield Row(f"head of 1,024 x 128,256: {name}", seconds_of(call) * 1e3, "ms")
        yield Row("... peak memory beside a block that is used again", peak_of(call) / GIB, "GiB")


def sketch_speed(device: torch.device) -> Row:
    y_TF = torch.randn(16_384, 14_336, device=device)
    calibration = RangeCalibration(14_336, device)
    calibration.update(y_TF[:2048])
    sketch = PreActivationSketch(calibration.ranges(1024), device)
    seconds = seconds_of(lambda: sketch.update(y_TF), repeats=5)
    return Row("sketch of a neuron over 131,072 tokens", seconds * 8 / 14_336 * 1e6, "us")
