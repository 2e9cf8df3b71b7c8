"""Handle the JSON API with which programs that have an access token view and control rollouts."""

import json
import logging
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from surefoot import wiring
from surefoot.core.access.roles import Action
from surefoot.core.errors import Conflict, Forbidden, NotFound, Rejected, SurefootError, TokenInvalid
from surefoot.status_page.operator_actions import OperatorAction, run_operator_action
from surefoot.status_page.status_store import StatusStore

_LONGEST_BODY = 20_000
"""So much of a body is read [bytes]; a reason that is longer is cut and stops nothing."""
_STATUS: tuple[tuple[type[SurefootError], HTTPStatus], ...] = (
    (TokenInvalid, HTTPStatus.UNAUTHORIZED),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Rejected, HTTPStatus.CONFLICT),
    (Conflict, HTTPStatus.CONFLICT),
)
"""Status of each error; all others say that it may be tried again."""

_log = logging.getLogger(__name__)


class AccessApi:
    """The endpoints below /api."""

    def __init__(self, store: StatusStore) -> None:
        """Answer nothing yet.

        Args:
            store: What is shown, and where everything is.
        """
        self._store = store
        self._access = wiring.AccessControl(store.config)

    def routes(self) -> list[Route]:
        """The endpoints."""
        return [
            Route("/api/models/{model}", self._show, methods=["GET"]),
            Route("/api/models/{model}/{action}", self._act, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> JSONResponse:
        return await self._answer(request, Action.VIEW, "")

    async def _act(self, request: Request) -> JSONResponse:
        try:
            action = OperatorAction(request.path_params["action"])
        except ValueError:
            known = ", ".join(OperatorAction)
            return JSONResponse({"error": f"there is no such action: one of {known}"}, HTTPStatus.NOT_FOUND)
        return await self._answer(request, Action(action.value), await _read_reason(request))

    async def _answer(self, request: Request, action: Action, reason: str) -> JSONResponse:
        model, header = request.path_params["model"], request.headers.get("authorization", "")
        try:
            found = await run_in_threadpool(self._do, header, action, model, reason)
        except SurefootError as error:
            status = next((code for kind, code in _STATUS if isinstance(error, kind)), HTTPStatus.SERVICE_UNAVAILABLE)
            headers = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else {}
            return JSONResponse({"error": str(error)}, status, {"Cache-Control": "no-store", **headers})
        return JSONResponse(found, headers={"Cache-Control": "no-store"})

    def _do(self, header: str, action: Action, model: str, reason: str) -> dict[str, object]:
        """Check the token, then do what is asked for.

        Raises:
            SurefootError: It is refused, or cannot be done.
        """
        actor = self._access.check_token(header, action, model)
        record = self._store.view.record(model)
        if action is Action.VIEW:
            if record is None:
                raise NotFound(f"the journal holds nothing of {model}")
            ledger = record.ledger
            rollout = ledger.rollout
            shown = {"id": rollout.opened.rollout, "stage": rollout.stage.value} if rollout else None
            return {
                "model": model,
                "champion": ledger.champion.number if ledger.champion else None,
                "rollout": shown,
                "head": ledger.head,
            }
        told = run_operator_action(self._store.config, model, OperatorAction(action.value), reason, actor)
        _log.info("%s of %s asked for by %s: %s", action, model, actor, told)
        self._store.reread(model)
        return {"model": model, "action": action.value, "told": told, "actor": actor}


async def _read_reason(request: Request) -> str:
    """The reason in a body such as {"reason": "..."}; a body that is anything else is the reason as it stands."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > _LONGEST_BODY:
                break
    except ClientDisconnect:
        return ""
    text = body[:_LONGEST_BODY].decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    reason = found.get("reason") if isinstance(found, dict) else text
    return reason if isinstance(reason, str) else ""
