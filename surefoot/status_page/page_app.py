"""Answer the HTTP requests to the status page."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from surefoot import wiring
from surefoot.core.access.roles import Action
from surefoot.core.errors import Forbidden, NotFound, Rejected, SurefootError
from surefoot.core.operator_reason import clean_reason
from surefoot.status_page import detail_pages, page_content, page_metrics, sign_in
from surefoot.status_page.operator_actions import OperatorAction, run_operator_action
from surefoot.status_page.programs.access_api import AccessApi
from surefoot.status_page.programs.split_stream import SplitStream
from surefoot.status_page.programs.wake_signal import WakeSignal
from surefoot.status_page.programs.webhook_receiver import WebhookReceiver
from surefoot.status_page.status_store import StatusStore

_CACHED_S = 1.0
"""How long a page that was made is given to others [s]."""
_MOST_CACHED = 200
_LONGEST_FORM = 20_000
"""Longest form that is read [bytes]."""
_PING_S = 10.0
"""Time between two signs of life on a live connection [s]."""
_MOST_LIVE = 1000
"""Live connections at once [count]."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self';"
    " img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_REPORT_BODY = "<body>\n"
"""Where the content of a report begins; its texts are escaped, so that none of them has this tag."""
_STATIC = {"page.css": "text/css", "page.js": "text/javascript"}
_TEMPLATES = Path(__file__).parent / "templates"
_REPORT_STYLE = _TEMPLATES.parents[1] / "reports" / "templates" / "page_style.css"

_log = logging.getLogger(__name__)


