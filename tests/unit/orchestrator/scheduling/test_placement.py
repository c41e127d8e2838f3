"""Where actors go: best fit, labels, shares of a GPU, several nodes; and that nothing is given twice."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scheduling.placement import Bundle, Demand, Devices, Node, Placement


def place(
    demand: Demand, *nodes: Node, held: Sequence[Placement] = (), without: frozenset[str] = frozenset()
) -> Placement | None:
    return Devices(nodes, held).place(demand, without=without)


def must_place(demand: Demand, *nodes: Node, without: frozenset[str] = frozenset()) -> Placement:
    placement = place(demand, *nodes, without=without)
    assert placement is not None
    return placement


def test_an_actor_goes_to_the_fullest_node_that_has_room() -> None:
    large, small = Node("large", 32, 8), Node("small", 8, 1)
    assert place(Demand(1, 1), large, small) == (Bundle("small", 1, ((0, 1.0),)),)
    held = [(Bundle("small", 1, ((0, 1.0),)),)]
    assert place(Demand(1, 1), large, small, held=held) == (Bundle("large", 1, ((0, 1.0),)),)


def test_shares_fill_one_gpu_before_the_next_and_never_more_than_it() -> None:
    devices, used = Devices([Node("n", 8, 2)]), []
    while (placement := devices.place(Demand(1, 0.4))) is not None:
        devices.take(placement)
        used += [device for bundle in placement for device, _ in bundle.gpus]
    assert used == [0, 0, 1, 1]


def test_a_whole_gpu_is_one_that_nobody_shares() -> None:
    held = [(Bundle("n", 1, ((0, 0.25),)),)]
    assert place(Demand(1, 1), Node("n", 8, 2), held=held) == (Bundle("n", 1, ((1, 1.0),)),)
    assert place(Demand(1, 2), Node("n", 8, 2), held=held) is None


def test_a_node_must_carry_all_labels() -> None:
    nodes = Node("a", 8, 1, {"kind": "h100"}), Node("b", 8, 1, {"kind": "h100", "zone": "1"})
    assert must_place(Demand(1, 1, (("kind", "h100"), ("zone", "1"))), *nodes)[0].node == "b"
    assert place(Demand(1, 1, (("zone", "2"),)), *nodes) is None


def test_an_actor_lies_on_several_nodes_only_where_no_node_is_large_enough() -> None:
    two, eight = [Node("a", 8, 2), Node("b", 8, 2)], Node("c", 8, 8)
    spread = must_place(Demand(4, 4), *two)
    assert {bundle.node: (bundle.cpus, len(bundle.gpus)) for bundle in spread} == {"a": (2, 2), "b": (2, 2)}
    assert [bundle.node for bundle in must_place(Demand(4, 4), *two, eight)] == ["c"]
    busy = [(Bundle("c", 1, tuple((i, 1.0) for i in range(5))),)]
    assert place(Demand(4, 4), *two, eight, held=busy) is None, "it waits for the large one"
    assert place(Demand(8, 8), *two) is None


def test_copies_lie_on_one_node_each_and_all_or_none_is_placed() -> None:
    nodes = Node("a", 3, 2), Node("b", 2, 1)
    placed = must_place(Demand(1, 1, copies=3), *nodes)
    assert sorted((bundle.node, bundle.gpus) for bundle in placed) == [
        ("a", ((0, 1.0),)), ("a", ((1, 1.0),)), ("b", ((0, 1.0),))
    ]  # fmt: skip
    assert place(Demand(1, 1, copies=4), *nodes) is None
    assert place(Demand(1, 2, copies=2), *nodes) is None
    assert str(Demand(1, 1, copies=3)) == "3 times (1 GPUs, 1 CPUs)"


def test_a_node_that_is_reserved_for_others_is_left_alone() -> None:
    assert must_place(Demand(1, 0), Node("a", 2), Node("b", 4), without=frozenset({"a"}))[0].node == "b"


def test_actors_on_a_node_that_is_gone_hold_nothing() -> None:
    assert place(Demand(1, 1), Node("a", 1, 1), held=[(Bundle("gone", 1, ((0, 1.0),)),)]) is not None


def test_the_node_to_reserve_is_the_freest_of_those_large_enough() -> None:
    held = [(Bundle("a", 3),)]
    devices = Devices([Node("a", 4), Node("b", 4), Node("c", 2)], held)
    assert devices.roomiest(Demand(4, 0)) == "b" and devices.roomiest(Demand(9, 0)) is None


DEMANDS = st.builds(
    Demand,
    cpus=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    gpus=st.sampled_from([0.0, 0.25, 0.4, 1.0, 2.0, 3.0]),
    labels=st.just(()),
    copies=st.integers(1, 3),
)
NODES = st.lists(st.tuples(st.sampled_from([0.5, 2.0, 4.0]), st.integers(0, 3)), min_size=1, max_size=3)


@given(NODES, st.lists(DEMANDS, max_size=12))
def test_nothing_is_given_twice_and_giving_back_frees_everything(
    sizes: list[tuple[float, int]], demands: list[Demand]
) -> None:
    nodes = [Node(f"n{i}", cpus, gpus) for i, (cpus, gpus) in enumerate(sizes)]
    devices = Devices(nodes)
    before = {demand: devices.count(demand) for demand in demands}
    placed: list[Placement] = []
    for demand in demands:
        if (placement := devices.place(demand)) is not None:
            devices.take(placement)
            placed.append(placement)
            assert sum(bundle.cpus for bundle in placement) == demand.cpus or len(placement) > 1
    for node in nodes:
        mine = [bundle for placement in placed for bundle in placement if bundle.node == node.id]
        assert sum(bundle.cpus for bundle in mine) <= node.cpus + 1e-6
        for device in range(node.gpus):
            shares = [share for bundle in mine for held, share in bundle.gpus if held == device]
            assert sum(shares) <= 1 + 1e-6
    for placement in placed:
        devices.give_back(placement)
    assert before == {demand: devices.count(demand) for demand in demands}


@given(NODES, DEMANDS)
def test_count_is_how_many_can_be_placed_on_single_nodes(sizes: list[tuple[float, int]], demand: Demand) -> None:
    devices = Devices(Node(f"n{i}", cpus, gpus) for i, (cpus, gpus) in enumerate(sizes))
    if not (demand.cpus or demand.gpus) or devices.must_spread(demand):
        return
    expected, num_placed = devices.count(demand), 0
    while (placement := devices.place(demand)) is not None:
        devices.take(placement)
        num_placed += 1
    assert num_placed == expected
