"""Write the journal of a model to MLflow as runs, with plots and validation pages."""

from surefoot.adapters.flow_progress import record_entry_shown_in_mlflow
from surefoot.settings import Settings
from surefoot.wiring.adapters import open_journal


def write_journal_to_mlflow(config: Settings, model: str, flow_run: str = "", upto: int | None = None) -> int:
    """Show the journal of a model, up to an entry, as MLflow runs; returns how many runs were written.

    Raises:
        Unavailable: MLflow does not answer; nothing but the view is behind.
    """
    from surefoot.adapters.mlflow.runs.projection import MlflowProjection  # noqa: PLC0415 - MLflow costs 2.6 CPU seconds
    from surefoot.adapters.mlflow.runs.run_writer import RunPlots  # noqa: PLC0415 - same
    from surefoot.reports.evidence_over_time import evidence_over_time_png  # noqa: PLC0415 - so does Matplotlib
    from surefoot.reports.verdict_plots import slice_losses_png, verdicts_png  # noqa: PLC0415 - same

    with open_journal(config) as journal:
        entries = tuple(entry for entry in journal.read(model) if upto is None or entry.seq <= upto)
    reports = {}
    for entry in entries:
        verdict = entry.data.get("verdict")
        if entry.kind == "GateJudged" and isinstance(verdict, dict) and verdict["gate"] == "data":
            page = config.home / "reports" / f"{entry.data['rollout']}.html"
            if page.is_file():
                reports[entry.seq] = page
    view = MlflowProjection(config.mlflow, RunPlots(verdicts_png, slice_losses_png, evidence_over_time_png))
    done = view.project(model, entries, flow_run, reports=reports)
    if entries:
        record_entry_shown_in_mlflow(config.home, model, entries[-1].seq)
    return done
