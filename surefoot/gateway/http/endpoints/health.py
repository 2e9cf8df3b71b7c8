"""Handle /health and /ping: report whether every routed model has a loaded champion."""

from surefoot.gateway.control.worker_runtime import WorkerRuntime
from surefoot.gateway.http import asgi
from surefoot.gateway.http.asgi import Response
from surefoot.gateway.http.endpoints.handler_context import HandlerContext


class HealthHandler:
    """Reports the state of this worker and its models."""

    def __init__(self, context: HandlerContext) -> None:
        """Report on the models of this worker."""
        self._runtime = context.runtime

    async def handle(self, _scope: asgi.Scope, _receive: asgi.Receive, _name: str) -> Response:
        """Answer 200 when every model is served, else 503."""
        healthy, report = health_report(self._runtime)
        return Response.json(report, 200 if healthy else 503)


def health_report(runtime: WorkerRuntime) -> tuple[bool, dict[str, object]]:
    """Report whether every model is served here, and the state of each."""
    models = {
        name: controller.health()
        for name, controller in runtime.models.items()
        if controller.requested is not None or controller.error
    }
    models |= {name: {"loaded": False, "error": why} for name, why in runtime.routes.broken.items()}
    healthy = all(state["loaded"] for state in models.values())
    status = "ok" if healthy else "degraded"
    return healthy, {"status": status, "killed": runtime.routes.killed, "models": models}
