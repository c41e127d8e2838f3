"""An engine without vLLM: two ranks whose log-probabilities are a formula, and faults that can be switched on."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from actors.ablation.engine import Hooks
from actors.ablation.routes import RoutedModel
from actors.ablation.token_tree import pack_from_wire
from actors.messages.model import ModelSource
from actors.sites import Site

NUM_LAYERS, D_MLP, NUM_RANKS = 3, 8, 2


def source(**fields: Any) -> ModelSource:
    defaults: dict[str, Any] = {"label": "tiny", "path": "tiny", "family": "llama", "d_model": 16, "context": 256}
    return ModelSource(**{**defaults, "vocabulary": 128, "num_layers": NUM_LAYERS, "d_mlp": D_MLP, **fields})


class _Tokenizer:
    """One token per character, and one in front."""

    bos_token_id = eos_token_id = 0

    def __call__(
        self, texts: str | Sequence[str], add_special_tokens: bool = True, verbose: bool = True
    ) -> dict[str, list[int] | list[list[int]]]:
        if isinstance(texts, str):
            return {"input_ids": [0] * add_special_tokens + [*map(ord, texts)]}
        return {"input_ids": [[0] * add_special_tokens + [*map(ord, text)] for text in texts]}

    def convert_ids_to_tokens(self, token: int) -> str:
        return chr(token)


tokenizer: Any = _Tokenizer()


def log_probability(previous: int, token: int) -> float:
    """What the fake model says of a token behind another: never positive, exact in float32."""
    return -((previous * 7 + token * 3) % 16) / 4


class FakeEngine:
    """As `engine.Engine`; each rank holds half of the neurons, and rank 1 has no head."""

    device = "cpu"

    def __init__(self) -> None:
        self.tree_error = 0.0
        """Added to every log-probability of the tree route."""
        self.misplaced = 0
        """Neurons that rank 1 does not place."""
        self.unhooked: set[int] = set()
        """Layers whose hooks are not called."""
        self.changes = 5
        """Pre-activations changed in every layer with neurons, on each rank."""
        self.broken_above: int | None = None
        """Number of selected neurons from which on every log-probability is nan; None = never."""
        self.unstable: dict[int, int] = {}
        """{rank: different results that it sees of one pack}, where that is not 1."""
        self.called: list[str] = []
        self._neurons: dict[int, list[int]] = {}
        self._forwards = 0

    def install_hooks(self, site: Site, num_layers: int, d_mlp: int) -> Hooks:
        return Hooks("", "block attention")

    def call(self, method: str, *arguments: Any) -> list[Any]:
        self.called.append(method)
        return [getattr(self, method.removeprefix("halfwave_"))(rank, *arguments) for rank in range(NUM_RANKS)]

    def call_head(self, method: str, *arguments: Any) -> Any:
        return next(result for result in self.call(method, *arguments) if result is not None)

    def set_clamps(
        self, rank: int, neurons: dict[int, list[int]], clamp: dict[str, Any], values: dict[int, Any]
    ) -> list[int]:
        self._neurons = neurons
        here = [sum(j // (D_MLP // NUM_RANKS) == rank for j in neurons.get(i, ())) for i in range(NUM_LAYERS)]
        return [here[0] - self.misplaced * rank, *here[1:]]

    def _log_probability(self, previous: int, token: int) -> float:
        num_selected = sum(map(len, self._neurons.values()))
        broken = self.broken_above is not None and num_selected >= self.broken_above
        return float("nan") if broken else log_probability(previous, token)

    def start_counting(self, rank: int) -> None:
        self._forwards = 0

    def stop_counting(self, rank: int) -> tuple[list[int], list[int], str]:
        calls = [0 if i in self.unhooked else self._forwards for i in range(NUM_LAYERS)]
        return calls, [self.changes * bool(self._neurons.get(i)) for i in range(NUM_LAYERS)], f"digest{rank}"

    def score(self, rank: int, wire: list[bytes]) -> bytes | None:
        if rank:
            return None
        self._forwards += 1
        pack = pack_from_wire(wire)
        edges = zip(pack.ids[pack.rows].tolist(), pack.targets.tolist(), strict=True)
        return np.array([self._log_probability(*edge) + self.tree_error for edge in edges], dtype=np.float32).tobytes()

    def repeat(self, rank: int, wire: list[bytes], count: int) -> int:
        return self.unstable.get(rank, 1)

    def prompt_log_probabilities(self, sequences: Sequence[np.ndarray], num_top: int) -> list[list[dict[int, float]]]:
        self._forwards += 1
        best = {999: 0.0} if num_top else {}
        return [
            [
                {},
                *({**best, token: self._log_probability(before, token)} for before, token in pairwise(ids)),
            ]
            for ids in (sequence.tolist() for sequence in sequences)
        ]


def routed(engine: FakeEngine, *, tree_refused: str = "", **fields: Any) -> RoutedModel:
    """The fake engine's model, its route proven."""
    return RoutedModel(engine, source(**fields), tokenizer, Hooks(tree_refused, "block attention"))  # type: ignore[arg-type]
