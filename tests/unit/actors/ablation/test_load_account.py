"""Where a checkpoint's tensors go, watched while weight loaders of every habit copy them."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from actors.ablation.coverage import Account, problem
from actors.ablation.load_account import LoadAccount, Tying

Weights = Mapping[str, Tensor]


class Model(nn.Module):
    """Parameters of [4, 6], [8, 6] (two tensors fused) and [5, 6] (a vocabulary of 4 and a row of padding)."""

    def __init__(self, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.plain = nn.Parameter(torch.empty(4, 6, dtype=dtype), requires_grad=False)
        self.fused = nn.Parameter(torch.empty(8, 6, dtype=dtype), requires_grad=False)
        self.padded = nn.Parameter(torch.empty(5, 6, dtype=dtype), requires_grad=False)
        self.register_buffer("statistic", torch.empty(4, 6, dtype=dtype))


def checkpoint() -> dict[str, Tensor]:
    return {name: torch.randn(4, 6) for name in ("plain", "first", "second", "vocabulary")}


def load_all(model: Model, weights: dict[str, Tensor]) -> None:
    model.plain.data.copy_(weights["plain"])
    model.fused.data[:4].copy_(weights["first"])
    model.fused.data.narrow(0, 4, 4).copy_(weights["second"])
    model.padded[:4].data.copy_(weights["vocabulary"])
    model.padded[4:].data.fill_(0)


def loaded(
    load: Callable[[Model, dict[str, Tensor]], None],
    weights: Weights,
    dtype: torch.dtype = torch.float32,
    tying: Tying | None = None,
) -> Account:
    model = Model(dtype)
    account = LoadAccount(model, {name: one.numel() for name, one in model.named_parameters()}, tying)
    with account:
        load(model, dict(account.reading(weights.items())))
    return account.result()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_whole_load_is_accounted_for(dtype: torch.dtype) -> None:
    account = loaded(load_all, checkpoint(), dtype)
    assert problem([account]) == ""
    assert account.filled == {"plain": (24, 24), "fused": (48, 48), "padded": (30, 30)}


def of_plain(copy: Callable[[Tensor, Tensor], object]) -> Callable[[Model, dict[str, Tensor]], None]:
    """A load in which the tensor `plain` is copied in another way."""

    def load(model: Model, weights: dict[str, Tensor]) -> None:
        load_all(model, weights | {"plain": torch.zeros(4, 6)})
        copy(model.plain.data, weights["plain"])

    return load


def repacked(tensor: Tensor) -> Tensor:
    """BLOOM's rearrangement of heads: a copy in another order."""
    return tensor.view(2, 2, 6).transpose(0, 1).reshape(4, 6)


WAYS: dict[str, tuple[Callable[[Tensor, Tensor], object], str]] = {
    "converted": (lambda own, read: own.copy_(read.to(torch.bfloat16)), ""),
    "transposed": (lambda own, read: own.t().copy_(read.t()), ""),
    "rearranged": (lambda own, read: own.copy_(repacked(read)), ""),
    "half of it rearranged": (lambda own, read: own[:2].copy_(repacked(read)[:2]), "plain (12 of 24 elements)"),
    "row by row": (lambda own, read: [own[i].copy_(read[i]) for i in range(4)], ""),
    "one row twice": (lambda own, read: [own[i].copy_(read[0]) for i in range(4)], "plain (6 of 24 elements)"),
    "columns": (lambda own, read: own[:, :3].copy_(read[:, :3]), "plain (12 of 24 elements)"),
    "into other memory": (lambda own, read: torch.empty(4, 6).copy_(read), "plain"),
    "a sum": (lambda own, read: own.copy_(read + 1), "plain"),
}


@pytest.mark.parametrize(("copy", "left_out"), WAYS.values(), ids=WAYS)
def test_a_tensor_is_followed_to_a_parameter(copy: Callable[[Tensor, Tensor], object], left_out: str) -> None:
    message = problem([loaded(of_plain(copy), checkpoint())])
    assert message.startswith(f"vLLM left 1 tensor of the checkpoint out: {left_out};" if left_out else "")
    assert bool(message) == bool(left_out)


