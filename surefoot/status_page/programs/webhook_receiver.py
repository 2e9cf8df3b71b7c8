"""Verify and answer webhooks of the MLflow registry, and wake the controller for each model that one names."""

import logging
import time
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from surefoot.adapters.access.access_log import record_access
from surefoot.adapters.access.delivery_store import DeliveryStore
from surefoot.core.access.webhook_messages import (
    DELIVERY_HEADER,
    MAX_WEBHOOK_BODY_BYTES,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    WEBHOOK_PATH,
    WEBHOOK_TIME_TOLERANCE_S,
    derive_webhook_secret,
    verify_webhook,
)
from surefoot.core.errors import MessageInvalid, Unavailable
from surefoot.settings import Settings
from surefoot.status_page.programs.wake_signal import WakeSignal

_log = logging.getLogger(__name__)


class WebhookReceiver:
    """Takes webhooks of MLflow: each wakes the controller, which reads the registry; none is believed."""

    def __init__(self, config: Settings, signal: WakeSignal) -> None:
        """Receive nothing yet.

        Args:
            config: Where everything is.
            signal: Wakes the controller.
        """
        self._secret = derive_webhook_secret(config.token)
        self._home = config.home
        self._deliveries = DeliveryStore(config.home)
        self._signal = signal

    def routes(self) -> list[Route]:
        """The endpoint."""
        return [Route(WEBHOOK_PATH, self._receive, methods=["POST"])]

    async def _receive(self, request: Request) -> PlainTextResponse:
        try:
            body = await _read_body(request)
            message = verify_webhook(
                self._secret,
                request.headers.get(DELIVERY_HEADER, ""),
                request.headers.get(TIMESTAMP_HEADER, ""),
                request.headers.get(SIGNATURE_HEADER, ""),
                body,
                time.time(),
            )
            # Kept for twice the window: a sender's clock may be a window ahead of ours.
            taken = await run_in_threadpool(
                self._deliveries.take, message.delivery, time.time(), 2.0 * WEBHOOK_TIME_TOLERANCE_S
            )
        except MessageInvalid as error:
            # In the log of bounded length: strangers could fill another one.
            record_access(self._home, time.time(), "unknown", "webhook", "", f"refused: {error}")
            return PlainTextResponse(str(error), HTTPStatus.UNAUTHORIZED)
        except ClientDisconnect:
            return PlainTextResponse("the webhook did not come whole", HTTPStatus.UNAUTHORIZED)
        except Unavailable as error:
            _log.warning("a webhook cannot be taken: %s", error)
            return PlainTextResponse(str(error), HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "2"})
        if not taken:
            return PlainTextResponse("this delivery was taken before", HTTPStatus.CONFLICT)
        if message.model:
            self._signal.wake({message.model})
        return PlainTextResponse("the controller looks now" if message.model else "taken", HTTPStatus.ACCEPTED)


async def _read_body(request: Request) -> bytes:
    """The whole body.

    Raises:
        MessageInvalid: It is longer than any webhook of MLflow.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_WEBHOOK_BODY_BYTES:
            raise MessageInvalid(f"the webhook is longer than {MAX_WEBHOOK_BODY_BYTES} bytes")
    return body
