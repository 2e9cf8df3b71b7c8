"""Manage the local Prefect server: its work pool, paused schedules, and flow runs whose process has died."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from surefoot.core.errors import Unavailable
from surefoot.settings import Settings

WORK_POOL_NAME = "surefoot"
SCHEDULED_FLOWS = ("watch", "reconcile")
"""Deployments that run on a schedule."""
PREFECT_TIMEOUT_S = 240.0
"""How long a busy Prefect is asked again [seconds]."""
FLOW_START_TIMEOUT_S = 60.0
"""How long a run of a flow may take to start and to come to its work on a busy machine [s]."""
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
    deadline, why = time.monotonic() + patience, ""
    url = f"{config.prefect}/api{path}"
    while True:
        try:
            if client is None:
                answer = httpx.request(method, url, json=body, timeout=10.0, trust_env=False)
            else:
                answer = client.request(method, url, json=body, timeout=10.0)
            if answer.is_success or (answer.status_code == httpx.codes.NOT_FOUND and method == "GET"):
                return answer
            why = f"{answer.status_code} {answer.text[:100]}"
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
    while (
        _request_prefect(config, "GET", f"/work_pools/{WORK_POOL_NAME}", trouble).status_code == httpx.codes.NOT_FOUND
    ):
        if time.monotonic() > deadline:
            raise Unavailable(trouble)
        time.sleep(0.3)


def _deployment(config: Settings, name: str, patience: float = PREFECT_TIMEOUT_S) -> dict[str, Any] | None:
    trouble = f"Prefect does not tell of the deployment {name}: see {config.home}/logs/prefect.log"
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
        trouble = f"Prefect does not take the tick of {name}: see {config.home}/logs/prefect.log"
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
        f" turn it on at {config.prefect}/deployments"
        for name, switch in read_paused_schedules(config, patience).items()
        if switch.is_paused
    ]


def mark_leftover_runs_crashed(config: Settings) -> list[str]:
    """Mark runs of the stack's own flows as crashed that no process runs any more; call it while no worker runs.

    A run that was under way when the stack was stopped stays RUNNING for ever, and holds the slot of its deployment, so
    that every later run is cancelled.

    Returns:
        Names of the runs that were marked.

    Raises:
        Unavailable: Prefect does not answer.
    """
    trouble = f"Prefect does not tell which runs are left over: see {config.home}/logs/prefect.log"
    query = {
        "flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}},
        "work_pools": {"name": {"any_": [WORK_POOL_NAME]}},
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
