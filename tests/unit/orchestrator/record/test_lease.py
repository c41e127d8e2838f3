"""One driver a study: refused while another one stands, taken over when it is gone, given up in order."""

import json
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from orchestrator.record import lease as module
from orchestrator.record.lease import LAPSE_SECONDS, TAG, Claim, Lease
from orchestrator.record.mlflow_store import RecordError, Unreachable


class OneTag:
    """A store that holds the tags of one experiment; `meanwhile` is called before every answer."""

    def __init__(self):
        self.tags, self.meanwhile = {}, lambda: None

    def ask(self, name, experiment, *pair):
        self.meanwhile()
        if name == "get_experiment":
            return SimpleNamespace(tags=dict(self.tags))
        assert name == "set_experiment_tag"
        self.tags.update([pair])

    def hold(self, claim):
        self.tags[TAG] = json.dumps(asdict(claim))


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.0)
    return OneTag()


@pytest.fixture
def lease(store):
    return Lease(store, "1", "tiny")


def elsewhere(seconds_ago=0.0) -> Claim:
    return Claim(machine="another", host="node7", pid=11, born=1.0, renewed=time.time() - seconds_ago)


def here(pid, born) -> Claim:
    return replace(module._claim(), pid=pid, born=born)


def test_it_is_taken_where_nobody_holds_it_and_given_up_for_the_next(store, lease):
    lease.take()
    assert Claim(**json.loads(store.tags[TAG])).driver == module._claim().driver
    Lease(store, "1", "tiny").take()  # the same process, after an error in a notebook
    lease.give_up()
    assert store.tags[TAG] == ""


def test_a_driver_elsewhere_keeps_others_out_until_it_has_been_silent_for_long(store, lease):
    store.hold(elsewhere(seconds_ago=LAPSE_SECONDS - 60))
    with pytest.raises(RecordError, match=r"'tiny' is being run by process 11 on node7 \(last seen 5\d\d s ago\)"):
        lease.take()
    store.hold(elsewhere(seconds_ago=LAPSE_SECONDS + 1))
    lease.take()


def test_a_driver_of_this_machine_is_gone_with_its_process(store, lease):
    import os

    import psutil

    parent = psutil.Process(os.getppid())
    store.hold(here(parent.pid, parent.create_time()))
    with pytest.raises(RecordError, match=f"process {parent.pid}"):
        lease.take()
    store.hold(here(parent.pid, parent.create_time() - 100))  # the number is used again
    lease.take()
    store.hold(here(2**22 + 1, 1.0))
    lease.take()


def test_of_two_that_claim_at_once_the_one_whose_claim_stands_goes_on(store, lease):
    asked = []

    def other_claims_too():
        asked.append(None)
        if len(asked) == 3:  # after our look and our claim
            store.hold(elsewhere())

    store.meanwhile = other_claims_too
    with pytest.raises(RecordError, match="node7"):
        lease.take()


def test_a_driver_that_was_taken_over_finds_out_and_gives_nothing_up(store, lease, monkeypatch):
    lease.take()
    store.hold(elsewhere())
    lease.renew()  # too early to ask
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.0)
    with pytest.raises(RecordError, match="node7"):
        lease.renew()
    assert lease.lost
    lease.give_up()
    assert json.loads(store.tags[TAG])["host"] == "node7"


def test_a_store_that_does_not_answer_costs_no_study(store, lease, monkeypatch):
    lease.take()
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.0)

    def silent():
        raise Unreachable("no answer")

    store.meanwhile = silent
    lease.renew()
    lease.give_up()
    assert not lease.lost


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"host": "a"}'])
def test_a_tag_that_is_no_claim_holds_nobody_up(store, lease, text):
    store.tags[TAG] = text
    lease.take()
