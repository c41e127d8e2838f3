"""Where the bins of a neuron lie, and what merges.

T tokens, F neurons.
"""

import pytest
import torch

from actors.scoring.histograms import Ranges
from actors.scoring.mapping_difficulty import MappingDifficultySketch
from actors.scoring.sketches import PreActivationSketch
from tests.unit.actors.scoring.neurons import NUM_BINS, ORDINARY, OUTLIERS, calibrated, tokens


def test_ranges_fit_the_data_but_not_its_outliers() -> None:
    y_TF = tokens({"uniform": ORDINARY["uniform"], "one_percent_both_signs": OUTLIERS["one_percent_both_signs"]})
    ranges, std_F = calibrated(y_TF), y_TF.std(0, correction=0)
    assert ranges.low_F[0].item() == pytest.approx(-0.2 - 2 * std_F[0].item(), abs=0.01)
    assert ranges.high_F[0].item() == pytest.approx(0.8 + 2 * std_F[0].item(), abs=0.01)
    assert (ranges.high_F - ranges.low_F)[1].item() == pytest.approx(12 * std_F[1].item(), rel=0.01)


def test_one_edge_of_every_neuron_is_exactly_zero() -> None:
    ranges = calibrated(tokens(ORDINARY | OUTLIERS))
    inside_F = (ranges.zero_bin_F >= 0) & (ranges.zero_bin_F <= NUM_BINS)
    assert 5 < inside_F.sum() < len(inside_F)  # neurons of both kinds
    assert torch.equal((ranges.edges_FE == 0).sum(1), inside_F.long())


def test_different_ranges_do_not_merge() -> None:
    y_TF = tokens({"gaussian": ORDINARY["gaussian"]})
    sketch = PreActivationSketch(calibrated(y_TF), "cpu")
    sketch.update(y_TF)
    zero_bin_F, width_F = sketch.ranges.zero_bin_F, sketch.ranges.width_F
    for ranges in (
        Ranges(zero_bin_F=zero_bin_F, width_F=width_F, num_bins=NUM_BINS - 1),
        Ranges(zero_bin_F=zero_bin_F, width_F=width_F * 1.001, num_bins=NUM_BINS),
        Ranges(zero_bin_F=zero_bin_F + 1, width_F=width_F, num_bins=NUM_BINS),
    ):
        before = sketch.state()
        with pytest.raises(ValueError) as caught:
            sketch.merge(PreActivationSketch(ranges, "cpu"))
        assert str(caught.value) == (
            "cannot merge sketches over different ranges; give every shard the Ranges of one calibration"
        )
        assert torch.equal(before["counts_FK2"], sketch.state()["counts_FK2"])
        with pytest.raises(ValueError, match="ranges"):
            MappingDifficultySketch(sketch.ranges, "cpu").merge(MappingDifficultySketch(ranges, "cpu"))
