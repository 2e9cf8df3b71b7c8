"""Trace a few requests of an incident stage by stage through both versions."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import orjson

from surefoot.adapters.predictions.prediction_log import LoggedRequest
from surefoot.adapters.replay.version_processes import ProcessScorer
from surefoot.core.incidents.request_trace import RequestTrace, TracedStage, VersionTrace
from surefoot.models.child_process_scorer import ScoringAbandoned
from surefoot.models.model_process import ProcessDied, RemoteModelError

_REQUESTS = 3
"""Requests that are traced [count]: a person reads them side by side."""


@dataclass
class RequestTracer:
    """Traces the same few requests through one version after the other.

    Attributes:
        requests: The requests that are traced.
        errors: What the log says of requests that the version failed, by key.
    """

    requests: Sequence[LoggedRequest] = ()
    errors: Mapping[tuple[str, int], str] = field(default_factory=dict)
    _traced: dict[tuple[str, int], list[VersionTrace]] = field(default_factory=dict)

    def choose(self, rows: Sequence[LoggedRequest], version: str, errors: Mapping[tuple[str, int], str]) -> None:
        """Choose what is traced: what the version failed, else the answers that are furthest from their labels.

        Args:
            rows: Requests after the onset.
            version: Number of the version that was rolled back.
            errors: How the version failed requests, by request id and row.
        """
        named = [row for row in rows if row.bare is None and not row.params]
        failed = [row for row in named if row.key in errors]
        own = sorted((row for row in named if row.answered_by == version), key=_closeness)
        self.requests, self.errors = [*failed, *own][:_REQUESTS], errors

    def trace(self, scorer: ProcessScorer, version: str) -> None:
        """Trace the chosen requests through a version; one that cannot be traced has no stages.

        Args:
            scorer: The version.
            version: Its number.
        """
        for one in self.requests:
            with suppress(RemoteModelError, ProcessDied, ScoringAbandoned):
                (stages,) = scorer.trace([one.features])
                made = VersionTrace(version, tuple(map(_stage, stages)))
                self._traced.setdefault(one.key, []).append(made)

    def traces(self) -> tuple[RequestTrace, ...]:
        """What was traced."""
        return tuple(
            RequestTrace(*one.key, one.at, self._logged(one), tuple(self._traced[one.key]))
            for one in self.requests
            if one.key in self._traced
        )

    def _logged(self, row: LoggedRequest) -> str:
        return self.errors.get(row.key) or _compact(row.prediction)


def _closeness(row: LoggedRequest) -> float:
    """How close an answer is to its label, so that the worst come first; 0 where either is no number."""
    label, answer = row.label(0.0), row.prediction
    answer = answer[-1] if isinstance(answer, list) and answer else answer
    if isinstance(label, int | float) and isinstance(answer, int | float):
        return -abs(float(answer) - float(label))
    return 0.0


def _stage(told: dict[str, object]) -> TracedStage:
    failed = "error" in told
    text = str(told["error"]) if failed else _compact(told.get("value"))
    return TracedStage(str(told["stage"]), text, float(str(told.get("ms", 0.0))), failed)


def _compact(value: object) -> str:
    return orjson.dumps(value).decode()
