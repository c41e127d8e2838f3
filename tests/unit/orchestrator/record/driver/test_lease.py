"""At most one driver a study: others are refused while it is alive, and take over when it is gone or has released."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.driver import lease as module
from orchestrator.record.driver.lease import (
    LAPSE_SECONDS,
    TAG,
    Claim,
    Lease,
    decode_claim,
    encode_claim,
    is_held,
    own_claim,
)

CLAIM = Claim(machine="boot 17", host="node7", pid=11, started=1.5, renewed=1_700_000_000.25)
TEXT = '{"machine": "boot 17", "host": "node7", "pid": 11, "born": 1.5, "renewed": 1700000000.25}'
"""As version 0.1.0 wrote it. It must not change: drivers of several versions share a store."""
WHOLE = f'{TEXT[:-1]}, "hardware": "9f1e node7", "store": "17"}}'
"""As it is written since a copied store and a restarted machine are recognised."""
REFUSAL = (
    r"study 'tiny' is being run by process {pid} on {host} \(last seen {seconds} s ago\); "
    "wait for it or stop it: one driver runs a study at a time; if it is gone for good, run with --takeover"
)


class OneTag:
    """Stands for the store: the tags of one experiment. `meanwhile` is called before every answer."""

    identity = "17"

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.meanwhile: Callable[[], None] = lambda: None

    def call(self, name: str, experiment: str, *pair: str) -> Any:
        self.meanwhile()
        if name == "get_experiment":
            return SimpleNamespace(tags=dict(self.tags))
        assert name == "set_experiment_tag"
        self.tags.update([pair])
        return None

    def hold(self, claim: Claim) -> None:
        self.tags[TAG] = encode_claim(claim)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> OneTag:
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.0)
    return OneTag()


@pytest.fixture
def lease(store: OneTag) -> Lease:
    return Lease(store, "1", "tiny")


def elsewhere(seconds_ago: float = 0.0) -> Claim:
    return Claim(machine="another", host="node7", pid=11, started=1.0, renewed=time.time() - seconds_ago)


def here(pid: int, started: float) -> Claim:
    return replace(own_claim(), pid=pid, started=started)


def test_the_tag_is_written_as_ever() -> None:
    assert encode_claim(CLAIM) == TEXT
    assert encode_claim(replace(CLAIM, hardware="9f1e node7", store="17")) == WHOLE


def test_an_earlier_tag_is_read() -> None:
    assert decode_claim(TEXT) == CLAIM
    assert decode_claim(WHOLE) == replace(CLAIM, hardware="9f1e node7", store="17")
    assert decode_claim(json.dumps(json.loads(TEXT) | {"added_later": 1})) == CLAIM


def test_a_free_study_is_leased_and_released_for_the_next_driver(store: OneTag, lease: Lease) -> None:
    lease.acquire()
    assert decode_claim(store.tags[TAG]).process == own_claim().process and is_held(store, "1")
    Lease(store, "1", "tiny").acquire()  # the same process, after an error in a notebook
    lease.release()
    assert store.tags[TAG] == "" and not is_held(store, "1")


def test_a_driver_elsewhere_keeps_others_out_until_its_lease_lapses(store: OneTag, lease: Lease) -> None:
    store.hold(elsewhere(seconds_ago=LAPSE_SECONDS - 60))
    with pytest.raises(RecordError) as caught:
        lease.acquire()
    assert re.fullmatch(REFUSAL.format(pid=11, host="node7", seconds=r"5\d\d"), str(caught.value))
    assert is_held(store, "1")
    store.hold(elsewhere(seconds_ago=LAPSE_SECONDS + 1))
    assert not is_held(store, "1")
    lease.acquire()
    assert decode_claim(store.tags[TAG]).process == own_claim().process


def test_a_driver_of_this_machine_is_gone_with_its_process(store: OneTag, lease: Lease) -> None:
    parent = psutil.Process(os.getppid())
    store.hold(here(parent.pid, parent.create_time()))
    with pytest.raises(RecordError, match=str(parent.pid)):
        lease.acquire()
    for gone in (here(parent.pid, parent.create_time() - 100), here(2**22 + 1, 1.0)):  # its number is used again; none
        store.hold(gone)
        lease.acquire()
        assert decode_claim(store.tags[TAG]).process == own_claim().process


def test_a_dead_process_that_nobody_has_waited_for_is_gone(store: OneTag, lease: Lease) -> None:
    with subprocess.Popen(["true"]) as child:
        started = psutil.Process(child.pid).create_time()
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        store.hold(here(child.pid, started))
        lease.acquire()


def test_a_claim_that_was_copied_along_with_its_store_keeps_nobody_out(store: OneTag, lease: Lease) -> None:
    parent = psutil.Process(os.getppid())
    for claim in (here(parent.pid, parent.create_time()), elsewhere()):
        store.hold(replace(claim, store="16"))
        assert not is_held(store, "1")
        lease.acquire()
        store.hold(replace(claim, store="17"))
        assert is_held(store, "1")


def test_a_claim_from_before_this_machine_was_started_again_keeps_nobody_out(store: OneTag, lease: Lease) -> None:
    ours = own_claim()
    store.hold(replace(ours, machine="another-boot 4026531836", renewed=time.time()))
    assert ours.hardware and not is_held(store, "1")
    lease.acquire()
    store.hold(replace(ours, machine="another-boot 4026531836", hardware="9f1e node8", renewed=time.time()))
    assert is_held(store, "1")


@pytest.mark.parametrize(("seconds_ahead", "held"), [(LAPSE_SECONDS - 60, True), (LAPSE_SECONDS + 60, False)])
def test_a_clock_that_is_ahead_keeps_others_out_no_longer_than_a_right_one(
    store: OneTag, lease: Lease, seconds_ahead: float, held: bool
) -> None:
    store.hold(elsewhere(seconds_ago=-seconds_ahead))
    assert is_held(store, "1") is held


def test_a_lease_is_taken_over_by_hand_and_its_driver_finds_out(
    store: OneTag, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.hold(elsewhere())
    lease.acquire(takeover=True)
    assert decode_claim(store.tags[TAG]).process == own_claim().process
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.0)
    lease.renew()


def test_of_two_drivers_that_claim_at_once_one_goes_on(store: OneTag, lease: Lease) -> None:
    num_calls = 0

    def other_claims_too() -> None:
        nonlocal num_calls
        num_calls += 1
        if num_calls == 3:  # after our first look and our claim
            store.hold(elsewhere())

    store.meanwhile = other_claims_too
    with pytest.raises(RecordError, match="node7"):
        lease.acquire()


def test_a_driver_whose_lease_was_taken_over_finds_out_and_releases_nothing(
    store: OneTag, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease.acquire()
    store.hold(elsewhere())
    lease.renew()  # too early to ask
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.0)
    with pytest.raises(RecordError, match="node7"):
        lease.renew()
    assert lease.lost
    lease.release()
    assert decode_claim(store.tags[TAG]).host == "node7"


def test_a_store_that_does_not_answer_costs_no_lease(
    store: OneTag, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease.acquire()
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.0)

    def silent() -> None:
        raise Unreachable("no answer")

    store.meanwhile = silent
    lease.renew()
    lease.release()
    assert not lease.lost


ODD = ["", "no JSON", "[]", "1", "null", '"text"', '{"host": "a"}', "[" * 100_000]
ODD_PIDS = ['"x"', "-1", "0", "1e400", "NaN", "4294967296", "1" * 30, "[]", "null"]


@pytest.mark.parametrize(
    "text",
    [*ODD, *(TEXT.replace("11", pid) for pid in ODD_PIDS), *(TEXT.replace("1.5", born) for born in ("NaN", "1e400"))],
    ids=lambda text: text[:99],
)
def test_a_tag_that_is_no_claim_keeps_nobody_out(store: OneTag, lease: Lease, text: str) -> None:
    store.tags[TAG] = text
    assert decode_claim(text) is None and not is_held(store, "1")
    lease.acquire()
    assert decode_claim(store.tags[TAG]).process == own_claim().process
