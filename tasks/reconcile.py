"""Define the Prefect tasks of the reconcile flow, which resumes open rollouts."""

import datetime as dt
from functools import partial

from prefect import task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.deployments import run_deployment
from prefect.logging import get_run_logger
from prefect.states import Completed, Crashed
from prefect.types._datetime import now

from surefoot import wiring
from surefoot.adapters import flow_progress
from surefoot.controller.flow_scheduler import NOTHING_TO_DO_STATE
from surefoot.core.access.run_requests import RunOrder
from surefoot.core.errors import SurefootError
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import decode_event
from surefoot.core.tables.data_events import DataEvent
from surefoot.exposure import write_due_exposure
from surefoot.incidents.incident_reports import update_incident_reports
from surefoot.incidents.notifications import journal_deliveries
from surefoot.rollout import (
    DriftRule,
    NextStep,
    Ports,
    adopt_champions,
    candidate_requests,
    check_due_checkpoints,
    check_fallback,
    end_cancelled_rollouts,
    end_overdue_live_drill,
    end_withdrawn_rollout,
    finish_decided_ending,
    is_exposure_list_due,
    is_fallback_check_due,
    journal_model_drift,
    needs_fresh_registry_view,
    next_step,
    open_requested_rollout,
    read_drift_reaction,
    restore_due_tables,
)
from surefoot.rollout.reconcile import MAX_RUNS_WITHOUT_PROGRESS, RUN_SILENCE_S
from surefoot.settings import read_settings
from tasks.cancelled_runs import cancelled_runs, list_latest_promote_runs
from tasks.promote_flow_runs import name_flow_run
from tasks.stage_driver import is_retryable_failure, open_flow_ports, show_journal_in_mlflow
from tasks.states import MAX_MESSAGE_LENGTH

_UNFINISHED_STATES = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED)
_BUILD_WAIT_S = 2.0
"""How long a tick waits for the environment of a version that is being built [seconds]."""


def journal_heads() -> dict[str, int]:
    """Sequence of the last entry of each journal."""
    with wiring.open_journal(read_settings()) as journal:
        return {model: seq for model, (seq, _) in journal.heads().items()}


@task(name="adopt champions", retries=2, retry_delay_seconds=5, retry_condition_fn=is_retryable_failure)
def serve_champions() -> dict[str, str]:
    """Serve the champion of every model with a policy."""
    flow_progress.record_heartbeat(read_settings().home, "reconcile")
    with open_flow_ports() as ports:
        said = adopt_champions(ports, wiring.read_policies(read_settings()))
    for model, line in said.items():
        get_run_logger().info("%s: %s", model, line)
    return said


@task(name="reap dead runs")
def mark_dead_runs_crashed(silence: float = RUN_SILENCE_S) -> list[str]:
    """Mark runs as crashed whose process is gone; each run's state is read again right before.

    Returns:
        Names of the runs that were marked.
    """
    marked, since = [], now("UTC") - dt.timedelta(seconds=silence)
    with get_client(sync_client=True) as client:
        for run in list_latest_promote_runs((StateType.RUNNING,)):
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


@task(name="end cancelled rollouts", retries=2, retry_delay_seconds=5, retry_condition_fn=is_retryable_failure)
def abort_cancelled_rollouts() -> list[str]:
    """Abort every rollout whose flow run a person has cancelled: a person's word counts, and nothing is started again.

    What Surefoot or Prefect ends by itself (a dead process, a full slot, `surefoot down`) is CRASHED, or says so.
    What a cancelled run says after that changes nothing: Prefect lets one that is just starting say RUNNING.

    Returns:
        One line a rollout.
    """
    with open_flow_ports() as ports:
        opened = [model for model in ports.journal.models() if ports.ledger(model).open]
        ended = end_cancelled_rollouts(ports, cancelled_runs(opened))
        for model, run in ended.items():
            get_run_logger().warning("%s: %s", model, run.reason)
            _try_to_finish(ports, model)
    return [f"{model} {run.version}: {run.reason}" for model, run in ended.items()]


@task(name="end live drills")
def end_overdue_live_drills() -> list[str]:
    """Take each live drill back whose time is over and whose command is gone.

    Returns:
        One line a model.
    """
    ended = []
    with open_flow_ports() as ports:
        for model in ports.journal.models():
            try:
                if end_overdue_live_drill(ports, model):
                    ended.append(f"{model}: live drill taken back")
            except SurefootError as error:  # one model's trouble must not keep the others waiting; next tick again
                get_run_logger().error("the live drill of %s cannot be taken back: %s", model, error)
    for line in ended:
        get_run_logger().warning("%s, since its command is gone", line)
    return ended


