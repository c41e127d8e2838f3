"""A step kind added from outside the product, in a study over a tiny model: real Ray, MLflow and actors."""

import pytest

from orchestrator.execution import pool
from orchestrator.planning import plan as planning
from orchestrator.steps.step import Role, State
from orchestrator.study import Study
from tests import oracles
from tests.integration import made_up
from tests.toys.step_kind import KIND, TABLE

pytestmark = pytest.mark.usefixtures("no_process_outlives_its_driver")

STUDY = """\
study: counted
models: [{{path: {root}/llama}}]
profile: {{corpus: {root}/text.txt, tokens: 640, window: 64, bins: 64, calibration_windows: 2}}
conditions:
  treated: {{select: top, fraction: 0.1, clamp: negative}}
evaluate: [{{pairs: {root}/pairs.jsonl}}]
"""


@pytest.mark.long
def test_a_study_with_an_added_kind(tmp_path, monkeypatch):
    oracles.make_model(tmp_path / "llama", "llama")
    made_up.write_text_and_pairs(tmp_path, made_up.phrases(), num_pairs=6)
    monkeypatch.setattr(planning, "MODEL_STEPS", (*planning.MODEL_STEPS, KIND))
    monkeypatch.setitem(pool.ACTOR_CLASSES, Role.SCORE, "tests.toys.step_kind:CountingActor")
    study_file = made_up.write_study(tmp_path, "counted.yaml", STUDY)
    study = Study.open(study_file, workdir=tmp_path / "work")
    result = study.run()
    assert set(result.states.values()) == {State.DONE}, result.reasons
    record = study.record()
    counted = record.latest("counted")["llama", "", "token_counts"]
    counts = record.frame(counted, TABLE).set_index("token")["count"]
    assert counts.sum() == 640 and counted.metrics == {"token_counts/distinct": float((counts > 0).sum())}
    assert Study.open(study_file, workdir=tmp_path / "work").run().computed == 0
