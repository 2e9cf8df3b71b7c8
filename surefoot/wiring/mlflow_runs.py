"""Write a model's journal to MLflow as runs with plots and pages, and replace texts in these runs."""

from collections.abc import Callable

from surefoot.adapters.flow_progress import record_entry_shown_in_mlflow
from surefoot.core.errors import Unavailable
from surefoot.settings import Settings
from surefoot.wiring.adapters import open_journal

_DEADLINE_S = 10.0
"""How long MLflow is asked for one answer [seconds]."""


def write_journal_to_mlflow(config: Settings, model: str, flow_run: str = "", upto: int | None = None) -> int:
    """Show the journal of a model, up to an entry, as MLflow runs; returns how many runs were written.

    Raises:
        Unavailable: MLflow does not answer; nothing but the view is behind.
    """
    from surefoot.adapters.mlflow.runs.projection import MlflowProjection  # noqa: PLC0415 - MLflow costs 2.6 CPU seconds
    from surefoot.adapters.mlflow.runs.run_writer import RunPlots  # noqa: PLC0415 - same
    from surefoot.reports.evidence_over_time import draw_evidence_over_time_png  # noqa: PLC0415 - so does Matplotlib
    from surefoot.reports.verdict_plots import draw_slice_losses_png, draw_verdicts_png  # noqa: PLC0415 - same

    with open_journal(config) as journal:
        entries = tuple(entry for entry in journal.read(model) if upto is None or entry.seq <= upto)
    reports = {}
    for entry in entries:
        verdict = entry.data.get("verdict")
        if entry.kind == "GateJudged" and isinstance(verdict, dict) and verdict["gate"] == "data":
            page = config.home / "reports" / f"{entry.data['rollout']}.html"
            if page.is_file():
                reports[entry.seq] = page
    view = MlflowProjection(
        config.mlflow, RunPlots(draw_verdicts_png, draw_slice_losses_png, draw_evidence_over_time_png)
    )
    done = view.project(model, entries, flow_run, reports=reports)
    if entries:
        record_entry_shown_in_mlflow(config.home, model, entries[-1].seq)
    return done


def replace_in_mlflow_runs(config: Settings, model: str, change: Callable[[str], tuple[str, int]]) -> int:
    """Change the pages and tables that the runs of a model have as artifacts; how many places were changed.

    Args:
        config: Where everything is.
        model: Registered model.
        change: Gives a text as it should be, and how many places of it were changed [count].

    Raises:
        Unavailable: MLflow does not answer.
    """
    from surefoot.adapters.mlflow.client import RetryingClient  # noqa: PLC0415 - MLflow costs 2.6 CPU seconds
    from surefoot.adapters.mlflow.runs.projection import EXPERIMENT_PREFIX  # noqa: PLC0415 - same
    from surefoot.adapters.mlflow.runs.run_artifact_texts import edit_run_artifacts  # noqa: PLC0415 - same

    try:
        return edit_run_artifacts(RetryingClient(config.mlflow, _DEADLINE_S), EXPERIMENT_PREFIX + model, change)
    except Unavailable as error:
        raise Unavailable(
            f"what is kept on this host is erased, but MLflow does not answer ({error}): repeat 'surefoot forget' when"
            " it does, or give --skip-servers"
        ) from error
