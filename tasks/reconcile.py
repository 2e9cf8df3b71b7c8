"""Finds what nobody told us: registry changes, interrupted rollouts, dead flow runs, drift."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

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
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.logging import get_run_logger
from prefect.states import Crashed
from prefect.types._datetime import now

from surefoot import bootstrap
from surefoot.adapters import ticks
from surefoot.core.chain import Entry
from surefoot.core.errors import SurefootError
from surefoot.core.machine import Idle
from surefoot.core.model import Stage
from surefoot.rollout import advance, compare_champion, end, open_wanted, repeat_changes, withdraw
from tasks.transition import ports, record, retryable

SILENCE = 100.0
"""A run that beats every 30 seconds and has been silent this long is dead [seconds]."""
TRIES = 3
"""Runs that may come to nothing before a person has to look [count]."""
UNKNOWN_PERSON = "Prefect UI, not identified"
"""Prefect records that a run was cancelled, and not who did it."""
LIVE = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED)


@task(name="adopt champions", retries=2, retry_delay_seconds=5, retry_condition_fn=retryable)
def adopt() -> dict[str, str]:
    """Serve the champion of every model with a policy."""
    ticks.note(bootstrap.settings().home, "reconcile")
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
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=200,
        )


@task(name="end cancelled rollouts", retries=2, retry_delay_seconds=5, retry_condition_fn=retryable)
def cancelled() -> list[str]:
    """Abort every rollout whose flow run a person has cancelled: a person's word counts, and nothing is started again.

    What Surefoot or Prefect ends by itself (a dead process, a full slot, `surefoot down`) is CRASHED, or says so.

    Returns:
        One line a rollout.
    """
    world, ended = replace(ports(), actor=UNKNOWN_PERSON), []
    runs = [run for run in _runs((StateType.CANCELLED, StateType.CANCELLING)) if _by_a_person(run)]
    for model in world.journal.models():
        ledger = world.ledger(model)
        rollout = ledger.rollout
        if rollout is None or rollout.ending or rollout.opened.kind != "promotion":
            continue
        number, opened = rollout.opened.candidate.number, _opened_at(world.journal.read(model), ledger.open)
        for run in runs:
            theirs = (run.parameters.get("model"), str(run.parameters.get("version"))) == (model, number)
            if theirs and run.state is not None and run.state.timestamp.timestamp() >= opened:
                reason = f"flow run '{run.name}' was cancelled in Prefect"
                bootstrap.insist(partial(end, world, model, Stage.ABORTED, reason))
                get_run_logger().warning("%s: %s", model, reason)
                ended.append(f"{model} {number}: {reason}")
                _try_to_finish(model)
                break
    return ended


def _by_a_person(run: FlowRun) -> bool:
    """Whether a run was cancelled from outside: the scheduler gives its own cancels a message of its own."""
    return run.state is not None and "concurrency limit" not in (run.state.message or "").lower()


def _opened_at(entries: Sequence[Entry], rollout: str) -> float:
    """When a rollout was opened, by the host's clock: the policies' clock may be a replay's [Unix seconds]."""
    return next(e.wall for e in entries if e.kind == "RolloutOpened" and e.data["rollout"] == rollout)


@task(name="read registry changes", retries=2, retry_delay_seconds=5, retry_condition_fn=retryable)
def read_registry() -> dict[str, list[str]]:
    """Open what the registry asks for, end what it no longer asks for, and journal what cannot be done, once.

    Returns:
        What was opened, withdrawn and refused.
    """
    config, world, log = bootstrap.settings(), ports(), get_run_logger()
    registry = bootstrap.registry(config)
    opened, withdrawn, said = [], [], []
    policies = bootstrap.policies(config)
    for model in sorted({*policies, *world.journal.models()}):
        try:
            view = registry.view(model)
            if reason := withdraw(world, model, view):
                withdrawn.append(f"{model}: {reason}")
                log.warning("%s is withdrawn: %s", model, reason)
                _try_to_finish(model)
            if (policy := policies.get(model)) is None:
                continue
            facts = bootstrap.policy_facts(config, model, policy)
            wish = partial(bootstrap.wish_request, config, model)
            found = open_wanted(world, model, view, wish, facts)
        except SurefootError as error:  # one model's trouble must not keep the others waiting; next tick again
            said.append(f"{model}: {error}")
            continue
        opened += [f"{model} {found.number}"] if found.number else []
        said += [f"{model}: {line}" for line in found.lines]
    said += [f"policy of {model} is wrong: {error}" for model, error in bootstrap.broken_policies(config).items()]
    for line in said:
        log.warning("%s", line)
    return {"opened": opened, "withdrawn": withdrawn, "said": said}


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


@task(name="start and resume rollouts", retries=2, retry_delay_seconds=5, retry_condition_fn=retryable)
def resume() -> list[str]:
    """Start a run for every open rollout that no run drives; finish endings right here."""
    busy = {run.parameters.get("model") for run in _runs(LIVE)}
    resumed = []
    world = ports()
    for model in world.journal.models():
        ledger = world.ledger(model)
        rollout = ledger.rollout
        if rollout is None or model in busy:
            continue
        if rollout.ending or rollout.opened.kind == "rollback":
            if _try_to_finish(model):
                resumed.append(f"{model}: ending")
        elif rollout.stage is not Stage.BAKING:
            number = rollout.opened.candidate.number
            if not _start(model, number, rollout.opened.reason, ledger.head):
                continue
            resumed.append(f"{model} {number}")
            get_run_logger().info("rollout %s of %s version %s had no run: started one", ledger.open, model, number)
    return resumed


def _try_to_finish(model: str) -> bool:
    """Bring an ending to its end if that can be done now; the next tick tries again."""
    try:
        _finish(model)
    except SurefootError as error:
        get_run_logger().error("%s cannot be brought to its end: %s", model, error)
        return False
    return True


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
    """Journal and report where the gateway or the registry does not say what the journal says.

    Registry changes of a rollback that could not be made are repeated; what somebody else has changed is left alone.
    """
    world, found = ports(), []
    for model in world.journal.models():
        ledger = world.ledger(model)
        if not ledger.open:
            # An open rollout is shown by the run that drives it: shown from here it would carry this run's id.
            record(model, ledger.head)
        if ledger.intent or ledger.champion is None:
            continue
        try:
            live = world.traffic.live(model)
            ledger = compare_champion(world, repeat_changes(world, ledger))
        except SurefootError as error:
            found.append(f"{model}: {error}")
            continue
        if ledger.split and not ledger.split.same_routing(live):
            found.append(f"{model}: the gateway does not serve the split of the journal")
        found += [f"{model}: {drift.what} should be {drift.expected}, {drift.seen}" for drift in ledger.drifts.values()]
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
