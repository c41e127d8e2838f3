"""The stored form of a snapshot: its keys, that it always fits, and that nothing else is taken for one."""

import json
from dataclasses import replace

import pytest

from orchestrator.progress.snapshot import Failure, Opening, Request, Snapshot, decode, encode
from orchestrator.record.limits import MAX_TAG
from orchestrator.steps.step import Role, State

REQUEST = Request(
    name="evaluate.blimp", model="m", conditions=("treated",), since=5.0, done=312, total=780, unit="packs",
    rate=2.5, seconds_left=99.5,
)  # fmt: skip
SNAPSHOT = Snapshot(
    status="RUNNING",
    began=1.5,
    taken=61.5,
    host="node7",
    counts={"profile": {State.CACHED: 1}, "evaluate.blimp": {State.RUNNING: 1, State.NOT_APPLICABLE: 2}},
    openings=(Opening(Role.ABLATION, "m", 4.0),),
    requests=(REQUEST,),
    failures=(Failure("match m matched", "no memory"),),
    seconds_left=None,
)
TEXT = (
    '{"version":1,"status":"RUNNING","began":1.5,"taken":61.5,"host":"node7",'
    '"steps":{"profile":{"cached":1},"evaluate.blimp":{"running":1,"not applicable":2}},"seconds_left":null,'
    '"opening":[{"role":"ablation","model":"m","since":4.0}],"running":[{"name":"evaluate.blimp","model":"m","conditions":["treated"],"conditions_left_out":0,"since":5.0,'
    '"done":312,"total":780,"unit":"packs","rate":2.5,"seconds_left":99.5}],"running_left_out":0,'
    '"failures":[{"step":"match m matched","reason":"no memory"}],"failures_left_out":0,"error":""}'
)
"""It must not change: other versions read it."""


def test_a_snapshot_is_stored_as_ever_and_read_back() -> None:
    assert encode(SNAPSHOT) == TEXT and decode(TEXT) == SNAPSHOT
    assert (SNAPSHOT.elapsed, SNAPSHOT.num_ended, SNAPSHOT.num_steps) == (60.0, 3, 4)


@pytest.mark.parametrize(
    ("num_names", "num_requests", "num_conditions", "num_failures"),
    [(4, 1, 2000, 0), (12, 256, 12, 3000), (400, 300, 40, 3000), (4, 0, 0, 3000)],
)
def test_a_large_study_fits_into_a_tag(
    num_names: int, num_requests: int, num_conditions: int, num_failures: int
) -> None:
    conditions = tuple(f"wasserstein/layers={i}-{i + 3}/seed=0" for i in range(num_conditions))
    large = replace(
        SNAPSHOT,
        counts={f"evaluate.benchmark_{i}": {state: 1000 for state in State} for i in range(num_names)},
        requests=tuple(replace(REQUEST, model=f"org/a-model-{i}", conditions=conditions) for i in range(num_requests)),
        failures=tuple(Failure(f"evaluate.b m{i}", "ä long reason, " * 200) for i in range(num_failures)),
    )
    text = encode(large)
    assert len(text) <= MAX_TAG
    found = decode(text)
    assert found is not None and (found.num_steps, found.num_ended) == (large.num_steps, large.num_ended)
    assert len(found.requests) + found.requests_left_out == num_requests
    assert len(found.failures) + found.failures_left_out == num_failures
    for request in found.requests:
        assert len(request.conditions) + request.conditions_left_out == num_conditions
    if num_requests:
        assert found.requests, "what runs is shown as far as there is room"


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "1", '"x"', "{", TEXT.replace('"version":1', '"version":2'), TEXT.replace("61.5", "Infinity"),
        TEXT.replace('"cached"', '"asleep"'), TEXT.replace('"running":[{', '"running":[1,{'), "[" * 100_000,
    ],
)  # fmt: skip
def test_anything_else_is_no_snapshot(text: str) -> None:
    assert decode(text) is None


def test_every_key_is_needed() -> None:
    for key in json.loads(TEXT):
        content = {name: value for name, value in json.loads(TEXT).items() if name != key}
        assert decode(json.dumps(content)) is None, key
