"""Handle /kill: set or lift the switch that stops all candidate traffic."""

import logging

from surefoot.core.operator_reason import clean_reason
from surefoot.gateway.control.route_errors import NotPersisted
from surefoot.gateway.http import asgi
from surefoot.gateway.http.asgi import HttpError, Response
from surefoot.gateway.http.endpoints.handler_context import HandlerContext

_log = logging.getLogger(__name__)
_MAX_BODY_BYTES = 1 << 20
"""Longest body of a kill [bytes]; of a longer one the switch is set without a reason."""


class KillSwitchHandler:
    """Sets and lifts the kill switch."""

    def __init__(self, context: HandlerContext) -> None:
        """Control all models."""
        self._context = context

    async def handle(self, scope: asgi.Scope, receive: asgi.Receive, _name: str) -> Response:
        """Set the switch with the reason in the body of a PUT; lift it with DELETE."""
        self._context.require_token(scope)
        runtime = self._context.runtime
        if scope["method"] == "DELETE":
            await runtime.lift_kill_switch()
            return Response.json({"killed": ""})
        try:
            body = await asgi.read_body(scope, receive, _MAX_BODY_BYTES)
        except HttpError:  # whatever is wrong with the text, the switch is set
            body = b"the reason could not be read"
        reason = clean_reason(body.decode("utf-8", "replace")).text
        try:
            await runtime.set_kill_switch(reason)
        except NotPersisted as error:
            _log.critical("%s", error)
            return Response.json({"error": type(error).__name__, "message": str(error)}, 507)
        return Response.json({"killed": reason})
