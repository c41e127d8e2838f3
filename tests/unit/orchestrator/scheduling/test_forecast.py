"""The notation for clusters, and the summary of a simulated study with its JSON keys."""

import json

import pytest

from orchestrator.scheduling.estimates import RATES
from orchestrator.scheduling.forecast import Fit, Forecast, forecast, parse_nodes
from orchestrator.scheduling.placement import Node
from studies.errors import StudyError
from tests.plans import model, plan


def test_a_cluster_is_written_as_nodes_gpus_and_their_memory() -> None:
    assert parse_nodes("2x8@40") == [Node(name, 128.0, 8, gpu_bytes=40 * 2**30) for name in ("0", "1")]
    assert parse_nodes("1x4") == [Node("0", 64.0, 4, gpu_bytes=80 * 2**30)]


@pytest.mark.parametrize("text", ["", "4", "0x8", "4x0", "4x8@", "4x8@0", "x8", "4 x 8"])
def test_anything_else_is_no_cluster(text: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_nodes(text)
    expected = f"--on: {text!r} is not a cluster; write NODESxGPUS or NODESxGPUS@GIB, as in 4x8 or 4x8@80"
    assert str(caught.value) == expected


def test_the_keys_of_plan_json() -> None:
    fit = Fit("m", "float32", "1 GPUs, 1 CPUs", 2 * 2**30, 2**30, "", 1, 0.0, 7200.0, 2.0)
    assert json.dumps(Forecast("4x8", "GPU", (fit,), 7200.0, 3600.0).as_json()) == (
        '{"where": "4x8", "device": "GPU", "models": [{"model": "m", "dtype": "float32", "takes": "1 GPUs, 1 CPUs", '
        '"need": 2147483648, '
        '"available": 1073741824, "lacking": "", "actors": 1, "begins": 0.0, "ends": 7200.0, "device_hours": 2.0, '
        '"fits": false}], "makespan": 7200.0, "bound": 3600.0, "device_hours": 2.0}'
    )


def test_a_forecast_sums_up_the_simulation_by_model() -> None:
    study_plan = plan(models=[model("a", digest="a"), model("b", digest="b", labels={"kind": "x"})])
    foreseen = forecast(study_plan, [], parse_nodes("1x1"), RATES, where="1x1")
    mine, other = foreseen.models
    assert (foreseen.where, foreseen.device, mine.model, other.model) == ("1x1", "GPU", "a", "b")
    assert mine.fits and not other.fits and other.lacking == "1 GPUs, 1 CPUs, kind: x"
    assert mine.actors == 2 and other.actors == 0, "one is prewarmed while the other scores"
    assert 0.0 == mine.begins < mine.ends <= foreseen.makespan and other.device_hours == 0.0
    assert foreseen.device_hours == mine.device_hours <= foreseen.makespan / 3600 + 1e-9


def test_recorded_steps_take_no_time() -> None:
    study_plan = plan()
    nodes = parse_nodes("1x1")
    done = forecast(study_plan, study_plan.steps, nodes, RATES, where="1x1")
    assert done.makespan == 0.0 == done.device_hours and done.models[0].fits
