"""Keeps MLflow's pages of one study up to date: the pages of its runs, the note on its experiment, its machines' load.

Owns when they are written: as changes that wait while the store is away, after the results that they are made from, and
only where they differ from what is there. They hold nothing that is not recorded elsewhere, so a page that MLflow
refuses costs a warning, and samples that wait too long are dropped. Refuses to know what a page says.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.keys import RunKey
from orchestrator.record.limits import MAX_TAG, check_key, check_metrics, check_texts
from orchestrator.record.mlflow_store import Store
from orchestrator.record.pages.links import CONDITIONS, artifacts_address, run_address, view_address
from orchestrator.record.pages.run_page import RunPage
from orchestrator.record.runs import Runs
from orchestrator.record.sender import Sender
from orchestrator.record.tags import NOTE
from orchestrator.redaction import redacted
from studies.errors import one_line

log = logging.getLogger(__name__)

MAX_NOTE = 19_000
"""Characters of the note on an experiment; MLflow takes 20,000 (MAX_EXPERIMENT_TAG_VAL_LENGTH)."""
MAX_SAMPLES = 1000
"""Samples that wait for a store that is away."""


class Pages:
    """The pages of the study that is open."""

    def __init__(self, store: Store, runs: Runs, sender: Sender) -> None:
        self._store, self._runs, self._sender = store, runs, sender
        self._study = self._experiment = ""
        self._samples: list[tuple[int, Mapping[str, float]]] = []

    def open(self, study: str, experiment: str) -> None:
        """From here on the pages are those of this study. experiment: its id."""
        self._study, self._experiment = study, experiment

    def show(self, key: RunKey, page: RunPage) -> None:
        """Bring the page of a run up to date, once MLflow has the run. ValueError for what MLflow would refuse or
        cut."""
        key = check_key(key)
        note = None if page.note is None else check_texts("tag", {NOTE: redacted(page.note)}, MAX_TAG)[NOTE]
        tags, metrics = check_texts("tag", redacted(dict(page.tags)), MAX_TAG), check_metrics(page.metrics)
        page = replace(page, note=note, tags=tags, metrics=metrics)
        self._change(("page", key.slot_and_identity), partial(self._runs.show, key, page))

    def describe(self, text: str) -> None:
        """Set the note on the experiment (Markdown). ValueError if it is too long."""
        tags = check_texts("tag", {NOTE: redacted(text)}, MAX_NOTE)
        self._change("description", partial(self._describe, self._study, self._experiment, tags))

    def _describe(self, study: str, experiment: str, tags: Mapping[str, str]) -> None:
        self._store.tag_experiment(experiment, tags, self._store.experiment(study).tags)

    def sample(self, metrics: Mapping[str, float]) -> None:
        """Log what a machine of the study is busy with now, on the parent run."""
        self._samples = [*self._samples, (int(time.time()), check_metrics(metrics))][-MAX_SAMPLES:]
        self._change("samples", self._log_samples)

    def _log_samples(self) -> None:
        samples = self._samples
        self._store.log_samples(self._runs.parent.run_id, samples)
        self._samples = self._samples[len(samples) :]

    def _change(self, target: object, apply: Callable[[], object]) -> None:
        self._sender.change(target, _unless_refused(apply))
        self._sender.send()

    # ---- addresses

    def view_address(self, view: str = CONDITIONS) -> str:
        """The hash address of this study's table of runs, in a saved view; valid under whatever address MLflow has."""
        return view_address(self._experiment, view)

    def run_address(self, key: RunKey, artifact: str = "") -> str:
        """The hash address of a run's page, or of an artifact of it; empty while MLflow does not have the run."""
        run = self._runs.find(key)
        if run is None:
            return ""
        if artifact:
            return artifacts_address(self._experiment, run.run_id, artifact)
        return run_address(self._experiment, run.run_id)


def _unless_refused(apply: Callable[[], object]) -> Callable[[], None]:
    """A change whose refusal is logged. Raises Unreachable, so that it is tried again."""

    def applied() -> None:
        try:
            apply()
        except Unreachable:
            raise
        except RecordError as error:
            log.warning("a page of MLflow is not up to date: %s", one_line(error))

    return applied
