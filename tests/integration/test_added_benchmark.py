"""A benchmark added from outside the product, in a study over a tiny model: real Ray, MLflow and actors."""

import pytest

from orchestrator.steps.step import BASELINE, State
from orchestrator.study import Study
from studies.benchmarks.registry import BENCHMARKS
from tests import oracles
from tests.integration import made_up
from tests.toys.benchmark import EchoOptions

pytestmark = pytest.mark.usefixtures("no_process_outlives_its_driver")

STUDY = """\
study: echoed
models: [{{path: {root}/llama}}]
profile: {{corpus: {root}/text.txt, tokens: 640, window: 64, bins: 64, calibration_windows: 2}}
conditions:
  treated: {{select: top, fraction: 0.5, clamp: negative}}
evaluate: [echo: {{initials: 4, per_initial: 6}}]
"""


@pytest.mark.long
def test_a_study_with_an_added_benchmark(tmp_path, monkeypatch):
    oracles.make_model(tmp_path / "llama", "llama")
    made_up.write_text_and_pairs(tmp_path, made_up.phrases(), num_pairs=6)
    monkeypatch.setitem(BENCHMARKS, "echo", EchoOptions)
    study_file = made_up.write_study(tmp_path, "echoed.yaml", STUDY)
    study = Study.open(study_file, workdir=tmp_path / "work")
    result = study.run()
    assert set(result.states.values()) == {State.DONE}, result.reasons
    record = study.record()
    margins = {}
    for condition in (BASELINE, "treated"):
        scored = record.latest("echoed")["llama", condition, "evaluate.echo"]
        items = record.frame(scored, "items/echo.parquet")
        assert items.groupby(["initial", "distance"]).size().tolist() == [3] * 8
        margins[condition] = scored.metrics["echo/margin"]
        assert margins[condition] == pytest.approx(items["margin"].mean())
    (part,) = result.report["models"]
    cells = {row["condition"]: row["cells"]["echo"]["estimate"] for row in part["rows"]}
    assert cells == pytest.approx(margins) and margins[BASELINE] != margins["treated"]
    assert part["noise_floor"]["echo"]["num_items"] == 24
    assert Study.open(study_file, workdir=tmp_path / "work").run().computed == 0
