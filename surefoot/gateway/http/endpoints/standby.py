"""Handle /models/<model>/standby: set the version that stands in for the champion."""

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
        """Name the version in the body of a PUT, which belongs to the route of one generation; null names none.

        `going_back` says that the candidate of that route is what traffic goes back to, as in a stepped rollback.
        """
        self._context.require_token(scope)
        body = await asgi.read_body(scope, receive, self._context.settings.max_body_bytes)
        try:
            generation, standby, going_back = _decode(json_body.parse_json_body(body))
        except ValueError as error:  # orjson's error is one too
            raise HttpError(400, "BAD_REQUEST", str(error)) from None
        try:
            await self._context.model(name).set_standby(generation, standby, going_back=going_back)
        except StaleRoute as error:
            return Response.json({"error": "RouteSuperseded", "message": str(error)}, 409)
        except NotPersisted as error:
            _log.critical("%s: %s", name, error)
            return Response.json({"error": "NotPersisted", "message": str(error)}, 507)
        return Response.json({"standby": None if standby is None else standby.number})


def _decode(value: object) -> tuple[int, Version | None, bool]:
    """Read the generation of the route, the version, and whether traffic goes back to the candidate.

    Raises:
        ValueError: Says in one sentence what is wrong.
    """
    if not isinstance(value, dict) or {"going_back": False, **value}.keys() != {"generation", "version", "going_back"}:
        raise ValueError("a standby is an object with the keys ['generation', 'version'], and perhaps 'going_back'")
    generation, going_back = value["generation"], value.get("going_back", False)
    if not isinstance(going_back, bool):
        raise ValueError("going_back is true or false")  # noqa: TRY004 - one kind of error for one kind of mistake
    if not isinstance(generation, int) or isinstance(generation, bool) or generation < 0:
        raise ValueError("generation is a whole number, at least 0")
    standby = None if value["version"] is None else decode_version("version", value["version"])
    return generation, standby, going_back
