"""The bytes of artifacts."""

import io

import pandas
import pytest

from orchestrator.record import encoding
from orchestrator.record.encoding import Document, decode_document, decode_frame, digest, encode

TABLE = pandas.DataFrame({"uid": ["a", "b"], "correct": [1.0, 0.5]}, index=[7, 8])


def test_documents_are_written_as_ever() -> None:
    payload = encode(frames={}, documents={"a.json": {"é": [1, None, 0.5]}, "b.md": "é\n"}, files={"c.png": b"\x89"})
    assert payload == {
        "a.json": '{\n "é": [\n  1,\n  null,\n  0.5\n ]\n}'.encode(),
        "b.md": "é\n".encode(),
        "c.png": b"\x89",
    }


def test_what_is_encoded_is_decoded() -> None:
    payload = encode(frames={"t.parquet": TABLE}, documents={"a.json": {"é": [1]}, "b.md": "é\n"}, files={})
    assert decode_frame(payload["t.parquet"]).equals(TABLE.reset_index(drop=True))
    assert decode_document("a.json", payload["a.json"]) == {"é": [1]}
    assert decode_document("b.md", payload["b.md"]) == "é\n"


def test_every_table_has_a_csv_beside_it_unless_it_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    table = TABLE.assign(text=['a "quoted", text', "line\nbreak"], number=[1 / 3, None], choices=[["x"], ["y", "z"]])
    payload = encode(frames={"t.parquet": table, "a/b.parquet": TABLE}, documents={}, files={})
    assert set(payload) == {"t.parquet", "t.csv", "a/b.parquet", "a/b.csv"}
    assert payload["a/b.csv"] == b"uid,correct\na,1\nb,0.5\n"
    read = pandas.read_csv(io.BytesIO(payload["t.csv"]))
    assert read["text"].tolist() == table["text"].tolist() and read["number"].tolist()[0] == 0.333333333
    monkeypatch.setattr(encoding, "MAX_CSV", 30)
    assert set(encode(frames={"t.parquet": TABLE, "u.parquet": table}, documents={}, files={})) == {
        "t.parquet", "t.csv", "u.parquet",
    }  # fmt: skip


def test_a_file_in_the_place_of_a_csv_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'t\.csv' is given twice"):
        encode(frames={"t.parquet": TABLE}, documents={}, files={"t.csv": b""})


def test_a_digest_is_sha256() -> None:
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


CHARACTERS = "allowed are letters, digits, '_', '-', '.', ' ' and '/'"
RELATIVE = "MLflow reads it as a relative path, without '.', '..' or empty parts"
REFUSED = {
    **{f"path {path!r}": ({path: {}}, f"artifact path {path!r}: {CHARACTERS}") for path in ("a#b.json", "")},
    **{
        f"path {path!r}": ({path: {}}, f"artifact path {path!r}: {RELATIVE}")
        for path in ("../a.json", "/a.json", "a//b.json", ".")
    },
    "the record's folder": (
        {"steps/a.json": {}},
        "artifact path 'steps/a.json': the folder steps/ belongs to the record",
    ),
    "no number": (
        {"a.json": {"x": float("nan")}},
        "artifact path 'a.json': JSON has no NaN and no infinity; record null instead",
    ),
}


@pytest.mark.parametrize(("documents", "message"), REFUSED.values(), ids=REFUSED)
def test_what_mlflow_or_json_would_alter_is_refused(documents: dict[str, Document], message: str) -> None:
    with pytest.raises(ValueError) as error:
        encode(frames={}, documents=documents, files={})
    assert str(error.value) == message
