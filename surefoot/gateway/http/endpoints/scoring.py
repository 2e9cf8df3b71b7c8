"""Handle scoring requests in MLflow's protocol, on paths ending in /invocations."""

import os
import time
from collections.abc import Coroutine, Iterator
from functools import lru_cache, partial

from surefoot.gateway.control.model_controller import ModelController
from surefoot.gateway.http import asgi, scoring_body
from surefoot.gateway.http.asgi import HttpError, Response
from surefoot.gateway.http.endpoints.handler_context import HandlerContext
from surefoot.gateway.inference.attempts.caller_answer import CallerAnswer, NotServing, NoVersionAnswered, Overloaded
from surefoot.gateway.inference.request_assignment import new_request
from surefoot.gateway.log.label_validation import REQUEST_ID_PATTERN

SCORING_ERRORS = (scoring_body.MalformedBody, NoVersionAnswered, NotServing, Overloaded)
"""Why a scoring request gets no answer."""


class ScoringHandler:
    """Scores requests in MLflow's protocol."""

    def __init__(self, context: HandlerContext) -> None:
        """Score with the models of this worker."""
        self._context = context
        self._ids = generate_request_ids()

    async def handle(self, scope: asgi.Scope, receive: asgi.Receive, name: str) -> Response:
        """Score the rows of a request; without a name, with the one model that is routed."""
        context = self._context
        controller = context.model(name) if name else context.only_model()
        body = await asgi.read_body(scope, receive, context.settings.max_body_bytes)
        started, at = time.perf_counter(), context.clock.now()  # how long a caller takes to ask is not our latency
        request = read_request_id(scope) or next(self._ids)
        trace, spans = context.begin_trace(scope, started), controller.router.spans
        try:
            table = scoring_body.decode_table(body, asgi.get_header(scope, b"content-type"))
            trace.end_stage("input")
            scoring = start_scoring(controller, table, request, at=at, started=started)
            trace.end_stage("preprocessing")
            answer = await scoring
            trace.end_stage("model")
        except SCORING_ERRORS as error:
            refusal = scoring_error_answer(error, controller, request)
            trace.fail(controller.name, spans, refusal.status)
            raise refusal from None
        if controller.router.tripped is not None:  # the cut is in force before this answer leaves
            controller.collect_tripwire_cut()
        said = b'{"predictions":' + answer.predictions + b"}"
        headers = answer_headers(answer, request) + trace.finish(answer, spans)
        return Response(said, 200, asgi.JSON_CONTENT_TYPE, {}, headers, mirror_after_response(controller, answer))


def start_scoring(
    controller: ModelController,
    table: scoring_body.RequestTable,
    request: str,
    *,
    at: float,
    started: float,
    tensor: bool = False,
) -> Coroutine[object, object, CallerAnswer]:
    """Assign a request to a version by the route in force, and give what is to be awaited for its answer.

    Args:
        controller: The model.
        table: The rows of the request.
        request: Id of the request.
        at: Receipt [Unix seconds].
        started: Receipt on the host's monotonic clock [s].
        tensor: Whether the caller can only be given answers that make one tensor.

    Raises:
        NotServing: No champion is loaded, and failed requests are refused.
    """
    router = controller.router
    route = router.current_route()
    assigned = router.route_without_champion() if route is None else route
    job = new_request(
        assigned.split,
        model=controller.name,
        request=request,
        names=table.names,
        values=table.values,
        column=assigned.rules.unit,
        at=at,
        started=started,
        tensor=tensor,
        redactor=assigned.redactor,
        options=table.options,
    )
    return router.answer_unserved(job) if route is None else router.answer(route, job)


def scoring_error_answer(error: Exception, controller: ModelController, request: str) -> HttpError:
    """Give the HTTP error for a scoring request without an answer."""
    if isinstance(error, scoring_body.UnsupportedContentType):
        return HttpError(415, "BAD_REQUEST", str(error), x_request_id=request)
    if isinstance(error, scoring_body.MalformedBody | NoVersionAnswered):
        return HttpError(400, "BAD_REQUEST", str(error), x_request_id=request)
    message = f"{error}{': ' + controller.error if controller.error else ''}"
    return HttpError(503, "TEMPORARILY_UNAVAILABLE", message, retry_after="1", x_request_id=request)


def answer_headers(answer: CallerAnswer, request: str) -> list[tuple[bytes, bytes]]:
    """Give the headers that say which request was answered, by which version or fallback, under which route."""
    split, said = answer.job.split, [(b"x-request-id", request.encode())]
    routed = _route_headers(answer.answered_by, split.generation, split.rollout)
    if answer.failover_level is None:
        return said + routed
    said.append((b"x-surefoot-rung", answer.failover_level.encode()))
    if answer.fallback:  # no version has answered: there is no x-model-version
        return [*said, (b"x-surefoot-fallback", answer.fallback.encode()), *routed[1:]]
    return said + routed


def mirror_after_response(controller: ModelController, answer: CallerAnswer) -> "partial[None] | None":
    """Give what mirrors a request once its answer has been sent; None when it is not mirrored."""
    if not answer.job.split.mirror or answer.failover_level is not None:
        return None
    shadow = controller.router.shadow_for_request(answer.job)
    return None if shadow is None else partial(shadow.submit, answer.job)


def read_request_id(scope: asgi.Scope) -> str:
    """Read the caller's own id of the request; empty without one.

    Raises:
        HttpError: It cannot be kept as it is, so labels that are reported under it would find nothing.
    """
    given = {value for key, value in scope["headers"] if key == b"x-request-id"}
    if not given:
        return ""
    request = str(next(iter(given)).decode("latin-1"))
    if len(given) > 1:
        raise HttpError(400, "BAD_REQUEST", "X-Request-Id is given twice: send one id a request")
    return check_request_id(request, "X-Request-Id")


def check_request_id(request: str, name: str) -> str:
    """Return an id of a request that labels can name.

    Args:
        request: The id; empty without one.
        name: What the caller calls it.

    Raises:
        HttpError: It cannot be kept as it is.
    """
    if request and not REQUEST_ID_PATTERN.fullmatch(request):
        message = f"{name} must be 1 to 128 visible ASCII characters without a space; send another one, or none"
        raise HttpError(400, "BAD_REQUEST", message)
    return request


def generate_request_ids() -> Iterator[str]:
    """Generate ids of 128 random bits, many from one call of the system."""
    while True:
        bits = os.urandom(4096)
        for start in range(0, len(bits), 16):
            yield bits[start : start + 16].hex()


@lru_cache(256)
def _route_headers(answered_by: str, generation: int, rollout: str) -> list[tuple[bytes, bytes]]:
    """Give the headers that are the same for many answers."""
    return [
        (b"x-model-version", answered_by.encode("latin-1")),
        (b"x-model-generation", b"%d" % generation),
        (b"x-model-rollout", rollout.encode("latin-1")),
    ]
