"""Where artifacts may be written and read, by what the store serves and the user allows."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator.record.client.artifact_places import VARIABLE, ArtifactPlaces
from orchestrator.record.client.failures import RecordError

SERVER, DATABASE = "https://ada:secret-word@host:5000/mlflow", "postgresql://ada:secret-word@db/m"
ALLOWED = [
    (SERVER, None, "mlflow-artifacts:/1/a/artifacts"),
    (SERVER, None, "mlflow-artifacts://host:5000/1/a"),
    ("https://host/mlflow/", None, "https://host/mlflow/api/2.0/mlflow-artifacts/artifacts/1"),
    (SERVER, "s3://bucket", "s3://bucket/1/a"),
    (SERVER, "s3://bucket/deep/", "s3://bucket/deep"),
    (SERVER, "s3://bucket/deep", "s3://bucket/deep/er"),
    (SERVER, "wasbs://box@account.host/x", "wasbs://box@account.host/x/1"),
    (SERVER, "dbfs:/databricks", "dbfs:/databricks/1"),
    (SERVER, "/data", "file:///data/1/a"),
    (SERVER, "file:///data", "/data/1/a"),
    (SERVER, "/with blank", "file:///with%20blank/1"),
    (SERVER, "/", "file:///data/1/a"),
    (DATABASE, "/data/m", "file:///data/m/1"),
]
REFUSED = [
    (SERVER, None, "file:///data"),
    (SERVER, None, "/data"),
    (SERVER, None, "data"),
    (SERVER, None, "s3://bucket/1"),
    (SERVER, None, "mlflow-artifacts://evil:5000/1"),
    (SERVER, None, "mlflow-artifacts://host:5001/1"),
    (SERVER, None, "mlflow-artifacts://ada@host:5000/1"),
    (SERVER, None, "http://host:5000/1"),
    (SERVER, None, "https://evil/1"),
    (SERVER, None, "https://host:5000/1"),
    ("https://host", None, "https://host/api/2.0/mlflow-artifacts/artifacts/../../../admin"),
    ("https://host", None, "https://host.evil/api/2.0/mlflow-artifacts/artifacts/1"),
    (SERVER, None, "mlflow-artifacts:"),
    (SERVER, None, "mlflow-artifacts:////evil/1"),
    (SERVER, None, "mlflow-artifacts://////evil/1"),
    (SERVER, None, "mlflow-artifacts:/a//evil/1"),
    (SERVER, None, "mlflow-artifacts:/a/../b"),
    (SERVER, None, "mlflow-artifacts:/a/%2e%2e/b"),
    (SERVER, None, "mlflow-artifacts:/a?x=1"),
    (SERVER, None, "mlflow-artifacts:/a#x"),
    (SERVER, None, "mlflow-artifacts:/a\\b"),
    (SERVER, None, "mlflow-artifacts:/a\tb"),
    (SERVER, None, "mlflow-artifacts:evil:80/1"),
    (SERVER, None, "MLFLOW-ARTIFACTS:/1"),
    (SERVER, None, "http://["),
    (SERVER, "s3://bucket", "s3://["),
    (SERVER, None, "runs:/a/b"),
    (SERVER, None, "models:/a/1"),
    (SERVER, None, ""),
    (SERVER, "s3://bucket/deep", "s3://bucket/deeper"),
    (SERVER, "s3://bucket/deep", "s3://bucket/deep/../other"),
    (SERVER, "s3://bucket/deep", "s3://bucket/deep/%2e%2e/other"),
    (SERVER, "s3://bucket", "s3://bucket2/1"),
    (SERVER, "s3://bucket", "gs://bucket/1"),
    (SERVER, "s3://bucket", "s3://bucket/1?endpoint=evil"),
    (SERVER, "s3://bucket", "file:///data"),
    (SERVER, "/data", "s3://data"),
    (SERVER, "/data", "file:///data/../etc"),
    (SERVER, "/data", "file:///data/%2e%2e/etc"),
    (SERVER, "/data", "file:///database"),
    (DATABASE, None, "mlflow-artifacts:/1"),
    (DATABASE, None, "file:///data"),
]


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.parametrize(("uri", "root", "place"), ALLOWED)
def test_what_the_server_serves_or_the_user_allows_is_used(uri: str, root: str | None, place: str) -> None:
    ArtifactPlaces(uri, root).check(place, "run 1")


@pytest.mark.parametrize(("uri", "root", "place"), REFUSED)
def test_any_other_place_is_refused(uri: str, root: str | None, place: str) -> None:
    with pytest.raises(RecordError) as error:
        ArtifactPlaces(uri, root).check(place, "run 1")
    shown = place.replace("\t", "\\t")
    assert str(error.value).startswith(f"run 1 has its artifacts at {shown}, which MLflow at ")
    assert "--artifact-root" in str(error.value) and "secret-word" not in str(error.value)


@pytest.mark.parametrize(
    ("uri", "root", "place"), [case for case in ALLOWED if case[2].startswith("mlflow-artifacts:")]
)
def test_mlflow_asks_the_server_itself_for_what_is_allowed(uri: str, root: str | None, place: str) -> None:
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    asked = urlsplit(MlflowArtifactsRepository.resolve_uri(place, uri))
    assert (asked.scheme, asked.netloc.rpartition("@")[2]) == ("https", "host:5000")
    assert asked.path.startswith("/mlflow/api/2.0/mlflow-artifacts/artifacts/")


def test_a_root_that_cannot_be_read_is_one_line() -> None:
    with pytest.raises(RecordError, match=r"--artifact-root: 'http://\[' is neither a folder nor a URI"):
        ArtifactPlaces(SERVER, "http://[")


def test_a_link_below_the_root_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to("/etc")
    places = ArtifactPlaces(SERVER, str(tmp_path / "root"))
    places.check(str(tmp_path / "root" / "a"), "run 1")
    with pytest.raises(RecordError):
        places.check(f"file://{tmp_path}/root/link/a", "run 1")


def test_the_root_may_come_from_the_environment_and_begin_with_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(VARIABLE, "~/artifacts")
    assert ArtifactPlaces(DATABASE).for_database() == f"{tmp_path.as_uri()}/artifacts"
    assert ArtifactPlaces(DATABASE, "s3://bucket").for_database() == "s3://bucket"


def test_a_database_needs_a_place_for_the_artifacts_of_a_new_study() -> None:
    with pytest.raises(RecordError, match=r"MLflow at postgresql://ada:\*\*\*@db/m is a database and serves no art"):
        ArtifactPlaces(DATABASE).for_database()
