"""What the review makes of names."""

import pytest

from orchestrator.review import _file_name
from orchestrator.spool import encode


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("matched", "matched"),
        ("matched/layers=0-3,8", "matched_layers_0-3_8"),
        ("org/model@main", "org_model_main"),
        ("a b.c-d_e", "a b.c-d_e"),
    ],
)
def test_any_name_becomes_part_of_an_artifact_path(name, expected):
    assert _file_name(name) == expected
    path = f"figures/{_file_name(name)}-curve.png"
    assert encode(frames={}, documents={}, files={path: b""}) == {path: b""}
