"""Which credentials of the user MLflow's client would send to a server.

MLflow finds them without asking whose server it is: in variables, in a file, from plugins; and requests, below it, in
netrc. So whoever chooses the address gets them. Looks them up as MLflow does, and sends nothing.
"""

import configparser
from importlib.metadata import entry_points

from orchestrator.record.client.answers import reason
from orchestrator.record.client.calls import set_defaults
from studies.errors import StudyError

_PASSWORD = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
_OTHERS = {
    "token": "MLFLOW_TRACKING_TOKEN",
    "aws_sigv4": "MLFLOW_TRACKING_AWS_SIGV4",
    "auth": "MLFLOW_TRACKING_AUTH",
    "client_cert_path": "MLFLOW_TRACKING_CLIENT_CERT_PATH",
}
"""{what MLflow's client is told for a server: the variable that it comes from}, besides user name and password."""
VARIABLES = (*_PASSWORD, *_OTHERS.values())
"""The variables that make MLflow's client send a credential."""
_FILE = "~/.mlflow/credentials"
_HEADER_PLUGINS = "mlflow.request_header_provider"
"""The entry points of packages that add headers to MLflow's requests."""


def credential_for(uri: str) -> str:
    """What would be sent to the server at this http or https address, in words; '' if nothing.

    Raises StudyError if MLflow cannot read its own settings."""
    set_defaults()
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from requests.utils import get_netrc_auth

    try:
        found, of_host = get_default_host_creds(uri), get_netrc_auth(uri)
    except (configparser.Error, MlflowException, OSError, ValueError) as error:
        raise StudyError(f"MLflow cannot read its credentials in the environment or {_FILE}: {reason(error)}") from None
    if found.username and found.password:
        return f"the password of {' and '.join(_PASSWORD)} or {_FILE}"
    for field, variable in _OTHERS.items():
        if getattr(found, field):
            return variable
    if of_host:
        return "the password that your netrc file has for its host"
    for plugin in entry_points(group=_HEADER_PLUGINS):
        return f"what MLflow's plugin {plugin.name} adds to every request"
    return ""
