"""Run a policy's fallback on recently logged requests, and check its answers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from surefoot.adapters.config.policy_fallback import read_fallback_answer
from surefoot.adapters.config.policy_folder import read_model_policy
from surefoot.adapters.predictions.prediction_log import LoggedRequest, PredictionLog
from surefoot.core.answers.fallback_check import check_fallback_answers, check_fallback_version_answers
from surefoot.core.domain import Version
from surefoot.core.errors import EvidenceUnavailable, FallbackInvalid, Rejected, SurefootError
from surefoot.core.fallback import PYFUNC_FALLBACK_KIND, FallbackReference
from surefoot.core.journal.fallback_events import FallbackDrilled
from surefoot.core.policy.policy_types import Policy
from surefoot.models.model_process import ProcessDied, RemoteModelError

_WINDOW_S = 7 * 86400.0
"""How far back rows are taken from [seconds]."""
_MAX_SECONDS = 120.0
"""After so long a version is asked no further row [s]."""
_MAX_ROWS = 500
"""Most rows that a fallback is asked [count]."""


class VersionScorer(Protocol):
    """A version in a process of its own, which is started at the first question."""

    @property
    def batchable(self) -> bool:
        """Whether it answers each row by itself."""
        ...

    def predict(self, rows: list[Any], params: object = None) -> list[object]:
        """Answer every row, or raise."""
        ...

    def close(self) -> None:
        """End the process."""
        ...


@dataclass(frozen=True, slots=True)
class FallbackCheckSources:
    """Where a check finds the requests and the versions that it asks.

    Attributes:
        project: Folder with configs/ and the files of tables.
        log: Folder of the prediction logs.
        resolve: Finds a version of (model, number) in the registry, with the digest of its files.
        scores: Gives a version of (model, version) whose files have that digest.
        timer: Gives the time of a clock that only goes forward [s].
    """

    project: Path
    log: Path
    resolve: Callable[[str, str], Version]
    scores: Callable[[str, Version], VersionScorer]
    timer: Callable[[], float] = time.monotonic


def run_fallback_check(sources: FallbackCheckSources, model: str, champion: str, now: float) -> FallbackDrilled | None:
    """Run the fallback on recently logged rows; None where the policy names none or cannot be read.

    Args:
        sources: Where rows, files and versions are.
        model: Registered model.
        champion: Number of the version that serves; its answers say which shape callers are used to.
        now: The time [Unix seconds].

    Raises:
        RegistryUnavailable: The fallback is a version, and the registry does not answer: later it may.
    """
    try:
        _, policy = read_model_policy(sources.project / "configs", model)
    except Rejected:
        return None
    if policy.fallback is None or policy.fallback.refuse:
        return None
    if (source := policy.fallback_reference) is not None:
        return _try_version(sources, model, champion, now, source)
    return _try_answers(sources, policy, champion, now)


def _try_answers(sources: FallbackCheckSources, policy: Policy, champion: str, now: float) -> FallbackDrilled | None:
    """Ask a constant or a table."""
    model, kind = policy.model, "constant" if policy.fallback is None else policy.fallback.kind
    try:
        fallback = read_fallback_answer(sources.project, policy)
    except FallbackInvalid as error:
        return FallbackDrilled(kind, "", 0, str(error))
    if fallback is None:
        return None
    try:
        found = _recent(sources, model, now)
    except EvidenceUnavailable as error:
        return FallbackDrilled(kind, fallback.digest, 0, _unread(error))
    return check_fallback_answers(fallback, [request.columns() for request in found], _served(found, champion))


def _try_version(
    sources: FallbackCheckSources, model: str, champion: str, now: float, source: FallbackReference
) -> FallbackDrilled:
    """Load a version and ask it.

    Raises:
        RegistryUnavailable: The registry does not answer.
    """
    try:
        version = sources.resolve(source.model, source.number)
        scorer = sources.scores(source.model, version)
    except SurefootError as error:
        if error.retryable:
            raise
        return _unusable(source, error)
    try:
        try:
            _ = scorer.batchable  # this starts its process
        except (SurefootError, ProcessDied) as error:
            return _unusable(source, error)
        try:
            found = _recent(sources, model, now)
        except EvidenceUnavailable as error:
            return FallbackDrilled(PYFUNC_FALLBACK_KIND, version.digest, 0, _unread(error), source, version)
        began = sources.timer()
        answers, errors = _ask(scorer, found, lambda: sources.timer() - began > _MAX_SECONDS)
        took = sources.timer() - began
        return check_fallback_version_answers(source, version, answers, errors, _served(found, champion), took)
    finally:
        scorer.close()


def _ask(
    scorer: VersionScorer, requests: Sequence[LoggedRequest], is_over: Callable[[], bool]
) -> tuple[list[object], list[str]]:
    """What a version answers to logged rows, and how it fails others.

    The end of its process ends the check, and so does the end of its time: what was not asked by then is not counted.
    """
    answers: list[object] = []
    errors: list[str] = []
    for _, group in groupby(requests, lambda request: (repr(request.params), request.bare is None)):
        asked = list(group)
        rows: list[Any] = [request.features if request.bare is None else request.bare[0] for request in asked]
        pending = [rows] if scorer.batchable else [[row] for row in rows]
        while pending:
            if is_over():
                return answers, errors
            chunk = pending.pop(0)
            try:
                answers += scorer.predict(chunk, asked[0].params)
            except ProcessDied as error:
                return answers, [*errors, *[_line(error)] * len(chunk)]
            except (RemoteModelError, ValueError) as error:
                if len(chunk) > 1:  # one that fails must not fail the others
                    pending = [[row] for row in chunk]
                else:
                    errors.append(_line(error))
    return answers, errors


def _recent(sources: FallbackCheckSources, model: str, now: float) -> list[LoggedRequest]:
    """Recent rows of the log.

    Raises:
        EvidenceUnavailable: The log cannot be read.
    """
    return PredictionLog(sources.log).read_requests(model, now - _WINDOW_S, now, limit=_MAX_ROWS)


def _served(found: Sequence[LoggedRequest], champion: str) -> list[object]:
    """What the champion has answered to these requests."""
    return [request.prediction for request in found if request.answered_by == champion]


def _unusable(source: FallbackReference, error: Exception) -> FallbackDrilled:
    """The result for a version that cannot be loaded."""
    return FallbackDrilled(PYFUNC_FALLBACK_KIND, "", 0, f"{source.uri} cannot be loaded: {_line(error)}", source)


def _unread(error: EvidenceUnavailable) -> str:
    return f"the log cannot be read: {error}"


def _line(error: Exception) -> str:
    """An error in one line of bounded length."""
    return " ".join(str(error).split())[:500]
