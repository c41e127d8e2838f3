"""What a user compares: `STUDY`, `STUDY@MODEL`, `STUDY#2` or `STUDY@MODEL#2`, found in its store.

STUDY is a study file, or the name of a recorded study; `#2` is the study as its second invocation left it. Needs the
record alone: of a study file only `study` and `tracking_uri` are used.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.named_study import file_or_name, named_study
from orchestrator.notebook import load_from
from orchestrator.record.keys import RecordedRun, Slot
from orchestrator.record.reader import Reader
from orchestrator.record.recorded_study import RecordedStudy
from orchestrator.study_file.load import parse_spec
from studies.benchmarks.measures import Measure
from studies.errors import StudyError, did_you_mean

_PART = r"(?:@(?P<model>[^#]+))?(?:#(?P<number>\d{1,6}))?"


class Named(NamedTuple):
    """One thing to compare, as a user names it."""

    study: str
    model: str
    """Label of a model; empty for all."""
    number: int | None
    """Of an invocation; None for the study as it stands."""

    def __str__(self) -> str:
        model, number = f"@{self.model}" if self.model else "", f"#{self.number}" if self.number is not None else ""
        return f"{self.study}{model}{number}"


def parse(text: str) -> Named:
    """STUDY[@MODEL][#N]; StudyError for anything else. The path of an existing file may have any characters."""
    ends = [len(text), *(i for i in reversed(range(len(text))) if text[i] in "@#")]
    file = next((text[:end] for end in ends if Path(text[:end]).is_file()), "")
    study = re.escape(file) if file else "[^@#]+"
    match = re.fullmatch(f"(?P<study>{study}){_PART}", text)
    if match is None:
        raise StudyError(f"{text!r} names nothing to compare; write STUDY, STUDY@MODEL, STUDY#2 or STUDY@MODEL#2")
    number = match["number"]
    return Named(match["study"], match["model"] or "", None if number is None else int(number))


class Side(NamedTuple):
    """One of two things that are compared."""

    named: Named
    study: RecordedStudy
    reader: Reader
    """Of the store with the study."""
    runs: list[RecordedRun]
    """As they stand, or as the invocation left them."""
    lost: Mapping[tuple[Slot, str], str]
    """As of `EarlierRuns`; nothing is lost of a study as it stands."""

    @property
    def models(self) -> list[str]:
        """Labels of the models with conditions: the named one, or all."""
        labels = dict.fromkeys(run.slot.model for run in self.runs if run.slot.kind == "condition")
        labels |= dict.fromkeys(slot.model for slot, _ in self.lost if slot.kind == "condition")
        return [self.named.model] if self.named.model else list(labels)

    def measures(self) -> dict[str, Measure]:
        """{benchmark: what it measures}, as the recorded study file says; empty where this version cannot read it."""
        try:
            spec, _ = parse_spec(self.study.definition, self.study.name, trusted=True)  # nothing of it is run
        except StudyError:
            return {}
        return {evaluation.name: evaluation.options.measure for evaluation in spec.evaluate}

    def verdicts(self, model: str) -> dict[str, Mapping[str, Any]]:
        """{claim: verdict} of a model or series in the study's report; an earlier invocation's was replaced."""
        if self.named.number is not None or not self.study.has_report:
            return {}
        report = self.study.report
        judged = [part for part in (*report["models"], *report.get("series", ())) if part["label"] == model]
        return {verdict["claim"]: verdict for part in judged for verdict in part["verdicts"]}


def open_side(
    text: str, *, workdir: Path | None = None, tracking_uri: str | None = None, artifact_root: str | None = None
) -> Side:
    """What a text names, in its store.

    workdir: of the store, default as of every verb. tracking_uri: default that of the file, else the store in the
    working folder. StudyError, one line, where there is no such store, study, model or invocation.
    """
    named = parse(text)
    found = named_study(
        *file_or_name(named.study), workdir=workdir, tracking_uri=tracking_uri, artifact_root=artifact_root
    )
    reader = found.reader
    study = load_from(reader, found.name)
    if named.number is None:
        side = Side(named, study, reader, reader.recorded_runs(study.name), {})
    else:
        side = Side(named, study, reader, *reader.earlier_runs(study.name, named.number))
    known = side._replace(named=named._replace(model="")).models
    if named.model and named.model not in known:
        raise StudyError(f"{study.name} has no model {named.model!r}{did_you_mean(named.model, known)}")
    return side
