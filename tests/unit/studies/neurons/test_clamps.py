"""Clamps: their kinds, how each is named and recorded, and what ReLU makes of it."""

import pytest

from studies.neurons.clamps import CLAMP_KINDS, MAGNITUDE_MATCHED, NAMED_CLAMPS, UNCLAMPED, Clamp

RECORDED = [
    (NAMED_CLAMPS["negative"], {"floor": 0.0}, "negative", True),
    (NAMED_CLAMPS["positive"], {"ceiling": 0.0}, "positive", False),
    (NAMED_CLAMPS["zero"], {"floor": 0.0, "ceiling": 0.0}, "zero", False),
    (Clamp(floor=-0.5), {"floor": -0.5}, "clamp to [-0.5, inf]", True),
    (Clamp(floor=0.5), {"floor": 0.5}, "clamp to [0.5, inf]", False),
    (Clamp(floor=-1, ceiling=2), {"floor": -1.0, "ceiling": 2.0}, "clamp to [-1, 2]", False),
    (Clamp("posrelu"), {"kind": "posrelu"}, "posrelu", True),
    (Clamp("signflip"), {"kind": "signflip"}, "signflip", True),
    (Clamp("negative_mean"), {"kind": "negative_mean"}, "negative_mean", True),
    (MAGNITUDE_MATCHED, {"kind": "magnitude_matched"}, "magnitude_matched", False),
]


@pytest.mark.parametrize(("clamp", "payload", "display", "identity"), RECORDED, ids=[row[2] for row in RECORDED])
def test_what_is_recorded_of_a_clamp_stays_as_it_is_and_is_read_back(
    clamp: Clamp, payload: dict[str, object], display: str, identity: bool
) -> None:
    assert clamp.payload == payload and all(type(bound) in (float, str) for bound in clamp.payload.values())
    assert (clamp.display, clamp.is_relu_identity) == (display, identity)
    assert Clamp.from_payload(payload) == clamp and hash(Clamp.from_payload(payload)) == hash(clamp)


def test_every_kind_is_recorded_by_a_row_above() -> None:
    assert {clamp.kind for clamp, *_ in RECORDED} == set(CLAMP_KINDS)


def test_the_baseline_has_no_clamp() -> None:
    assert Clamp.from_payload(None) == UNCLAMPED and UNCLAMPED.payload == {} and UNCLAMPED.values_from is None


def test_a_kind_that_is_in_no_row_is_an_error() -> None:
    with pytest.raises(ValueError) as error:
        Clamp("posreluu")
    assert str(error.value) == "no such intervention: 'posreluu'"
