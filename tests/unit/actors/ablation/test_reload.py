"""What must agree before a checkpoint takes the place of another, and what later reloads must show."""

from collections.abc import Callable

import numpy as np
import pytest

from actors.ablation import actor as ablation
from actors.ablation.reload import Reload, differing_field
from actors.messages.model import ModelSource
from studies.errors import InterventionError, StudyError
from tests.unit.actors.ablation.fake_engine import FakeEngine, source, tokenizer

LAST = Reload({"head": ([2, 3], 1.0)}, np.zeros(4))


def reload_first(other: ModelSource) -> None:
    """Ask an actor of the checkpoint `first` to load another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation, "Engine", lambda source: FakeEngine())
        patch.setattr(ablation, "load_tokenizer", lambda source: tokenizer)
        ablation.AblationActor(source(label="first")).reload(other)


TAKE = "other cannot take the engine of first: "
SAME = "the checkpoints do not have the same tensors: "
REFUSED: dict[str, tuple[Callable[[], object], type[StudyError], str]] = {
    "depth": (
        lambda: reload_first(source(label="other", num_layers=4, d_mlp=512)),
        StudyError,
        TAKE + "num_layers is 4, not 3",
    ),
    "family": (
        lambda: reload_first(source(label="other", family="mistral")),
        StudyError,
        TAKE + "family is 'mistral', not 'llama'",
    ),
    "dtype": (
        lambda: reload_first(source(label="other", dtype="bfloat16")),
        StudyError,
        TAKE + "dtype is 'bfloat16', not 'float32'",
    ),
    "engine": (
        lambda: reload_first(source(label="other", engine={"max_model_len": 64})),
        StudyError,
        TAKE + "engine is {'max_model_len': 64}, not {}",
    ),
    "another shape": (
        lambda: Reload({"head": ([3, 3], 2.0)}, np.ones(4)).check_against(LAST),
        InterventionError,
        SAME + "head is [3, 3], not [2, 3]",
    ),
    "another tensor": (
        lambda: Reload({"head": ([2, 3], 2.0), "extra": ([1], 0.0)}, np.ones(4)).check_against(LAST),
        InterventionError,
        SAME + "extra is [1], not None",
    ),
    "equal numbers": (
        lambda: Reload({"head": ([2, 3], 2.0)}, np.zeros(4)).check_against(LAST),
        InterventionError,
        "other weights left the probe's numbers as they were",
    ),
}


@pytest.mark.parametrize(("act", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_a_checkpoint_that_cannot_take_the_place_of_another_is_refused(
    act: Callable[[], object], kind: type[StudyError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        act()
    assert str(caught.value) == message


def test_checkpoints_may_differ_in_where_they_come_from() -> None:
    assert differing_field(source(), source(label="b", path="b", revision="step2", pickled=True)) == ""


def test_later_reloads_are_compared_with_the_last() -> None:
    Reload({"head": ([2, 3], 1.0)}, np.zeros(4)).check_against(LAST)
    Reload({"head": ([2, 3], 2.0)}, np.ones(4)).check_against(LAST)


def test_checkpoints_whose_files_hold_more_buffers_share_an_engine() -> None:
    """What an engine needs of a GPU follows from the size of a checkpoint's files."""
    assert differing_field(source(label="a", gpu_bytes=5_000), source(label="b", gpu_bytes=5_004)) == ""
