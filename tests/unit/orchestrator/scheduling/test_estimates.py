"""Estimated resources of models' actors and durations of steps."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.planning.models import Checkpoint, ResolvedModel
from orchestrator.scheduling.cluster import ActorKind
from orchestrator.scheduling.estimates import (
    Rates,
    cluster_of,
    costs,
    demands,
    flops,
    host_memory_need,
    memory_need,
    tensor_parallel,
)
from orchestrator.scheduling.placement import Demand, Node
from orchestrator.steps.step import Role
from orchestrator.study_file.models import ModelSpec
from orchestrator.study_file.spec import ProfileSpec
from tests.plans import model, plan, training

GIB = 2**30


def large(label: str = "a", *, parameters: int = 8 * 10**9, **spec: Any) -> ResolvedModel:
    """A model of 32 GB in float32; spec: fields of its entry in the study file."""
    return replace(model(label, **spec), num_parameters=parameters)


def demands_of(models: Sequence[ResolvedModel], *nodes: Node, role: Role = Role.ABLATION) -> list[Demand]:
    by_kind = demands(models, nodes, ProfileSpec())
    return [by_kind[ActorKind(each.label, role)] for each in models]


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
def test_the_file_decides_then_the_rule(models: list[dict[str, Any]], node: Node, expected: list[Demand]) -> None:
    assert demands_of([model(f"m{i}", **spec) for i, spec in enumerate(models)], node) == expected


def test_the_cpus_of_all_nodes_are_divided_but_an_actor_lies_on_one() -> None:
    models = [model("a"), model("b")]
    assert demands_of(models, *(Node(f"n{i}", 2) for i in range(4))) == [Demand(2, 0)] * 2


def test_a_corpus_in_shards_has_several_score_actors() -> None:
    def both(node: Node, **spec: Any) -> list[Demand]:
        models = [model("a", shards=2, **spec)]
        return demands_of(models, node, role=Role.SCORE) + demands_of(models, node)

    assert both(Node("n", 8)) == [Demand(4, 0, copies=2), Demand(8, 0)], "the shards divide the cores of one actor"
    assert both(Node("n", 8), cpus=3) == [Demand(3, 0, copies=2), Demand(3, 0)]
    assert both(Node("n", 8, 4), tensor_parallel=2) == [Demand(2, 2, copies=2), Demand(2, 2)]
    assert both(Node("n", 1)) == [Demand(1, 0, copies=2), Demand(1, 0)], "more than this node has"


def test_the_checkpoints_of_a_series_take_turns_on_one_machine() -> None:
    assert set(demands(training().study.models, [Node("n", 4)], ProfileSpec()).values()) == {Demand(4.0, 0.0)}


def test_a_model_is_cut_over_the_fewest_gpus_that_hold_it() -> None:
    def ranks(gib: int, **spec: Any) -> int:
        return tensor_parallel(large(**spec), [Node("n", 16, 8, gpu_bytes=gib * GIB)], ProfileSpec())

    assert [ranks(gib) for gib in (80, 40, 24, 16, 2)] == [1, 2, 4, 4, 1]
    assert ranks(0) == 1, "the memory of the GPUs is unknown"
    assert ranks(16, gpus=2) == 2 and ranks(16, tensor_parallel=8) == 8 and ranks(16, gpus=0.5) == 1
    assert ranks(40, labels={"kind": "other"}) == 1, "those GPUs are not for it"
    assert demands_of([large()], Node("n", 16, 8, gpu_bytes=24 * GIB)) == [Demand(4, 4)]
    odd = replace(large(), architecture=replace(large().architecture, d_mlp=63))
    assert tensor_parallel(odd, [Node("n", 16, 8, gpu_bytes=24 * GIB)], ProfileSpec()) == 1, (
        "its neurons do not divide by two"
    )


def test_a_score_actor_needs_the_gpus_of_one_node() -> None:
    """The engine of four ranks spans two nodes of two GPUs, the score actor has two of them."""
    nodes, wide = [Node(f"n{i}", 16, 2, gpu_bytes=80 * GIB) for i in range(8)], [Node("n", 64, 8, gpu_bytes=80 * GIB)]
    model = large(parameters=70 * 10**9, tensor_parallel=4, dtype="bfloat16")
    assert memory_need(model, ProfileSpec(), 4, wide) < 60 * GIB
    assert memory_need(model, ProfileSpec(), 4, nodes) > 1.2 * 2 * 70e9 / 2


def test_small_models_share_a_gpu_only_where_there_are_more_models_than_gpus() -> None:
    node = Node("n", 16, 2, gpu_bytes=80 * GIB)
    small = [large(f"m{i}", parameters=10**9) for i in range(3)]
    assert demands_of(small[:2], node) == [Demand(1, 1)] * 2
    assert demands_of(small, node) == [Demand(1, 0.25)] * 3
    assert demands_of([*small, large("b", parameters=5 * 10**9)], node)[-1] == Demand(1, 0.5)
    assert demands_of([*small, large("b")], node)[-1] == Demand(1, 1)
    assert demands_of([*small[:2], large("m2", gpus=1)], node)[-1] == Demand(1, 1), "the file decides"


def test_a_score_actor_lies_on_one_node() -> None:
    nodes = [Node(f"n{i}", 16, 4) for i in range(2)]
    assert demands_of([model(tensor_parallel=8)], *nodes) == [Demand(8, 8)]
    assert demands_of([model(tensor_parallel=8)], *nodes, role=Role.SCORE) == [Demand(4, 4)]


def test_a_cluster_that_has_yet_to_grow_is_one_of_gpus() -> None:
    assert demands_of([model()], Node("head", 0)) == [Demand(1, 1)]


def test_estimates_grow_with_work_and_width() -> None:
    assert flops(model(), 10.0) == 2 * 1000 * 10
    single = large(parameters=10**9)
    half = replace(single, spec=ModelSpec(name="a", dtype="bfloat16"))
    checkpoints = [replace(each, checkpoint=Checkpoint("m", 0, "m@step0", None)) for each in (single, half)]
    more, less = (host_memory_need(each) for each in checkpoints)
    assert more - less == pytest.approx(2.2 * 2 * 10**9), "a second copy beside the first"


def test_seconds_follow_from_work_rate_and_devices() -> None:
    rates = Rates(gpu={"float32": 1e3}, cpu=10.0, loading=100.0, start=5.0, step=2.0)
    study_plan = plan()
    for node, rate in ((Node("n", 4), 40.0), (Node("n", 4, 1), 1e3)):
        cluster = cluster_of(study_plan, [node], rates)
        assert cluster.opening == {"a": 5.0 + 4 * 1000 / 100} and cluster.series == {}
        seconds = costs(study_plan, cluster, rates)
        for step in study_plan.steps.values():
            if step.role is Role.DRIVER:
                assert step.id not in seconds
            else:
                assert seconds[step.id] == pytest.approx(2.0 + 2000 * step.work / rate)
