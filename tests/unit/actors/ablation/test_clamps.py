"""Operations on small CPU tensors: what they change, what they never touch, and what the receipt counts."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from actors.ablation import clamps
from actors.ablation.clamps import OPERATIONS, ClampSet, LayerClamp
from studies.errors import InterventionError
from studies.neurons.clamps import CLAMP_KINDS, Clamp

WIDTH, TOKENS = 6, 5
INF = math.inf
NEGATIVE, POSITIVE, ZERO, BAND = (
    Clamp(floor=0.0),
    Clamp(ceiling=0.0),
    Clamp(floor=0.0, ceiling=0.0),
    Clamp(floor=-0.5, ceiling=0.5),
)


class Recorder(nn.Module):
    """An activation that keeps its input, the very object and a copy of its values, and returns it."""

    def forward(self, pre: Tensor, *rest: Any) -> Tensor:
        self.given, self.values, self.rest = pre, pre.clone(), rest
        return pre


def pre_activation(
    gated: bool = False, seed: int = 0, dtype: torch.dtype = torch.float32, width: int = WIDTH
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(TOKENS, (2 if gated else 1) * width, generator=generator).to(dtype)


def clamp(gated: bool = False, **fields: Any) -> tuple[Recorder, LayerClamp]:
    module = Recorder()
    defaults: dict[str, Any] = {"d_mlp": WIDTH, "gated": gated, "device": "cpu", "dtype": torch.float32}
    return module, LayerClamp(module, **{**defaults, **fields})


def expected(pre: Tensor, neurons: Sequence[int], bounds: Clamp) -> Tensor:
    """min(max(a, floor), ceiling), one number at a time."""
    rows, (floor, ceiling) = pre.tolist(), bounds.bounds
    for row in rows:
        for j in neurons:
            row[j] = min(max(row[j], floor), ceiling)
    return torch.tensor(rows, dtype=pre.dtype)


@pytest.mark.parametrize("bounds", [NEGATIVE, POSITIVE, ZERO, BAND, Clamp(floor=0.7), Clamp(ceiling=-0.7)], ids=str)
@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
def test_only_the_chosen_neurons_are_clamped(gated: bool, bounds: Clamp) -> None:
    module, layer = clamp(gated)
    assert layer.set([4, 1], bounds) == 2
    pre = pre_activation(gated)
    module(pre.clone())
    wanted = expected(pre, [1, 4], bounds)
    assert torch.equal(module.values, wanted) and not torch.equal(wanted, pre)
    if gated:
        assert torch.equal(module.values[:, WIDTH:], pre[:, WIDTH:]), "the up half is left alone"


def test_the_plain_hook_does_not_write_into_its_input() -> None:
    """The projection's output may be used elsewhere; only the fused tensor was made for the activation alone."""
    module, layer = clamp()
    layer.set([0, 1, 2], NEGATIVE)
    pre = pre_activation()
    before = pre.clone()
    module(pre)
    assert torch.equal(pre, before) and module.given is not pre


def test_further_arguments_of_the_activation_are_passed_on() -> None:
    module, layer = clamp()
    layer.set([0], NEGATIVE)
    module(pre_activation(), "more")
    assert module.rest == ("more",)


@pytest.mark.parametrize("bounds", [NEGATIVE, POSITIVE, ZERO, BAND], ids=str)
@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
def test_a_clamp_is_idempotent(gated: bool, bounds: Clamp) -> None:
    module, layer = clamp(gated)
    layer.set(list(range(WIDTH)), bounds)
    module(pre_activation(gated))
    once = module.values
    module(once.clone())
    assert torch.equal(module.values, once)


class Silu(nn.Module):
    """silu(a), times the up half where there is one."""

    def __init__(self, gated: bool):
        super().__init__()
        self.gated = gated

    def forward(self, pre: Tensor) -> Tensor:
        if not self.gated:
            return nn.functional.silu(pre)
        gate, up = pre.chunk(2, dim=-1)
        return nn.functional.silu(gate) * up


def controlled(kind: str, a: Tensor, own: Tensor) -> Tensor:
    """What replaces silu(a) under a control, by the definitions."""
    activated = nn.functional.silu(a)
    return {
        "posrelu": lambda: torch.where(a > 0, a, activated),
        "signflip": lambda: activated.abs(),
        "negative_mean": lambda: nn.functional.silu(torch.where(a < 0, own, a)),
        "magnitude_matched": lambda: nn.functional.silu(torch.minimum(a, own)),
    }[kind]()


