"""The walk over conditions: every condition once, resumed only from held states, and no layer too often."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from actors.ablation.condition_tree import Pass, ideal_layer_passes, layer_passes, plan_passes

DEPTH = 6
conditions = st.lists(st.lists(st.sampled_from("-ab"), min_size=DEPTH, max_size=DEPTH), min_size=1, max_size=14)


def run(layers: Sequence[Sequence[str]], passes: Sequence[Pass]) -> tuple[dict[int, str], int]:
    """Follow the walk with strings for hidden states; returns ({condition: final state}, most states held at once)."""
    held: dict[int, str] = {}
    final: dict[int, str] = {}
    last, most = "", 0
    for turn in passes:
        if turn.resume == DEPTH:
            final[turn.condition] = last
            continue
        state = held[turn.resume] if turn.resume else ""
        new = {boundary: earlier for boundary, earlier in held.items() if boundary <= turn.resume}
        for layer in range(turn.resume, DEPTH):
            state += layers[turn.condition][layer]
            new[layer + 1] = state
        held = {boundary: new[boundary] for boundary in turn.held}
        most = max(most, len(held))
        final[turn.condition] = last = state
    return final, most


@given(conditions, st.integers(0, 4))
def test_every_condition_ends_in_its_own_state_however_few_are_held(layers: list[list[str]], max_held: int) -> None:
    final, most = run(layers, plan_passes(layers, max_held))
    assert final == {i: "".join(condition) for i, condition in enumerate(layers)}
    assert most <= max_held


@given(conditions)
def test_with_enough_room_every_distinct_prefix_is_computed_once(layers: list[list[str]]) -> None:
    passes = plan_passes(layers, DEPTH)
    assert sum(layer_passes(passes, DEPTH)) == ideal_layer_passes(layers)


@given(conditions, st.integers(1, 4))
def test_without_sharing_every_distinct_condition_is_computed_whole(layers: list[list[str]], max_held: int) -> None:
    whole = DEPTH * len({tuple(condition) for condition in layers})
    assert sum(layer_passes(plan_passes(layers, 0), DEPTH)) == whole
    assert ideal_layer_passes(layers) <= sum(layer_passes(plan_passes(layers, max_held), DEPTH)) <= whole


def test_the_papers_sweep_needs_little_more_than_half_of_its_layers() -> None:
    """Baseline, 8 single and 8 cumulative groups on 32 layers; the first single and cumulative group are the same."""
    single = [[layer // 4 == group for layer in range(32)] for group in range(8)]
    cumulative = [[layer // 4 <= group for layer in range(32)] for group in range(8)]
    layers = [[False] * 32, *single, *cumulative]
    passes = plan_passes(layers, 8)
    # the baseline; each single group from its first layer on; each further cumulative group from where it departs
    fewest = 32 + sum(range(4, 33, 4)) + sum(range(4, 32, 4))
    assert sum(layer_passes(passes, 32)) == ideal_layer_passes(layers) == fewest
    assert sum(turn.resume == 32 for turn in passes) == 1
