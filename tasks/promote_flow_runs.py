"""Name, tag and update the Prefect runs of the promote flow by their rollouts."""

import contextlib
from collections.abc import Iterator

import httpx
from prefect import runtime, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger

from surefoot.adapters import flow_progress
from surefoot.controller.flow_scheduler import ROLLOUT_TAG_PREFIX
from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.journal.chain import canonical_digest
from surefoot.core.journal.ledger import Ledger
from surefoot.rollout import list_ended_outcomes
from surefoot.rollout.reconcile import MAX_LATEST_RUNS
from surefoot.settings import read_settings
from tasks.stage_driver import open_flow_ports
from tasks.states import rollout_state

_MAX_NAME_LENGTH = 150
"""Longest name of a run [characters]."""
_SUREFOOT_STATE_NAMES = frozenset(str(stage) for stage in Stage)
"""Names of the states that Surefoot gives; what a person or Prefect has set stays."""


def tag_flow_run(rollout: str, name: str = "") -> None:
    """Tag this flow run with the rollout that it drives, and name it; without a Prefect server nothing is marked.

    Args:
        rollout: Id of the rollout.
        name: New name of the run; the old one stays when empty.
    """
    if not runtime.flow_run.id:
        return
    with _patiently(), get_client(sync_client=True) as client:
        run = client.read_flow_run(runtime.flow_run.id)
        tags = sorted({*run.tags, f"{ROLLOUT_TAG_PREFIX}{rollout}"})
        if tags != sorted(run.tags) or (name and run.name != name):
            client.update_flow_run(run.id, tags=tags, name=name or run.name)


def identify_flow_run_attempt() -> str:
    """Id and number of the attempt of this flow run; empty where it has no id.

    A run that a person starts again in Prefect has the same id and another number.
    """
    return f"{runtime.flow_run.id}/{runtime.flow_run.run_count}" if runtime.flow_run.id else ""


def name_flow_run(name: str) -> None:
    """Name this flow run for what it did; without a Prefect server nothing is named.

    Args:
        name: The name; a long one is cut.
    """
    if not runtime.flow_run.id:
        return
    short = name if len(name) <= _MAX_NAME_LENGTH else f"{name[: _MAX_NAME_LENGTH - 1]}…"
    with _patiently(), get_client(sync_client=True) as client:
        client.update_flow_run(runtime.flow_run.id, name=short)


@task(name="tell runs")
def update_ended_runs() -> list[str]:
    """Set the last state of every promote run to what its rollout has become since; safe to repeat.

    Returns:
        One line a run that was told.
    """
    ledgers = _ledgers()
    told: list[str] = []
    if not ledgers:
        return told
    with _patiently(), get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["promote"])),
            flow_run_filter=FlowRunFilter(
                tags=FlowRunFilterTags(any_=[f"{ROLLOUT_TAG_PREFIX}{rollout}" for rollout in ledgers]),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED, StateType.FAILED])),
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=200,
        )
        for run in runs:
            rollout = next(
                (
                    tag.removeprefix(ROLLOUT_TAG_PREFIX)
                    for tag in run.tags
                    if tag.removeprefix(ROLLOUT_TAG_PREFIX) in ledgers
                ),
                "",
            )
            if not rollout or run.state is None or run.state.name not in _SUREFOOT_STATE_NAMES:
                continue
            wanted = rollout_state(ledgers[rollout], rollout)
            if (run.state.type, run.state.name) == (wanted.type, wanted.name):
                continue
            client.set_flow_run_state(run.id, wanted, force=True)
            told.append(f"{run.name}: {wanted.name}: {wanted.message}")
            get_run_logger().info("flow run %s is told: %s", run.name, told[-1])
        outcomes = {one: item for ledger in ledgers.values() for one, item in list_ended_outcomes(ledger).items()}
        flow_progress.record_flow_run_outcomes(read_settings().home, canonical_digest(dict(outcomes)))
    return told


def _ledgers() -> dict[str, Ledger]:
    """The ledger of each of the latest promotions, by id of the rollout."""
    found = {}
    with open_flow_ports() as ports:
        for model in ports.journal.models():
            ledger = ports.ledger(model)
            promotions = [one for one, item in ledger.rollouts.items() if item.opened.kind == RolloutKind.PROMOTION]
            found.update(dict.fromkeys(promotions[-MAX_LATEST_RUNS:], ledger))
    return found


@contextlib.contextmanager
def _patiently() -> Iterator[None]:
    """What Prefect shows is a view: when its server does not answer, the next tick says it again."""
    try:
        yield
    except (PrefectException, httpx.HTTPError) as error:
        get_run_logger().warning("what Prefect shows is behind: %s", error)
