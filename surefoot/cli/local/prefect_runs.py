"""List Prefect's flow runs, delete skipped ones and mark dead ones as crashed."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from surefoot.cli.local.prefect_access import open_prefect_client
from surefoot.cli.local.prefect_server import (
    SCHEDULED_FLOWS,
    _request_prefect,
    build_deployment_filter,
    locate_prefect_log,
)
from surefoot.controller.flow_scheduler import NOTHING_TO_DO_STATE, PromoteRun, ScheduledRun, find_rollout_in_tags
from surefoot.controller.form_choices import FORM_DEPLOYMENTS, add_choices_to_schema
from surefoot.core.errors import Unavailable
from surefoot.rollout import CancelledRun, find_person_cancel_time
from surefoot.settings import Settings

AUTO_SCHEDULED_TAG = "auto-scheduled"
"""Tag that Prefect gives to runs that a schedule has made, and to no others."""
_PATIENCE_S = 5.0
"""How long a busy Prefect is asked again [s]: the worker takes what the controller does not come to."""
_MOST_RUNS = 200
"""Runs that are read at once [count]."""
_DEAD_RUN_MESSAGE = "it has sent no heartbeat for too long: its process or host is gone"
_LIVE_STATES = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED")
_BEGUN_STATES = ("PENDING", "RUNNING", "PAUSED", "COMPLETED", "FAILED", "CRASHED", "CANCELLING", "CANCELLED")


class PrefectRuns:
    """Client for the Prefect flow runs that the controller watches, skips or ends."""

    def __init__(self, config: Settings) -> None:
        """Ask nothing yet."""
        self._config = config
        self._known: dict[str, str] = {}
        self._histories: dict[str, tuple[str, float | None]] = {}
        self._client = open_prefect_client(config, keep_alive=False)

    def scheduled_runs(self, until: float) -> Sequence[ScheduledRun]:
        """Runs of the scheduled flows that are under way, or due until a time [Unix seconds]; the earliest first."""
        found = self._filter(
            "/flow_runs/filter",
            **build_deployment_filter(self._config, SCHEDULED_FLOWS),
            flow_runs={
                "state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING"]}},
                "expected_start_time": {"before_": _iso(until)},
            },
            sort="EXPECTED_START_TIME_ASC",
            limit=_MOST_RUNS,
        )
        flows = self._names({str(run["deployment_id"]) for run in found})
        return [
            ScheduledRun(
                id=str(run["id"]),
                flow=flows[str(run["deployment_id"])],
                due=_seconds(run["expected_start_time"]),
                waiting=run["state_type"] == "SCHEDULED",
                scheduled=AUTO_SCHEDULED_TAG in run["tags"],
                running=run["state_type"] == "RUNNING",
                since=_seconds(run["state"]["timestamp"]),
            )
            for run in found
            if str(run["deployment_id"]) in flows
        ]

    def _names(self, deployments: Collection[str]) -> dict[str, str]:
        """Names of these deployments; they are read once, and again when one is new."""
        if not set(deployments) <= set(self._known):
            found = self._filter("/deployments/filter", **build_deployment_filter(self._config, SCHEDULED_FLOWS))
            self._known = {str(one["id"]): str(one["name"]) for one in found}
        return self._known

    def skip_runs(self, runs: Sequence[ScheduledRun]) -> None:
        """End runs that have nothing to do before they begin; one that has been started meanwhile goes on."""
        if runs:
            waiting = {"id": {"any_": [run.id for run in runs]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
            state = {"type": "COMPLETED", "name": NOTHING_TO_DO_STATE}
            self._filter("/flow_runs/bulk_set_state", flow_runs=self._ours(waiting), state=state)

    def is_paused(self, flow: str) -> bool:
        """Whether a person has paused the schedule of a flow.

        Raises:
            Unavailable: Prefect does not answer, or has no such deployment.
        """
        trouble = f"Prefect does not answer the controller: see {locate_prefect_log(self._config)}"
        path = f"/deployments/name/{flow}/{flow}"
        found = _request_prefect(self._config, "GET", path, trouble, None, _PATIENCE_S, self._client)
        if not found.is_success:
            raise Unavailable(f"Prefect has no deployment {flow}: 'surefoot up' makes it")
        deployment = found.json()
        return bool(deployment.get("paused")) or not any(one["active"] for one in deployment["schedules"])

    def mark_crashed(self, runs: Collection[str]) -> None:
        """End runs whose process is gone: what they hold of the scheduler is free again."""
        state = {"type": "CRASHED", "message": _DEAD_RUN_MESSAGE}
        for run in runs:
            self._filter(f"/flow_runs/{run}/set_state", state=state, force=True)

    def delete_skipped_runs(self) -> None:
        """Take scheduled runs off the list that had nothing to do.

        Prefect plans a run again that is deleted before it is due: call this after that.
        """
        if self._known:
            self._filter(
                "/flow_runs/bulk_delete", flow_runs=self._ours({"state": {"name": {"any_": [NOTHING_TO_DO_STATE]}}})
            )

    def _ours(self, runs: dict[str, object]) -> dict[str, object]:
        """A filter of runs, with the condition that a schedule of ours has made them."""
        return {**runs, "deployment_id": {"any_": list(self._known)}, "tags": {"all_": [AUTO_SCHEDULED_TAG]}}

    def promote_runs(self) -> Sequence[PromoteRun]:
        """Promotions that are not over."""
        return [
            PromoteRun(
                id=str(run["id"]),
                model=str(run["parameters"].get("model")),
                started=_seconds(run["start_time"]) if run["state_type"] == "RUNNING" and run["start_time"] else None,
            )
            for run in self._promotions(_LIVE_STATES)
        ]

    def offer_choices(self, choices: Mapping[str, Sequence[str]]) -> None:
        """Let people choose among these models and versions in the forms of the flows.

        Prefect itself holds no run to them: a version may be younger than the list. The flow names what is wrong.
        """
        trouble = f"Prefect does not take the choices of its forms: see {locate_prefect_log(self._config)}"
        for one in self._filter("/deployments/filter", **build_deployment_filter(self._config, FORM_DEPLOYMENTS)):
            schema = add_choices_to_schema(one["parameter_openapi_schema"] or {}, choices)
            if schema != one["parameter_openapi_schema"] or one["enforce_parameter_schema"]:
                body = {"parameter_openapi_schema": schema, "enforce_parameter_schema": False}
                path = f"/deployments/{one['id']}"
                _request_prefect(self._config, "PATCH", path, trouble, body, _PATIENCE_S, self._client)

    def cancelled_runs(self, models: Collection[str]) -> Sequence[CancelledRun]:
        """Promotions of these models that a person has cancelled, whatever they said afterwards; the latest first."""
        found = []
        for run in self._promotions(_BEGUN_STATES):
            model = str(run["parameters"].get("model"))
            if model not in models:
                continue
            at = self._cancelled_at(str(run["id"]), str(run["state_id"]))
            if at is not None:
                version, rollout = str(run["parameters"].get("version")), find_rollout_in_tags(run["tags"])
                found.append(CancelledRun(run["name"], model, version, at, rollout))
        return found

    def _cancelled_at(self, run: str, state: str) -> float | None:
        """When a person has cancelled a run; its states are read again when it has a new one."""
        known = self._histories.get(run)
        if known is None or known[0] != state:
            trouble = f"Prefect does not tell the controller of its runs: see {locate_prefect_log(self._config)}"
            path = f"/flow_run_states/?flow_run_id={run}"
            answer = _request_prefect(self._config, "GET", path, trouble, None, _PATIENCE_S, self._client)
            states = answer.json() if answer.is_success else []  # it has been deleted meanwhile
            history = ((one["type"], one.get("message") or "", _seconds(one["timestamp"])) for one in states)
            known = self._histories[run] = state, find_person_cancel_time(history)
        return known[1]

    def _promotions(self, states: Sequence[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._filter(
            "/flow_runs/filter",
            **build_deployment_filter(self._config, ["promote"]),
            flow_runs={"state": {"type": {"any_": list(states)}}},
            sort="EXPECTED_START_TIME_DESC",
            limit=_MOST_RUNS,
        )
        return found

    def silent_runs(self, runs: Collection[str], since: float) -> Collection[str]:
        """Which of these runs have sent no heartbeat since a time [Unix seconds of the host]."""
        silent = []
        for run in runs:  # one question each: an answer holds no more than fifty events
            events = {
                "occurred": {"since": _iso(since)},
                "event": {"name": ["prefect.flow-run.heartbeat"]},
                "resource": {"id": [f"prefect.flow-run.{run}"]},
            }
            said = self._filter("/events/filter", filter=events, limit=1)
            if not said.get("events"):
                silent.append(run)
        return silent

    def _filter(self, path: str, **body: object) -> Any:
        trouble = f"Prefect does not answer the controller: see {locate_prefect_log(self._config)}"
        return _request_prefect(self._config, "POST", path, trouble, body, _PATIENCE_S, self._client).json()


def _iso(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).isoformat()


def _seconds(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()
