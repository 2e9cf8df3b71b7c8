"""Check without the MLflow client whether a model version was deleted."""

import configparser

import httpx

from surefoot.adapters.mlflow.server.http_access import open_mlflow_http_client

_TIMEOUT_S = 0.3
"""How long MLflow may take [s]: traffic waits for the answer before it goes back."""


def is_version_deleted(uri: str, model: str, number: str) -> bool:
    """Whether MLflow says that a version is gone; False where it says nothing in time, or is no server.

    Args:
        uri: Tracking and registry URI.
        model: Registered model.
        number: Number of the version.
    """
    if not uri.startswith(("http://", "https://")):
        return False
    url, version = f"{uri.rstrip('/')}/api/2.0/mlflow/model-versions/get", {"name": model, "version": number}
    try:
        with open_mlflow_http_client(_TIMEOUT_S) as client:
            reply = client.get(url, params=version)
        code = reply.json().get("error_code")
    except (httpx.HTTPError, httpx.InvalidURL, AttributeError, ValueError, OSError, configparser.Error):
        return False
    return reply.status_code == httpx.codes.NOT_FOUND and code == "RESOURCE_DOES_NOT_EXIST"
