"""Packs that did not fit: smaller ones for every condition of the benchmark, found again by a later run."""

from orchestrator.execution.pack_sizes import PackSizes
from orchestrator.record.keys import Committed
from tests.plans import plan


def committed(step, tags):
    return Committed(
        step_id=step.id, step_name=step.name, experiment="e", run_id="r", artifacts={}, metrics={}, tags=tags
    )


def pairs():
    return [step for step in plan().steps.values() if step.name == "evaluate.embedded_pairs"]


def test_the_size_of_one_condition_is_that_of_all():
    one, other, *_ = pairs()
    packs = PackSizes()
    assert packs.size(one) is None and packs.tag(one) == {}
    assert packs.halve(one, 512, asked=None) == 256
    assert packs.size(other) == 256 and packs.tag(other) == {"pack_nodes.evaluate.embedded_pairs": "256"}
    assert packs.halve(one, 256, asked=256) == 128


def test_other_benchmarks_and_the_noise_floor_keep_theirs():
    packs, steps = PackSizes(), plan().steps.values()
    packs.halve(pairs()[0], 512, asked=None)
    floor = next(step for step in steps if step.name == "noise_floor.embedded_pairs")
    assert packs.size(floor) == floor.payload["params"]["pack_nodes"]
    assert packs.size(next(step for step in steps if step.name == "evaluate.perplexity")) is None


def test_what_is_one_long_sequence_or_small_already_is_not_split():
    step = pairs()[0]
    assert PackSizes().halve(step, 60, asked=None) is None
    assert PackSizes().halve(step, 2048, asked=1024) is None


def test_a_later_run_finds_the_size_and_what_was_scored_in_larger_packs():
    old, new, *_ = pairs()
    packs = PackSizes()
    before, after = committed(old, {}), committed(new, {"pack_nodes.evaluate.embedded_pairs": "128"})
    assert packs.agree(old, before), "nothing is known yet"
    packs.learn(old, before)
    packs.learn(new, after)
    assert packs.size(old) == 128
    assert not packs.agree(old, before) and packs.agree(new, after)
