"""The walk over conditions: every condition once, resumed only from states that are held, and no layer too often."""

from hypothesis import given
from hypothesis import strategies as st

from actors.ablation.condition_tree import ideal_layer_passes, layer_passes, plan_passes

DEPTH = 6
conditions = st.lists(st.lists(st.sampled_from("-ab"), min_size=DEPTH, max_size=DEPTH), min_size=1, max_size=14)


def run(layers, passes):
    """Follow the walk with strings for hidden states; returns ({condition: final state}, most states held)."""
    held, final, last, most = {}, {}, None, 0
    for one in passes:
        if one.resume == DEPTH:
            final[one.condition] = last
            continue
        state = held[one.resume] if one.resume else ""
        new = {b: s for b, s in held.items() if b <= one.resume}
        for layer in range(one.resume, DEPTH):
            state += layers[one.condition][layer]
            new[layer + 1] = state
        held = {b: new[b] for b in one.held}
        most = max(most, len(held))
        final[one.condition] = last = state
    return final, most


@given(conditions, st.integers(0, 4))
def test_every_condition_ends_in_its_own_state_whatever_may_be_held(layers, max_held):
    final, most = run(layers, plan_passes(layers, max_held))
    assert final == {i: "".join(condition) for i, condition in enumerate(layers)}
    assert most <= max_held


@given(conditions)
def test_with_room_for_all_every_distinct_prefix_is_computed_once(layers):
    passes = plan_passes(layers, DEPTH)
    assert sum(layer_passes(passes, DEPTH)) == ideal_layer_passes(layers)


@given(conditions, st.integers(1, 4))
def test_giving_up_sharing_costs_at_most_every_distinct_condition_whole(layers, max_held):
    whole = DEPTH * len({tuple(condition) for condition in layers})
    assert sum(layer_passes(plan_passes(layers, 0), DEPTH)) == whole
    assert ideal_layer_passes(layers) <= sum(layer_passes(plan_passes(layers, max_held), DEPTH)) <= whole


def test_the_papers_sweep_needs_little_more_than_half_of_its_layers():
    """Baseline, 8 single and 8 cumulative groups on 32 layers; the first single and cumulative group are the same."""
    single = [[layer // 4 == group for layer in range(32)] for group in range(8)]
    cumulative = [[layer // 4 <= group for layer in range(32)] for group in range(8)]
    layers = [[False] * 32, *single, *cumulative]
    passes = plan_passes(layers, 8)
    # Baseline 32; every single group but the first from its start; the cumulative path, and each tail behind it.
    assert (
        sum(layer_passes(passes, 32)) == ideal_layer_passes(layers) == 32 + sum(range(4, 33, 4)) + sum(range(4, 32, 4))
    )
    assert sum(one.resume == 32 for one in passes) == 1
