"""Handle all paths below /v2, which follow the Open Inference Protocol."""

import importlib.metadata
import re
import time

import orjson

from surefoot.gateway.control.model_controller import ModelController
from surefoot.gateway.http import asgi, tensors
from surefoot.gateway.http.asgi import HttpError, Response
from surefoot.gateway.http.endpoints.handler_context import HandlerContext
from surefoot.gateway.http.endpoints.health import health_report
from surefoot.gateway.http.endpoints.scoring import (
    SCORING_ERRORS,
    answer_headers,
    check_request_id,
    generate_request_ids,
    mirror_after_response,
    read_request_id,
    scoring_error_answer,
    start_scoring,
)

_PATH = re.compile(
    r"/v2(/health/(live|ready))?|/v2/models/(?P<model>[^/]+)(/versions/(?P<version>[^/]+))?(/(?P<verb>infer|ready))?"
)


class OpenInferenceHandler:
    """Speaks the Open Inference Protocol; refusals are worded as it words them."""

    def __init__(self, context: HandlerContext) -> None:
        """Score with the models of this worker."""
        self._context = context
        self._ids = generate_request_ids()

    async def handle(self, scope: asgi.Scope, receive: asgi.Receive, _name: str) -> Response:
        """Answer a request below /v2."""
        try:
            return await self._answer(scope, receive)
        except HttpError as refusal:
            return Response(
                orjson.dumps({"error": str(refusal)}), refusal.status, asgi.JSON_CONTENT_TYPE, dict(refusal.headers)
            )

    async def _answer(self, scope: asgi.Scope, receive: asgi.Receive) -> Response:
        path = scope["path"]
        matched = _PATH.fullmatch(path)
        if matched is None:
            raise HttpError(404, "ENDPOINT_NOT_FOUND", f"the gateway has no {path}")
        name, number, verb = matched["model"], matched["version"], matched["verb"]
        asgi.require_method(scope, ("POST",) if verb == "infer" else ("GET", "HEAD"))
        if name is None:
            return self._server(path)
        controller = self._context.model(name)
        split = controller.router.split
        if split is not None and number not in (None, split.champion.number):
            message = f"callers do not choose: version {number} of {name} answers when the split says so"
            raise HttpError(404, "RESOURCE_DOES_NOT_EXIST", message)
        if verb == "infer":
            return await self._infer(controller, scope, receive)
        if verb == "ready":
            return Response.json({"name": name, "ready": split is not None}, 200 if split is not None else 503)
        versions = [split.champion.number] if split is not None else []
        return Response.json(
            {"name": name, "versions": versions, "platform": "mlflow-pyfunc", **tensors.UNKNOWN_METADATA}
        )

    def _server(self, path: str) -> Response:
        """Describe the server, or say whether it lives and is ready."""
        if path == "/v2/health/live":
            return Response.json({"live": True})
        if path == "/v2/health/ready":
            ready, _ = health_report(self._context.runtime)
            return Response.json({"ready": ready}, 200 if ready else 503)
        version = importlib.metadata.version("surefoot")
        return Response.json({"name": "surefoot", "version": version, "extensions": []})

    async def _infer(self, controller: ModelController, scope: asgi.Scope, receive: asgi.Receive) -> Response:
        context = self._context
        body = await asgi.read_body(scope, receive, context.settings.max_body_bytes)
        started, at = time.perf_counter(), context.clock.now()
        given = read_request_id(scope)
        request = given or next(self._ids)
        trace, spans = context.begin_trace(scope, started), controller.router.spans
        try:
            table, own = tensors.read_tensors(body)
            # Labels are reported by the id that the caller knows: the header's, or else the one in the body.
            request = given or check_request_id(own, "id") or request
            trace.end_stage("input")
            scoring = start_scoring(controller, table, request, at=at, started=started, tensor=True)
            trace.end_stage("preprocessing")
            answer = await scoring
            trace.end_stage("model")
        except SCORING_ERRORS as error:
            refusal = scoring_error_answer(error, controller, request)
            trace.fail(controller.name, spans, refusal.status)
            raise refusal from None
        if controller.router.tripped is not None:  # the cut is in force before this answer leaves
            controller.collect_tripwire_cut()
        after = mirror_after_response(controller, answer)
        body = tensors.tensor_response(answer.predictions, controller.name, answer.answered_by or answer.fallback, own)
        return Response(body, encoded=answer_headers(answer, request) + trace.finish(answer, spans), after=after)
