"""Trace a sample of scoring requests, with one span for each request and one for each of its stages."""

import os
import random
import time
from collections.abc import Mapping
from typing import Protocol

from surefoot.core.domain import Arm
from surefoot.core.telemetry.span import AttributeValue, Span, SpanEvent, SpanKind
from surefoot.core.telemetry.trace_context import TraceContext, format_trace_context, parse_trace_context
from surefoot.gateway.http import asgi
from surefoot.gateway.inference.attempts.caller_answer import CallerAnswer
from surefoot.gateway.log.scoring_request import ScoringRequest
from surefoot.telemetry.span_queue import SpanCounts, SpanQueue

_ANSWER_HEADER = b"traceresponse"
"""Header by which an answer names its trace, of W3C Trace Context, level 2."""
_SERVER_ERROR = 500


class RequestTrace(Protocol):
    """What is recorded of one request."""

    def end_stage(self, name: str) -> None:
        """Record that a stage is over which began when the one before ended."""
        ...

    def fail(self, model: str, counts: SpanCounts, status: int) -> None:
        """Record that the request gets no answer."""
        ...

    def finish(self, answer: CallerAnswer, counts: SpanCounts) -> list[tuple[bytes, bytes]]:
        """Record that the answer leaves; headers that name the trace."""
        ...


class _NoTrace:
    """Records nothing."""

    def __init__(self, context: TraceContext | None = None) -> None:
        self._context = context

    def end_stage(self, name: str) -> None:
        """Record nothing."""

    def fail(self, model: str, counts: SpanCounts, status: int) -> None:
        """Record nothing."""

    def finish(self, answer: CallerAnswer, counts: SpanCounts) -> list[tuple[bytes, bytes]]:  # noqa: ARG002 - the protocol's
        """Record nothing; the caller's trace is named as one that is not recorded here."""
        if self._context is None:
            return []
        told = format_trace_context(self._context.trace_id, os.urandom(8), sampled=False)
        return [(_ANSWER_HEADER, told.encode())]


NO_TRACE: RequestTrace = _NoTrace()
"""Records nothing of a request."""


class RequestTracer:
    """Decides which requests are traced, and queues their spans."""

    def __init__(self, spans: SpanQueue, share: float) -> None:
        """Trace nothing yet.

        Args:
            spans: Takes the spans of requests.
            share: Share of the requests without a caller's decision that are traced [0 to 1].
        """
        self._spans, self._share = spans, share

    def begin(self, scope: asgi.Scope, started: float) -> RequestTrace:
        """Begin to record a request where it is sampled: as its caller has decided, else by chance.

        Args:
            scope: The request.
            started: Its receipt on the host's monotonic clock [s].
        """
        parents, states = [], []
        for name, value in scope["headers"]:
            if name == b"traceparent":
                parents.append(value.decode("latin-1"))
            elif name == b"tracestate":
                states.append(value.decode("latin-1"))
        context = parse_trace_context(parents, states) if parents else None
        if context is not None:
            return _SampledTrace(self._spans, context, started) if context.sampled else _NoTrace(context)
        if random.random() >= self._share:  # noqa: S311 - it decides on nothing secret
            return NO_TRACE
        return _SampledTrace(self._spans, None, started)


class _SampledTrace:
    """Records one request."""

    def __init__(self, spans: SpanQueue, context: TraceContext | None, started: float) -> None:
        self._spans, self._context = spans, context
        self._trace_id = os.urandom(16) if context is None else context.trace_id
        self._span_id = os.urandom(8)
        self._offset = time.time() - time.perf_counter()  # spans have the host's time, whatever clock the log has
        self._started = self._stage_began = started
        self._stages: list[tuple[str, float, float]] = []

    def end_stage(self, name: str) -> None:
        """Record that a stage is over which began when the one before ended."""
        now = time.perf_counter()
        self._stages.append((name, self._stage_began, now))
        self._stage_began = now

    def fail(self, model: str, counts: SpanCounts, status: int) -> None:
        """Queue the spans of a request that gets no answer."""
        self.end_stage("failed")
        attributes: dict[str, AttributeValue] = {"surefoot.model": model, "http.response.status_code": status}
        error = f"status {status}" if status >= _SERVER_ERROR else ""
        self._queue(model, attributes, counts, (), error)

    def finish(self, answer: CallerAnswer, counts: SpanCounts) -> list[tuple[bytes, bytes]]:
        """Queue the spans of a request that is answered; the header that names the trace."""
        self.end_stage("postprocessing")
        job = answer.job
        attributes = {"surefoot.model": job.model, "http.response.status_code": 200, **_answer_attributes(answer)}
        evaluated = SpanEvent("feature_flag.evaluation", self._offset + self._stages[0][2], _flag_attributes(job))
        self._queue(job.model, attributes, counts, (evaluated,))
        return [(_ANSWER_HEADER, format_trace_context(self._trace_id, self._span_id, sampled=True).encode())]

    def _queue(
        self,
        model: str,
        attributes: Mapping[str, AttributeValue],
        counts: SpanCounts,
        events: tuple[SpanEvent, ...],
        error: str = "",
    ) -> None:
        state = "" if self._context is None else self._context.state
        whole = Span(
            self._trace_id,
            self._span_id,
            b"" if self._context is None else self._context.span_id,
            f"POST {model}",
            self._offset + self._started,
            self._offset + self._stage_began,
            SpanKind.SERVER,
            {"http.request.method": "POST", **attributes},
            events,
            error,
            state,
        )
        stages = [
            Span(
                self._trace_id,
                os.urandom(8),
                self._span_id,
                name,
                self._offset + began,
                self._offset + ended,
                trace_state=state,
            )
            for name, began, ended in self._stages
        ]
        self._spans.add([whole, *stages], counts)


def _flag_attributes(job: ScoringRequest) -> dict[str, AttributeValue]:
    """The split's decision as OpenTelemetry names the evaluation of a feature flag.

    Source: https://opentelemetry.io/docs/specs/semconv/feature-flags/.
    """
    return {
        "feature_flag.key": job.model,
        "feature_flag.provider.name": "surefoot",
        "feature_flag.result.variant": job.arm.value,
        "feature_flag.result.reason": "split" if job.split.weight else "static",
        "feature_flag.version": str(job.split.generation),
        **({"feature_flag.set.id": job.split.rollout} if job.split.rollout else {}),
    }


def _answer_attributes(answer: CallerAnswer) -> dict[str, AttributeValue]:
    """Which version answered, and what that cost; no value of the request."""
    job = answer.job
    told: dict[str, AttributeValue] = {
        "surefoot.request": job.request,
        "surefoot.version": answer.answered_by or answer.fallback,
        "surefoot.rows": len(job.values),
        "surefoot.candidate_failed": job.arm is Arm.CANDIDATE and job.error is not None,
    }
    if answer.failover_level is not None:
        told["surefoot.rung"] = answer.failover_level.value
    if job.cost is not None:
        told |= {"surefoot.cpu_ms": job.cost.cpu_ms, "surefoot.batch": job.cost.batch}
        if job.cost.model_ms is not None:
            told["surefoot.model_ms"] = job.cost.model_ms
    return told
