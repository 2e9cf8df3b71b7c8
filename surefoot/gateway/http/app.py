"""Serve the gateway as an ASGI application that passes requests to their handlers."""

import socket
from functools import partial

from surefoot.core.errors import SurefootError
from surefoot.core.ports import Clock
from surefoot.gateway.control.reports.gateway_journal import GatewayJournal, NullJournal
from surefoot.gateway.control.version_loader import VersionLoadFunctions
from surefoot.gateway.control.worker_runtime import WorkerRuntime
from surefoot.gateway.http import asgi
from surefoot.gateway.http.asgi import HttpError, Response
from surefoot.gateway.http.endpoint_table import EndpointTable
from surefoot.gateway.http.endpoints.handler_context import HandlerContext, LabelAccess, UnrestrictedLabelAccess
from surefoot.gateway.http.request_trace import RequestTracer
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.models.blocking_calls import run_in_daemon_thread
from surefoot.models.model_protocols import LoadModel
from surefoot.telemetry.otlp_sender import SpanSender
from surefoot.telemetry.span_queue import SpanQueue

_SPANS_TIMEOUT_S = 2.0
"""How long spans of the last requests are sent when the gateway stops [s]."""


class Gateway:
    """The ASGI application of one worker: one process, one event loop.

    Attributes:
        leaving: Whether callers are asked to close their connections, because this worker is to end.
    """

    def __init__(
        self, settings: GatewaySettings, clock: Clock, runtime: WorkerRuntime, label_access: LabelAccess
    ) -> None:
        """Build the handlers; models are loaded when the server starts."""
        self._runtime = runtime
        self._spans = SpanQueue(SpanSender(settings.otlp, "surefoot-gateway")) if settings.otlp else None
        tracer = None if self._spans is None else RequestTracer(self._spans, settings.traced_share)
        self._endpoints = EndpointTable(HandlerContext(settings, clock, runtime, label_access, tracer))
        self.leaving = False

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Answer one request, or follow the life of the server."""
        if scope["type"] == "lifespan":
            await self._follow_lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        self._runtime.begin_request()
        try:
            await self._answer(scope, receive, send)
        finally:
            self._runtime.end_request()

    async def _answer(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Answer one request by the routes that are in force."""
        try:
            self._runtime.follow_routes()
            handle, name = self._endpoints.find(scope)
            response = await handle(scope, receive, name)
        except HttpError as refusal:
            response = Response.error(refusal)
        except asgi.ClientDisconnected:
            return
        except SurefootError as error:  # the clock of a replay that has not begun
            response = Response.error(HttpError(503, "TEMPORARILY_UNAVAILABLE", str(error), retry_after="1"))
        if self.leaving:
            response.headers["connection"] = "close"
        await response.send(send)
        if response.after is not None:
            response.after()

    def set_listening_socket(self, listening: socket.socket, supervisor: int) -> None:
        """Set the socket that other workers serve as well, and the supervisor of this worker."""
        self._runtime.set_listening_socket(listening, supervisor)

    async def _follow_lifespan(self, receive: asgi.Receive, send: asgi.Send) -> None:
        await receive()
        await self._runtime.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._runtime.stop()
        if self._spans is not None:
            await run_in_daemon_thread(partial(self._spans.close, _SPANS_TIMEOUT_S))
        await send({"type": "lifespan.shutdown.complete"})


def build_app(
    settings: GatewaySettings,
    clock: Clock,
    load: LoadModel,
    shadow: LoadModel | None = None,
    journal: GatewayJournal | None = None,
    label_access: LabelAccess | None = None,
) -> Gateway:
    """Build the gateway.

    Args:
        settings: Settings of the gateway.
        clock: Gives the times of the records.
        load: Loads a version of a model; must refuse bytes that are not of its digest.
        shadow: Loads a version for mirrored requests, in a process of low priority; `load` does so without it.
        journal: Where cut candidates and times of fallback answers are recorded; nowhere without it.
        label_access: Decides who may report labels; every sender may without it.
    """
    runtime = WorkerRuntime(settings, clock, VersionLoadFunctions(load, shadow or load), journal or NullJournal())
    return Gateway(settings, clock, runtime, label_access or UnrestrictedLabelAccess())
