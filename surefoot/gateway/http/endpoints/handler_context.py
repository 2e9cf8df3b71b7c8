"""Hold the settings and access checks that all request handlers share."""

import hmac
from typing import Protocol

from surefoot.core.ports import Clock
from surefoot.gateway.control.model_controller import ModelController
from surefoot.gateway.control.worker_runtime import WorkerRuntime
from surefoot.gateway.http import asgi
from surefoot.gateway.http.asgi import HttpError
from surefoot.gateway.http.request_trace import NO_TRACE, RequestTrace, RequestTracer
from surefoot.gateway.inference.settings import GatewaySettings


class LabelAccess(Protocol):
    """Decides who may report labels."""

    def check_labels(self, header: str, model: str) -> None:
        """Raise TokenInvalid or Forbidden where the sender with this authorization header may not."""
        ...


class UnrestrictedLabelAccess:
    """Lets every sender report labels."""

    def check_labels(self, header: str, model: str) -> None:
        """Refuse no sender."""


class HandlerContext:
    """The worker as its handlers see it.

    Attributes:
        settings: Settings of the gateway.
        clock: Gives the times of the records.
        runtime: The models of this worker.
        label_access: Decides who may report labels.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        clock: Clock,
        runtime: WorkerRuntime,
        label_access: LabelAccess,
        tracer: RequestTracer | None = None,
    ) -> None:
        """Share these with every handler."""
        self.label_access = label_access
        self._tracer = tracer
        self.settings, self.clock, self.runtime = settings, clock, runtime

    def begin_trace(self, scope: asgi.Scope, started: float) -> RequestTrace:
        """Begin to record a request where requests are traced and it is sampled.

        Args:
            scope: The request.
            started: Its receipt on the host's monotonic clock [s].
        """
        return NO_TRACE if self._tracer is None else self._tracer.begin(scope, started)

    def model(self, name: str) -> ModelController:
        """Give a model that is routed.

        Raises:
            HttpError: It is not.
        """
        broken = self.runtime.routes.broken
        if name in broken:
            raise HttpError(503, "TEMPORARILY_UNAVAILABLE", broken[name], retry_after="5")
        controller = self.runtime.models.get(name)
        if controller is not None and controller.requested is not None:
            return controller
        if name in self.settings.units:
            raise no_route_error(name)
        raise HttpError(404, "RESOURCE_DOES_NOT_EXIST", f"the gateway does not serve a model {name}")

    def only_model(self) -> ModelController:
        """Give the one model that is routed.

        Raises:
            HttpError: There is none, or more than one.
        """
        routed = [controller for controller in self.runtime.models.values() if controller.requested is not None]
        if len(routed) == 1:
            return routed[0]
        message = f"{len(routed)} models are routed; say which one: /models/<model>/invocations"
        raise HttpError(404, "RESOURCE_DOES_NOT_EXIST", message)

    def is_authorised(self, scope: asgi.Scope) -> bool:
        """Whether a request carries the control token, which also shows that the control plane is alive."""
        given = asgi.get_header(scope, b"authorization").encode("latin-1")
        known = hmac.compare_digest(given, b"Bearer " + self.settings.token.encode())
        if known:  # only the control plane has the token
            self.runtime.record_control_contact()
        return known

    def require_token(self, scope: asgi.Scope) -> None:
        """Refuse a request without the control token.

        Raises:
            HttpError: The token is missing or wrong.
        """
        if not self.is_authorised(scope):
            raise HttpError(
                401, "UNAUTHENTICATED", "the gateway is steered with the control token", www_authenticate="Bearer"
            )


def no_route_error(name: str) -> HttpError:
    """Give the refusal of a known model that has no route yet."""
    return HttpError(503, "TEMPORARILY_UNAVAILABLE", f"no route has been set for {name}", retry_after="5")
