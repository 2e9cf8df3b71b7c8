"""Finds what nobody told us: registry changes, interrupted rollouts, dead flow runs, drift."""

import datetime as dt

from prefect import task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import run_deployment
from prefect.logging import get_run_logger
from prefect.states import Crashed
from prefect.types._datetime import now

from surefoot import bootstrap
from surefoot.core.errors import Rejected, SurefootError
from surefoot.core.machine import Idle
from surefoot.core.model import Stage
from surefoot.rollout import advance
from tasks.transition import ports, record, retryable

SILENCE = 100.0
"""A run that beats every 30 seconds and has been silent this long is dead [seconds]."""
TRIES = 3
"""Runs that may come to nothing before a person has to look [count]."""
LIVE = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED)


@task(name="find registry changes", retries=2, retry_delay_seconds=5, retry_condition_fn=retryable)
def wanted() -> list[tuple[str, str, str]]:
    """Versions that somebody asks for in the registry: alias `candidate`, or the old stage Staging.

    Returns:
        (model, version, reason) for each that has not been answered yet.
    """
    config = bootstrap.settings()
    registry, world, found = bootstrap.registry(config), ports(), []
    for model in bootstrap.policies(config):
        try:
            asked = [(registry.aliases(model).get("candidate"), "alias candidate was set on it")]
            asked += [(number, "it was moved to stage Staging") for number in registry.staged(model)[:1]]
        except Rejected as error:  # a policy may come before its model
            get_run_logger().info("%s", error)
            continue
        ledger = world.ledger(model)
        tried = {item.opened.candidate.number for item in ledger.rollouts.values() if item.opened.kind == "promotion"}
        champion = ledger.champion.number if ledger.champion else ""
        fresh = {number: why for number, why in reversed(asked) if number and number not in {*tried, champion}}
        found += [(model, number, why) for number, why in fresh.items()]
    return found


@task(name="adopt champions", retries=2, retry_delay_seconds=5, retry_condition_fn=retryable)
def adopt() -> dict[str, str]:
    """Serve the champion of every model with a policy."""
    said = bootstrap.adopt_all(bootstrap.settings(), "flow:reconcile")
    for model, line in said.items():
        get_run_logger().info("%s: %s", model, line)
    return said


@task(name="reap dead runs")
def reap(silence: float = SILENCE) -> list[str]:
    """Mark runs as crashed whose process is gone; each run's state is read again right before.

    Returns:
        Names of the runs that were marked.
    """
    marked, since = [], now("UTC") - dt.timedelta(seconds=silence)
    with get_client(sync_client=True) as client:
        for run in _runs((StateType.RUNNING,)):
            if run.start_time is None or run.start_time > since:
                continue
            beats = client._client.post(  # noqa: SLF001 - the sync client has no method for events
                "/events/filter",
                json={
                    "filter": {
                        "occurred": {"since": since.isoformat()},
                        "event": {"name": ["prefect.flow-run.heartbeat"]},
                        "resource": {"id": [f"prefect.flow-run.{run.id}"]},
                    },
                    "limit": 1,
                },
            ).json()
            if beats.get("events"):
                continue
            current = client.read_flow_run(run.id)
            if current.state is None or current.state.type is not StateType.RUNNING:
                continue
            message = f"no heartbeat for {silence:.0f} s: its process or host is gone; the journal says how far it came"
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
            marked.append(run.name)
            get_run_logger().warning("flow run %s marked as crashed", run.name)
    return marked


def _runs(states: tuple[StateType, ...]) -> list[FlowRun]:
    """The latest runs of the promote deployment in some states."""
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))),
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=["promote"])),
        )


