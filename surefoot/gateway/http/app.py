"""The gateway: MLflow's scoring protocol in front of a split that can be taken back at any time."""

import asyncio
import hmac
import importlib.metadata
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from functools import lru_cache

import orjson

from surefoot.core.errors import SurefootError
from surefoot.core.ports import Clock
from surefoot.core.reason import usable
from surefoot.gateway import json_body
from surefoot.gateway.control import metrics, model_controller, route_codec
from surefoot.gateway.control.runtime import WorkerRuntime
from surefoot.gateway.http import asgi, decode, openapi
from surefoot.gateway.http import open_inference as tensors
from surefoot.gateway.http.asgi import HttpError, Response
from surefoot.gateway.inference import router
from surefoot.gateway.inference.request import new_request
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.log.record import SegmentWriter, label_lines
from surefoot.models.contract import Load

_log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
LONGEST_REASON = 1 << 20
"""Longest body of a kill [bytes]; of a longer one the switch is set without a reason."""
_HEALTH = frozenset({"/ping", "/health"})
_V2 = re.compile(
    r"/v2(/health/(live|ready))?|/v2/models/(?P<model>[^/]+)(/versions/(?P<version>[^/]+))?(/(?P<verb>infer|ready))?"
)
_VERBS = {"invocations": ("POST",), "labels": ("POST",), "route": ("GET", "PUT"), "stats": ("GET",)}


