"""Map paths and methods to the handlers of the gateway's endpoints."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache

from surefoot.core.naming.model_names import is_model_name
from surefoot.gateway.http import asgi
from surefoot.gateway.http.asgi import HttpError, Response
from surefoot.gateway.http.endpoints.docs import handle_docs_page, handle_openapi, handle_version
from surefoot.gateway.http.endpoints.fallback import FallbackHandler
from surefoot.gateway.http.endpoints.handler_context import HandlerContext
from surefoot.gateway.http.endpoints.health import HealthHandler
from surefoot.gateway.http.endpoints.kill_switch import KillSwitchHandler
from surefoot.gateway.http.endpoints.labels import LabelsHandler
from surefoot.gateway.http.endpoints.open_inference import OpenInferenceHandler
from surefoot.gateway.http.endpoints.route import RouteHandler
from surefoot.gateway.http.endpoints.scoring import ScoringHandler
from surefoot.gateway.http.endpoints.standby import StandbyHandler
from surefoot.gateway.http.endpoints.stats import MetricsHandler, StatsHandler

_Handler = Callable[[asgi.Scope, asgi.Receive, str], Awaitable[Response]]
"""Answers a request; the last argument is the model's name in the path, empty where the path has none."""
_READ = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint.

    Attributes:
        methods: Methods that it answers; empty when the handler checks them itself.
        handle: Answers a request.
    """

    methods: tuple[str, ...]
    handle: _Handler


class EndpointTable:
    """The endpoints of a gateway."""

    def __init__(self, context: HandlerContext) -> None:
        """Build every handler."""
        scoring, health = ScoringHandler(context), HealthHandler(context)
        self._fixed = {
            "/invocations": Endpoint(("POST",), scoring.handle),
            "/health": Endpoint(_READ, health.handle),
            "/ping": Endpoint(_READ, health.handle),
            "/version": Endpoint(_READ, handle_version),
            "/metrics": Endpoint(_READ, MetricsHandler(context).handle),
            "/openapi.json": Endpoint(_READ, handle_openapi),
            "/docs": Endpoint(_READ, handle_docs_page),
            "/kill": Endpoint(("PUT", "DELETE"), KillSwitchHandler(context).handle),
        }
        self._of_model = {
            "invocations": Endpoint(("POST",), scoring.handle),
            "labels": Endpoint(("POST",), LabelsHandler(context).handle),
            "route": Endpoint(("GET", "PUT"), RouteHandler(context).handle),
            "fallback": Endpoint(("PUT",), FallbackHandler(context).handle),
            "standby": Endpoint(("PUT",), StandbyHandler(context).handle),
            "stats": Endpoint(("GET",), StatsHandler(context).handle),
        }
        self._open_inference = Endpoint((), OpenInferenceHandler(context).handle)

    def find(self, scope: asgi.Scope) -> tuple[_Handler, str]:
        """Find the handler of a request, and the model's name in its path.

        Raises:
            HttpError: No endpoint has this path, or it does not answer this method.
        """
        path = scope["path"]
        name, verb = _split_model_path(path)
        endpoint = self._of_model.get(verb) if name else self._fixed.get(path)
        if endpoint is None:
            if path != "/v2" and not path.startswith("/v2/"):
                raise HttpError(404, "ENDPOINT_NOT_FOUND", f"the gateway has no {path}")
            endpoint, name = self._open_inference, ""
        if endpoint.methods:
            asgi.require_method(scope, endpoint.methods)
        return endpoint.handle, name


@lru_cache(256)
def _split_model_path(path: str) -> tuple[str, str]:
    """Split /models/<model>/<verb> into model and verb; empty when the path is none of this form."""
    name, _, verb = path.removeprefix("/models/").rpartition("/")
    return (name, verb) if path.startswith("/models/") and is_model_name(name) else ("", "")
