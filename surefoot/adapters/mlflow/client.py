"""Call the MLflow API with time limits and safe retries."""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from surefoot.adapters.mlflow.errors import translate_mlflow_error
from surefoot.core.errors import AliasDrift, OutcomeUnknown, RegistryUnavailable, Unavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.store.entities import PagedList

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0

_T = TypeVar("_T")

_UNQUOTABLE = "\\'\""
"""What a text in a filter cannot hold as it is."""


class RetryingClient:
    """Client of one MLflow server, with time limits and safe retries; the MLflow library is imported at the first call.

    MLflow's client repeats every call, writes included, for up to four minutes. Here only reads are
    repeated, until a deadline; a write whose answer was lost is looked at before it is tried again.

    Attributes:
        uri: Tracking and registry URI.
        deadline_s: How long one operation may keep trying [s]; a single request that hangs may take
            MLFLOW_HTTP_REQUEST_TIMEOUT (5 s unless set) even when that is longer.
    """

    def __init__(self, uri: str, deadline_s: float) -> None:
        """Remember where; nothing is imported or asked before the first call."""
        self.uri = uri
        self.deadline_s = deadline_s
        self._lazy: MlflowClient | None = None

    def call(
        self, operation: Callable[["MlflowClient"], _T], until: float | None = None, *, writing: bool = False
    ) -> _T:
        """Ask until there is an answer or the deadline has come; only once when it is a write.

        Args:
            operation: What to ask; it may also raise our own errors.
            until: When to stop asking [monotonic seconds]; the deadline from now by default.
            writing: Whether it changes the registry.

        Raises:
            SurefootError: What `translate_mlflow_error` makes of MLflow's error.
        """
        failures: tuple[type[Exception], ...] = (*_foreign(), Unavailable)
        until, pause = until or self._until(), _FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                return operation(self._client())
            except failures as error:
                ours = error if isinstance(error, Unavailable) else translate_mlflow_error(error, writing=writing)
                now = time.monotonic()
                # At the pace of this attempt, the next one would end after the deadline.
                too_late = now + pause + (now - began) > until
                if writing or too_late or not isinstance(ours, Unavailable):
                    raise ours from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def ensure_written(
        self,
        look: Callable[["MlflowClient"], str | None],
        write: Callable[["MlflowClient"], None],
        wanted: str | None,
        what: str,
    ) -> None:
        """Look, write if needed, look again; repeat a write only after a look that shows it is not there.

        Args:
            look: Reads the value.
            write: Sets it to `wanted`.
            wanted: The value to reach.
            what: How messages name it.

        Raises:
            AliasDrift: It has a third value: somebody else set it meanwhile, and is not overwritten.
            RegistryUnavailable: MLflow does not answer; nothing changed.
            OutcomeUnknown: A write was sent, and whether it was applied is not known.
            SurefootError: Whatever else `translate_mlflow_error` makes of MLflow's error.
        """
        until, pause = self._until(), _FIRST_PAUSE_S
        before = self.call(look, until)
        doubt: RegistryUnavailable | OutcomeUnknown | None = None
        if before == wanted:
            return
        while True:
            try:
                self.call(write, until, writing=True)
                doubt = None
            except (RegistryUnavailable, OutcomeUnknown) as error:
                # A write that may still land outlives a later one that surely did not.
                doubt = doubt if isinstance(doubt, OutcomeUnknown) else error
            try:
                seen = self.call(look, until)
            except RegistryUnavailable as error:
                raise doubt or OutcomeUnknown(f"{what} was written but cannot be read back: {error}") from error
            if seen == wanted:
                return
            if doubt is None or seen != before:
                raise AliasDrift(f"{what}: wrote {wanted}, was {before}, now says {seen}; somebody else moves it")
            if time.monotonic() + pause > until:
                raise doubt
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def read_pages(self, search: "Callable[[str | None, MlflowClient], PagedList[_T]]") -> list[_T]:
        """Ask for one page after the other, with one deadline for all of them."""
        until, found, token = self._until(), list[_T](), None
        while True:
            page = self.call(partial(search, token), until)
            found += page
            token = page.token
            if not token:
                return found

    def _until(self) -> float:
        _foreign()  # the import takes seconds of its own, which are not the registry's
        return time.monotonic() + self.deadline_s

    def _client(self) -> "MlflowClient":
        from mlflow import MlflowClient  # noqa: PLC0415 - costs 2.6 CPU seconds

        if self._lazy is None:
            self._lazy = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        return self._lazy


def _foreign() -> tuple[type[Exception], ...]:
    """Import MLflow, with its telemetry off and its own patience taken away; return what its client raises."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    from google.protobuf.json_format import ParseError  # noqa: PLC0415
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - costs 2.6 CPU seconds
    from requests.exceptions import RequestException  # noqa: PLC0415 - comes with mlflow

    return MlflowException, RequestException, ParseError, OSError


def model_versions_filter(model: str) -> str:
    """MLflow's filter of the versions of a model; a few of other models may come along.

    MLflow's language of filters has no way to write both kinds of quotes, nor a backslash: each is any character then.

    Args:
        model: Registered model.
    """
    if "\\" not in model and ("'" not in model or '"' not in model):
        quote = '"' if "'" in model else "'"
        return f"name={quote}{model}{quote}"
    return f"name LIKE '{''.join('_' if one in _UNQUOTABLE else one for one in model)}'"
