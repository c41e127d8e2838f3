"""What every block of a study file is made of: a strict, frozen model, and the types of its fields."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from studies.benchmarks import options

Fraction = Annotated[float, Field(gt=0, lt=1, strict=True)]
Count = Annotated[options.Count, Field(strict=True)]
Window = Annotated[options.Window, Field(strict=True)]
Index = Annotated[int, Field(ge=0, le=10**9, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Flag = Annotated[bool, Field(strict=True)]


class Strict(BaseModel):
    """A block that accepts its own keys and no others, and that cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