@task(name="read registry changes", retries=2, retry_delay_seconds=5, retry_condition_fn=is_retryable_failure)
def apply_registry_changes() -> dict[str, list[str]]:
    """Open rollouts that the registry asks for, end those it no longer asks for, and journal each refusal once.

    Returns:
        What was opened, withdrawn and refused.
    """
    config, log = read_settings(), get_run_logger()
    opened, withdrawn, said = [], [], []
    policies = wiring.read_policies(config)
    # The flow run of the rollout waits for what is built: here other models would wait too.
    with open_flow_ports(build_wait_s=_BUILD_WAIT_S) as ports:
        models = sorted({*policies, *ports.journal.models()})
        views = wiring.read_registry_views(config, models)
        for model in models:
            try:
                view = views.get(model)
                if view is None or needs_fresh_registry_view(ports.ledger(model), view):
                    view = ports.registry.view(model)
                if reason := end_withdrawn_rollout(ports, model, view):
                    withdrawn.append(f"{model}: {reason}")
                    log.warning("%s is withdrawn: %s", model, reason)
                    _try_to_finish(ports, model)
                if (policy := policies.get(model)) is None:
                    continue
                facts = wiring.hash_policy_files(config, model, policy) if candidate_requests(view) else {}
                wish = partial(wiring.build_candidate_promotion_request, config, model)
                found = open_requested_rollout(ports, model, view, wish, facts)
            except SurefootError as error:  # one model's trouble must not keep the others waiting; next tick again
                said.append(f"{model}: {error}")
                continue
            opened += [f"{model} {found.number}"] if found.number else []
            said += [f"{model}: {line}" for line in found.lines]
    said += [f"policy of {model} is wrong: {error}" for model, error in wiring.find_broken_policies(config).items()]
    for line in said:
        log.warning("%s", line)
    return {"opened": opened, "withdrawn": withdrawn, "said": said}


def _start(model: str, version: str, reason: str, head: int) -> bool:
    """Start a run unless as many as make sense have already come to nothing at this head of the journal."""
    ended = (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)
    key = f"{model}-{version}-{head}-"
    vain = sum((run.idempotency_key or "").startswith(key) for run in list_latest_promote_runs(ended))
    if vain >= MAX_RUNS_WITHOUT_PROGRESS:
        get_run_logger().error("%s %s: %d runs have ended without an entry in the journal", model, version, vain)
        return False
    order = RunOrder("promote", model, version, reason=reason)
    proof = wiring.prove_run_request(read_settings(), order, "flow:reconcile")
    parameters = {"model": model, "version": version, "reason": reason, **proof}
    run_deployment(
        "promote/promote", parameters=parameters, timeout=0, idempotency_key=f"{key}{vain}", as_subflow=False
    )
    return True


@task(name="start and resume rollouts", retries=2, retry_delay_seconds=5, retry_condition_fn=is_retryable_failure)
def resume_rollouts() -> list[str]:
    """Start a run for every open rollout that no run drives; finish endings right here."""
    busy = {run.parameters.get("model") for run in list_latest_promote_runs(_UNFINISHED_STATES)}
    resumed = []
    with open_flow_ports() as ports:
        for model in ports.journal.models():
            ledger = ports.ledger(model)
            match next_step(ledger, driven=model in busy):
                case NextStep.FINISH:
                    resumed += [f"{model}: ending"] if _try_to_finish(ports, model) else []
                case NextStep.RUN if ledger.rollout is not None:
                    number = ledger.rollout.opened.candidate.number
                    if not _start(model, number, ledger.rollout.opened.reason, ledger.head):
                        continue
                    resumed.append(f"{model} {number}")
                    get_run_logger().info(
                        "rollout %s of %s version %s had no run: started one", ledger.open, model, number
                    )
                case _:
                    pass
    return resumed


def _try_to_finish(ports: Ports, model: str) -> bool:
    """Bring an ending to its end if that can be done now; the next tick tries again."""
    try:
        finish_decided_ending(ports, model)
    except SurefootError as error:
        get_run_logger().error("%s cannot be brought to its end: %s", model, error)
        return False
    return True


@task(name="count what versions answered")
def count_ended_rollouts() -> list[str]:
    """Journal what each version has answered once a rollout has ended: the log that says so does not last.

    What a version answered that was taken back is listed as well, one version of a model a run.

    Returns:
        One line a model that was counted, or of which something was listed.
    """
    done, config = [], read_settings()
    with open_flow_ports() as ports:
        for model in ports.journal.models():
            before = ports.ledger(model).head
            try:
                ledger = wiring.record_answer_counts(config, ports, model)
                listed = (
                    write_due_exposure(config, ports, model) if is_exposure_list_due(ledger, ports.clock.now()) else ""
                )
            except SurefootError as error:  # the next tick counts, for as long as the log is there
                get_run_logger().error("what versions of %s answered cannot be counted: %s", model, error)
                continue
            if listed:
                get_run_logger().info("%s: listed %s", model, listed)
            done += [f"{model}: {listed}"] if listed else [model] if ledger.head != before else []
    return done