class Gateway:
    """The ASGI application of one worker: one process, one event loop.

    Attributes:
        leaving: Whether callers are asked to close their connections, because this worker is to end.
    """

    def __init__(self, settings: GatewaySettings, clock: Clock, load: model_controller.Loaders) -> None:
        """Know how to behave; models are loaded when the server starts."""
        self._settings = settings
        self._clock = clock
        self._following = WorkerRuntime(settings, clock, load)
        self._models = self._following.models
        self._labels: dict[str, SegmentWriter] = {}
        self._ids = _random_ids()
        self.leaving = False

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Speak ASGI."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            self._following.look()
            served = self._wanted(scope)
            reply = await (self._dispatch(scope, receive) if served is None else self._invoke(served, scope, receive))
        except HttpError as refusal:
            reply = Response.refusing(refusal)
        except asgi.CallerGone:
            return
        except SurefootError as error:  # the clock of a replay that has not begun
            reply = Response.refusing(HttpError(503, "TEMPORARILY_UNAVAILABLE", str(error), retry_after="1"))
        if self.leaving:
            reply.headers["connection"] = "close"
        await reply.send(send)
        if reply.after is not None:
            reply.after()

    def share(self, listening: socket.socket, supervisor: int) -> None:
        """Know the socket that other workers serve as well, and who keeps this one."""
        self._following.share(listening, supervisor)

    async def _live(self, receive: asgi.Receive, send: asgi.Send) -> None:
        await receive()
        await self._following.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._following.stop()
        await send({"type": "lifespan.shutdown.complete"})

    def _wanted(self, scope: asgi.Scope) -> model_controller.ModelController | None:
        """The model that is to predict, which is what callers mostly want; None when they want anything else."""
        path, method = scope["path"], scope["method"]
        if path == "/invocations":
            _allow(method, ("POST",))
            return self._only()
        if method != "POST":
            return None
        name, verb = _parts(path)
        return self._known(name) if verb == "invocations" else None

    async def _dispatch(self, scope: asgi.Scope, receive: asgi.Receive) -> Response:
        path, method = scope["path"], scope["method"]
        if path.startswith("/models/"):
            name, verb = _parts(path)
            if name:
                _allow(method, _VERBS[verb])
                return await self._of_model(name, verb, scope, receive)
        elif path in _HEALTH:
            _allow(method, ("GET", "HEAD"))
            return self._health()
        elif path == "/version":
            _allow(method, ("GET", "HEAD"))
            return Response(importlib.metadata.version("surefoot").encode(), kind=asgi.TEXT)
        elif path == "/metrics":
            _allow(method, ("GET", "HEAD"))
            return Response(metrics.prometheus_text(await self._following.each()), kind=metrics.KIND)
        elif path == "/openapi.json":
            _allow(method, ("GET", "HEAD"))
            return Response.json(openapi.document())
        elif path == "/docs":
            _allow(method, ("GET", "HEAD"))
            return Response(openapi.page(), kind=b"text/html; charset=utf-8")
        elif path == "/kill":
            _allow(method, ("PUT", "DELETE"))
            return await self._kill(scope, receive)
        elif path == "/v2" or path.startswith("/v2/"):
            return await self._v2(path, scope, receive)
        raise HttpError(404, "ENDPOINT_NOT_FOUND", f"the gateway has no {path}")

    async def _of_model(self, name: str, verb: str, scope: asgi.Scope, receive: asgi.Receive) -> Response:
        if verb == "route" and scope["method"] == "PUT":
            return await self._set_route(name, scope, receive)
        served = self._known(name)
        if verb == "labels":
            return await self._take_labels(name, scope, receive)
        if verb == "stats":
            return Response.json({"model": name, **(await self._following.stats()).get(name, served.arms.stats())})
        if served.asked is None:
            raise _no_route(name)
        known = self._authorised(scope)  # first: it may end a silence
        shown = route_codec.encode_split(served.arms.split or served.asked)
        if not known:
            del shown["salt"]  # whoever knows it can compute which units are with the candidate
        return Response.json({**shown, "serving": served.arms.split is not None, "settled": served.settled})

    async def _v2(self, path: str, scope: asgi.Scope, receive: asgi.Receive) -> Response:
        """Speak the Open Inference Protocol; refusals are worded as it words them."""
        matched = _V2.fullmatch(path)
        try:
            if matched is None:
                raise HttpError(404, "ENDPOINT_NOT_FOUND", f"the gateway has no {path}")  # noqa: TRY301 - worded below
            name, number, verb = matched["model"], matched["version"], matched["verb"]
            _allow(scope["method"], ("POST",) if verb == "infer" else ("GET", "HEAD"))
            if name is None:
                return self._v2_server(path)
            served = self._known(name)
            split = served.arms.split
            if split is not None and number not in (None, split.champion.number):
                message = f"callers do not choose: version {number} of {name} answers when the split says so"
                raise HttpError(404, "RESOURCE_DOES_NOT_EXIST", message)  # noqa: TRY301 - worded below
            if verb == "infer":
                return await self._invoke(served, scope, receive, v2=True)
            if verb == "ready":
                return Response.json({"name": name, "ready": split is not None}, 200 if split is not None else 503)
            versions = [split.champion.number] if split is not None else []
            return Response.json({"name": name, "versions": versions, "platform": "mlflow-pyfunc", **tensors.UNKNOWN})
        except HttpError as refusal:
            return Response(orjson.dumps({"error": str(refusal)}), refusal.status, asgi.JSON, dict(refusal.headers))

    def _v2_server(self, path: str) -> Response:
        if path == "/v2/health/live":
            return Response.json({"live": True})
        if path == "/v2/health/ready":
            ready = self._health().status == 200  # noqa: PLR2004 - HTTP's OK
            return Response.json({"ready": ready}, 200 if ready else 503)
        version = importlib.metadata.version("surefoot")
        return Response.json({"name": "surefoot", "version": version, "extensions": []})

    def _known(self, name: str) -> model_controller.ModelController:
        """Give a model that is routed, or that may be."""
        if name in self._following.broken:
            raise HttpError(503, "TEMPORARILY_UNAVAILABLE", self._following.broken[name], retry_after="5")
        served = self._models.get(name)
        if served is not None and served.asked is not None:
            return served
        if name in self._settings.units:
            raise _no_route(name)
        raise HttpError(404, "RESOURCE_DOES_NOT_EXIST", f"the gateway does not serve a model {name}")

    def _only(self) -> model_controller.ModelController:
        routed = [served for served in self._models.values() if served.asked is not None]
        if len(routed) == 1:
            return routed[0]
        message = f"{len(routed)} models are routed; say which one: /models/<model>/invocations"
        raise HttpError(404, "RESOURCE_DOES_NOT_EXIST", message)

    async def _invoke(
        self, served: model_controller.ModelController, scope: asgi.Scope, receive: asgi.Receive, *, v2: bool = False
    ) -> Response:
        body = await asgi.read_body(scope, receive, self._settings.max_body_bytes)
        started, at = time.perf_counter(), self._clock.now()  # how long a caller takes to ask is nobody's latency
        request = _request_id(scope) or next(self._ids)
        try:
            if v2:
                table, own = tensors.read_tensors(body)
            else:
                table, own = decode.read_table(body, asgi.header(scope, b"content-type")), ""
            answer = await served.arms.answer(
                lambda split: new_request(
                    split,
                    model=served.name,
                    request=request,
                    names=table.names,
                    values=table.values,
                    column=served.rules.unit,
                    at=at,
                    started=started,
                    fits=tensors.check_answers if v2 else None,
                    redactor=served.redactor,
                    options=table.options,
                )
            )
        except decode.UnsupportedType as error:
            raise HttpError(415, "BAD_REQUEST", str(error), x_request_id=request) from None
        except (decode.MalformedBody, router.CallerError) as error:
            raise HttpError(400, "BAD_REQUEST", str(error), x_request_id=request) from None
        except (router.NotServing, router.Overloaded) as error:
            message = f"{error}{': ' + served.error if served.error else ''}"
            raise HttpError(503, "TEMPORARILY_UNAVAILABLE", message, retry_after="1", x_request_id=request) from None
        split = answer.job.split
        after = served.arms.mirror(answer.job) if split.mirror else None
        told = [(b"x-request-id", request.encode()), *_told(answer.answered_by, split.generation, split.rollout)]
        if not v2:
            return Response(b'{"predictions":' + answer.predictions + b"}", 200, asgi.JSON, {}, told, after)
        body = tensors.tensor_response(answer.predictions, served.name, answer.answered_by, own)
        return Response(body, encoded=told, after=after)

    async def _take_labels(self, name: str, scope: asgi.Scope, receive: asgi.Receive) -> Response:
        body = await asgi.read_body(scope, receive, self._settings.max_body_bytes)
        try:
            lines = label_lines(body, self._clock.now())
        except ValueError as error:
            raise HttpError(400, "BAD_REQUEST", str(error)) from None
        if lines:
            segment = self._labels.setdefault(name, self._following.segment(name, "labels"))
            try:
                await asyncio.to_thread(segment.append, b"".join(lines))
            except OSError as error:
                _log.critical("%s: labels cannot be written: %s", segment.path, error)
                message = f"labels cannot be written ({error.strerror}); send them again"
                raise HttpError(503, "TEMPORARILY_UNAVAILABLE", message, retry_after="5") from None
        return Response.json({"accepted": len(lines)}, 202)

    def _authorised(self, scope: asgi.Scope) -> bool:
        given = asgi.header(scope, b"authorization").encode("latin-1")
        known = hmac.compare_digest(given, b"Bearer " + self._settings.token.encode())
        if known:  # only the control plane has the token: this is its sign of life
            self._following.heard()
        return known

    def _steered(self, scope: asgi.Scope) -> None:
        if not self._authorised(scope):
            raise HttpError(
                401, "UNAUTHENTICATED", "the gateway is steered with the control token", www_authenticate="Bearer"
            )

    async def _kill(self, scope: asgi.Scope, receive: asgi.Receive) -> Response:
        """Set or lift the kill switch."""
        self._steered(scope)
        if scope["method"] == "DELETE":
            await self._following.lift()
            return Response.json({"killed": ""})
        try:
            body = await asgi.read_body(scope, receive, LONGEST_REASON)
        except HttpError:  # whatever is wrong with the text, the switch is set
            body = b"the reason could not be read"
        reason = usable(body.decode("utf-8", "replace")).text
        try:
            await self._following.kill(reason)
        except model_controller.NotPersisted as error:
            _log.critical("%s", error)
            return Response.json({"error": type(error).__name__, "message": str(error)}, 507)
        return Response.json({"killed": reason})

    async def _set_route(self, name: str, scope: asgi.Scope, receive: asgi.Receive) -> Response:
        self._steered(scope)
        body = await asgi.read_body(scope, receive, self._settings.max_body_bytes)
        try:
            split = route_codec.decode_split(json_body.read(body))
        except ValueError as error:  # orjson's error is one too
            raise HttpError(400, "BAD_REQUEST", str(error)) from None
        try:
            await self._following.served(name).shift(split)
        except model_controller.StaleRoute as error:
            return Response.json({"error": "RouteSuperseded", "message": str(error)}, 409)
        except model_controller.KillSwitchSet as error:
            return Response.json({"error": "Killed", "message": str(error)}, 423)
        except model_controller.LoadFailed as error:
            return Response.json({"error": error.kind, "message": str(error)}, 422)
        except model_controller.NotPersisted as error:
            _log.critical("%s: %s", name, error)
            return Response.json({"error": "NotPersisted", "message": str(error)}, 507)
        return Response.json({"generation": split.generation})

    def _health(self) -> Response:
        models = {name: one.state() for name, one in self._models.items() if one.asked is not None or one.error}
        models |= {name: {"loaded": False, "error": why} for name, why in self._following.broken.items()}
        healthy = all(state["loaded"] for state in models.values())
        status = "ok" if healthy else "degraded"
        said = {"status": status, "killed": self._following.killed, "models": models}
        return Response.json(said, 200 if healthy else 503)


