"""A run key and an entry with every field set, for the golden tests of what is persisted."""

from orchestrator.record.entry import Entry
from orchestrator.record.keys import RunKey

STUDY_KEY = RunKey(
    kind="study", name="dissociation", params={"study": "dissociation"}, tags={"environment.torch": "2.13.0"}
)
KEY = RunKey(
    kind="condition",
    model="tiny",
    name="wasserstein · tiny",
    condition="wasserstein",
    identity="aa11",
    params={"model": "tiny", "fraction": "0.01"},
    tags={"model.note": "é"},
)
SHA256 = "ab" * 32
ENTRY = Entry(
    study="dissociation",
    key=KEY,
    step_id="9be1",
    step_name="evaluate.blimp",
    metrics={"blimp/accuracy": 0.8125, "n": 3.0},
    series={"cost": [(4, 0.5), (30, 0.25)]},
    tags={"route": "tree"},
    digests={"items/blimp.parquet": SHA256},
    written_ns=1_700_000_000_123_456_789,
    adopted_from="run7",
)
