"""Split a model's requests between two versions, in the ingress deployment of its application of Ray Serve.

The split comes as `user_config`, which Ray Serve gives each running replica without starting it again.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from surefoot.core.assignment import assign_arm
from surefoot.core.canonical_text import canonical_text
from surefoot.core.domain import Arm, Split, Version
from surefoot.core.traffic_split_json import decode_traffic_split
from surefoot.gateway.http.scoring_body import MalformedBody, RequestTable, decode_table
from surefoot.ray_serve.version_replica import RowAnswers

_ANSWER_TIMEOUT_S = 60.0
"""How long a version may take to answer a request; after it the caller gets a failure [s]."""
_ATTEMPTS = 2
"""Replicas of a version that are asked for one request, where Ray has lost the first one [count]."""
_MAX_BODY_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """What is in force for a request from its beginning to its end, whatever the router is told meanwhile.

    Attributes:
        split: The versions and their shares.
        unit: Column of the unit; empty without one.
        applications: Name of the application of each version that the split names, by the version's number.
    """

    split: Split
    unit: str
    applications: Mapping[str, str]


class VersionRouter:
    """Answers a model's callers by the version that each of them is assigned to."""

    def __init__(self, model: str) -> None:
        """Wait for a split.

        Args:
            model: Registered model, whose versions are applications named after it.
        """
        self._model = model
        self._settings: RouterSettings | None = None
        self._handles: dict[str, Any] = {}

    def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Put a split in force for the requests that begin from now on.

        Args:
            config: The `split` as JSON, the column of the `unit` (empty without one), and the name of the application
                of each version that the split names, by the version's number, as `applications`.
        """
        self._settings = RouterSettings(
            decode_traffic_split(config["split"]), str(config.get("unit", "")), dict(config["applications"])
        )

    async def __call__(self, request: Request) -> Response:
        """Answer one request: POST to /invocations, with a body as MLflow's scoring server takes it."""
        settings = self._settings
        if settings is None:
            return _failure(503, "TEMPORARILY_UNAVAILABLE", f"{self._model} has no version that serves yet")
        split = settings.split
        if request.method == "GET":
            return JSONResponse({"model": self._model, "generation": split.generation, "weight": split.weight})
        if not request.url.path.endswith("/invocations"):
            return _failure(404, "NOT_FOUND", "requests go to /invocations")
        try:
            table = await _read_table(request)
        except MalformedBody as error:
            return _failure(400, "BAD_REQUEST", str(error))
        unit = _unit_of(table, settings.unit)
        name = request.headers.get("x-request-id") or uuid4().hex
        arm = assign_arm(split, name if unit is None else unit, unit)
        version = split.candidate if arm is Arm.CANDIDATE and split.candidate is not None else split.champion
        headers = {"x-model-version": version.number, "x-request-id": name, "x-surefoot-arm": str(arm)}
        answer = await self._ask(version, settings.applications[version.number], table)
        if answer.predictions is not None:
            return JSONResponse({"predictions": answer.predictions}, headers=headers)
        status, code = (400, "BAD_REQUEST") if answer.unfit else (500, "INTERNAL_ERROR")
        return _failure(status, code, answer.error, headers)

    async def _ask(self, version: Version, application: str, table: RequestTable) -> RowAnswers:
        """Ask a version; where the replica that was asked is gone, another one of the same version, once."""
        said = ""
        for _ in range(_ATTEMPTS):
            try:
                return await asyncio.wait_for(self._ask_replica(application, table), _ANSWER_TIMEOUT_S)
            except TimeoutError:
                return RowAnswers(None, f"version {version.number} has not answered in {_ANSWER_TIMEOUT_S:g} s")
            except Exception as error:  # noqa: BLE001 - Ray's errors; what the model raises comes as an answer
                self._handles.pop(application, None)
                said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        return RowAnswers(None, f"version {version.number} did not answer: {said}")

    async def _ask_replica(self, application: str, table: RequestTable) -> RowAnswers:
        """Ask one replica of a version, which Ray Serve chooses."""
        if application not in self._handles:
            self._handles[application] = serve.get_app_handle(application)
        answer: RowAnswers = await self._handles[application].answer.remote(
            table.names, table.values, *table.options.arguments()
        )
        return answer


async def _read_table(request: Request) -> RequestTable:
    """The rows of a request.

    Raises:
        MalformedBody: It cannot be read, or is too large.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY_BYTES:
            raise MalformedBody(f"the body is larger than {_MAX_BODY_BYTES} bytes")
    return decode_table(bytes(body), request.headers.get("content-type", ""))


def _unit_of(table: RequestTable, column: str) -> str | None:
    """The unit of the first row; None where there is none, and the request stands for itself."""
    names = [str(name) for name in table.names or ()]
    if not column or column not in names:
        return None
    value = table.values[0][names.index(column)]
    return None if isinstance(value, list | dict) else canonical_text(value)


def _failure(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error as MLflow's scoring server words it."""
    return JSONResponse({"error_code": code, "message": message}, status, headers=dict(headers or {}))
