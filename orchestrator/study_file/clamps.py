"""The grammar of a condition's clamp: a word, or a mapping with bounds -> Clamp.

Owns the checks of what a file says about a clamp, and how a clamp is dumped. What the kinds are and mean is the table
`CLAMP_KINDS`, which is read anew whenever a file is checked.
"""

import dataclasses
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, model_validator
from pydantic_core import PydanticKnownError

from orchestrator.study_file.fields import Number, Strict
from orchestrator.study_file.located import quote
from studies.errors import did_you_mean
from studies.neurons.clamps import BOUNDED, CLAMP_KINDS, NAMED_CLAMPS, Clamp


def _known_kind(value: Any) -> Any:
    if not isinstance(value, str) or value not in CLAMP_KINDS:
        raise PydanticKnownError("literal_error", {"expected": ", ".join(f"'{kind}'" for kind in CLAMP_KINDS)})
    return value


def clamp_words() -> list[str]:
    """The words that a clamp may be written as."""
    return [*NAMED_CLAMPS, *(kind for kind, of_kind in CLAMP_KINDS.items() if not of_kind.takes_bounds)]


class ClampBlock(Strict):
    """The mapping that every form of a clamp is brought into; the fields are those of `Clamp`."""

    kind: Annotated[str, BeforeValidator(_known_kind)] = BOUNDED
    """`clamp`, or a clamp without bounds by its word."""
    floor: Number | None = None
    """Lower values become this."""
    ceiling: Number | None = None
    """Higher values become this."""

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        if isinstance(value, str) and value in clamp_words() and value not in NAMED_CLAMPS:
            return {"kind": value}
        if not isinstance(value, str) or value not in NAMED_CLAMPS:
            allowed = [*clamp_words(), "{floor: number, ceiling: number}"]
            remedy = did_you_mean(value if isinstance(value, str) else "", allowed)
            raise ValueError(f"{quote(value)} is not a clamp{remedy}")
        return NAMED_CLAMPS[value].payload

    @model_validator(mode="after")
    def _consistent_bounds(self) -> "ClampBlock":
        bounded = self.floor is not None or self.ceiling is not None
        takes_bounds = CLAMP_KINDS[self.kind].takes_bounds
        if bounded and not takes_bounds:
            raise ValueError(f"{self.kind} takes neither floor nor ceiling")
        if takes_bounds and not bounded:
            raise ValueError(f"a {self.kind} needs a floor, a ceiling or both")
        if self.floor is not None and self.ceiling is not None and self.floor > self.ceiling:
            raise ValueError(f"floor {self.floor:g} is above ceiling {self.ceiling:g}")
        return self


def _parse(value: Any) -> Clamp:
    block = ClampBlock.model_validate(value)
    return Clamp(block.kind, block.floor, block.ceiling)


ClampSpec = Annotated[Clamp, PlainValidator(_parse), PlainSerializer(dataclasses.asdict)]
"""The type of a field that holds a clamp; dumped with all fields of `Clamp`."""
