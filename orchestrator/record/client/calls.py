"""One tracking URI, and every call to MLflow's client there.

Owns the client, the first question to a server, and the translation of whatever the client raises into `Unreachable`
(no answer or no sensible one; another try may succeed) or `RecordError` (refused for good). Refuses to know what is
asked, and when to ask again. Invariant: a call returns only what MLflow has answered; something else at the address is
never taken for an empty store.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

from orchestrator.record.client.answers import (
    FOREIGN,
    HTTP_DEFAULTS,
    failure_of_database,
    failure_of_server,
    reason,
    request_limits,
)
from orchestrator.record.client.failures import RecordError, Unreachable, WrongAnswer
from orchestrator.redaction import redacted, remember

_CLIENT_DEFAULTS = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # `set_terminated` prints two links, and stdout is ours
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    **HTTP_DEFAULTS,
}
_SILENT = ("mlflow.store.db.utils", "mlflow.exceptions", "mlflow.utils.rest_utils", "urllib3.connectionpool")
"""Loggers of what is raised as well: they show tracebacks, pages and retries where one line is enough."""
_CREATED: dict[str, Callable[[Any], str]] = {
    "create_run": lambda run: run.info.run_id,
    "create_experiment": lambda experiment: experiment,
}
"""{method that creates something anew at every call: the id in its answer}."""
_GREETING, _GREETING_S = "halfwave", 10
"""The name of an experiment, existing or not, that a server is asked for first, and how long it may take to answer."""


def set_defaults() -> None:
    """Set what MLflow reads of the environment as it is imported, where the user has not."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    for name, value in _CLIENT_DEFAULTS.items():
        os.environ.setdefault(name, value)


SCHEMELESS = ("databricks",)
"""Tracking URIs without `://`."""


def is_tracking_uri(text: str) -> bool:
    """Whether a text is a tracking URI, and not a path."""
    return "://" in text or text.startswith("sqlite:") or text in SCHEMELESS


class Calls:
    """MlflowClient, with permanent and passing failures kept apart."""

    def __init__(self, uri: str) -> None:
        """uri: valid in any working folder. A missing SQLite file is created. RecordError if the store cannot be
        opened."""
        set_defaults()
        from mlflow import MlflowClient

        for name in _SILENT:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.uri = uri
        remember(uri)
        self.is_server = uri.partition("://")[0].lower() in ("http", "https")
        """Whether the store is reached over HTTP; else it is a database."""
        self._has_answered = not self.is_server
        if not is_tracking_uri(uri):
            raise RecordError(f"{self.safe_uri} is no tracking URI; write http://HOST:PORT or sqlite:///PATH/mlflow.db")
        try:
            self.client = MlflowClient(tracking_uri=uri)
        except Exception as error:  # MLflow, SQLAlchemy and the database's driver each raise their own
            raise RecordError(f"cannot open the MLflow store {self.safe_uri}: {reason(error)}") from error

    @property
    def safe_uri(self) -> str:
        """The tracking URI without a password."""
        return redacted(self.uri)

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the client. Raises Unreachable for a failure that may pass, RecordError for any other.

        What creates something is asked for once: after Unreachable it may exist all the same."""
        if name not in _CREATED:
            return self.guarded(getattr(self.client, name), *args, **kwargs)
        with request_limits(retries=0):
            created = self.guarded(getattr(self.client, name), *args, **kwargs)
        if not _CREATED[name](created):
            raise self._foreign()
        return created

    def call_artifacts(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function of an artifact store. These are plugins with exceptions of their own, each of which becomes
        Unreachable."""
        try:
            return self.guarded(function, *args, **kwargs)
        except RecordError:
            raise
        except Exception as error:
            failure = failure_of_server(error)
            kind = WrongAnswer if failure.is_wrong else Unreachable
            raise kind(f"the artifact store of {self.safe_uri} {failure.reason}") from error

    def guarded(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function of MLflow's; raises as `call`."""
        if not self._has_answered:
            self._greet()
        return self._tried(function, *args, **kwargs)

    def _greet(self) -> None:
        """Ask a server for something small first, so that a wrong address is told from an empty store, and a server
        that is down is told soon."""
        with request_limits(retries=1, timeout_s=_GREETING_S):
            found = self._tried(self.client.get_experiment_by_name, _GREETING)
        if found is not None and found.name != _GREETING:
            raise self._foreign()
        self._has_answered = True

    def _tried(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        from mlflow.exceptions import MlflowException

        told = failure_of_server if self.is_server else failure_of_database
        try:
            return function(*args, **kwargs)
        except (MlflowException, OSError) as error:  # requests' exceptions are OSErrors
            failure = told(error)
            kind = RecordError if failure.is_permanent else WrongAnswer if failure.is_wrong else Unreachable
            raise kind(f"MLflow at {self.safe_uri} {failure.reason}") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if not self.is_server:
                raise
            raise self._foreign() from error  # the client could not read the answer

    def _foreign(self) -> WrongAnswer:
        return WrongAnswer(f"MLflow at {self.safe_uri} {FOREIGN.format(found='')}")
