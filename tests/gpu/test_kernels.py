"""The pure torch modules on a CUDA device, against themselves on the CPU. Needs only torch, numpy and pytest.

python -m pytest tests/gpu -m gpu
python -m tests.gpu.test_kernels        # timings
"""

import time

import numpy as np
import pytest
import torch

from actors.ablation.clamps import ClampSet, LayerClamp
from actors.ablation.token_tree import Pack, plan_packs
from actors.ablation.tree_attention import Tree, attend, flex_refusal
from actors.scoring.histograms import RangeCalibration
from actors.scoring.mapping_difficulty import MappingDifficultySketch
from actors.scoring.sketches import PreActivationSketch
from studies.neurons.clamps import Clamp

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
HEADS, GROUPS, SIZE = 8, 2, 64


def forest(num_sequences: int, max_nodes: int) -> list[Pack]:
    """Packs of random sentences that share prefixes."""
    generator = np.random.default_rng(0)
    sequences = [generator.integers(0, 4, generator.integers(4, 24)) for _ in range(num_sequences)]
    return plan_packs(sequences, np.ones(num_sequences, dtype=int), max_nodes).packs


def heads(num_nodes: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Random queries, keys and values, [N, heads, SIZE] each."""
    generator = torch.Generator().manual_seed(0)
    shapes = (HEADS, GROUPS, GROUPS)
    return [torch.randn(num_nodes, count, SIZE, generator=generator).to("cuda", dtype) for count in shapes]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_flex_attention_proves_itself(dtype: torch.dtype) -> None:
    assert flex_refusal(torch.device("cuda"), HEADS, GROUPS, SIZE, dtype) == ""


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-2), (torch.bfloat16, 5e-2)])
def test_flex_and_block_attention_agree_on_every_pack(dtype: torch.dtype, within: float, window: int | None) -> None:
    for pack in forest(400, 512):
        q, k, v = heads(len(pack.ids), dtype)
        flex, blocks = (
            attend(q, k, v, scale=0.125, tree=Tree(pack, "cuda", flex), window=window) for flex in (True, False)
        )
        exact = attend(
            q.cpu().double(), k.cpu().double(), v.cpu().double(), scale=0.125, tree=Tree(pack, "cpu"), window=window
        )
        for attended in (flex, blocks):
            assert (attended.cpu().double() - exact).abs().max() < within


def test_sketches_on_the_device_equal_those_on_the_cpu() -> None:
    y_TF = torch.randn(8192, 96, generator=torch.Generator().manual_seed(1)) ** 3
    i_P, j_P = torch.arange(0, 4000), torch.arange(4000, 8000)
    scores = {}
    for device in ("cpu", "cuda"):
        calibration = RangeCalibration(96, device)
        calibration.update(y_TF[:1024].to(device))
        ranges = calibration.ranges(1024)
        sketch, difficulty = PreActivationSketch(ranges, device), MappingDifficultySketch(ranges, device)
        sketch.update(y_TF.to(device))
        pairs = (rows_P.to(device) for rows_P in (i_P, j_P, i_P % 2))
        difficulty.update(y_TF[:, :32].to(device), y_TF.to(device), *pairs)
        reliability = torch.tensor(difficulty.reliability())
        scores[device] = (*sketch.statistics(), difficulty.mapping_difficulty(), reliability)
    for on_cpu, on_device in zip(scores["cpu"], scores["cuda"], strict=True):
        torch.testing.assert_close(on_device, on_cpu, rtol=1e-6, atol=1e-6)


def test_clamps_act_on_the_device() -> None:
    activation = torch.nn.SiLU()
    clamps = ClampSet([LayerClamp(activation, d_mlp=8, gated=False, device="cuda", dtype=torch.bfloat16)])
    clamps.set({0: [1, 3]}, Clamp(floor=0.0))
    before = -torch.ones(4, 8, device="cuda", dtype=torch.bfloat16)
    after = activation(before)
    assert (after[:, [1, 3]] == 0).all()
    assert torch.equal(after[:, [0, 2]], torch.nn.functional.silu(before)[:, [0, 2]])


def timings() -> None:
    """Print the time per pack of 4,096 nodes, for FlexAttention and block attention, and the sketch's per neuron."""
    pack = max(forest(6000, 4096), key=lambda pack: len(pack.ids))
    q, k, v = heads(len(pack.ids), torch.bfloat16)
    for name, flex in (("FlexAttention", True), ("block attention", False)):
        tree = Tree(pack, "cuda", flex)
        for repeat in range(20):
            if repeat == 5:
                torch.cuda.synchronize()
                started = time.perf_counter()
            attend(q, k, v, scale=0.125, tree=tree, window=None)
        torch.cuda.synchronize()
        print(f"{name}: {(time.perf_counter() - started) / 15 * 1e6:.0f} us over {len(pack.ids)} nodes")
    y_TF = torch.randn(16_384, 14_336, device="cuda")
    calibration = RangeCalibration(14_336, "cuda")
    calibration.update(y_TF[:2048])
    sketch = PreActivationSketch(calibration.ranges(1024), "cuda")
    sketch.update(y_TF)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(8):
        sketch.update(y_TF)
    sketch.statistics()
    print(f"sketch: {(time.perf_counter() - started) / 14_336 * 1e3:.4f} ms per neuron over 131,072 tokens")


if __name__ == "__main__":
    print(torch.cuda.get_device_name())
    timings()
