"""Minimal pairs: BLiMP, TSE, the embedded generator or a user's jsonl, and what their log-probabilities say.

Owns what counts as correct: the good sentence's log-probability above the bad one's; a tie counts half (preset
`strict`) or is wrong (`paper`). BLiMP compares sums, TSE means per token, as the paper does. Also owns the only
unpickler of the product, which builds containers, strings and numbers and resolves no global. Knows nothing of
tokens or models.
"""

import hashlib
import io
import json
import pickle
import pickletools
import random
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, NoReturn

import numpy as np
import pandas as pd
from annotated_types import Ge, Le, MinLen

from studies.benchmarks.annotation import Annotation
from studies.benchmarks.measures import MINIMAL_PAIRS, OWN_PAIRS, TEMPLATES, Measure
from studies.benchmarks.options import Count, StudySettings, Text
from studies.benchmarks.protocol import NOISE_FLOOR_NODES
from studies.benchmarks.rows import (
    Row,
    RowNames,
    data_files,
    optional_name,
    read_jsonl,
    require_metric_part,
    required_texts,
)
from studies.benchmarks.texts import Sentences, TextItems
from studies.errors import DataRootError, StudyError, did_you_mean, is_utf8, shown, why_unreadable
from studies.files import MAX_DATA, MAX_SMALL, read_bytes

HUB_BLIMP = "nyu-mll/blimp"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlimpOptions:
    """BLiMP's minimal pairs."""

    per_paradigm: Count | None = None
    """The first pairs of each paradigm; without it, all."""
    measure: ClassVar[Measure] = MINIMAL_PAIRS

    def load(self, name: str, study: StudySettings) -> "PairBenchmark":  # noqa: ARG002
        return blimp(study.data_root, self.per_paradigm, study.half_ties)


@dataclass(frozen=True, slots=True, kw_only=True)
class TseOptions:
    """Targeted syntactic evaluation: minimal pairs made from templates."""

    per_case: Count | None = None
    """The first pairs of each case of a template; without it, all."""
    templates: Annotated[tuple[Text, ...], MinLen(1)] | None = None
    """The templates to take; without it, all."""
    measure: ClassVar[Measure] = TEMPLATES

    def load(self, name: str, study: StudySettings) -> "PairBenchmark":  # noqa: ARG002
        return tse(study.data_root, self.per_case, study.half_ties, self.templates)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPairsOptions:
    """Minimal pairs that come with Halfwave."""

    per_construction: Annotated[int, Ge(4), Le(10**12)] | None = None
    """Pairs of each construction, drawn in fours; without it, all."""
    measure: ClassVar[Measure] = MINIMAL_PAIRS

    def load(self, name: str, study: StudySettings) -> "PairBenchmark":  # noqa: ARG002
        return embedded_pairs(self.per_construction, study.half_ties)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserPairsOptions:
    """Minimal pairs from a file of your own."""

    path: Text
    """A .jsonl file with `sentence_good`, `sentence_bad` and optionally `uid` and `phenomenon`."""
    measure: ClassVar[Measure] = OWN_PAIRS

    def load(self, name: str, study: StudySettings) -> "PairBenchmark":  # noqa: ARG002
        return user_pairs(study.path(self.path), study.half_ties)


