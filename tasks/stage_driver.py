"""Drive a rollout through one stage in a Prefect task, and hold helpers that several tasks share."""

import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from prefect import runtime
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger
from prefect.states import Completed

from surefoot import wiring
from surefoot.adapters.replay.scoring_progress import ProgressReport
from surefoot.core.domain import Stage
from surefoot.core.errors import SurefootError
from surefoot.core.journal.event_sentences import describe_event, describe_rollout
from surefoot.core.journal.events import GateJudged, decode_event
from surefoot.core.journal.ledger import fold_entries
from surefoot.core.policy.parse import parse_policy
from surefoot.core.stages.stage_places import has_passed
from surefoot.core.verdicts.quantities import describe_accepted, describe_measured
from surefoot.rollout import Ports, drive_rollout
from surefoot.settings import read_settings
from surefoot.wiring.telemetry.journal_delivery import remember_flow_run
from tasks.progress_artifact import ProgressArtifact, make_artifact_key
from tasks.states import MAX_MESSAGE_LENGTH, SKIPPED_STATE_NAME, rollout_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.schemas.objects import State, TaskRun
    from prefect.tasks import Task

    from surefoot.core.journal.chain import Entry
    from surefoot.core.journal.ledger import Ledger


def open_flow_ports(
    report: ProgressReport = lambda _done, _total: None, build_wait_s: float = wiring.ENVIRONMENT_BUILD_WAIT_S
) -> AbstractContextManager[Ports]:
    """Open the ports of a rollout in the name of this flow run; they are closed at the end.

    Args:
        report: Is told how far both versions have come with the requests of a replay; it must not raise.
        build_wait_s: How long to wait for the environment of a version that is being built [seconds].
    """
    flow = runtime.flow_run.flow_name or "flow"
    actor = f"flow:{flow}/{runtime.flow_run.name or 'local'}"
    remember_flow_run(read_settings(), actor, str(runtime.flow_run.id or ""))
    return wiring.open_ports(read_settings(), actor, report=report, build_wait_s=build_wait_s)


def is_retryable_failure(_task: "Task", _run: "TaskRun", state: "State") -> bool:  # type: ignore[type-arg]
    """Whether a task failed by a temporary error, by the error's class and never its text, and is to be retried."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, SurefootError) and error.retryable


def drive_stage(model: str, rollout: str, stage: Stage, step: int = 0, *, wait: bool = True) -> "State[str]":
    """Drive a rollout until it has left a stage (and step); a stage that is already behind is left at once.

    Returns:
        The state of the task: Completed when the stage was passed, named Skipped when there was nothing to do, named
        for the stage when it goes on, FAILED and named for the terminal stage when the rollout was turned away in it.
    """
    log = get_run_logger()

    def left(ledger: "Ledger") -> bool:
        now = ledger.rollout
        if now is None or ledger.open != rollout or now.ending:
            return now is None or ledger.open != rollout
        policy = parse_policy(now.opened.policy)
        return has_passed(policy, (now.stage, now.step), (stage, step))

    with open_flow_ports(ProgressArtifact(model, rollout)) as ports:
        entries = ports.journal.read(model)
        head, before = len(entries), fold_entries(model, entries)
        if reason := _nothing_to_do(before, rollout, stage, step):
            return Completed(name=SKIPPED_STATE_NAME, message=reason[:MAX_MESSAGE_LENGTH], data=rollout)
        ledger = drive_rollout(ports, model, until=left, wait=wait)
        fresh = ports.journal.read(model, after=head)
    for entry in fresh:
        log.info("%s", describe_event(decode_event(entry.kind, entry.data)))
    found = ledger.rollouts[rollout]
    _artifact(model, rollout, fresh, describe_rollout(found.opened))
    show_journal_in_mlflow(model)
    if found.stage.is_terminal or found.ending:
        return rollout_state(ledger, rollout, rollout)
    name = found.stage.value if found.stage is stage and not wait else None  # a stage that goes on is not completed
    return Completed(name=name, message=f"{found.stage}: {found.reason}"[:MAX_MESSAGE_LENGTH], data=rollout)


def _nothing_to_do(ledger: "Ledger", rollout: str, stage: Stage, step: int) -> str:
    """Why a task has nothing to do: its rollout has ended, or has come further already; or nothing."""
    found = ledger.rollouts[rollout]
    if ledger.open != rollout:
        return f"the rollout had ended as {found.stage}: {found.reason}"
    policy = parse_policy(found.opened.policy)
    if not found.ending and has_passed(policy, (found.stage, found.step), (stage, step)):
        return f"the rollout had come to {found.stage} already"
    return ""


def show_journal_in_mlflow(model: str, upto: int | None = None) -> int:
    """Show the journal, up to an entry, as MLflow runs; a view that is late is no reason to stop.

    Returns:
        Runs and pages that were written [count].
    """
    try:
        return wiring.write_journal_to_mlflow(read_settings(), model, str(runtime.flow_run.id or ""), upto)
    except SurefootError as error:
        get_run_logger().warning("the MLflow view is behind: %s", error)
        return 0


def _artifact(model: str, rollout: str, entries: "Sequence[Entry]", name: str) -> None:
    """A table of the verdicts of this stage, in the Prefect UI."""
    judged = [event for e in entries if isinstance(event := decode_event(e.kind, e.data), GateJudged)]
    if not judged:
        return
    lines, reasons = ["| gate | verdict | n | measured | accepted |", "|---|---|---:|---:|---:|"], [""]
    for event in {(e.stage, e.step, e.verdict.gate): e for e in judged}.values():
        v = event.verdict
        numbers = [text.replace("|", "/") for text in (describe_measured(v), describe_accepted(v))]
        lines.append(f"| {v.gate} | **{v.outcome}** | {v.n:,} | {numbers[0]} | {numbers[1]} |")
        reasons.append(f"- **{v.gate} {v.outcome}**: {v.reason}")  # a table in Prefect cuts long cells off
    key = make_artifact_key(model, rollout, judged[-1].stage, judged[-1].step)
    create_markdown_artifact(
        key=key,
        markdown="\n".join([*lines, *reasons]),
        description=f"Verdicts of {judged[-1].stage}: {name} of {model}",
    )


def limit_openmp_threads() -> None:
    """Limit OpenMP to one thread for each model: on a small machine more threads wait for each other."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
