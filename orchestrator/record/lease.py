"""One driver a study: who runs it now, and when that claim has lapsed.

A lease is a tag on the study's experiment, so drivers on all machines of a store see it. A driver on this machine is
asked for by its process; of one elsewhere the lease lapses when it has not been renewed for a while. Two that claim at
once both look again a moment later, and only the one whose claim stands goes on. Knows nothing of runs and steps.
"""

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from orchestrator.record.mlflow_store import RecordError, Store, Unreachable

TAG = "halfwave.lease"
RENEW_SECONDS = 30.0
LAPSE_SECONDS = 600.0
"""A driver on another machine that is silent for so long is gone. A review of minutes keeps one silent."""
SETTLE_SECONDS = 0.3
"""Between a claim and the look whether it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One driver's claim, as the tag holds it."""

    machine: str
    """Its boot and its process namespace: where the process number means something."""
    host: str
    pid: int
    born: float
    """When the process started, seconds since 1970: numbers are used again."""
    renewed: float
    """Seconds since 1970."""

    @property
    def driver(self) -> tuple[str, int, float]:
        """A process, for good."""
        return self.machine, self.pid, self.born

    def stands(self, now: float) -> bool:
        """Whether its driver is still there, as far as one can tell."""
        if self.machine != _machine():
            return now - self.renewed < LAPSE_SECONDS
        try:
            return abs(psutil.Process(self.pid).create_time() - self.born) < 1.0
        except psutil.NoSuchProcess:
            return False


def is_held(store: Store, experiment: str) -> bool:
    """Whether some driver, as far as one can tell, runs the experiment's study now."""
    claim = _found(store, experiment)
    return claim is not None and claim.stands(time.time())


class Lease:
    """This driver's lease on one experiment, from `take` to `give_up`."""

    def __init__(self, store: Store, experiment: str, study: str):
        self._store, self._experiment, self._study = store, experiment, study
        self._renewed = 0.0
        self.lost = False
        """Whether another driver has taken the study over."""

    def take(self) -> None:
        """Raises RecordError, naming the driver that runs the study."""
        self._refuse(self._found())
        self._write()
        time.sleep(SETTLE_SECONDS)
        self._refuse(self._found())

    def renew(self) -> None:
        """Say that this driver is still there, now and then. RecordError where another one has taken the study over."""
        if time.monotonic() - self._renewed < RENEW_SECONDS:
            return
        self._renewed = time.monotonic()
        try:
            self._refuse(self._found())
            self._write()
        except Unreachable:
            return  # the lease may lapse; whoever takes it then is seen at the next try
        except RecordError:
            self.lost = True
            raise

    def give_up(self) -> None:
        """Let the next driver start at once."""
        try:
            if (claim := self._found()) is not None and claim.driver == _claim().driver:
                self._store.ask("set_experiment_tag", self._experiment, TAG, "")
        except Unreachable:
            return  # this process ends, or the lease lapses

    def _found(self) -> Claim | None:
        return _found(self._store, self._experiment)

    def _refuse(self, claim: Claim | None) -> None:
        now = time.time()
        if claim is None or claim.driver == _claim().driver or not claim.stands(now):
            return
        raise RecordError(
            f"study {self._study!r} is being run by process {claim.pid} on {claim.host} (last seen "
            f"{max(0.0, now - claim.renewed):.0f} s ago); wait for it or stop it: one driver runs a study at a time"
        )

    def _write(self) -> None:
        self._store.ask("set_experiment_tag", self._experiment, TAG, json.dumps(asdict(_claim())))
        self._renewed = time.monotonic()


def _found(store: Store, experiment: str) -> Claim | None:
    try:
        return Claim(**json.loads(store.ask("get_experiment", experiment).tags.get(TAG, "")))
    except (ValueError, TypeError):
        return None


def _claim() -> Claim:
    """This process's, now."""
    process = psutil.Process()
    born = process.create_time()
    return Claim(machine=_machine(), host=platform.node(), pid=process.pid, born=born, renewed=time.time())


def _machine() -> str:
    """Equal for processes that see each other by number."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # no Linux: the host's name is the best there is
        return platform.node()
