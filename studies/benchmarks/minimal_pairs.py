"""Minimal pairs: BLiMP, TSE, the embedded generator, a user's jsonl -> pairs; log-probabilities -> per-pair results.

Owns what counts as correct: the good sentence's log-probability above the bad one's, a tie is half (preset `strict`) or
wrong (`paper`); sums for BLiMP, means per token for TSE, as the paper does. Knows nothing of tokens or models.
"""

import hashlib
import json
import pickle
import random
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from studies.errors import StudyError, did_you_mean

HUB_BLIMP = "nyu-mll/blimp"
_METRIC = re.compile(r"\w[\w.: -]{0,99}")


class Pair(NamedTuple):
    """One good and one bad sentence."""

    uid: str
    """Paradigm (BLiMP), template:case (TSE), construction."""
    phenomenon: str
    pair: str
    """Unique within the uid."""
    good: str
    bad: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBenchmark:
    """A set of minimal pairs, ready to be scored."""

    name: str
    label: str
    """Shown wherever its numbers are; says "embedded" for the embedded set."""
    pairs: tuple[Pair, ...]
    per_token: bool = False
    """Compare mean log-probabilities per token instead of sums (TSE)."""
    half_ties: bool = True

    @property
    def texts(self) -> tuple[str, ...]:
        """good, bad, good, bad, ..."""
        return tuple(text for pair in self.pairs for text in (pair.good, pair.bad))

    @property
    def headlines(self) -> tuple[str, ...]:
        """The metric that stands for the whole."""
        return (f"{self.name}/accuracy",)

    @property
    def digest(self) -> str:
        """sha256 of the pairs and of how they are compared."""
        whole = hashlib.sha256(json.dumps([self.per_token, self.half_ties]).encode())
        for pair in self.pairs:
            whole.update(json.dumps(pair).encode())
        return whole.hexdigest()

    def results(self, sums: np.ndarray, counts: np.ndarray) -> pd.DataFrame:
        """Per-pair results [num_pairs rows] from the log-probabilities of `texts`.

        Columns uid, phenomenon, pair, logprob_good, logprob_bad (nats; means per token where `per_token`), correct.
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
        """`<name>/accuracy` pooled over pairs, and one per phenomenon (and per TSE template)."""
        found = {f"{self.name}/accuracy": float(items["correct"].mean())}
        for phenomenon, group in items.groupby("phenomenon"):
            found[f"{self.name}/{phenomenon}"] = float(group["correct"].mean())
        if self.name == "tse":
            for template, group in items.groupby(items["uid"].str.split(":").str[0]):
                found[f"tse/{template}"] = float(group["correct"].mean())
        return found


def blimp(root: Path | None, per_paradigm: int | None, half_ties: bool) -> PairBenchmark:
    """BLiMP: 67 paradigms, from the hub or `<root>/blimp/*.jsonl`; the first `per_paradigm` pairs of each."""
    if root is None:
        from studies.benchmarks.hub import config_names, load_rows

        paradigms = {
            name: list(enumerate(load_rows(HUB_BLIMP, name, split="train"), start=1))
            for name in config_names(HUB_BLIMP)
        }
    else:
        paradigms = {path: read_jsonl(path, limit=per_paradigm) for path in _files(root / "blimp", "*.jsonl")}
    pairs = []
    for source, rows in paradigms.items():
        for i, (number, row) in enumerate(rows[:per_paradigm]):
            uid, phenomenon, good, bad = _texts(
                f"{source}:{number}", row, "UID", "linguistics_term", "sentence_good", "sentence_bad"
            )
            pairs.append(Pair(uid, phenomenon, str(row.get("pairID", row.get("pair_id", i))), good, bad))
    pairs = _some(pairs, root / "blimp" if root else HUB_BLIMP)
    return PairBenchmark(name="blimp", label="BLiMP", pairs=pairs, half_ties=half_ties)


def tse(
    root: Path | None, per_case: int | None, half_ties: bool, templates: Collection[str] | None = None
) -> PairBenchmark:
    """TSE (Marvin & Linzen 2018) from `<root>/tse`: jsonl, or LM_syneval's template pickles.

    `per_case` keeps the first block of every case, contiguous, because prefixes are shared within a case only;
    `templates` keeps these alone. The data set has no maintained copy on the hub, so a root is needed; StudyError says
    where to get it.
    """
    if root is None:
        raise StudyError(
            "tse has no copy on the hub: clone BeckyMarvin/LM_syneval and point data: {root: ...} at a folder with "
            "tse/ = its EMNLP2018/templates"
        )
    cases: dict[tuple[str, str], list[tuple[str, str]]] = {}
    files = {path.stem: path for path in _files(root / "tse", "*.jsonl", "*.pickle")}
    for template in templates or ():
        if template not in files:
            raise StudyError(f"tse has no template {template!r}{did_you_mean(template, files)}")
    for path in (files[template] for template in files if not templates or template in templates):
        for case, good, bad in _tse_rows(path):
            cases.setdefault((path.stem, case), []).append((good, bad))
    pairs = tuple(
        Pair(f"{template}:{case}", _tse_phenomenon(template), str(i), good, bad)
        for (template, case), members in cases.items()
        for i, (good, bad) in enumerate(members[:per_case])
    )
    pairs = _some(pairs, root / "tse")
    return PairBenchmark(name="tse", label="TSE", pairs=pairs, per_token=True, half_ties=half_ties)


def embedded_pairs(per_construction: int | None, half_ties: bool) -> PairBenchmark:
    """The embedded generator's pairs; `per_construction` of each, drawn in fours to keep their balance."""
    from studies.embedded.pairs import minimal_pairs

    by_uid: dict[str, list] = {}
    for pair in minimal_pairs():
        by_uid.setdefault(pair.uid, []).append(pair)
    pairs = []
    for uid, members in by_uid.items():
        # A frame in all its number combinations is 2 or 4 neighbours, so blocks of 4 are whole frames. Even spacing
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
        good, bad = _texts(f"{path}:{number}", row, "sentence_good", "sentence_bad")
        uid = str(row.get("uid", path.stem))
        phenomenon = str(row.get("phenomenon", uid))
        if not _METRIC.fullmatch(phenomenon) or phenomenon == "accuracy":
            raise StudyError(
                f"{path}:{number}: the phenomenon (or uid) {phenomenon!r} names a metric: use letters, digits, spaces, "
                "'_', '-', '.' and ':', at most 100, and not 'accuracy'"
            )
        pairs.append(Pair(uid, phenomenon, str(i), good, bad))
    return PairBenchmark(name=path.stem, label=path.stem, pairs=_some(pairs, path), half_ties=half_ties)


