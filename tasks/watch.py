"""Define the Prefect tasks that evaluate each serving champion."""

from prefect import task
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.logging import get_run_logger
from prefect.states import Completed

from surefoot.core.errors import SurefootError
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import decode_event
from surefoot.core.rollback.stepped_rollback import waits_for_person
from surefoot.rollout import Ports, drive_rollout, evaluate_champion, find_retraining_to_start, next_evaluation_time
from tasks.stage_driver import is_retryable_failure, open_flow_ports, show_journal_in_mlflow
from tasks.states import MAX_MESSAGE_LENGTH


def due_champions() -> list[str]:
    """Models whose champion is due for an evaluation; one whose policy cannot be read is included, and fails later."""
    with open_flow_ports() as ports:
        return [model for model in ports.journal.models() if _is_due(ports, model)]


def _is_due(ports: Ports, model: str) -> bool:
    try:
        due = next_evaluation_time(ports.ledger(model))
    except SurefootError:
        return True
    return due is not None and due <= ports.clock.now()


@task(
    name="watch champion",
    task_run_name="watch champion of {model}",
    retries=3,
    retry_delay_seconds=10,
    retry_condition_fn=is_retryable_failure,
    timeout_seconds=3600,
)
def watch_champion_once(model: str) -> State[str]:
    """Evaluate a champion once; roll it back or start its retraining where its policy says so."""
    log = get_run_logger()
    with open_flow_ports() as ports:
        head = len(ports.journal.read(model))
        ledger = evaluate_champion(ports, model)
        if ledger.open:
            drive_rollout(ports, model, until=lambda seen: not seen.open or waits_for_person(seen.rollout))
        fresh = [decode_event(entry.kind, entry.data) for entry in ports.journal.read(model, after=head)]
        wanted = find_retraining_to_start(ports.ledger(model))
    for event in fresh:
        log.info("%s", describe_event(event))
    if wanted:
        deployment, key = wanted
        try:
            run_deployment(deployment, timeout=0, idempotency_key=key, as_subflow=False)
        except Exception as error:  # noqa: BLE001 - whatever a deployment of others raises: the look itself was taken
            log.warning("deployment %s could not be started: %s; the next look tries again", deployment, error)
        else:
            log.info("deployment %s is asked to train again", deployment)
    show_journal_in_mlflow(model)
    return Completed(message=describe_event(fresh[-1])[:MAX_MESSAGE_LENGTH] if fresh else "", data=model)