def test_a_tensor_that_nothing_reads_is_left_out() -> None:
    account = loaded(load_all, checkpoint() | {"plain.bias": torch.zeros(4)})
    assert problem([account]).startswith("vLLM left 1 tensor of the checkpoint out: plain.bias;")


def test_a_parameter_that_is_only_set_to_a_constant_is_unfilled() -> None:
    def load(model: Model, weights: dict[str, Tensor]) -> None:
        load_all(model, weights | {"plain": torch.zeros(4, 6)})
        model.plain.data.zero_()

    weights = checkpoint()
    del weights["plain"]
    assert problem([loaded(load, weights)]).startswith("the checkpoint leaves 1 parameter unfilled: plain;")


def test_half_of_a_fused_parameter_is_unfilled() -> None:
    def load(model: Model, weights: dict[str, Tensor]) -> None:
        load_all(model, weights | {"second": weights["first"]})

    weights = checkpoint()
    del weights["second"]
    assert problem([loaded(load, weights)]) == ""

    def load_first(model: Model, weights: dict[str, Tensor]) -> None:
        load_all(model, weights | {"second": torch.zeros(4, 6)})

    message = problem([loaded(load_first, weights)])
    assert message.startswith("the checkpoint leaves 1 parameter unfilled: fused (24 of 48 elements);")


def test_buffers_are_accounted_for_once_a_checkpoint_fills_them() -> None:
    def load(model: Model, weights: dict[str, Tensor]) -> None:
        load_all(model, weights)
        model.statistic.copy_(weights["statistic"])

    account = loaded(load, checkpoint() | {"statistic": torch.randn(4, 6)})
    assert problem([account]) == "" and account.filled["statistic"] == (24, 24)


def test_memory_that_is_used_again_is_not_mistaken_for_a_tensor() -> None:
    def load(model: Model, weights: dict[str, Tensor]) -> None:
        load_all(model, weights | {"plain": torch.zeros(4, 6)})

    for _ in range(20):  # the allocator hands a freed block out again
        account = LoadAccount(model := Model(), {}, None)
        with account:
            for _, tensor in account.reading([("freed", torch.randn(4, 6))]):
                del tensor
            model.plain.data.copy_(torch.randn(4, 6))
        assert problem([account.result()]).startswith("vLLM left 1 tensor of the checkpoint out: freed;")


# ---- heads that config.json ties to the word embeddings


TYING = Tying((4, 6), frozenset({"padded"}), frozenset({"plain"}))


def tied(head: str, values: Callable[[Tensor], Tensor], reads_head: bool) -> Account:
    """A load of word embeddings and a head made of them, which fills the parameter `plain` or nothing."""

    def load(model: Model, weights: dict[str, Tensor]) -> None:
        load_all(model, weights | {"plain": weights[head] if reads_head else torch.zeros(4, 6)})

    weights = checkpoint()
    del weights["plain"]
    account = loaded(load, weights | {head: values(weights["vocabulary"])}, tying=TYING)
    return account._replace(filled={})


@pytest.mark.parametrize("reads_head", [True, False])
@pytest.mark.parametrize("values", [Tensor.clone, lambda tensor: tensor, lambda tensor: tensor.double()])
def test_a_copy_of_tied_word_embeddings_is_no_loss(values: Callable[[Tensor], Tensor], reads_head: bool) -> None:
    assert problem([tied("head", values, reads_head)]) == ""


@pytest.mark.parametrize("reads_head", [True, False])
def test_a_head_that_differs_from_tied_word_embeddings_is_an_error(reads_head: bool) -> None:
    account = tied("head", lambda tensor: tensor + 1e-7, reads_head)
    assert account.other_head == ("head", "vocabulary")


def test_other_tensors_of_the_shape_of_the_word_embeddings_are_not_their_copies() -> None:
    account = loaded(load_all, checkpoint(), tying=TYING._replace(heads=frozenset()))
    assert (account.tied, account.other_head) == ([], None)