def read_jsonl(path: Path, limit: int | None = None) -> list[tuple[int, dict]]:
    """(line number, object) of every line of a jsonl file. Raises StudyError naming file and line."""
    rows = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if limit is not None and len(rows) >= limit:
                    break
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise StudyError(f"{path}:{number}: not JSON ({getattr(error, 'msg', error)})") from None
                if not isinstance(row, dict):
                    raise StudyError(f"{path}:{number}: every line must be a JSON object, found {type(row).__name__}")
                rows.append((number, row))
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from None
    return rows


def _tse_rows(path: Path) -> Iterable[tuple[str, str, str]]:
    """(case, good, bad) rows of one template file; of three-member NPI tuples the first and the last count."""
    if path.suffix == ".jsonl":
        for number, row in read_jsonl(path):
            yield _texts(f"{path}:{number}", row, "case", "sentence_good", "sentence_bad")
        return
    try:
        with path.open("rb") as stream:
            cases = _BuiltinsUnpickler(stream).load()
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from None
    except Exception as error:  # a broken pickle can raise anything
        raise StudyError(f"{path} cannot be read as a pickle: {type(error).__name__}") from None
    if not isinstance(cases, dict) or not all(isinstance(members, list | tuple) for members in cases.values()):
        raise StudyError(f"{path} must hold {{case: [(good, bad), ...]}}")
    for case, members in cases.items():
        for member in members:
            if not isinstance(member, list | tuple) or len(member) not in (2, 3):
                raise StudyError(f"{path}: case {case!r} must hold tuples of 2 or 3 sentences")
            good, bad = (" ".join(str(member[i]).split()) for i in (0, -1))
            yield str(case), good, bad


class _BuiltinsUnpickler(pickle.Unpickler):
    """Data, never code: plain containers, strings and numbers need no global at all."""

    def find_class(self, module: str, name: str):
        raise StudyError(
            f"the pickle asks for {module}.{name}; only builtin containers, strings and numbers are loaded"
        )


def _texts(where: str, row: dict, *keys: str) -> list[str]:
    """The texts under these keys. Raises StudyError where one is missing, empty or no text."""
    for key in keys:
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise StudyError(f"{where}: every line needs a non-empty text {key!r}; found {row.get(key)!r}")
    return [row[key] for key in keys]


def _some(pairs: Iterable[Pair], source: object) -> tuple[Pair, ...]:
    if not (pairs := tuple(pairs)):
        raise StudyError(f"{source} holds no pairs")
    return pairs


def _tse_phenomenon(template: str) -> str:
    if "npi" in template:
        return "npi"
    return "reflexives" if "reflexive" in template else "agreement"


def _files(folder: Path, *patterns: str) -> list[Path]:
    if not folder.is_dir():
        raise StudyError(f"there is no folder {folder}")
    for pattern in patterns:
        if files := sorted(folder.glob(pattern)):
            return files
    raise StudyError(f"{folder} holds no {' or '.join(patterns)}")
