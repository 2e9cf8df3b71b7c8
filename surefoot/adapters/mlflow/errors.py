"""Map MLflow client errors to Surefoot errors, such as not found."""

from surefoot.core.errors import Conflict, NotFound, OutcomeUnknown, RegistryUnavailable, Rejected, SurefootError

_MISSING = frozenset({"NOT_FOUND", "RESOURCE_DOES_NOT_EXIST"})
_TAKEN = frozenset({"ABORTED", "ALREADY_EXISTS", "RESOURCE_ALREADY_EXISTS", "RESOURCE_CONFLICT"})
_REFUSED = frozenset(
    {
        "BAD_REQUEST",
        "CUSTOMER_UNAUTHORIZED",
        "DIRECTORY_PROTECTED",
        "ENDPOINT_NOT_FOUND",
        "FEATURE_DISABLED",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE_TRANSITION",
        "MALFORMED_REQUEST",
        "NOT_IMPLEMENTED",
        "PERMISSION_DENIED",
        "QUOTA_EXCEEDED",
        "RESOURCE_LIMIT_EXCEEDED",
        "SEARCH_QUERY_TOO_LONG",
        "SEARCH_QUERY_TOO_SHORT",
        "UNAUTHENTICATED",
    }
)
# The server says that it has not begun: safe to repeat even when it was a write.
_TURNED_AWAY = frozenset(
    {
        "COULD_NOT_ACQUIRE_LOCK",
        "REQUEST_LIMIT_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        "SERVICE_UNDER_MAINTENANCE",
        "TEMPORARILY_UNAVAILABLE",
        "WORKSPACE_TEMPORARILY_UNAVAILABLE",
    }
)
_LONGEST = 500  # an error page of a proxy is no message [characters]


def translate_mlflow_error(error: Exception, *, writing: bool) -> SurefootError:
    """Turn an error of MLflow, requests or the socket into ours.

    Args:
        error: What the MLflow client raised.
        writing: Whether the call would have changed the registry; then an answer that never came
            leaves the outcome unknown.

    Returns:
        The error to raise; the caller chains it.
    """
    code = str(getattr(error, "error_code", "") or "INTERNAL_ERROR")
    said = str(error)[:_LONGEST]
    if _lost_alias_race(error):
        return RegistryUnavailable(f"another client set the same alias at the same moment: {said}")
    if code in _MISSING or code.endswith("_DOES_NOT_EXIST"):
        return NotFound(f"the registry says: {said}")
    if code in _TAKEN or code.endswith("_ALREADY_EXISTS"):
        return Conflict(f"the registry says: {said}")
    if code in _REFUSED:
        return Rejected(f"the registry refused: {said}")
    if writing and code not in _TURNED_AWAY and not _never_arrived(error):
        return OutcomeUnknown(f"the registry did not confirm the change: {said}")
    return RegistryUnavailable(f"the registry does not answer: {said}")


def _lost_alias_race(error: Exception) -> bool:
    """Whether two clients raced to create one alias and this one lost.

    MLflow answers the loser with 400 and the database's own words; its transaction was rolled back.
    """
    said = str(error).lower()
    named = "registered_model_aliases" in said or "registered_model_alias_pk" in said
    return named and ("unique constraint" in said or "duplicate" in said)


def is_missing_alias_error(error: Exception) -> bool:
    """Whether MLflow says that an alias is not set.

    It does so with INVALID_PARAMETER_VALUE, the code of a malformed alias too; only the words differ.
    """
    said = str(error)
    unset = "Registered model alias" in said and "not found" in said
    return unset and getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE"


def _never_arrived(error: BaseException) -> bool:
    """Whether a write failed before its own request reached the server.

    MLflow reads before it writes, so a failed GET inside a write has changed nothing either.
    """
    cause: BaseException | None = error
    # The first error that carries a request is ours; further ones down the chain may be of an earlier attempt.
    while cause is not None and getattr(cause, "request", None) is None:
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return False
    if getattr(getattr(cause, "request", None), "method", "") == "GET":
        return True
    reasons = {type(getattr(part, "reason", None)).__name__ for part in cause.args}
    return bool(reasons & {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError"})
