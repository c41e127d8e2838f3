"""A random decoder in plain torch, with the product's attention, clamps and layer walk, for machines with torch alone.

Llama's shape: gated MLPs, grouped queries, RMS norms; positions are learned, by depth in the tree.

N nodes of a pack, R rows with edges, V vocabulary, d d_model, H query heads, G key-value heads.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from actors.ablation.clamps import ClampSet, LayerClamp
from actors.ablation.logits_pass import LayerWalk
from actors.ablation.tree_attention import Tree, attend


class Shape(NamedTuple):
    """The sizes of a decoder."""

    num_layers: int = 3
    d_model: int = 64
    d_mlp: int = 160
    num_heads: int = 4
    num_kv_heads: int = 2
    vocabulary: int = 211
    window: int | None = None

    @property
    def layer_parameters(self) -> int:
        """Weights of one layer's matrices."""
        attention = self.d_model**2 * 2 * (1 + self.num_kv_heads / self.num_heads)
        return int(attention) + 3 * self.d_model * self.d_mlp


SMALL, LARGE = Shape(), Shape(4, 4096, 14_336, 32, 8, 32_000)
"""LARGE has four layers of Llama-3-8B."""


class SiluAndMul(nn.Module):
    """As vLLM fuses a gated activation."""

    def forward(self, fused_NF: Tensor) -> Tensor:
        gate_NF, up_NF = fused_NF.chunk(2, -1)
        return nn.functional.silu(gate_NF) * up_NF


class Layer(nn.Module):
    """Attention over the tree, then the MLP."""

    def __init__(self, shape: Shape):
        super().__init__()
        d, head = shape.d_model, shape.d_model // shape.num_heads
        self.heads, self.window = (shape.num_heads, shape.num_kv_heads, shape.num_kv_heads), shape.window
        self.norm, self.mlp_norm = nn.RMSNorm(d), nn.RMSNorm(d)
        self.qkv = nn.Linear(d, sum(self.heads) * head, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.gate_up, self.down = nn.Linear(d, 2 * shape.d_mlp, bias=False), nn.Linear(shape.d_mlp, d, bias=False)
        self.activation = SiluAndMul()

    def forward(self, x_Nd: Tensor, tree: Tree) -> Tensor:
        size = x_Nd.shape[1] // self.heads[0]
        parts = self.qkv(self.norm(x_Nd)).split([count * size for count in self.heads], -1)
        q, k, v = (part.unflatten(-1, (-1, size)) for part in parts)
        x_Nd = x_Nd + self.out(attend(q, k, v, scale=size**-0.5, tree=tree, window=self.window).flatten(1))
        return x_Nd + self.down(self.activation(self.gate_up(self.mlp_norm(x_Nd))))


class RandomDecoder(nn.Module):
    """A `logits_pass.Decoder` with random weights, the same for every device and dtype."""

    def __init__(self, shape: Shape, device: torch.device | str, dtype: torch.dtype, *, flex: bool = False):
        super().__init__()
        self.device, self.vocabulary, self.flex, self.shape = torch.device(device), shape.vocabulary, flex, shape
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            self.embedding = nn.Embedding(shape.vocabulary, shape.d_model)
            self.positions = nn.Embedding(2048, shape.d_model)
            self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_layers))
            self.norm = nn.RMSNorm(shape.d_model)
            self.head = nn.Linear(shape.d_model, shape.vocabulary, bias=False)
        self.to_empty(device=device)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            if parameter.dim() == 1:
                nn.init.ones_(parameter)
            else:
                spread = parameter.shape[1] ** -0.5
                parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * spread)
        self.to(dtype).requires_grad_(False)
        self.clamps = ClampSet(
            [
                LayerClamp(layer.activation, d_mlp=shape.d_mlp, gated=True, device=device, dtype=dtype)
                for layer in self.layers
            ]
        )
        self.walk = LayerWalk(list(self.layers))

    def hidden(self, ids_N: Tensor, tree: Tree) -> Tensor:
        x_Nd = self.embedding(ids_N) + self.positions(tree.depth_N)
        for layer in self.layers:
            x_Nd = layer(x_Nd, tree)
        return self.norm(x_Nd)

    def logits(self, hidden_Rd: Tensor) -> Tensor:
        return self.head(hidden_Rd)
