"""What every block of a study file is made of: a strict, frozen model, and the types of its fields."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(gt=0, lt=1, strict=True)]
Count = Annotated[int, Field(gt=0, le=10**12, strict=True)]
Window = Annotated[int, Field(ge=2, le=10**9, strict=True)]
"""Tokens. A window of one token would predict nothing."""
Index = Annotated[int, Field(ge=0, le=10**9, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(min_length=1)]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""Pattern of a name that becomes part of metric names and file names."""


class Strict(BaseModel):
    """A block that accepts its own keys and no others, and that cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
