"""What every stage task shares: drive the rollout through one stage, show the verdicts, project the record."""

import os
from typing import TYPE_CHECKING

from prefect import runtime
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from surefoot import bootstrap
from surefoot.core.errors import SurefootError
from surefoot.core.events import GateJudged, decode
from surefoot.core.model import Stage
from surefoot.core.tell import sentence
from surefoot.rollout import Ports, drive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.schemas.objects import State, TaskRun
    from prefect.tasks import Task

    from surefoot.core.chain import Entry
    from surefoot.core.state import Ledger


def ports() -> Ports:
    """The outside world, acted on in the name of this flow run."""
    flow = runtime.flow_run.flow_name or "flow"
    return bootstrap.ports(bootstrap.settings(), f"flow:{flow}/{runtime.flow_run.name or 'local'}")


def retryable(_task: "Task", _run: "TaskRun", state: "State") -> bool:  # type: ignore[type-arg]
    """Retry what is known to pass: the class of the error decides, never its text."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, SurefootError) and error.retryable


def through(model: str, rollout: str, stage: Stage, step: int = 0, *, wait: bool = True) -> str:
    """Drive a rollout until it has left a stage (and step); a stage that is already behind is left at once.

    Returns:
        The stage that the rollout stands in now.
    """
    world, log = ports(), get_run_logger()
    head = len(world.journal.read(model))

    def left(ledger: "Ledger") -> bool:
        now = ledger.rollout
        if now is None or ledger.open != rollout or now.ending:
            return now is None or ledger.open != rollout
        return _order(now.stage, now.step) > _order(stage, step)

    ledger = drive(world, model, until=left, wait=wait)
    fresh = world.journal.read(model, after=head)
    for entry in fresh:
        log.info("%s", sentence(decode(entry.kind, entry.data)))
    _artifact(model, rollout, fresh)
    record(model)
    return ledger.rollouts[rollout].stage.value


def _order(stage: Stage, step: int) -> tuple[int, int]:
    return list(Stage).index(stage), step


def record(model: str, upto: int | None = None) -> None:
    """Show the journal, up to an entry, as MLflow runs; a view that is late is no reason to stop."""
    try:
        bootstrap.project(bootstrap.settings(), model, str(runtime.flow_run.id or ""), upto)
    except SurefootError as error:
        get_run_logger().warning("the MLflow view is behind: %s", error)


def _artifact(model: str, rollout: str, entries: "Sequence[Entry]") -> None:
    """A table of the verdicts of this stage, in the Prefect UI."""
    judged = [event for e in entries if isinstance(event := decode(e.kind, e.data), GateJudged)]
    if not judged:
        return
    lines = ["| gate | verdict | n | estimate | accepted | reason |", "|---|---|---:|---:|---:|---|"]
    for event in {(e.stage, e.step, e.verdict.gate): e for e in judged}.values():
        v = event.verdict
        numbers = [f"{x:+.4g}" if x is not None else "" for x in (v.estimate, v.margin)]
        reason = v.reason.replace("|", "/")
        lines.append(f"| {v.gate} | **{v.outcome}** | {v.n:,} | {numbers[0]} | {numbers[1]} | {reason} |")
    key = f"{model}-{rollout}-{judged[-1].stage}-{judged[-1].step}".lower().replace("_", "-")
    create_markdown_artifact(
        key=key, markdown="\n".join(lines), description=f"Verdicts of {judged[-1].stage} of {model}"
    )


def quiet_threads() -> None:
    """One thread a model: two on a small machine wait for each other."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
