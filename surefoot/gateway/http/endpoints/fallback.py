"""Handle /models/<model>/fallback: set the version that answers as the last resort."""

import logging

from surefoot.core.fallback import FallbackVersion
from surefoot.core.naming.model_names import is_model_name
from surefoot.gateway import json_body
from surefoot.gateway.control.route_errors import NotPersisted, StaleRoute
from surefoot.gateway.http import asgi
from surefoot.gateway.http.asgi import HttpError, Response
from surefoot.gateway.http.endpoints.handler_context import HandlerContext
from surefoot.gateway.inference.routes.entry_fields import decode_fallback

_log = logging.getLogger(__name__)


class FallbackHandler:
    """Names the version that is a model's fallback."""

    def __init__(self, context: HandlerContext) -> None:
        """Control the models of this worker."""
        self._context = context

    async def handle(self, scope: asgi.Scope, receive: asgi.Receive, name: str) -> Response:
        """Name the version in the body of a PUT, which stays the fallback whatever the route is; null names none."""
        self._context.require_token(scope)
        body = await asgi.read_body(scope, receive, self._context.settings.max_body_bytes)
        try:
            fallback = _decode(json_body.parse_json_body(body))
        except ValueError as error:  # orjson's error is one too
            raise HttpError(400, "BAD_REQUEST", str(error)) from None
        try:
            await self._context.model(name).fallback.set(fallback)
        except StaleRoute as error:
            return Response.json({"error": "RouteSuperseded", "message": str(error)}, 409)
        except NotPersisted as error:
            _log.critical("%s: %s", name, error)
            return Response.json({"error": "NotPersisted", "message": str(error)}, 507)
        return Response.json({"fallback": None if fallback is None else fallback.uri})


def _decode(value: object) -> FallbackVersion | None:
    """Read the version from a body.

    Raises:
        ValueError: Says in one sentence what is wrong.
    """
    if not isinstance(value, dict) or value.keys() != {"fallback"}:
        raise ValueError("the body is an object with the key ['fallback']")
    fallback = decode_fallback(value["fallback"])
    if fallback is not None and not is_model_name(fallback.model):
        raise ValueError(f"{fallback.model!r} is no name of a registered model")
    return fallback
