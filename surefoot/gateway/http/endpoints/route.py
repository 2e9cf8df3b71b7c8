"""Handle /models/<model>/route: show the model's route, or replace it."""

import logging

from surefoot.core.traffic_split_json import decode_traffic_split, encode_traffic_split
from surefoot.gateway import json_body
from surefoot.gateway.control.route_errors import KillSwitchSet, LoadFailed, NotPersisted, StaleRoute
from surefoot.gateway.http import asgi
from surefoot.gateway.http.asgi import HttpError, Response
from surefoot.gateway.http.endpoints.handler_context import HandlerContext, no_route_error

_log = logging.getLogger(__name__)


class RouteHandler:
    """Shows and changes routes."""

    def __init__(self, context: HandlerContext) -> None:
        """Control the models of this worker."""
        self._context = context

    async def handle(self, scope: asgi.Scope, receive: asgi.Receive, name: str) -> Response:
        """Answer GET with the route in force; put the route of a PUT in force."""
        if scope["method"] == "PUT":
            return await self._put(scope, receive, name)
        controller = self._context.model(name)
        if controller.requested is None:
            raise no_route_error(name)
        authorised = self._context.is_authorised(scope)  # first: it may end the silence of the control plane
        split = controller.router.split
        shown = encode_traffic_split(split or controller.requested)
        if not authorised:
            del shown["salt"]  # with the salt a caller could compute which units the candidate answers
        return Response.json({**shown, "serving": split is not None, "settled": controller.settled})

    async def _put(self, scope: asgi.Scope, receive: asgi.Receive, name: str) -> Response:
        self._context.require_token(scope)
        body = await asgi.read_body(scope, receive, self._context.settings.max_body_bytes)
        try:
            split = decode_traffic_split(json_body.parse_json_body(body))
        except ValueError as error:  # orjson's error is one too
            raise HttpError(400, "BAD_REQUEST", str(error)) from None
        try:
            await self._context.runtime.controller(name).set_route(split)
        except StaleRoute as error:
            return Response.json({"error": "RouteSuperseded", "message": str(error)}, 409)
        except KillSwitchSet as error:
            return Response.json({"error": "Killed", "message": str(error)}, 423)
        except LoadFailed as error:
            return Response.json({"error": error.kind, "message": str(error)}, 422)
        except NotPersisted as error:
            _log.critical("%s: %s", name, error)
            return Response.json({"error": "NotPersisted", "message": str(error)}, 507)
        return Response.json({"generation": split.generation})