class Pair(NamedTuple):
    """One good and one bad sentence."""

    uid: str
    """Paradigm (BLiMP), template:case (TSE), construction."""
    phenomenon: str
    pair: str
    """Unique within the uid."""
    good: str
    bad: str
    place: str = ""
    """Where it comes from, for messages; its uid and number where that is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBenchmark:
    """A set of minimal pairs. Members as in `Benchmark`."""

    name: str
    label: str
    pairs: tuple[Pair, ...]
    per_token: bool = False
    """Compare mean log-probabilities per token instead of sums (TSE)."""
    half_ties: bool = True
    measure: Measure = MINIMAL_PAIRS
    identity_params: ClassVar[Mapping[str, int | str | None]] = {}
    noise_floor_nodes: ClassVar[int] = NOISE_FLOOR_NODES
    is_syntactic: ClassVar[bool | None] = True
    scoring_version: ClassVar[int] = 1
    choices: ClassVar[tuple[str, ...]] = ()
    annotation: ClassVar[Annotation | None] = None

    @property
    def texts(self) -> tuple[str, ...]:
        """[2 * num_pairs] sentences: good, bad, good, bad, ..."""
        return tuple(text for pair in self.pairs for text in (pair.good, pair.bad))

    @property
    def request(self) -> Sentences:
        of_texts = tuple(i for i in range(len(self.pairs)) for _ in range(2))
        places = tuple(pair.place or f"{pair.uid} {pair.pair}" for pair in self.pairs)
        return Sentences(texts=self.texts, items=TextItems(of_texts=of_texts, places=places))

    @property
    def estimated_tokens(self) -> float:
        return self.request.estimated_tokens

    @property
    def item_texts(self) -> pd.DataFrame | None:
        rows = [(pair.uid, pair.pair, pair.good, pair.bad) for pair in self.pairs]
        return pd.DataFrame(rows, columns=["uid", "pair", "good", "bad"])

    @property
    def headlines(self) -> tuple[str, ...]:
        return (f"{self.name}/accuracy",)

    @property
    def metric_prefixes(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def digest(self) -> str:
        """sha256 of the pairs and of how they are compared; the name does not enter."""
        digest = hashlib.sha256(json.dumps([self.per_token, self.half_ties]).encode())
        for pair in self.pairs:
            digest.update(json.dumps([pair.uid, pair.phenomenon, pair.pair, pair.good, pair.bad]).encode())
        return digest.hexdigest()

    def results(
        self,
        sums: np.ndarray,
        counts: np.ndarray,
        margins: np.ndarray | None = None,  # noqa: ARG002
        tokens: Mapping[str, np.ndarray] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """Columns uid, phenomenon, pair, logprob_good, logprob_bad and correct, one row per pair.

        Log-probabilities are sums in nats, or means per token where `per_token`; correct is 0, 0.5 (a tie) or 1.
        """
        values = sums / counts if self.per_token else sums
        good, bad = values[0::2], values[1::2]
        tie = 0.5 if self.half_ties else 0.0
        return pd.DataFrame(
            {
                "uid": [pair.uid for pair in self.pairs],
                "phenomenon": [pair.phenomenon for pair in self.pairs],
                "pair": [pair.pair for pair in self.pairs],
                "logprob_good": good,
                "logprob_bad": bad,
                "correct": np.where(good > bad, 1.0, np.where(good == bad, tie, 0.0)),
            }
        )

    def metrics(self, items: pd.DataFrame) -> dict[str, float]:
        """`<name>/accuracy` pooled over pairs, `<name>/<phenomenon>`, and for TSE `tse/<template>`."""
        metrics = {f"{self.name}/accuracy": float(items["correct"].mean())}
        for phenomenon, pairs in items.groupby("phenomenon"):
            metrics[f"{self.name}/{phenomenon}"] = float(pairs["correct"].mean())
        if self.name == "tse":
            for template, pairs in items.groupby(items["uid"].str.split(":").str[0]):
                metrics[f"tse/{template}"] = float(pairs["correct"].mean())
        return metrics


def blimp(root: Path | None, per_paradigm: int | None, half_ties: bool) -> PairBenchmark:
    """BLiMP: 67 paradigms, from the hub or `<root>/blimp/*.jsonl`; the first `per_paradigm` pairs of each.

    Raises StudyError if the data cannot be loaded, or, naming file and line, if a row is not BLiMP's.
    """
    if root is None:
        from studies.benchmarks.hub import config_names, load_rows

        paradigms = {
            name: list(enumerate(load_rows(HUB_BLIMP, name, split="train"), start=1))
            for name in config_names(HUB_BLIMP)
        }
    else:
        files = data_files(root / "blimp", "*.jsonl")
        paradigms = {str(path): read_jsonl(path, limit=per_paradigm) for path in files}
    names = RowNames()
    pairs = (
        _blimp_pair(row, f"{source}:{number}", i, names)
        for source, rows in paradigms.items()
        for i, (number, row) in enumerate(rows[:per_paradigm])
    )
    whole = _non_empty(pairs, root / "blimp" if root else HUB_BLIMP)
    return PairBenchmark(name="blimp", label="BLiMP", pairs=whole, half_ties=half_ties)


def _blimp_pair(row: Row, where: str, index: int, names: RowNames) -> Pair:
    """One pair; `index` numbers it where the row has no pairID (local copies) or pair_id (the hub)."""
    fields = ("UID", "linguistics_term", "sentence_good", "sentence_bad")
    uid, phenomenon, good, bad = required_texts(row, where, *fields)
    require_metric_part(phenomenon, where, "the linguistics_term")
    name = names.add(optional_name(row, where, "pairID", "pair_id"), index, where, group=uid)
    return Pair(uid, phenomenon, name, good, bad, where)


def tse(
    root: Path | None, per_case: int | None, half_ties: bool, templates: Collection[str] | None = None
) -> PairBenchmark:
    """TSE (Marvin & Linzen 2018) from `<root>/tse`: jsonl, or LM_syneval's template pickles.

    per_case: keep the first pairs of every case, contiguous, because prefixes are shared within a case only.
    templates: keep these templates only; None = all.
    Raises StudyError without a root (the data set has no maintained copy on the hub), if a template is unknown, or,
    naming it, if a file is not TSE's.
    """
    if root is None:
        raise DataRootError(
            "tse has no copy on the hub: clone BeckyMarvin/LM_syneval and give --data-root, or data: {root: ...}, a "
            "folder with tse/ = its EMNLP2018/templates"
        )
    cases: dict[tuple[str, str], list[_TsePair]] = {}
    files = {path.stem: path for path in data_files(root / "tse", "*.jsonl", "*.pickle")}
    for template in templates or ():
        if template not in files:
            raise StudyError(f"tse has no template {template!r}{did_you_mean(template, files)}")
    for template in (template for template in files if not templates or template in templates):
        require_metric_part(template, str(files[template]), "the name of the template")
        for pair in _tse_pairs(files[template]):
            cases.setdefault((template, pair.case), []).append(pair)
    pairs = (
        Pair(f"{template}:{case}", _tse_phenomenon(template), str(i), pair.good, pair.bad, pair.place)
        for (template, case), members in cases.items()
        for i, pair in enumerate(members[:per_case])
    )
    whole = _non_empty(pairs, root / "tse")
    measure = replace(TEMPLATES, most_units=len(files)) if len(set(templates or files)) < len(files) else TEMPLATES
    return PairBenchmark(name="tse", label="TSE", pairs=whole, per_token=True, half_ties=half_ties, measure=measure)


def embedded_pairs(per_construction: int | None, half_ties: bool) -> PairBenchmark:
    """The embedded generator's pairs; `per_construction` of each, drawn in fours to keep their balance; None = all."""
    from studies.embedded.pairs import MinimalPair, minimal_pairs

    by_uid: dict[str, list[MinimalPair]] = {}
    for pair in minimal_pairs():
        by_uid.setdefault(pair.uid, []).append(pair)
    pairs: list[Pair] = []
    for uid, members in by_uid.items():
        # The number combinations of a frame are 2 or 4 neighbours, so blocks of 4 are whole frames. Even spacing
        # would fall in step with the generator's word lists and use few of the words.
        blocks = [members[i : i + 4] for i in range(0, len(members), 4)]
        wanted = len(blocks) if per_construction is None else min(len(blocks), max(1, per_construction // 4))
        chosen = [blocks[i] for i in sorted(random.Random(uid).sample(range(len(blocks)), wanted))]
        flat = [pair for block in chosen for pair in block]
        pairs += [Pair(uid, pair.phenomenon, str(i), pair.good, pair.bad) for i, pair in enumerate(flat)]
    return PairBenchmark(name="embedded_pairs", label="embedded minimal pairs", pairs=tuple(pairs), half_ties=half_ties)


def user_pairs(path: Path, half_ties: bool) -> PairBenchmark:
    """A user's jsonl: sentence_good, sentence_bad, optional uid and phenomenon. Raises StudyError naming the line."""
    pairs = []
    for i, (number, row) in enumerate(read_jsonl(path)):
        good, bad = required_texts(row, f"{path}:{number}", "sentence_good", "sentence_bad")
        where = f"{path}:{number}"
        uid = optional_name(row, where, "uid") or path.stem
        phenomenon = optional_name(row, where, "phenomenon") or uid
        require_metric_part(phenomenon, where, "the phenomenon (or uid)")
        pairs.append(Pair(uid, phenomenon, str(i), good, bad, where))
    whole = _non_empty(pairs, path)
    return PairBenchmark(name=path.stem, label=path.stem, pairs=whole, half_ties=half_ties, measure=OWN_PAIRS)


def _non_empty(pairs: Iterable[Pair], source: Path | str) -> tuple[Pair, ...]:
    pairs = tuple(pairs)
    if not pairs:
        raise StudyError(f"{source} holds no pairs")
    return pairs


def _tse_phenomenon(template: str) -> str:
    if "npi" in template:
        return "npi"
    return "reflexives" if "reflexive" in template else "agreement"


class _TsePair(NamedTuple):
    """One pair of a template file."""

    case: str
    good: str
    bad: str
    place: str


def _tse_pairs(path: Path) -> Iterator[_TsePair]:
    """The pairs of one template file; of three-member NPI tuples the first and the last count."""
    if path.suffix == ".jsonl":
        for number, row in read_jsonl(path):
            place = f"{path}:{number}"
            case, good, bad = required_texts(row, place, "case", "sentence_good", "sentence_bad")
            yield _TsePair(case, good, bad, place)
        return
    try:
        cases = _unpickled(read_bytes(path, MAX_SMALL))
    except StudyError as error:
        raise error if str(path) in str(error) else StudyError(f"{path}: {error}") from None
    except OSError as error:
        raise StudyError(f"{path} cannot be read: {why_unreadable(error)}") from None
    except Exception as error:  # a broken pickle can raise anything
        raise StudyError(f"{path} cannot be read as a pickle: {type(error).__name__}") from None
    if not isinstance(cases, dict) or not all(isinstance(members, list | tuple) for members in cases.values()):
        raise StudyError(f"{path} must hold {{case: [(good, bad), ...]}}")
    num_characters = 0
    for case, members in cases.items():
        if not _is_text(case):
            raise StudyError(f"{path}: every case must be a non-empty text; found {shown(case)}")
        for i, member in enumerate(members):
            if not isinstance(member, list | tuple) or len(member) not in (2, 3) or not all(map(_is_text, member)):
                raise StudyError(
                    f"{path}: case {shown(case)} must hold tuples of 2 or 3 sentences; number {i} is {shown(member)}"
                )
            num_characters += len(member[0]) + len(member[-1])
            if num_characters > MAX_DATA:  # a pickle may say the same many times
                raise StudyError(f"{path} holds more than {MAX_DATA:,} characters, the most that is read of it")
            good, bad = (" ".join(member[i].split()) for i in (0, -1))
            yield _TsePair(case, good, bad, f"{path}, case {case!r}, pair {i}")


def _is_text(value: object) -> bool:
    """Whether a value is a text with something in it, and no half of a surrogate pair."""
    return isinstance(value, str) and bool(value.strip()) and is_utf8(value)


def _unpickled(content: bytes) -> Any:
    """What a pickle holds. Raises StudyError where it would run code or fill the memory."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "LONG_BINPUT") and (argument or 0) > len(content):
            raise StudyError(f"the pickle asks for room for {argument} objects, more than it has bytes")
    return _BuiltinsUnpickler(io.BytesIO(content)).load()


class _BuiltinsUnpickler(pickle.Unpickler):
    """Loads data and never code: plain containers, strings and numbers need no global."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise StudyError(
            f"the pickle asks for {module}.{name}; only builtin containers, strings and numbers are loaded"
        )