@pytest.mark.parametrize("kind", ["posrelu", "signflip", "negative_mean", "magnitude_matched"])
@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize("rank", [0, 1])
def test_controls_change_the_chosen_neurons_as_defined_and_no_others(kind: str, gated: bool, rank: int) -> None:
    module, chosen = Silu(gated), [5, 1, 3, 10]
    layer = LayerClamp(module, d_mlp=2 * WIDTH, gated=gated, device="cpu", dtype=torch.float32, rank=rank, num_ranks=2)
    own = dict(zip(chosen, [0.3, -0.2, 0.1, -0.4], strict=True))
    values = list(own.values()) if CLAMP_KINDS[kind].values_from else []
    assert layer.set(chosen, Clamp(kind=kind), values) == (3 if rank == 0 else 1)
    pre = pre_activation(gated)
    layer.counting = True
    output = module(pre.clone())
    a, up = pre[:, :WIDTH], pre[:, WIDTH:] if gated else 1.0
    wanted = nn.functional.silu(a)
    for j in (j for j in chosen if j // WIDTH == rank):
        wanted[:, j % WIDTH] = controlled(kind, a[:, j % WIDTH], torch.tensor(own[j]))
    torch.testing.assert_close(output, wanted * up, atol=1e-6, rtol=1e-6)
    changed = (output != nn.functional.silu(a) * up).any(0).nonzero()[:, 0].tolist()
    assert changed == sorted(j % WIDTH for j in chosen if j // WIDTH == rank) and layer.clipped > 0


def test_a_kind_without_an_operation_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _, layer = clamp()
    monkeypatch.setattr(clamps, "OPERATIONS", {"clamp": OPERATIONS["clamp"]})
    with pytest.raises(
        InterventionError, match=r"^no device can apply 'signflip': it is in CLAMP_KINDS but not in OPERATIONS$"
    ):
        layer.set([0, 1], Clamp("signflip"))


def test_values_must_be_as_many_as_neurons_and_enter_the_digest() -> None:
    _, layer = clamp()
    with pytest.raises(ValueError, match=r"^1 values for 2 neurons under magnitude_matched$"):
        layer.set([0, 1], Clamp(kind="magnitude_matched"), [0.5])
    with pytest.raises(ValueError, match=r"^2 values for 2 neurons under posrelu$"):
        layer.set([0, 1], Clamp(kind="posrelu"), [0.5, 0.5])
    with pytest.raises(ValueError, match=r"^no such intervention: 'posreluu'$"):
        Clamp(kind="posreluu")
    digests = set()
    for kind, values in (
        ("magnitude_matched", [1, 2]),
        ("magnitude_matched", [2, 1]),
        ("negative_mean", [1, 2]),
        ("posrelu", []),
        ("signflip", []),
    ):
        layer.set([0, 1], Clamp(kind=kind), values)
        digests.add(layer.digest())
    assert len(digests) == 5


@pytest.mark.parametrize(
    ("chosen", "values", "digest"),
    [
        (NEGATIVE, [], "934f74ce4b0222f7"),
        (BAND, [], "58e2d81f40e04204"),
        (Clamp("posrelu"), [], "0fb342440e040f22"),
        (Clamp("signflip"), [], "4882a88f3b564446"),
        (Clamp("negative_mean"), [-0.25, -0.5], "ded09e12e4a8dc91"),
        (Clamp("magnitude_matched"), [0.25, INF], "ec1a4df5c9f9d24f"),
    ],
    ids=str,
)
def test_recorded_digests_stay_as_they_are(chosen: Clamp, values: list[float], digest: str) -> None:
    layers = ClampSet([clamp()[1]])
    layers.set({0: [4, 1]}, chosen, {0: values} if values else {})
    assert layers.digest().startswith(digest)


def test_every_kind_has_an_operation_and_no_two_have_digests_of_one_name() -> None:
    assert list(OPERATIONS) == list(CLAMP_KINDS)
    assert len({operation.digest_name for operation in OPERATIONS.values()}) == len(OPERATIONS)


@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize("how", ["never set", "set to none", "set, then cleared"])
def test_the_empty_set_passes_the_very_same_tensor_untouched(gated: bool, how: str) -> None:
    module, layer = clamp(gated)
    if how != "never set":
        layer.set([1, 2] if "cleared" in how else [], ZERO)
        layer.set([], ZERO)
    pre = pre_activation(gated)
    pre[0, 0], pre[1, 1] = float("nan"), float("-inf")
    before, version = pre.clone(), pre._version
    module(pre)
    assert module.given is pre and pre._version == version
    assert torch.equal(pre.view(torch.int32), before.view(torch.int32)), "to the last bit, NaN included"


def test_leading_dimensions_do_not_matter() -> None:
    module, layer = clamp(gated=True)
    layer.set([0, 5], NEGATIVE)
    pre = pre_activation(gated=True)
    module(pre.clone().reshape(1, TOKENS, -1))
    assert torch.equal(module.values[0], expected(pre, [0, 5], NEGATIVE))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_clamped_tensor_keeps_its_dtype(dtype: torch.dtype) -> None:
    module, layer = clamp(dtype=dtype)
    layer.set([0, 1, 2, 3, 4, 5], NEGATIVE)
    module(pre_activation(dtype=dtype))
    assert module.values.dtype is dtype and (module.values >= 0).all() and (module.values > 0).any()


def test_a_nan_is_not_hidden_by_a_clamp() -> None:
    module, layer = clamp()
    layer.set([0], ZERO)
    pre = pre_activation()
    pre[2, 0] = float("nan")
    module(pre)
    assert module.values[2, 0].isnan()


@pytest.mark.parametrize(
    ("gated", "width"), [(False, WIDTH + 1), (False, 2 * WIDTH), (True, WIDTH), (True, 2 * WIDTH + 2)]
)
@pytest.mark.parametrize("neurons", [[], [0]], ids=["empty set", "one neuron"])
def test_an_unexpected_width_is_an_error_even_with_no_neuron_selected(
    gated: bool, width: int, neurons: list[int]
) -> None:
    module, layer = clamp(gated)
    layer.set(neurons, NEGATIVE)
    columns = 2 * WIDTH if gated else WIDTH
    with pytest.raises(ValueError, match=f"^activation input has {width} columns, expected {columns}$"):
        module(torch.zeros(TOKENS, width))


# -- setting ---------------------------------------------------------------------------------------------------------


def test_a_new_set_replaces_the_one_before() -> None:
    module, layer = clamp()
    layer.set([0, 1], NEGATIVE)
    layer.set([2], POSITIVE)
    pre = pre_activation()
    module(pre)
    assert torch.equal(module.values, expected(pre, [2], POSITIVE))


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 6])
def test_ranks_partition_the_neurons(num_ranks: int) -> None:
    """Global neuron j lives on rank j // (d_mlp / ranks), and the ranks' slices are the whole tensor's."""
    neurons, pre, size = [0, 1, 3, 5], pre_activation(), WIDTH // num_ranks
    slices, placed = [], []
    for rank in range(num_ranks):
        module, layer = clamp(rank=rank, num_ranks=num_ranks)
        placed.append(layer.set(neurons, NEGATIVE))
        module(pre[:, rank * size : (rank + 1) * size].clone())
        slices.append(module.values)
    assert torch.equal(torch.cat(slices, dim=1), expected(pre, neurons, NEGATIVE))
    assert placed == [sum(j // size == rank for j in neurons) for rank in range(num_ranks)] and sum(placed) == 4


def test_gated_ranks_hold_their_own_gate_and_up_halves() -> None:
    gate, up = pre_activation(seed=1), pre_activation(seed=2)
    module, layer = clamp(gated=True, rank=1, num_ranks=2)
    assert layer.set([0, 3, 5], NEGATIVE) == 2
    module(torch.cat([gate[:, 3:], up[:, 3:]], dim=1))
    assert torch.equal(module.values, torch.cat([expected(gate[:, 3:], [0, 2], NEGATIVE), up[:, 3:]], dim=1))


@pytest.mark.parametrize("num_ranks", [4, 5, 7])
def test_a_width_that_does_not_divide_is_an_error(num_ranks: int) -> None:
    with pytest.raises(ValueError, match=f"^6 neurons do not divide over {num_ranks} tensor-parallel ranks$"):
        clamp(num_ranks=num_ranks)


def test_neurons_of_no_rank_are_not_counted_as_placed() -> None:
    """So the receipt's comparison of requested and placed neurons fails."""
    _, layer = clamp()
    assert layer.set([-1, WIDTH, 2], NEGATIVE) == 1


# -- counting and digests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize("bounds", [NEGATIVE, BAND, POSITIVE], ids=str)
def test_counting_counts_what_lies_outside_the_bounds(gated: bool, bounds: Clamp) -> None:
    module, layer = clamp(gated)
    layers = ClampSet([layer])
    layers.set({0: [1, 4]}, bounds)
    pre = pre_activation(gated)
    module(pre.clone())  # not counted
    layers.start_counting()
    module(pre.clone())
    module(pre.clone())
    calls, clipped = layers.stop_counting()
    module(pre.clone())  # not counted
    floor, ceiling = bounds.bounds
    outside = sum(not floor <= pre[t, j] <= ceiling for t in range(TOKENS) for j in (1, 4))
    assert 0 < outside < 2 * TOKENS and (calls, clipped) == ([2], [2 * outside])
    assert layer.clipped == 2 * outside


def test_counting_starts_at_zero_and_counts_calls_of_empty_layers_too() -> None:
    (plain, first), (gated, second) = clamp(), clamp(gated=True)
    layers = ClampSet([first, second])
    assert layers.set({0: list(range(WIDTH))}, ZERO) == [WIDTH, 0]
    layers.start_counting()
    plain(pre_activation())
    layers.start_counting()
    plain(pre_activation())
    gated(pre_activation(gated=True))
    gated(pre_activation(gated=True))
    assert layers.stop_counting() == ([1, 2], [WIDTH * TOKENS, 0])


def test_values_on_the_bound_are_not_clipped() -> None:
    module, layer = clamp()
    layers = ClampSet([layer])
    layers.set({0: [0, 1]}, NEGATIVE)
    layers.start_counting()
    module(torch.zeros(TOKENS, WIDTH))
    assert layers.stop_counting() == ([1], [0])


def test_equal_buffers_and_no_others_have_equal_digests() -> None:
    layers = ClampSet([clamp()[1], clamp()[1]])
    empty = layers.digest()
    digests = [empty]
    for neurons, bounds in [
        ({0: [1]}, NEGATIVE), ({0: [1]}, POSITIVE), ({0: [1]}, ZERO), ({0: [2]}, NEGATIVE), ({1: [1]}, NEGATIVE),
        ({0: [1], 1: [1]}, NEGATIVE), ({0: [1, 2]}, NEGATIVE), ({0: [1]}, Clamp(floor=-0.25)),
    ]:  # fmt: skip
        layers.set(neurons, bounds)
        digests.append(layers.digest())
    assert len(set(digests)) == len(digests)
    layers.set({0: [1]}, NEGATIVE)
    assert layers.digest() == digests[1]
    layers.set({}, NEGATIVE)
    assert layers.digest() == empty


def test_the_digest_is_read_back_from_the_buffers_not_from_the_request() -> None:
    _, layer = clamp()
    layer.set([1], NEGATIVE)
    before = layer.digest()
    layer.setting.floor_n[0] = -1.0  # as a fault on the device would
    assert layer.digest() != before


def test_the_order_of_neurons_does_not_change_the_digest() -> None:
    _, layer = clamp()
    layer.set([4, 1, 2], NEGATIVE)
    before = layer.digest()
    layer.set([2, 4, 1], NEGATIVE)
    assert layer.digest() == before


# -- all layers ------------------------------------------------------------------------------------------------------


def test_setting_all_layers_clears_those_that_are_not_named() -> None:
    modules, layers = zip(*(clamp(gated=True) for _ in range(3)), strict=True)
    clamps = ClampSet(list(layers))
    assert clamps.set({0: [0, 1], 2: [5]}, NEGATIVE) == [2, 0, 1]
    assert clamps.set({1: [3]}, POSITIVE) == [0, 1, 0]
    pre = pre_activation(gated=True)
    for i, module in enumerate(modules):
        given = pre.clone()
        module(given)
        assert module.given is given
        assert torch.equal(module.values, expected(pre, [3], POSITIVE) if i == 1 else pre)


@pytest.mark.parametrize("layer", [-1, 2, 99])
def test_a_layer_that_does_not_exist_is_an_error_and_changes_nothing(layer: int) -> None:
    clamps = ClampSet([clamp()[1], clamp()[1]])
    clamps.set({0: [1]}, NEGATIVE)
    before = clamps.digest()
    with pytest.raises(IndexError, match=f"^layer {layer} of 2$"):
        clamps.set({0: [2], layer: [0]}, NEGATIVE)
    assert clamps.digest() == before
