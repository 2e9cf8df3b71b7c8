"""Handle /models/<model>/standby: set the version that answers requests that the champion fails."""

import logging

from surefoot.core.domain import Version
from surefoot.core.traffic_split_json import decode_version
from surefoot.gateway import json_body
from surefoot.gateway.control.route_errors import NotPersisted, StaleRoute
from surefoot.gateway.http import asgi
from surefoot.gateway.http.asgi import HttpError, Response
from surefoot.gateway.http.endpoints.handler_context import HandlerContext

_log = logging.getLogger(__name__)


class StandbyHandler:
    """Names the standby of a model."""

    def __init__(self, context: HandlerContext) -> None:
        """Control the models of this worker."""
        self._context = context

    async def handle(self, scope: asgi.Scope, receive: asgi.Receive, name: str) -> Response:
        """Name the version in the body of a PUT, which belongs to the route of one generation; null names none."""
        self._context.require_token(scope)
        body = await asgi.read_body(scope, receive, self._context.settings.max_body_bytes)
        try:
            generation, standby = _decode(json_body.parse_json_body(body))
        except ValueError as error:  # orjson's error is one too
            raise HttpError(400, "BAD_REQUEST", str(error)) from None
        try:
            await self._context.model(name).set_standby(generation, standby)
        except StaleRoute as error:
            return Response.json({"error": "RouteSuperseded", "message": str(error)}, 409)
        except NotPersisted as error:
            _log.critical("%s: %s", name, error)
            return Response.json({"error": "NotPersisted", "message": str(error)}, 507)
        return Response.json({"standby": None if standby is None else standby.number})


def _decode(value: object) -> tuple[int, Version | None]:
    """Read the generation of the route, and the version.

    Raises:
        ValueError: Says in one sentence what is wrong.
    """
    if not isinstance(value, dict) or value.keys() != {"generation", "version"}:
        raise ValueError("a standby is an object with exactly the keys ['generation', 'version']")
    generation = value["generation"]
    if not isinstance(generation, int) or isinstance(generation, bool) or generation < 0:
        raise ValueError("generation is a whole number, at least 0")
    return generation, None if value["version"] is None else decode_version("version", value["version"])
