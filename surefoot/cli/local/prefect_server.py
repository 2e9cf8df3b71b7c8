"""Manage the work pool, flow schedules and left-over runs of Surefoot on a Prefect server."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from surefoot.cli.local.prefect_access import open_prefect_client
from surefoot.core.errors import Unavailable
from surefoot.settings import Settings

SCHEDULED_FLOWS = ("watch", "reconcile")
"""Deployments that run on a schedule."""
DEPLOYED_FLOWS = ("promote", "approve", "rollback", "drill", "watch", "reconcile")
"""Flows of prefect.yaml; each has one deployment, of the same name."""
PREFECT_TIMEOUT_S = 240.0
"""How long a busy Prefect is asked again [seconds]."""
_ANCHOR = "2020-01-01T00:00:00+00:00"
"""A moment at which every interval begins."""
_STOPPED_RUN_MESSAGE = "its process ended when the stack was stopped; the journal says how far it came"
PAUSED_FLOW_EFFECTS = {
    "watch": "no bake is watched",
    "reconcile": "registry changes and interrupted rollouts are not seen",
}


@dataclass(frozen=True, slots=True)
class PausedSchedules:
    """Which schedules of one Prefect deployment people have paused.

    Attributes:
        paused: Whether the deployment is paused as a whole.
        active: Whether each of its schedules is on, by the schedule's slug.
    """

    paused: bool = False
    active: Mapping[str, bool] = field(default_factory=dict)

    @property
    def is_paused(self) -> bool:
        """Whether the deployment starts no runs by itself."""
        return self.paused or not any(self.active.values())


def _request_prefect(
    config: Settings,
    method: str,
    path: str,
    trouble: str,
    body: object = None,
    patience: float = PREFECT_TIMEOUT_S,
    client: httpx.Client | None = None,
) -> httpx.Response:
    """Ask Prefect until it agrees: right after its start it answers 503 whenever its database is busy.

    Args:
        config: Where Prefect is.
        method: HTTP method.
        path: Path below /api; everything that is asked here is safe to repeat.
        trouble: Beginning of the error.
        body: JSON body.
        patience: How long to ask again [seconds].
        client: Asks; making one costs more processor time than a question.

    Raises:
        Unavailable: It did not agree in time.
    """
    with contextlib.ExitStack() as opened:
        asks = client or opened.enter_context(open_prefect_client(config))
        return _ask_until(asks, method, path, trouble, body, patience)


def _ask_until(
    client: httpx.Client, method: str, path: str, trouble: str, body: object, patience: float
) -> httpx.Response:
    deadline, why = time.monotonic() + patience, ""
    while True:
        try:
            answer = client.request(method, path, json=body)
            if answer.is_success or (answer.status_code == httpx.codes.NOT_FOUND and method == "GET"):
                return answer
            why = f"{answer.status_code} {answer.text[:100]}"
            if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
                # It says the same however often it is asked.
                raise Unavailable(f"Prefect refuses us ({why}): correct PREFECT_API_AUTH_STRING or PREFECT_API_KEY")
        except httpx.HTTPError as error:
            why = repr(error)
        if time.monotonic() >= deadline:
            raise Unavailable(f"{trouble} ({why})")
        time.sleep(min(0.3, max(patience, 0.01)))


def wait_for_pool(config: Settings) -> None:
    """Wait until the worker has made its pool.

    Raises:
        Unavailable: It has not.
    """
    trouble = f"the Prefect worker made no pool: see {config.home}/logs/worker.log"
    deadline = time.monotonic() + PREFECT_TIMEOUT_S
    while _request_prefect(config, "GET", f"/work_pools/{config.pool}", trouble).status_code == httpx.codes.NOT_FOUND:
        if time.monotonic() > deadline:
            raise Unavailable(trouble)
        time.sleep(0.3)


def _deployment(config: Settings, name: str, patience: float = PREFECT_TIMEOUT_S) -> dict[str, Any] | None:
    trouble = f"Prefect does not tell of the deployment {name}: see {locate_prefect_log(config)}"
    answer = _request_prefect(config, "GET", f"/deployments/name/{name}/{name}", trouble, patience=patience)
    return None if answer.status_code == httpx.codes.NOT_FOUND else answer.json()


def read_paused_schedules(config: Settings, patience: float = PREFECT_TIMEOUT_S) -> dict[str, PausedSchedules]:
    """Read which schedules people have paused, by deployment; those that are not deployed yet are left out.

    Raises:
        Unavailable: Prefect does not answer.
    """
    found = {}
    for name in SCHEDULED_FLOWS:
        deployment = _deployment(config, name, patience)
        if deployment is not None:
            active = {str(item.get("slug") or item["id"]): bool(item["active"]) for item in deployment["schedules"]}
            found[name] = PausedSchedules(bool(deployment["paused"]), active)
    return found


def set_schedule_intervals(config: Settings, before: Mapping[str, PausedSchedules]) -> None:
    """Give the scheduled flows the tick that was asked for, and leave off what people had turned off before.

    Args:
        config: Where Prefect is, and the tick; prefect.yaml holds the usual one.
        before: What was off before the flows were deployed again, which turns everything on.

    Raises:
        Unavailable: Prefect does not answer.
    """
    for name in SCHEDULED_FLOWS:
        trouble = f"Prefect does not take the tick of {name}: see {locate_prefect_log(config)}"
        found = _deployment(config, name)
        if found is None:
            raise Unavailable(f"Prefect has no deployment {name} although it was just made")
        known = before.get(name, PausedSchedules())
        for item in found["schedules"]:
            slug = str(item.get("slug") or item["id"])
            # Both tick at the same moment: the controller looks once for both.
            schedule = {"interval": config.tick, "anchor_date": _ANCHOR}
            body = {"schedule": schedule, "active": known.active.get(slug, True)}
            _request_prefect(config, "PATCH", f"/deployments/{found['id']}/schedules/{item['id']}", trouble, body)
        if known.paused:
            _request_prefect(config, "PATCH", f"/deployments/{found['id']}", trouble, {"paused": True})


def describe_paused_flows(config: Settings, patience: float = 0.0) -> list[str]:
    """One line for each scheduled flow that somebody has turned off: what does not happen, and how to turn it on.

    Raises:
        Unavailable: Prefect does not answer.
    """
    return [
        f"the schedule of '{name}' is off in Prefect: {PAUSED_FLOW_EFFECTS[name]};"
        f" turn it on at {config.prefect_pages}/deployments"
        for name, switch in read_paused_schedules(config, patience).items()
        if switch.is_paused
    ]


def build_deployment_filter(config: Settings, flows: Sequence[str]) -> dict[str, object]:
    """The part of a query that leaves only runs of these flows of ours: others may share the server, and the pool."""
    names = {"name": {"any_": list(flows)}}
    # A run that was created through the REST interface may name a deployment and no pool.
    shared = _of_pool(config) if "prefect" in config.connected else {}
    return {"deployments": names, "flows": names, **shared}


def _of_pool(config: Settings) -> dict[str, object]:
    return {"work_pools": {"name": {"any_": [config.pool]}}}


def locate_prefect_log(config: Settings) -> str:
    """Where a person looks when Prefect is out of order."""
    return f"the log of {config.prefect}" if "prefect" in config.connected else f"{config.home}/logs/prefect.log"


def mark_leftover_runs_crashed(config: Settings) -> list[str]:
    """Mark runs of the stack's own flows as crashed that no process runs any more; call it while no worker runs.

    A run that was under way when the stack was stopped stays RUNNING for ever, and holds the slot of its deployment, so
    that every later run is cancelled.

    Returns:
        Names of the runs that were marked.

    Raises:
        Unavailable: Prefect does not answer.
    """
    trouble = f"Prefect does not tell which runs are left over: see {locate_prefect_log(config)}"
    query = {
        "flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}},
        # The embedded server has no pool but ours, and nothing else in it.
        **(build_deployment_filter(config, DEPLOYED_FLOWS) if "prefect" in config.connected else _of_pool(config)),
        "limit": 200,
    }
    marked: list[str] = []
    for _ in range(50):  # each round takes what it has found off the list
        found = _request_prefect(config, "POST", "/flow_runs/filter", trouble, query).json()
        for run in found:
            state = run["state"]["type"]
            # A person's cancel stays one: the rollout that it drove is ended by it.
            end = (
                {"type": "CANCELLED"} if state == "CANCELLING" else {"type": "CRASHED", "message": _STOPPED_RUN_MESSAGE}
            )
            _request_prefect(
                config, "POST", f"/flow_runs/{run['id']}/set_state", trouble, {"state": end, "force": True}
            )
            marked.append(str(run["name"]))
        if not found:
            break
    return marked