@task(name="open and report incidents")
def report_incidents() -> list[str]:
    """Open an incident for each version that is taken back, hold its evidence, and write reports that are out of date.

    What people were told by messages that were delivered is journalled first, so that the reports say it.

    Returns:
        What was done, one line each.
    """
    done, config = [], read_settings()
    with open_flow_ports() as ports:
        for model in ports.journal.models():
            try:
                told = journal_deliveries(config, ports, model)
                done += [f"{model}: {line}" for line in (*told, *update_incident_reports(config, ports, model))]
            except SurefootError as error:  # one model's trouble must not keep the others waiting; next tick again
                get_run_logger().error("incidents of %s: %s", model, error)
    for line in done:
        get_run_logger().warning("%s", line)
    return done


@task(name="show the journals")
def show_ended_rollouts() -> list[str]:
    """Show ended rollouts in MLflow; an open one is shown by the run that drives it.

    Returns:
        Models of which something was drawn.
    """
    with open_flow_ports() as ports:
        ledgers = {model: ports.ledger(model) for model in ports.journal.models()}
    return [
        model for model, ledger in ledgers.items() if not ledger.open and show_journal_in_mlflow(model, ledger.head)
    ]


@task(name="compare with the journal")
def report_drift() -> list[str]:
    """Journal and report each difference of gateway or registry from the journal, and react as the policy says."""
    found, config = [], read_settings()
    policies = wiring.read_policies(config)
    with open_flow_ports(build_wait_s=_BUILD_WAIT_S) as ports:
        models = ports.journal.models()
        views = wiring.read_registry_views(config, models)
        for model in models:
            wish = partial(wiring.build_candidate_promotion_request, config, model)
            rule = DriftRule(read_drift_reaction(policies.get(model)), wish)
            found += journal_model_drift(ports, model, rule, views.get(model))
    for line in found:
        get_run_logger().error("drift: %s", line)
    return found


@task(name="restore tables and test restores")
def restore_all_due_tables() -> list[str]:
    """Restore the tables that a rollback requires to be restored, and test daily that checkpoints can be restored.

    Returns:
        What was done, one line a table.
    """
    done = []
    with open_flow_ports() as ports:
        for model in ports.journal.models():
            head = ports.ledger(model).head
            try:
                restore_due_tables(ports, model)
                check_due_checkpoints(ports, model)
            except SurefootError as error:  # one model's trouble must not keep the others waiting; next tick again
                get_run_logger().error("tables of %s: %s", model, error)
            events = (decode_event(entry.kind, entry.data) for entry in ports.journal.read(model, after=head))
            done += [f"{model}: {describe_event(event)}" for event in events if isinstance(event, DataEvent)]
    for line in done:
        get_run_logger().info("%s", line)
    return done


@task(name="try the fallbacks")
def check_fallbacks() -> list[str]:
    """Ask the fallback of every model recent rows once a day, and journal whether its answers will do.

    Returns:
        One line a model.
    """
    done = []
    with open_flow_ports() as ports:
        for model, policy in wiring.read_policies(read_settings()).items():
            try:
                due = is_fallback_check_due(ports.ledger(model), ports.clock.now(), policy.fallback_reference)
                found = check_fallback(ports, model) if due else None
            except SurefootError as error:  # one model's trouble must not keep the others waiting; next tick again
                get_run_logger().error("the fallback of %s cannot be tried: %s", model, error)
                continue
            if found is not None:
                done.append(f"{model}: {describe_event(found)}")
    return done


@task(name="compact the log")
def compact_all_logs() -> list[str]:
    """Compact closed log files of every model to Parquet and delete expired records; a bounded amount each run.

    Returns:
        What was done, one line a model.
    """
    config, done = read_settings(), []
    for model in wiring.list_logged_models(config):
        try:
            said = wiring.compact_model_log(config, model, batches=1).describe()
        except SurefootError as error:  # nothing is lost, and one model's trouble must not keep the others waiting
            get_run_logger().error("%s", error)
            continue
        if said:
            done.append(f"{model}: {said}")
            get_run_logger().info("%s: %s", model, said)
    return done


def final_reconcile_state(done: dict[str, list[str]], before: dict[str, int]) -> State[dict[str, list[str]]]:
    """The last state of the flow, whose run is named for what it did.

    Args:
        done: What each part has done or has to say.
        before: Sequence of the last entry of each journal when the flow began.
    """
    said = [f"{what} {', '.join(lines)}" for what, lines in done.items() if lines]
    named = " ".join(line for lines in done.values() for line in lines)
    said += [
        f"journalled {model}"
        for model, seq in journal_heads().items()
        if seq != before.get(model) and model not in named
    ]
    if not said:
        return Completed(name=NOTHING_TO_DO_STATE, message="journal, registry, gateway and Prefect agree", data=done)
    name_flow_run(f"reconcile: {'; '.join(said)}")
    return Completed(message="; ".join(said)[:MAX_MESSAGE_LENGTH], data=done)
