"""Check quickly, without importing the MLflow client, whether a model version was deleted in MLflow."""

import os

import httpx

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
    headers, auth = {}, None
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        headers = {"Authorization": f"Bearer {token}"}
    elif user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        auth = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
    url, version = f"{uri.rstrip('/')}/api/2.0/mlflow/model-versions/get", {"name": model, "version": number}
    try:
        with httpx.Client(timeout=_TIMEOUT_S, trust_env=False, headers=headers, auth=auth) as client:
            reply = client.get(url, params=version)
        code = reply.json().get("error_code")
    except (httpx.HTTPError, httpx.InvalidURL, AttributeError, ValueError):
        return False
    return reply.status_code == httpx.codes.NOT_FOUND and code == "RESOURCE_DOES_NOT_EXIST"
