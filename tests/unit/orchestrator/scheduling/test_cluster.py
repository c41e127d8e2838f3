"""What the scheduler reads off a cluster: sizes, groups of interchangeable actors, and what an autoscaler is asked."""

import pytest

from orchestrator.scheduling.cluster import ActorKind
from orchestrator.scheduling.placement import Demand, Node
from orchestrator.steps.step import Role
from tests.world import ONE_CPU, make_cluster


@pytest.mark.parametrize(
    ("nodes", "demand", "num_devices", "size"),
    [
        ([Node("a", 8), Node("b", 4)], Demand(2, 0), 12, 2),
        ([Node("a", 8, 2), Node("b", 4)], Demand(2, 0.5), 2, 0.5),
        ([Node("a", 8, 4)], Demand(2, 1, copies=3), 4, 3),
    ],
)
def test_devices_are_gpus_or_else_cpus(nodes: list[Node], demand: Demand, num_devices: float, size: float) -> None:
    cluster = make_cluster(nodes, {"m": demand})
    assert (cluster.num_devices, cluster.size(ActorKind("m", Role.ABLATION))) == (num_devices, size)


def test_an_autoscaler_is_asked_for_one_actor_a_role_of_every_unfinished_model_or_series() -> None:
    demands = {"a": Demand(2.0, 0.0), "b": Demand(2.0, 0.0), "m": ONE_CPU}
    cluster = make_cluster([Node("n", 8)], demands, {"a": "s", "b": "s"})
    ablation = {ActorKind(model, Role.ABLATION): 3 for model in "abm"}
    assert sorted(cluster.wanted(ablation)) == [ONE_CPU, Demand(2.0, 0.0)]
    assert sorted(cluster.wanted({**ablation, ActorKind("a", Role.SCORE): 1})) == [ONE_CPU, *[Demand(2.0, 0.0)] * 2]
    assert cluster.wanted({ActorKind("m", Role.ABLATION): 0, ActorKind("m", Role.DRIVER): 5}) == []
