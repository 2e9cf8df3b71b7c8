"""Find the Prefect runs of the promote flow that a person has cancelled."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import httpx
from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger
from prefect.states import Cancelled

from surefoot.controller.flow_scheduler import find_rollout_in_tags
from surefoot.rollout import CancelledRun, find_person_cancel_time

if TYPE_CHECKING:
    from uuid import UUID

_BEGUN_STATES = (
    StateType.PENDING,
    StateType.RUNNING,
    StateType.PAUSED,
    StateType.COMPLETED,
    StateType.FAILED,
    StateType.CRASHED,
    StateType.CANCELLING,
    StateType.CANCELLED,
)
_CANCELLED_MESSAGE = "a person had cancelled this run before it began"


def list_latest_promote_runs(states: Collection[StateType]) -> list[FlowRun]:
    """The latest runs of the promote deployment in some states."""
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))),
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=["promote"])),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=200,
        )


def cancelled_runs(models: Collection[str]) -> list[CancelledRun]:
    """Runs of these models that a person has cancelled; what Surefoot or Prefect ends by itself is none of them.

    Args:
        models: Models of which a promotion is open.
    """
    found = []
    with get_client(sync_client=True) as client:
        for run in list_latest_promote_runs(_BEGUN_STATES) if models else ():
            model = str(run.parameters.get("model"))
            at = _cancelled_at(client, run.id) if model in models else None
            if at is not None:
                version = str(run.parameters.get("version"))
                found.append(CancelledRun(run.name, model, version, at, find_rollout_in_tags(run.tags)))
    return found


def _cancelled_at(client: SyncPrefectClient, run: "UUID") -> float | None:
    """When a person has cancelled a run [Unix seconds of the host]: a run that starts may say RUNNING after that."""
    states = client.read_flow_run_states(run)
    return find_person_cancel_time((one.type.value, one.message or "", one.timestamp.timestamp()) for one in states)


def find_cancelled_state() -> State[str] | None:
    """The last state of this flow run when a person has cancelled it, though it has begun; None otherwise.

    Prefect lets a run that is just starting go from CANCELLED to RUNNING.
    """
    run = find_this_run_if_cancelled("", "")
    return Cancelled(message=_CANCELLED_MESSAGE) if run is not None else None


def find_this_run_if_cancelled(model: str, version: str, rollout: str = "") -> CancelledRun | None:
    """This flow run when a person has cancelled it; None otherwise, or when Prefect does not say.

    Args:
        model: Registered model.
        version: Version number that it promotes.
        rollout: Id of the rollout that it has opened or joined.
    """
    if not runtime.flow_run.id:
        return None
    try:
        with get_client(sync_client=True) as client:
            at = _cancelled_at(client, runtime.flow_run.id)
    except (PrefectException, httpx.HTTPError) as error:  # the next tick asks again
        get_run_logger().warning("Prefect does not say whether this run was cancelled: %s", error)
        return None
    return None if at is None else CancelledRun(str(runtime.flow_run.name), model, version, at, rollout)
