"""Options of a benchmark: what a study file may say of it, and what it is given when it is loaded.

Owns the types that options are made of and the interface of an options class; `registry` has the table of all words.
Knows nothing of the study file's syntax: `orchestrator.study_file.evaluations` turns an options class into a grammar.
"""

import re
from collections.abc import Callable
from dataclasses import Field, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol

from annotated_types import Ge, Gt, Le, MinLen

from studies.benchmarks.measures import Measure
from studies.benchmarks.protocol import Benchmark
from studies.benchmarks.texts import Bos

Count = Annotated[int, Gt(0), Le(10**12)]
Window = Annotated[int, Ge(2), Le(10**9)]
"""Tokens. A window of one token would predict nothing."""
Text = Annotated[str, MinLen(1)]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""Pattern of a name that becomes part of metric names and file names."""
Name = Annotated[str, re.compile(NAME)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """The settings of a study on which a benchmark may depend."""

    data_root: Path | None
    """Local evaluation data; None = the hub."""
    path: Callable[[str], Path]
    """A path of the study file -> the path to open: relative paths start at the study file's folder."""
    half_ties: bool
    """Whether a tied item counts half (preset `strict`) or is wrong (`paper`)."""
    bos: Bos
    """Where BOS stands in the windows of a benchmark that does not say it itself."""


class Options(Protocol):
    """The options of one benchmark: a frozen, keyword-only dataclass with a field for each.

    A field's type is `str`, `int`, `float`, `bool`, a `Literal`, a tuple of one of them, or one of these or None; a
    field with a default may be left out of the file. `Annotated` adds constraints: those of `annotated_types`, and for
    a text the compiled regular expression that it must match. What concerns several fields, `__post_init__` checks: it
    raises ValueError with the problem as its text. The docstring under a field is what users read of it, in
    `docs/study-file.md` and in editors.

    Two fields have a meaning of their own. The benchmark takes its name from `name`, or from the file that `path`
    names; without these fields, its name is its word. `path` has no default, and may be written without its key:
    `pairs: my.jsonl`.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    measure: ClassVar[Measure]
    """That of the benchmark, known before it is loaded."""

    def load(self, name: str, study: StudySettings) -> Benchmark:
        """The benchmark of this name. Raises StudyError, without a place in the study file."""
