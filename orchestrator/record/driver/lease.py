"""The lease on a study: at most one driver runs it at a time, on whatever machine.

A lease is a tag on the study's experiment, so every driver of the store sees it. A driver on this machine is alive if
its process is; the lease of a driver elsewhere lapses when it has not been renewed for LAPSE_SECONDS. A claim of this
machine from before it was started again holds nothing, nor does one that was copied along with a store. Two drivers
that claim a study at once both look again a moment later, and only the one whose claim is in the tag goes on.
Knows nothing of runs and steps.
"""

import json
import math
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.mlflow_store import Store
from orchestrator.record.ownership import is_running, machine

TAG = "halfwave.lease"
RENEW_SECONDS = 30.0
LAPSE_SECONDS = 600.0
"""Silence after which a driver on another machine counts as gone. A review keeps a driver silent for minutes."""
SETTLE_SECONDS = 0.3
"""Pause between writing a claim and checking that it is still in the tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One driver's claim."""

    machine: str
    """Boot and process namespace, within which a process id is unique."""
    host: str
    pid: int
    started: float
    """When the process started, seconds since 1970: process ids are reused."""
    renewed: float
    """Seconds since 1970."""
    hardware: str = ""
    """The machine, whenever it was started; empty where it is unknown, as in claims of earlier versions."""
    store: str = ""
    """The file of a local store; empty for another one, and in claims of earlier versions."""

    @property
    def process(self) -> tuple[str, int, float]:
        """Identifies the driver's process for good."""
        return self.machine, self.pid, self.started

    def is_alive(self, now: float, store: str) -> bool:
        """Whether its driver still runs on this store, as far as this machine can tell.

        `now`: seconds since 1970. `store`: `Store.identity`."""
        if self.store and store and self.store != store:  # copied along with the store
            return False
        if self.machine == machine():
            return is_running(self.pid, self.started)
        if self.hardware and self.hardware == _hardware() and _boot(self.machine) != _boot(machine()):
            return False
        return abs(now - self.renewed) < LAPSE_SECONDS  # a time far ahead is a wrong clock's


def encode_claim(claim: Claim) -> str:
    """The claim as the tag holds it."""
    return json.dumps(
        {
            "machine": claim.machine,
            "host": claim.host,
            "pid": claim.pid,
            "born": claim.started,
            "renewed": claim.renewed,
            **{name: value for name, value in (("hardware", claim.hardware), ("store", claim.store)) if value},
        }
    )


def decode_claim(text: str) -> Claim | None:
    """The claim in a tag; None for anything else, such as the empty text that a released lease leaves."""
    try:
        content = json.loads(text)
        claim = Claim(
            machine=str(content["machine"]),
            host=str(content["host"]),
            pid=int(content["pid"]),
            started=float(content["born"]),
            renewed=float(content["renewed"]),
            hardware=str(content.get("hardware", "")),
            store=str(content.get("store", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return claim if 0 < claim.pid < 2**31 and math.isfinite(claim.started + claim.renewed) else None


class Holder(NamedTuple):
    """Whose claim stands on a study."""

    host: str
    renewed: float
    """Seconds since 1970."""
    is_alive: bool
    """As far as this machine can tell."""


def holder(store: Store, experiment: str) -> Holder | None:
    """The driver whose claim stands on the study of this experiment id, alive or not; None where it was released."""
    claim = _read(store, experiment)
    if claim is None or (claim.store and store.identity and claim.store != store.identity):  # copied with the store
        return None
    return Holder(claim.host, claim.renewed, claim.is_alive(time.time(), store.identity))


def is_held(store: Store, experiment: str) -> bool:
    """Whether a driver, as far as this machine can tell, runs the study of this experiment id now."""
    found = holder(store, experiment)
    return found is not None and found.is_alive


class Lease:
    """This driver's lease on one experiment, from `acquire` to `release`."""

    def __init__(self, store: Store, experiment: str, study: str) -> None:
        self._store, self._experiment, self._study = store, experiment, study
        self._renewed = 0.0
        self.lost = False
        """Whether another driver has taken the study over."""
        self.answers = True
        """Whether the store answered when it was last asked."""

    def acquire(self, *, takeover: bool = False) -> None:
        """Raises RecordError, naming the driver, if another one runs the study; `takeover` ends its lease instead, and
        it stops when it next renews it."""
        if not takeover:
            self._refuse_other_driver()
        self._write()
        time.sleep(SETTLE_SECONDS)
        self._refuse_other_driver()

    def renew(self) -> None:
        """Renew the lease, at most every RENEW_SECONDS. RecordError if another driver has taken the study over."""
        if time.monotonic() - self._renewed < RENEW_SECONDS:
            return
        self._renewed = time.monotonic()
        try:
            self._refuse_other_driver()
            self._write()
            self.answers = True
        except Unreachable:
            self.answers = False
            return  # the lease may lapse; the next renewal sees who took the study over
        except RecordError:
            self.lost = True
            raise

    def release(self) -> None:
        """Let the next driver start at once."""
        try:
            claim = _read(self._store, self._experiment)
            if claim is not None and claim.process == own_claim().process:
                self._store.call("set_experiment_tag", self._experiment, TAG, "")
        except Unreachable:
            return  # this process ends, or the lease lapses

    def _refuse_other_driver(self) -> None:
        claim, now = _read(self._store, self._experiment), time.time()
        if claim is None or claim.process == own_claim().process or not claim.is_alive(now, self._store.identity):
            return
        raise RecordError(
            f"study {self._study!r} is being run by process {claim.pid} on {claim.host} (last seen "
            f"{max(0.0, now - claim.renewed):.0f} s ago); wait for it or stop it: one driver runs a study at a time; "
            "if it is gone for good, run with --takeover"
        )

    def _write(self) -> None:
        self._store.call("set_experiment_tag", self._experiment, TAG, encode_claim(own_claim(self._store.identity)))
        self._renewed = time.monotonic()


def own_claim(store: str = "") -> Claim:
    """This process's claim on a store, renewed now."""
    process = psutil.Process()
    return Claim(
        machine=machine(),
        host=platform.node(),
        pid=process.pid,
        started=process.create_time(),
        renewed=time.time(),
        hardware=_hardware(),
        store=store,
    )


def _read(store: Store, experiment: str) -> Claim | None:
    return decode_claim(store.call("get_experiment", experiment).tags.get(TAG, ""))


def _boot(machine: str) -> str:
    return machine.partition(" ")[0]


def _hardware() -> str:
    """Equal before and after a restart of the machine, and another text in a container of another name."""
    try:
        return f"{Path('/etc/machine-id').read_text(encoding='utf-8').strip()} {platform.node()}"
    except OSError:
        return ""
