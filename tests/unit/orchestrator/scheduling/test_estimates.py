"""What a model's actors get, and what models and steps are thought to take."""

from dataclasses import replace

import pytest

from orchestrator.planning.models import Checkpoint
from orchestrator.scheduling.estimates import Rates, cluster_of, costs, demands, flops, memory_need, tensor_parallel
from orchestrator.scheduling.placement import Demand, Node
from orchestrator.scheduling.ready_queues import ActorKind
from orchestrator.steps.step import Role
from orchestrator.study_file.models import ModelSpec
from tests.unit.orchestrator.planning.test_plan import model, plan, training

GIB = 2**30


def large(label="a", *, parameters=8 * 10**9, **spec):
    return replace(model(label, **spec), num_parameters=parameters)


def demanded(models, *nodes, role=Role.ABLATION):
    found = demands(models, nodes)
    return [found[ActorKind(one.label, role)] for one in models]


@pytest.mark.parametrize(
    ("models", "node", "expected"),
    [
        ([{}], Node("n", 8), [Demand(8, 0)]),
        ([{}, {}], Node("n", 8), [Demand(4, 0), Demand(4, 0)]),
        ([{}, {}, {}], Node("n", 2), [Demand(1, 0)] * 3),
        ([{"tensor_parallel": 2}, {}], Node("n", 2), [Demand(2, 0), Demand(1, 0)]),
        ([{"cpus": 3}], Node("n", 8), [Demand(3, 0)]),
        ([{}], Node("n", 16, 1), [Demand(1, 1)]),
        ([{"tensor_parallel": 4}], Node("n", 16, 8), [Demand(4, 4)]),
        ([{"gpus": 4}], Node("n", 16, 8), [Demand(4, 4)]),
        ([{"gpus": 0.5}, {"gpus": 0.5}], Node("n", 16, 1), [Demand(1, 0.5)] * 2),
        ([{"gpus": 0}, {}], Node("n", 16, 2), [Demand(8, 0), Demand(1, 1)]),
        ([{"labels": {"b": "2", "a": "1"}}], Node("n", 4), [Demand(4, 0, (("a", "1"), ("b", "2")))]),
    ],
)
def test_the_file_decides_then_the_rule(models, node, expected):
    assert demanded([model(f"m{i}", **parts) for i, parts in enumerate(models)], node) == expected


def test_cpus_are_shared_over_all_nodes_but_an_actor_lies_on_one():
    models = [model("a"), model("b")]
    assert demanded(models, *(Node(f"n{i}", 2) for i in range(4))) == [Demand(2, 0)] * 2


def test_a_corpus_in_shards_has_several_score_actors():
    def both(node, **spec):
        models = [model("a", shards=2, **spec)]
        return demanded(models, node, role=Role.SCORE) + demanded(models, node)

    assert both(Node("n", 8)) == [Demand(4, 0, copies=2), Demand(8, 0)], "the cores of one are shared"
    assert both(Node("n", 8), cpus=3) == [Demand(3, 0, copies=2), Demand(3, 0)]
    assert both(Node("n", 8, 4), tensor_parallel=2) == [Demand(2, 2, copies=2), Demand(2, 2)]
    assert both(Node("n", 1)) == [Demand(1, 0, copies=2), Demand(1, 0)], "which this node does not have"


def test_the_checkpoints_of_a_series_share_a_machine_in_turn():
    assert set(demands(training().study.models, [Node("n", 4)]).values()) == {Demand(4.0, 0.0)}


def test_a_model_is_cut_over_the_fewest_gpus_that_hold_it():
    need = memory_need(large(), on_gpu=True)
    assert 35 * GIB < need < 40 * GIB

    def ranks(gib, **spec):
        return tensor_parallel(large(**spec), [Node("n", 16, 8, gpu_bytes=gib * GIB)])

    assert [ranks(gib) for gib in (80, 40, 24, 16)] == [1, 2, 2, 4]
    assert ranks(0) == 1, "nobody knows how large they are"
    assert ranks(16, gpus=2) == 2 and ranks(16, tensor_parallel=8) == 8 and ranks(16, gpus=0.5) == 1
    assert ranks(40, labels={"kind": "other"}) == 1, "those GPUs are not for it"
    assert demanded([large()], Node("n", 16, 8, gpu_bytes=24 * GIB)) == [Demand(2, 2)]
    odd = replace(large(), architecture=replace(large().architecture, d_mlp=63))
    assert tensor_parallel(odd, [Node("n", 16, 8, gpu_bytes=24 * GIB)]) == 1, "its neurons do not divide by two"


def test_small_models_share_a_gpu_only_where_there_are_more_models_than_gpus():
    node = Node("n", 16, 2, gpu_bytes=80 * GIB)
    small = [large(f"m{i}", parameters=10**9) for i in range(3)]
    assert demanded(small[:2], node) == [Demand(1, 1)] * 2
    assert demanded(small, node) == [Demand(1, 0.25)] * 3
    assert demanded([*small, large("b", parameters=5 * 10**9)], node)[-1] == Demand(1, 0.5)
    assert demanded([*small, large("b")], node)[-1] == Demand(1, 1)
    assert demanded([*small[:2], large("m2", gpus=1)], node)[-1] == Demand(1, 1), "the file decides"


def test_a_score_actor_lies_on_one_node():
    nodes = [Node(f"n{i}", 16, 4) for i in range(2)]
    assert demanded([model(tensor_parallel=8)], *nodes) == [Demand(8, 8)]
    assert demanded([model(tensor_parallel=8)], *nodes, role=Role.SCORE) == [Demand(8, 4)]


def test_a_cluster_that_has_yet_to_grow_is_one_of_gpus():
    assert demanded([model()], Node("head", 0)) == [Demand(1, 1)]


def test_estimates_grow_with_work_and_width():
    assert flops(model(), 10.0) == 2 * 1000 * 10
    one = large(parameters=10**9)
    half = replace(one, spec=ModelSpec(name="a", dtype="bfloat16"))
    gpu, cpu = ({"on_gpu": where} for where in (True, False))
    assert memory_need(one, **gpu) - memory_need(half, **gpu) == pytest.approx(1.2 * 2 * 10**9)
    checkpoints = [replace(each, checkpoint=Checkpoint("m", 0, "m@step0", None)) for each in (one, half)]
    assert memory_need(checkpoints[0], **gpu) == memory_need(one, **gpu)
    more, less = (memory_need(each, **cpu) for each in checkpoints)
    assert more - less == pytest.approx(2.2 * 2 * 10**9), "a second copy beside the first"


def test_seconds_follow_from_work_rate_and_devices():
    rates = Rates(gpu={"float32": 1e3}, cpu=10.0, loading=100.0, start=5.0, step=2.0)
    found = plan()
    for node, rate in ((Node("n", 4), 40.0), (Node("n", 4, 1), 1e3)):
        cluster = cluster_of(found, [node], rates)
        assert cluster.opening == {"a": 5.0 + 4 * 1000 / 100} and cluster.series == {}
        seconds = costs(found, cluster, rates)
        for step in found.steps.values():
            if step.role is Role.DRIVER:
                assert step.id not in seconds
            else:
                assert seconds[step.id] == pytest.approx(2.0 + 2000 * step.work / rate)
