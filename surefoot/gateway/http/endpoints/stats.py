"""Handle /metrics and /models/<model>/stats: report the gateway's request counts."""

from surefoot.gateway.control import metrics
from surefoot.gateway.http import asgi
from surefoot.gateway.http.asgi import Response
from surefoot.gateway.http.endpoints.handler_context import HandlerContext


class StatsHandler:
    """Reports the counts of one model."""

    def __init__(self, context: HandlerContext) -> None:
        """Collect from all workers."""
        self._context = context

    async def handle(self, _scope: asgi.Scope, _receive: asgi.Receive, name: str) -> Response:
        """Give the counts of a model, of all workers together."""
        controller = self._context.model(name)
        stats = await self._context.runtime.total_stats()
        return Response.json({"model": name, **stats.get(name, controller.router.stats())})


class MetricsHandler:
    """Reports the counts of all models to Prometheus."""

    def __init__(self, context: HandlerContext) -> None:
        """Collect from all workers."""
        self._context = context

    async def handle(self, _scope: asgi.Scope, _receive: asgi.Receive, _name: str) -> Response:
        """Give every series of every worker."""
        text = metrics.prometheus_text(await self._context.runtime.worker_stats())
        return Response(text, kind=metrics.CONTENT_TYPE)
