"""The grammar of evaluations in a study file: a word, or a word and its options.

Owns how an entry is written and how an options class of `studies.benchmarks` becomes a strict pydantic model; which
words there are, and with which options, is the business of `studies.benchmarks.registry`.
Invariant: the registry is read anew for every entry.
"""

import dataclasses
import functools
import operator
import re
from dataclasses import dataclass
from pathlib import Path
from types import GenericAlias, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import Field, PlainSerializer, PlainValidator, create_model

from orchestrator.study_file.fields import Flag, Number, Strict
from orchestrator.study_file.located import quote
from studies.benchmarks.options import Options
from studies.benchmarks.registry import BENCHMARKS
from studies.errors import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One benchmark under `evaluate`."""

    kind: str
    """Its word, a key of `BENCHMARKS`."""
    options: Options

    @property
    def name(self) -> str:
        """The name that begins the evaluation's metrics and names its artifacts; see `Options`."""
        options = self.document()
        return options.get("name") or (Path(options["path"]).stem if "path" in options else self.kind)

    def accepts(self, option: str) -> bool:
        """Whether its options have this name among them."""
        return option in option_names(self.kind)

    def document(self) -> dict[str, Any]:
        """The word as `kind`, then the options: as it is recorded."""
        return {"kind": self.kind, **dataclasses.asdict(self.options)}


def option_names(word: str) -> list[str]:
    """The options that a word accepts, in their order; none for an unknown word."""
    return [field.name for field in dataclasses.fields(BENCHMARKS[word])] if word in BENCHMARKS else []


def _evaluation(entry: Any) -> Evaluation:
    """`blimp`, `blimp: {per_paradigm: 50}` or `pairs: my.jsonl`, checked."""
    if isinstance(entry, str):
        entry = {entry: None}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise ValueError(
            "write one evaluation per line: a word, or a word and its {options}; "
            f"found {quote(entry)}; words: {', '.join(BENCHMARKS)}"
        )
    ((kind, options),) = entry.items()
    if kind not in BENCHMARKS:
        as_task = f"; a task of lm-eval is written {_as_tasks([kind])}" if _is_task(kind) else ""
        raise ValueError(f"{quote(kind)} is not an evaluation{did_you_mean(str(kind), BENCHMARKS)}{as_task}")
    if isinstance(options, str) and "path" in option_names(kind):
        options = {"path": options}
    if options is not None and not isinstance(options, dict):
        tasks = options if isinstance(options, list) else [options]
        remedy = f"; write {_as_tasks(tasks)}" if "tasks" in option_names(kind) and all(map(_is_task, tasks)) else ""
        raise ValueError(f"the options of {kind} must be a mapping; found {quote(options)}{remedy}")
    if "kind" in (options or {}):
        raise ValueError(f"{kind} has no option 'kind'")
    checked = options_model(kind).model_validate(options or {})
    return Evaluation(kind=kind, options=BENCHMARKS[kind](**dict(checked)))


def _is_task(value: Any) -> bool:
    """Whether a value can be the name of one of lm-eval's tasks; which there are, only the harness knows."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,99}", value) is not None


def _as_tasks(tasks: list[str]) -> str:
    return f"lm_eval: {{tasks: [{', '.join(tasks)}]}}"


EvaluationSpec = Annotated[Evaluation, PlainValidator(_evaluation), PlainSerializer(Evaluation.document)]


def options_model(word: str) -> type[Strict]:
    """The model that checks the options of a word of the registry, field by field."""
    return _model(BENCHMARKS[word])


@functools.cache
def _model(options: type[Options]) -> type[Strict]:
    hints = get_type_hints(options, include_extras=True)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        default = ... if field.default is dataclasses.MISSING else field.default
        fields[field.name] = (_strict(hints[field.name]), default)
    return create_model(options.__name__, __base__=Strict, **fields)


def _strict(hint: Any) -> Any:
    """The same type, with strict numbers and flags, finite floats, and a compiled expression as a pattern."""
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        constraints = [Field(pattern=c.pattern) if isinstance(c, re.Pattern) else c for c in arguments[1:]]
        return Annotated[_strict(arguments[0]), *constraints]
    if get_origin(hint) in (Union, UnionType):
        return functools.reduce(operator.or_, map(_strict, arguments))
    if get_origin(hint) is tuple:
        return GenericAlias(tuple, tuple(map(_strict, arguments)))
    return {int: Annotated[int, Field(strict=True)], float: Number, bool: Flag}.get(hint, hint)
