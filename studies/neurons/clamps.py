"""What is done to the pre-activations of selected neurons: the clamp of a condition, and the table of its kinds.

Owns everything about a clamp that needs no tensor: which kinds there are, what each takes, how it is displayed and
recorded, and whether ReLU hides it. Knows neither the neurons nor how a device applies it: that is the function of the
same kind in `actors.ablation.clamps`.

a is the pre-activation of a selected neuron, act(a) the output of the model's own activation.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

BOUNDED = "clamp"
"""The kind a' = min(max(a, floor), ceiling); its payload holds the bounds alone."""


@dataclass(frozen=True, slots=True)
class Clamp:
    """What an intervention does to each of its neurons; the neurons are not part of it.

    Raises ValueError for a kind that is not in `CLAMP_KINDS`.
    """

    kind: str = BOUNDED
    floor: float | None = None
    """None = no bound on this side; so too for `ceiling`."""
    ceiling: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in CLAMP_KINDS:
            raise ValueError(f"no such intervention: {self.kind!r}")

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any] | None) -> "Clamp":
        """The clamp of a recorded `payload`; None is the baseline's."""
        return cls(**payload or {})

    @property
    def payload(self) -> dict[str, Any]:
        """The clamp as it enters the identities of steps and runs: its kind, unless `clamp`, and the bounds it has."""
        bounds = {"floor": self.floor, "ceiling": self.ceiling}
        kind = {} if self.kind == BOUNDED else {"kind": self.kind}
        return kind | {side: float(bound) for side, bound in bounds.items() if bound is not None}

    @property
    def bounds(self) -> tuple[float, float]:
        """(floor, ceiling), infinite where absent."""
        return (
            -math.inf if self.floor is None else self.floor,
            math.inf if self.ceiling is None else self.ceiling,
        )

    @property
    def takes_bounds(self) -> bool:
        """See `ClampKind`."""
        return CLAMP_KINDS[self.kind].takes_bounds

    @property
    def values_from(self) -> str | None:
        """See `ClampKind`."""
        return CLAMP_KINDS[self.kind].values_from

    @property
    def is_relu_identity(self) -> bool:
        """See `ClampKind`."""
        return CLAMP_KINDS[self.kind].is_relu_identity(self)

    @property
    def display(self) -> str:
        """The name for tables, records and messages: `negative`, `clamp to [-1, 1]`, `signflip`."""
        return CLAMP_KINDS[self.kind].display(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClampKind:
    """What holds for every clamp of a kind."""

    takes_bounds: bool = False
    """Whether a study file gives it a floor, a ceiling or both; else its word in the file is the name of the kind."""
    values_from: str | None = None
    """The column of the neuron table that holds each neuron's own value; None = the neurons have none."""
    is_relu_identity: Callable[[Clamp], bool]
    """Whether ReLU hides the clamp: only negative values change, and they stay at or below 0."""
    display: Callable[[Clamp], str] = lambda clamp: clamp.kind
    """Its name in tables, records and messages."""


def _is_low_floor(clamp: Clamp) -> bool:
    floor, ceiling = clamp.bounds
    return floor <= 0 and ceiling == math.inf


def _name_or_bounds(clamp: Clamp) -> str:
    floor, ceiling = clamp.bounds
    return next((name for name, named in NAMED_CLAMPS.items() if named == clamp), f"clamp to [{floor:g}, {ceiling:g}]")


CLAMP_KINDS: dict[str, ClampKind] = {
    BOUNDED: ClampKind(takes_bounds=True, is_relu_identity=_is_low_floor, display=_name_or_bounds),
    "posrelu": ClampKind(is_relu_identity=lambda _: True),
    "signflip": ClampKind(is_relu_identity=lambda _: True),
    "negative_mean": ClampKind(values_from="negative_mean", is_relu_identity=lambda _: True),
    "magnitude_matched": ClampKind(values_from="matched_ceiling", is_relu_identity=lambda _: False),
}
"""{name: kind}. posrelu: a in place of act(a) where a > 0. signflip: |act(a)|, for activations that have the sign of a
(SiLU, GELU, ReLU). negative_mean: a negative a becomes the neuron's mean over its negative half. magnitude_matched: a
ceiling of each neuron's own that removes as much magnitude as the negative clamp does."""

NAMED_CLAMPS = {"negative": Clamp(floor=0.0), "positive": Clamp(ceiling=0.0), "zero": Clamp(floor=0.0, ceiling=0.0)}
"""{word of a study file: clamp with these bounds}."""

UNCLAMPED = Clamp()
"""Without bounds: changes nothing."""

MAGNITUDE_MATCHED = Clamp("magnitude_matched")