class StatusPage:
    """The application; one for a process."""

    def __init__(self, store: StatusStore, hosts: frozenset[str], signal: WakeSignal) -> None:
        """Answer nothing yet.

        Args:
            store: What is shown.
            hosts: Names under which the page may be asked for, without a port: any other is a rebound address.
            signal: Wakes the controller when a webhook comes.
        """
        self._store, self._hosts, self._signal = store, hosts, signal
        self._secret = store.config.token
        self._access = wiring.AccessControl(store.config)
        loader = FileSystemLoader(_TEMPLATES)
        self._templates = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._cache: dict[tuple[object, ...], tuple[float, str]] = {}
        self._live: set[asyncio.Queue[dict[str, int]]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        store.on_change = self._changed

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/", self._overview),
            Route("/health", self._health),
            Route("/events", self._events),
            Route("/metrics", self._metrics),
            Route("/sign-in", self._sign_in),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/static/{name}", self._static),
            Route("/models/{model}", self._model),
            Route("/models/{model}/act", self._act, methods=["POST"]),
            Route("/models/{model}/versions", self._versions),
            Route("/models/{model}/versions/{number}", self._version),
            Route("/models/{model}/drills", self._drills),
            Route("/models/{model}/rollouts/{rollout}", self._rollout),
            Route("/models/{model}/rollouts/{rollout}/approval", self._approval),
            Route("/models/{model}/incidents/{incident}", self._incident),
            *AccessApi(self._store).routes(),
            *SplitStream(self._store).routes(),
            *WebhookReceiver(self._store.config, self._signal).routes(),
        ]
        handlers = {SurefootError: self._failed, 404: self._unknown, Exception: self._broken}
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        yield
        self._loop = None

    def _changed(self, heads: dict[str, int]) -> None:
        """Tell every live page; called by the thread that has read the journal."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it is being closed
                loop.call_soon_threadsafe(self._publish, heads)

    def _publish(self, heads: dict[str, int]) -> None:
        for queue in self._live:
            if not queue.full():
                queue.put_nowait(heads)

    def _is_foreign(self, request: Request) -> bool:
        """Whether the request was made for another host, as a page of another site can have it made."""
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        return bool(self._hosts) and host not in self._hosts

    def _person(self, request: Request) -> sign_in.Person | None:
        return sign_in.find_signed_in_person(self._secret, request.cookies.get(sign_in.SESSION_COOKIE, ""), time.time())

    async def _page(self, request: Request, template: str, values: Callable[[], dict[str, object]]) -> Response:
        """Make a page, or take it from those that were made for others within the last second."""
        if self._is_foreign(request):
            return PlainTextResponse("this page is not served under that name", HTTPStatus.MISDIRECTED_REQUEST)
        person = self._person(request)
        fragment = request.headers.get("x-fragment") == "1"
        key = (str(request.url.path), str(request.url.query), fragment, person.name if person else "")
        made = self._cache.get(key)
        if made is None or time.monotonic() - made[0] > _CACHED_S:
            text = await run_in_threadpool(self._render, template, values, person, fragment=fragment)
            if len(self._cache) > _MOST_CACHED:
                self._cache.clear()
            made = self._cache[key] = time.monotonic(), text
        text = made[1]
        if person and not fragment:
            text = text.replace(
                "__FORM_TOKEN__", sign_in.form_token(self._secret, request.cookies[sign_in.SESSION_COOKIE])
            )
        return Response(text, media_type="text/html; charset=utf-8", headers=_HEADERS)

    def _render(
        self,
        template: str,
        values: Callable[[], dict[str, object]],
        person: sign_in.Person | None,
        *,
        fragment: bool,
    ) -> str:
        found = values()
        shared = {
            "person": person.name if person else "",
            "fragment": fragment,
            "problems": self._store.problems,
            "now": time.strftime("%H:%M:%S", time.gmtime()),
            "notice": "",
            **found,
        }
        return self._templates.get_template(template).render(shared)

    async def _overview(self, request: Request) -> Response:
        return await self._page(request, "overview.html", lambda: page_content.gather_overview_values(self._store))

    async def _model(self, request: Request) -> Response:
        model = request.path_params["model"]
        page = _number(request.query_params.get("page", "1"))
        told = request.query_params.get("told", "")[:500]
        return await self._page(
            request,
            "model.html",
            lambda: {
                **page_content.gather_model_values(self._store, model, page),
                "notice": told,
                "allowed": self._allowed(self._person(request), model),
            },
        )

    def _allowed(self, person: sign_in.Person | None, model: str) -> set[str]:
        """What this person may ask for of a model: buttons that would be refused are not shown."""
        if person is None:
            return set()
        actor = _actor(person)
        return {
            action.value for action in OperatorAction if self._access.permits_person(actor, Action(action.value), model)
        }

    async def _rollout(self, request: Request) -> Response:
        model, rollout = request.path_params["model"], request.path_params["rollout"]
        everything = request.query_params.get("all") == "1"
        return await self._page(
            request,
            "rollout.html",
            lambda: page_content.gather_rollout_values(self._store, model, rollout, everything=everything),
        )

    async def _versions(self, request: Request) -> Response:
        model, page = request.path_params["model"], _number(request.query_params.get("page", "1"))
        return await self._page(
            request, "versions.html", lambda: detail_pages.gather_versions_values(self._store, model, page)
        )

    async def _version(self, request: Request) -> Response:
        model, number = request.path_params["model"], request.path_params["number"]
        return await self._page(
            request, "version.html", lambda: detail_pages.gather_version_values(self._store, model, number)
        )

    async def _drills(self, request: Request) -> Response:
        model = request.path_params["model"]
        return await self._page(request, "drills.html", lambda: detail_pages.gather_drills_values(self._store, model))

    async def _approval(self, request: Request) -> Response:
        model, rollout = request.path_params["model"], request.path_params["rollout"]
        return await self._page(
            request, "approval.html", lambda: detail_pages.gather_approval_values(self._store, model, rollout)
        )

    async def _incident(self, request: Request) -> Response:
        """The report of an incident, which is a file of its own, with links to the pages of its model."""
        model, incident = request.path_params["model"], request.path_params["incident"]
        if self._is_foreign(request):
            raise NotFound(f"{model} has no incident {incident}")
        text = await run_in_threadpool(self._report, model, incident)
        return Response(text, media_type="text/html; charset=utf-8", headers=_HEADERS)

    def _report(self, model: str, incident: str) -> str:
        """The report as it was written, with links above it: opened as a file, it has none that would be dead."""
        page, values = detail_pages.find_incident_report(self._store, model, incident)
        links = self._templates.get_template("report_links.html").render(values)
        return page.read_text(encoding="utf-8").replace(_REPORT_BODY, _REPORT_BODY + links, 1)

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _STATIC:
            raise NotFound(f"there is no file {name}")
        text = (_TEMPLATES / name).read_text(encoding="utf-8")
        if name == "page.css":  # the pages look like the reports that they link to
            text = _REPORT_STYLE.read_text(encoding="utf-8") + text
        return Response(text, media_type=_STATIC[name], headers={"Cache-Control": "max-age=60"})

    async def _health(self, _request: Request) -> Response:
        return PlainTextResponse("ok")

    async def _metrics(self, _request: Request) -> Response:
        """What the journal says, for Prometheus; the gateway's own metrics are at the gateway."""
        text = await run_in_threadpool(self._store.metrics)
        return Response(text, media_type=page_metrics.CONTENT_TYPE)

    async def _events(self, request: Request) -> Response:
        if self._is_foreign(request) or len(self._live) >= _MOST_LIVE:
            return PlainTextResponse("too many live pages", HTTPStatus.SERVICE_UNAVAILABLE)
        return StreamingResponse(self._stream(), media_type="text/event-stream", headers=_HEADERS)

    async def _stream(self) -> AsyncIterator[str]:
        """Heads of the journals, each time one of them grows."""
        queue: asyncio.Queue[dict[str, int]] = asyncio.Queue(maxsize=4)
        self._live.add(queue)
        try:
            await run_in_threadpool(self._store.touch)
            yield f"retry: 2000\ndata: {json.dumps(self._store.view.heads())}\n\n"
            while True:
                try:
                    heads = await asyncio.wait_for(queue.get(), _PING_S)
                except TimeoutError:
                    await run_in_threadpool(self._store.touch)
                    yield ": still here\n\n"
                    continue
                yield f"data: {json.dumps(heads)}\n\n"
        finally:
            self._live.discard(queue)

    async def _sign_in(self, request: Request) -> Response:
        """Exchange the key of a link for a cookie."""
        if self._is_foreign(request):
            return PlainTextResponse("this page is not served under that name", HTTPStatus.MISDIRECTED_REQUEST)
        cookie = sign_in.make_session_cookie(self._secret, request.query_params.get("key", ""), time.time())
        if cookie is None:
            text = "this link is not valid, or older than ten minutes: 'surefoot page' prints a new one"
            return PlainTextResponse(text, HTTPStatus.FORBIDDEN)
        answer = RedirectResponse("/", HTTPStatus.SEE_OTHER, headers=_HEADERS)
        answer.set_cookie(
            sign_in.SESSION_COOKIE,
            cookie,
            max_age=int(sign_in.SESSION_LIFE_S),
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
            path="/",
        )
        return answer

    async def _sign_out(self, request: Request) -> Response:
        answer = RedirectResponse("/", HTTPStatus.SEE_OTHER, headers=_HEADERS)
        if not self._is_foreign(request):
            answer.delete_cookie(sign_in.SESSION_COOKIE, path="/")
        return answer

    async def _act(self, request: Request) -> Response:
        """Do what a signed-in person asks for; anything that is not their own form is refused and changes nothing."""
        person, cookie = self._person(request), request.cookies.get(sign_in.SESSION_COOKIE, "")
        if self._is_foreign(request) or person is None:
            return PlainTextResponse("sign in first: 'surefoot page' prints a link", HTTPStatus.FORBIDDEN)
        if int(request.headers.get("content-length") or _LONGEST_FORM + 1) > _LONGEST_FORM:
            return PlainTextResponse("the form is too long", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
        if not sign_in.is_valid_form_token(self._secret, cookie, form.get("form_token", "")):
            return PlainTextResponse("this form was not made for you: load the page again", HTTPStatus.FORBIDDEN)
        model = request.path_params["model"]
        try:
            action = OperatorAction(form.get("action", ""))
        except ValueError:
            return PlainTextResponse("no such action", HTTPStatus.BAD_REQUEST)
        actor = _actor(person)
        try:
            await run_in_threadpool(self._access.check_person, actor, Action(action.value), model)
            told = await run_in_threadpool(
                run_operator_action, self._store.config, model, action, form.get("reason", ""), actor
            )
        except Forbidden as error:
            return PlainTextResponse(str(error), HTTPStatus.FORBIDDEN)
        except SurefootError as error:
            told = f"not done: {error}" if isinstance(error, Rejected) else f"it may not be done: {error}"
        _log.info("%s of %s asked for by %s: %s", action, model, person.name, told)
        await run_in_threadpool(self._store.reread, model)
        self._cache.clear()
        where = f"{page_content.build_model_link(model)}?{urlencode({'told': told[:500]})}"
        return RedirectResponse(where, HTTPStatus.SEE_OTHER, headers=_HEADERS)

    async def _failed(self, request: Request, error: Exception) -> Response:
        code = HTTPStatus.NOT_FOUND if isinstance(error, NotFound) else HTTPStatus.SERVICE_UNAVAILABLE
        return await self._problem(request, str(error), code)

    async def _broken(self, _request: Request, error: Exception) -> Response:
        """Say that our own code has failed; the log has the traceback."""
        text = f"this page could not be made ({type(error).__name__}): logs/controller.log says why; 'surefoot status'"
        return PlainTextResponse(text, HTTPStatus.INTERNAL_SERVER_ERROR, headers=_HEADERS)

    async def _unknown(self, request: Request, _error: Exception) -> Response:
        return await self._problem(request, "there is no such page", HTTPStatus.NOT_FOUND)

    async def _problem(self, request: Request, text: str, code: HTTPStatus) -> Response:
        made = await run_in_threadpool(
            self._render,
            "problem.html",
            lambda: {"title": "not found", "text": text},
            self._person(request),
            fragment=request.headers.get("x-fragment") == "1",
        )
        return Response(made, code, media_type="text/html; charset=utf-8", headers=_HEADERS)


def _actor(person: sign_in.Person) -> str:
    """The person as the journal names them."""
    return f"page:{clean_reason(person.name).text}"


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 8 else 1  # noqa: PLR2004 - digits of a page


def build_status_page(store: StatusStore, signal: WakeSignal) -> StatusPage:
    """Make the application for the address of the settings."""
    host = urlsplit(store.config.page).hostname or "127.0.0.1"
    return StatusPage(store, frozenset({host, "127.0.0.1", "localhost"}), signal)