def _random_ids() -> Iterator[str]:
    """Ids of 128 random bits, many from one call of the system."""
    while True:
        bits = os.urandom(4096)
        for start in range(0, len(bits), 16):
            yield bits[start : start + 16].hex()


@lru_cache(256)
def _told(answered_by: str, generation: int, rollout: str) -> list[tuple[bytes, bytes]]:
    """Headers that say who answered; the same for many answers."""
    return [
        (b"x-model-version", answered_by.encode("latin-1")),
        (b"x-model-generation", b"%d" % generation),
        (b"x-model-rollout", rollout.encode("latin-1")),
    ]


@lru_cache(256)
def _parts(path: str) -> tuple[str, str]:
    """Model and verb of a path /models/<model>/<verb>; empty when it is none."""
    name, _, verb = path.removeprefix("/models/").rpartition("/")
    known = path.startswith("/models/") and route_codec.is_model_name(name) and verb in _VERBS
    return (name, verb) if known else ("", "")


def _request_id(scope: asgi.Scope) -> str:
    """The caller's own id of the request; empty without one.

    Raises:
        Refusal: It cannot be kept as it is, so labels that are reported under it would find nothing.
    """
    given = {value for key, value in scope["headers"] if key == b"x-request-id"}
    if not given:
        return ""
    request = str(next(iter(given)).decode("latin-1"))
    if len(given) > 1:
        raise HttpError(400, "BAD_REQUEST", "X-Request-Id is given twice: send one id a request")
    if request and not _REQUEST_ID.fullmatch(request):
        message = "X-Request-Id must be 1 to 128 visible ASCII characters without a space; send another one, or none"
        raise HttpError(400, "BAD_REQUEST", message)
    return request


def _allow(method: str, allowed: tuple[str, ...]) -> None:
    if method not in allowed:
        raise HttpError(405, "BAD_REQUEST", f"use {' or '.join(allowed)}", allow=", ".join(allowed))


def _no_route(name: str) -> HttpError:
    return HttpError(503, "TEMPORARILY_UNAVAILABLE", f"no route has been set for {name}", retry_after="5")


def build_app(settings: GatewaySettings, clock: Clock, load: Load, shadow: Load | None = None) -> Gateway:
    """Build the gateway.

    Args:
        settings: How it behaves.
        clock: Where the times of the records come from.
        load: Loads a version of a model; must refuse bytes that are not of its digest.
        shadow: Loads one that is only mirrored to, which should stand behind all others; as the others without it.
    """
    return Gateway(settings, clock, model_controller.Loaders(load, shadow or load))