def _start(model: str, version: str, reason: str, head: int) -> bool:
    """Start a run unless as many as make sense have already come to nothing at this head of the journal."""
    ended = (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)
    key = f"{model}-{version}-{head}-"
    vain = sum((run.idempotency_key or "").startswith(key) for run in _runs(ended))
    if vain >= TRIES:
        get_run_logger().error("%s %s: %d runs have ended without an entry in the journal", model, version, vain)
        return False
    parameters = {"model": model, "version": version, "reason": reason}
    run_deployment(
        "promote/promote", parameters=parameters, timeout=0, idempotency_key=f"{key}{vain}", as_subflow=False
    )
    return True


@task(name="start rollouts")
def start(found: list[tuple[str, str, str]]) -> list[str]:
    """Start a promote run for every version that is asked for; the same request starts one run."""
    busy = {(run.parameters.get("model"), str(run.parameters.get("version"))) for run in _runs(LIVE)}
    started = []
    for model, version, reason in found:
        if (model, version) not in busy:
            if not _start(model, version, reason, ports().ledger(model).head):
                continue
            started.append(f"{model} {version}")
            get_run_logger().info("promote %s %s: %s", model, version, reason)
    return started


@task(name="resume rollouts", retries=2, retry_delay_seconds=5, retry_condition_fn=retryable)
def resume() -> list[str]:
    """Start a run again for every open rollout that nobody drives; finish endings right here."""
    busy = {run.parameters.get("model") for run in _runs(LIVE)}
    resumed = []
    world = ports()
    for model in world.journal.models():
        ledger = world.ledger(model)
        rollout = ledger.rollout
        if rollout is None or model in busy:
            continue
        if rollout.ending or rollout.opened.kind == "rollback":
            try:
                _finish(model)
            except SurefootError as error:  # one model's trouble must not keep the others waiting; next tick again
                get_run_logger().error("%s cannot be brought to its end: %s", model, error)
                continue
            resumed.append(f"{model}: ending")
        elif rollout.stage is not Stage.BAKING:
            number = rollout.opened.candidate.number
            if not _start(model, number, "resumed after an interruption", ledger.head):
                continue
            resumed.append(f"{model} {number}")
            get_run_logger().warning("rollout of %s %s had no run: started one", model, number)
    return resumed


def _finish(model: str) -> None:
    """Bring an ending to its sink, step by step."""
    world = ports()
    ledger = world.ledger(model)
    while ledger.open:
        action, ledger = advance(world, ledger)
        if isinstance(action, Idle):
            break


@task(name="compare with the journal")
def compare() -> list[str]:
    """Report where the gateway or the registry does not say what the journal says; repairs nothing silently."""
    config, world, found = bootstrap.settings(), ports(), []
    registry = bootstrap.registry(config, 5.0)
    for model in world.journal.models():
        ledger = world.ledger(model)
        if not ledger.open:
            # An open rollout is shown by the run that drives it: shown from here it would carry this run's id.
            record(model, ledger.head)
        if ledger.intent or ledger.champion is None:
            continue
        try:
            live, alias = world.traffic.live(model), registry.alias(model, "champion")
        except SurefootError as error:
            found.append(f"{model}: {error}")
            continue
        if ledger.split and not ledger.split.same_routing(live):
            found.append(f"{model}: the gateway does not serve the split of the journal")
        if alias != ledger.champion.number:
            found.append(f"{model}: alias champion says {alias}, the journal {ledger.champion.number}")
    for line in found:
        get_run_logger().error("drift: %s", line)
    return found


@task(name="compact the log")
def compact() -> list[str]:
    """Turn what is closed of every model's log into Parquet and remove what is too old; a bounded amount a run.

    Returns:
        What was done, one line a model.
    """
    config, done = bootstrap.settings(), []
    for model in bootstrap.logged(config):
        try:
            said = bootstrap.compact(config, model, batches=1).tell()
        except SurefootError as error:  # nothing is lost, and one model's trouble must not keep the others waiting
            get_run_logger().error("%s", error)
            continue
        if said:
            done.append(f"{model}: {said}")
            get_run_logger().info("%s: %s", model, said)
    return done
