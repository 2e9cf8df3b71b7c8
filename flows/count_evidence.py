"""Count the evidence in closed log files before a gate is evaluated."""

from collections.abc import Mapping
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from tasks.evidence_counting import count_file_evidence, find_waiting_log_files, make_task_runner


@flow(name="score", flow_run_name="score {model}", retries=0)
def count_evidence(home: str, model: str, rollout: str, parts: Mapping[str, str], asked_at: float) -> State[Any]:
    """Count the evidence in closed prediction-log files, each in a Prefect task of its own on a worker.

    Args:
        home: Folder of all state.
        model: Registered model.
        rollout: Id of its open rollout.
        parts: Names of the parts, and of their files for people.
        asked_at: End of the window, one for all parts [Unix seconds].
    """
    futures = [count_file_evidence.submit(home, model, rollout, name, title, asked_at) for name, title in parts.items()]
    wait(futures)
    failed = [future.state.message or "" for future in futures if not future.state.is_completed()]
    said = f"{len(futures) - len(failed)} of {len(futures)} parts counted"
    return (
        Failed(message=f"{said}; the look counts the others itself: {failed[0]}") if failed else Completed(message=said)
    )


def count_evidence_before_replay(model: str, rollout: str) -> None:
    """Run `count_evidence` before a replay's gate evaluation, where the policy asks for it and enough is uncounted.

    Whatever goes wrong is no failure of the rollout: the look counts what was not kept.

    Args:
        model: Registered model.
        rollout: Id of its open rollout.
    """
    try:
        found = find_waiting_log_files(model, rollout)
        if found is None:
            return
        spread = count_evidence.with_options(task_runner=make_task_runner(found))
        state = spread(found.home, model, rollout, dict(found.titles), found.asked_at, return_state=True)
        problem = "" if state.is_completed() else state.message
    except Exception as error:  # noqa: BLE001 - a cluster that cannot be had is no reason to stop
        problem = f"{type(error).__name__}: {error}"
    if problem:
        get_run_logger().warning("parts of the log were not all counted by workers: %s", problem)
