"""Every error of the MLflow client becomes one of ours."""

import pytest
import requests
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import ErrorCode

from surefoot.adapters.mlflow.errors import translate_mlflow_error
from surefoot.core.errors import Conflict, NotFound, OutcomeUnknown, RegistryUnavailable, Rejected, SurefootError

DOUBT = (RegistryUnavailable, OutcomeUnknown)  # on a read, on a write
TABLE = {
    "ABORTED": Conflict,
    "ALREADY_EXISTS": Conflict,
    "BAD_REQUEST": Rejected,
    "CANCELLED": DOUBT,
    "CATALOG_DOES_NOT_EXIST": NotFound,
    "COULD_NOT_ACQUIRE_LOCK": RegistryUnavailable,
    "CUSTOMER_UNAUTHORIZED": Rejected,
    "DATA_LOSS": DOUBT,
    "DEADLINE_EXCEEDED": DOUBT,
    "ENDPOINT_NOT_FOUND": Rejected,
    "FEATURE_DISABLED": Rejected,
    "INTERNAL_ERROR": DOUBT,
    "INVALID_PARAMETER_VALUE": Rejected,
    "INVALID_STATE": DOUBT,
    "INVALID_STATE_TRANSITION": Rejected,
    "IO_ERROR": DOUBT,
    "MALFORMED_REQUEST": Rejected,
    "NOT_FOUND": NotFound,
    "NOT_IMPLEMENTED": Rejected,
    "PERMISSION_DENIED": Rejected,
    "QUOTA_EXCEEDED": Rejected,
    "REQUEST_LIMIT_EXCEEDED": RegistryUnavailable,
    "RESOURCE_ALREADY_EXISTS": Conflict,
    "RESOURCE_CONFLICT": Conflict,
    "RESOURCE_DOES_NOT_EXIST": NotFound,
    "RESOURCE_EXHAUSTED": RegistryUnavailable,
    "SERVICE_UNDER_MAINTENANCE": RegistryUnavailable,
    "TABLE_ALREADY_EXISTS": Conflict,
    "TEMPORARILY_UNAVAILABLE": RegistryUnavailable,
    "UNAUTHENTICATED": Rejected,
    "WORKSPACE_TEMPORARILY_UNAVAILABLE": RegistryUnavailable,
}


@pytest.mark.parametrize("code", TABLE)
def test_each_code_has_its_error(code: str) -> None:
    """Each code that MLflow's servers send maps to what the caller should do, on a read and on a write."""
    expected = TABLE[code]
    reading, writing = expected if isinstance(expected, tuple) else (expected, expected)
    error = RestException({"error_code": code, "message": "why"})
    assert type(translate_mlflow_error(error, writing=False)) is reading
    assert type(translate_mlflow_error(error, writing=True)) is writing
    assert "why" in str(translate_mlflow_error(error, writing=True))


def test_no_code_is_forgotten() -> None:
    """Every code that MLflow knows becomes one of five errors; none becomes a bug of ours."""
    allowed = {Rejected, NotFound, Conflict, RegistryUnavailable, OutcomeUnknown}
    for code in ErrorCode.keys():  # noqa: SIM118 - a protobuf enum is no mapping
        error = MlflowException("why", error_code=ErrorCode.Value(code))
        assert {type(translate_mlflow_error(error, writing=writing)) for writing in (True, False)} <= allowed


@pytest.mark.parametrize(
    "said",
    [
        "BAD_REQUEST: (sqlite3.IntegrityError) UNIQUE constraint failed: registered_model_aliases.name",
        'BAD_REQUEST: duplicate key value violates unique constraint "registered_model_alias_pk"',
    ],
)
def test_the_loser_of_a_first_set_may_repeat(said: str) -> None:
    """The 400 of two clients that create one alias at once is known not applied, on both databases."""
    error = RestException({"error_code": "BAD_REQUEST", "message": said})
    assert type(translate_mlflow_error(error, writing=True)) is RegistryUnavailable


@pytest.mark.parametrize(
    ("method", "reason", "expected"),
    [
        ("POST", "NewConnectionError", RegistryUnavailable),
        ("POST", "ConnectTimeoutError", RegistryUnavailable),
        ("POST", "NameResolutionError", RegistryUnavailable),
        ("POST", "ReadTimeoutError", OutcomeUnknown),
        ("POST", "ResponseError", OutcomeUnknown),
        ("POST", "ProtocolError", OutcomeUnknown),
        ("GET", "ReadTimeoutError", RegistryUnavailable),
    ],
)
def test_a_broken_line_is_told_apart(method: str, reason: str, expected: type[SurefootError]) -> None:
    """A write that never left, or whose look broke, is known not applied; one whose answer was lost is not."""
    cause = Exception("pool")
    cause.reason = type(reason, (Exception,), {})()  # type: ignore[attr-defined]
    broken = requests.ConnectionError(cause, request=requests.Request(method, "http://h/"))
    error = MlflowException("API request failed")
    error.__context__ = broken
    assert type(translate_mlflow_error(error, writing=True)) is expected
    assert type(translate_mlflow_error(error, writing=False)) is RegistryUnavailable
