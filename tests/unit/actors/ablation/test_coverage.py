"""The account of loaded tensors: what counts as copied, what a checkpoint may hold besides, and what the error says."""

from collections.abc import Mapping, Sequence

import pytest

from actors.ablation.coverage import Account, Hop, Path, Region, Tensor, is_cache, num_covered, problem

WHOLE = Region((4, 6), (6, 1), 0)
TRANSPOSED = Region((6, 4), (1, 6), 0)


def rows(start: int, stop: int) -> Region:
    """Rows of a [4, 6] tensor."""
    return Region((stop - start, 6), (6, 1), 6 * start)


def columns(start: int, stop: int) -> Region:
    """Columns of a [4, 6] tensor."""
    return Region((4, stop - start), (6, 1), start)


def to(*regions: Region) -> list[Path]:
    """Paths straight into a parameter."""
    return [Path((), region) for region in regions]


COPY = Hop(WHOLE, WHOLE, 24)
CASES: dict[str, tuple[list[Path], int]] = {
    "nothing": ([], 0),
    "whole": (to(WHOLE), 24),
    "transposed": (to(TRANSPOSED), 24),
    "two halves": (to(rows(2, 4), rows(0, 2)), 24),
    "one half twice": (to(rows(0, 2), rows(0, 2)), 12),
    "overlapping rows": (to(rows(0, 3), rows(1, 4)), 24),
    "no rows": (to(rows(2, 2)), 0),
    "columns of two ranks": (to(columns(0, 3), columns(3, 6)), 24),
    "columns of one rank": (to(columns(0, 3)), 12),
    "a row and a column": (to(rows(1, 2), columns(2, 3)), 9),
    "one element read many times": (to(Region((4, 6), (0, 0), 0)), 1),
    "a copy in another order": ([Path((Hop(WHOLE, Region((4, 6), (1, 4), 0), 24),), Region((8,), (1,), 0))], 8),
    "half of a copy": ([Path((COPY,), rows(0, 2))], 12),
    "a copy of a copy": ([Path((COPY, Hop(rows(0, 2), rows(0, 2), 12)), rows(1, 2))], 6),
}


@pytest.mark.parametrize(("paths", "expected"), CASES.values(), ids=CASES)
def test_every_element_counts_once(paths: list[Path], expected: int) -> None:
    assert num_covered(WHOLE, 24, paths) == expected


def test_a_region_of_a_shared_storage_is_judged_alone() -> None:
    first, second = Region((6,), (1,), 0), Region((6,), (1,), 6)
    assert [num_covered(region, 12, to(first)) for region in (first, second)] == [6, 0]
    assert num_covered(second, 12, to(Region((6,), (2,), 0))) == 3


def test_a_region_beyond_its_storage_is_an_error() -> None:
    with pytest.raises(ValueError, match="reaches beyond a storage of 23 elements"):
        num_covered(WHOLE, 23, to(columns(0, 3)))


CACHES: dict[tuple[str, tuple[int, ...]], bool] = {
    ("model.layers.0.self_attn.rotary_emb.inv_freq", (64,)): True,
    ("gpt_neox.layers.0.attention.rotary_emb.inv_freq", (16,)): True,
    ("transformer.rotary_pos_emb.inv_freq", (32,)): True,
    ("rotary_emb.inv_freq", (32, 32)): False,
    ("model.layers.0.self_attn.inv_freq", (64,)): False,
    ("model.layers.0.self_attn.rotary_emb.cos_cached", (1, 1, 2048, 128)): True,
    ("model.layers.0.self_attn.rotary_emb.sin_cached", (2048, 128)): True,
    ("model.layers.0.self_attn.rotary_emb.sin_cached", (2048,)): False,
    ("model.layers.0.self_attn.rotary_emb.sin_cached", (2, 1, 2048, 128)): False,
    ("gpt_neox.layers.0.attention.bias", (1, 1, 2048, 2048)): True,
    ("gpt_neox.layers.0.attention.bias", (512,)): False,
    ("gpt_neox.layers.0.attention.masked_bias", ()): True,
    ("gpt_neox.layers.0.attention.masked_bias", (1,)): True,
    ("gpt_neox.layers.0.attention.masked_bias", (8,)): False,
    ("transformer.h.0.attn.bias", (1, 1, 1024, 1024)): True,
    ("h.0.attn.bias", (1, 1, 1024, 1024)): True,
    ("h.0.attn.bias", (1, 12, 1024, 1024)): False,
    ("h.0.attn.bias", (1, 1, 1024, 64)): False,
    ("h.0.attn.bias", (1024, 1024)): False,
    ("h.0.attn.c_attn.bias", (1, 1, 8, 8)): False,
    ("h.0.cross_attn.bias", (1, 1, 8, 8)): False,
}


@pytest.mark.parametrize(("name", "shape"), CACHES)
def test_caches_are_recognised_by_name_and_shape(name: str, shape: tuple[int, ...]) -> None:
    assert is_cache(name, shape) == CACHES[name, shape]


def account(
    copied: Mapping[str, Sequence[Region]],
    filled: Mapping[str, tuple[int, int]] | None = None,
    tied: Sequence[str] = (),
    other_head: tuple[str, str] | None = None,
) -> Account:
    """An account of [4, 6] tensors of which these regions were copied."""
    return Account(
        {name: Tensor(WHOLE, 24, to(*regions)) for name, regions in copied.items()}, filled or {}, tied, other_head
    )


TOGETHER = "; config.json and the weights must belong to the same model"
PROBLEMS: dict[str, tuple[list[Account], str]] = {
    "all there": ([account({"a": [WHOLE]}, {"p": (24, 24)})], ""),
    "rotary cache": ([Account({"rotary_emb.inv_freq": Tensor(Region((2,), (1,), 0), 2, [])}, {}, [], None)], ""),
    "tied copy": ([account({"a": [WHOLE], "lm_head.weight": []}, tied=["lm_head.weight"])], ""),
    "two ranks": ([account({"a": [columns(0, 3)]}), account({"a": [columns(3, 6)]})], ""),
    "every rank has one half": (
        [account({"a": [columns(0, 3)]}), account({"a": [columns(0, 3)]})],
        "vLLM left 1 tensor of the checkpoint out: a (12 of 24 elements)" + TOGETHER,
    ),
    "one": (
        [account({"a": [WHOLE], "b.bias": []})],
        "vLLM left 1 tensor of the checkpoint out: b.bias" + TOGETHER,
    ),
    "many": (
        [account({name: [] for name in "abcde"})],
        "vLLM left 5 tensors of the checkpoint out: a, b, c and 2 more" + TOGETHER,
    ),
    "unfilled on one rank": (
        [account({}, {"p": (24, 24)}), account({}, {"p": (12, 24), "q": (0, 24)})],
        "the checkpoint leaves 2 parameters unfilled: p (12 of 24 elements), q" + TOGETHER,
    ),
    "renamed": (
        [account({"a": []}, {"p": (0, 24)})],
        "vLLM left 1 tensor of the checkpoint out: a; the checkpoint leaves 1 parameter unfilled: p" + TOGETHER,
    ),
    "a head of its own": (
        [account({}, other_head=("lm_head.weight", "model.embed_tokens.weight"))],
        "the checkpoint's lm_head.weight differs from model.embed_tokens.weight, to which config.json ties it; "
        "write tie_word_embeddings: false in config.json if the checkpoint's own head is meant",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("accounts", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_the_error_names_what_is_missing(accounts: list[Account], message: str) -> None:
    assert problem(accounts) == message
