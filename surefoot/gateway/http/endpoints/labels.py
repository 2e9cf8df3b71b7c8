"""Handle /models/<model>/labels: write the reported labels to the prediction log."""

import asyncio
import logging

from surefoot.core.errors import Forbidden, TokenInvalid
from surefoot.gateway.http import asgi
from surefoot.gateway.http.asgi import HttpError, Response
from surefoot.gateway.http.endpoints.handler_context import HandlerContext
from surefoot.gateway.log.prediction_log_writer import SegmentWriter, label_lines

_log = logging.getLogger(__name__)


class LabelsHandler:
    """Writes labels that are reported for earlier requests."""

    def __init__(self, context: HandlerContext) -> None:
        """Write below the gateway's state directory."""
        self._context = context
        self._segments: dict[str, SegmentWriter] = {}

    async def handle(self, scope: asgi.Scope, receive: asgi.Receive, name: str) -> Response:
        """Write all labels of a request, or none."""
        context = self._context
        context.model(name)
        self._check_right(scope, name)
        body = await asgi.read_body(scope, receive, context.settings.max_body_bytes)
        try:
            lines = label_lines(body, context.clock.now())
        except ValueError as error:
            raise HttpError(400, "BAD_REQUEST", str(error)) from None
        if lines:
            segment = self._segments.setdefault(name, context.runtime.new_segment(name, "labels"))
            try:
                await asyncio.to_thread(segment.append, b"".join(lines))
            except OSError as error:
                _log.critical("%s: labels cannot be written: %s", segment.path, error)
                message = f"labels cannot be written ({error.strerror}); send them again"
                raise HttpError(503, "TEMPORARILY_UNAVAILABLE", message, retry_after="5") from None
        return Response.json({"accepted": len(lines)}, 202)

    def _check_right(self, scope: asgi.Scope, name: str) -> None:
        """Refuse a sender that may not report labels: they decide verdicts.

        Raises:
            HttpError: The access token is missing, does not count, or lacks the right.
        """
        try:
            self._context.label_access.check_labels(asgi.get_header(scope, b"authorization"), name)
        except TokenInvalid as error:
            raise HttpError(401, "UNAUTHENTICATED", str(error), www_authenticate="Bearer") from None
        except Forbidden as error:
            raise HttpError(403, "PERMISSION_DENIED", str(error)) from None
