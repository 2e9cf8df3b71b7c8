"""Stream the traffic splits of models to programs that assign customers themselves."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Collection
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from surefoot import wiring
from surefoot.core.access.roles import Action
from surefoot.core.domain import Split
from surefoot.core.errors import Forbidden, SurefootError, TokenInvalid
from surefoot.core.traffic_split_json import encode_traffic_split
from surefoot.feature_flags.split_follower import SPLITS_PATH
from surefoot.status_page.status_store import StatusStore

_INTERVAL_S = 1.0
"""Time between two messages of a stream, and two questions to the engine about a model, however many streams [s]."""
_MOST_STREAMS = 200
"""Streams at once [count]."""
_MOST_MODELS = 100
"""Models of one stream [count]."""


class SplitStream:
    """The endpoint that streams splits: what the engine serves, not what the journal wants."""

    def __init__(self, store: StatusStore) -> None:
        """Stream nothing yet.

        Args:
            store: Asks the engines.
        """
        self._store = store
        self._access = wiring.AccessControl(store.config)
        self._known: dict[str, tuple[float, Split | None]] = {}
        self._asking = threading.Lock()
        self._streams = 0

    def routes(self) -> list[Route]:
        """The endpoint."""
        return [Route(SPLITS_PATH, self._open, methods=["GET"])]

    async def _open(self, request: Request) -> Response:
        models = request.query_params.getlist("model")
        if not 1 <= len(models) <= _MOST_MODELS:
            said = f"name from 1 to {_MOST_MODELS} models: {SPLITS_PATH}?model=NAME&model=NAME"
            return JSONResponse({"error": said}, HTTPStatus.BAD_REQUEST)
        if self._streams >= _MOST_STREAMS:
            return JSONResponse({"error": "too many streams"}, HTTPStatus.SERVICE_UNAVAILABLE)
        header = request.headers.get("authorization", "")
        try:
            await run_in_threadpool(self._check, header, models)
        except TokenInvalid as error:
            headers = {"WWW-Authenticate": "Bearer"}
            return JSONResponse({"error": str(error)}, HTTPStatus.UNAUTHORIZED, headers)
        except Forbidden as error:
            return JSONResponse({"error": str(error)}, HTTPStatus.FORBIDDEN)
        except SurefootError as error:
            return JSONResponse({"error": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)
        headers = {"Cache-Control": "no-store"}
        return StreamingResponse(self._stream(header, models), media_type="text/event-stream", headers=headers)

    def _check(self, header: str, models: Collection[str]) -> None:
        """Refuse a token that may not see one of the models: the salt tells who gets the candidate."""
        for model in models:
            self._access.check_token(header, Action.VIEW, model)

    async def _stream(self, header: str, models: Collection[str]) -> AsyncIterator[str]:
        """Say each second what is served; a model whose engine does not tell is left out, so that it grows old."""
        self._streams += 1
        try:
            while True:
                splits = await run_in_threadpool(self._read, models)
                told = {model: encode_traffic_split(split) for model, split in splits.items()}
                yield f"data: {json.dumps({'splits': told}, separators=(',', ':'))}\n\n"
                await asyncio.sleep(_INTERVAL_S)
                try:  # a token that was revoked, or has ended, sees no more
                    await run_in_threadpool(self._check, header, models)
                except SurefootError:
                    return
        finally:
            self._streams -= 1

    def _read(self, models: Collection[str]) -> dict[str, Split]:
        """The splits that the engines serve, each asked at most once in an interval."""
        found = {}
        with self._asking:
            for model in models:
                at, split = self._known.get(model, (0.0, None))
                if time.monotonic() - at >= _INTERVAL_S / 2.0:
                    try:
                        split = self._store.live_split(model)
                    except SurefootError:
                        split = None
                    self._known[model] = time.monotonic(), split
                if split is not None:
                    found[model] = split
        return found
