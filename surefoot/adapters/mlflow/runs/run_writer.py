"""Write single MLflow runs with their plots, and link them to their parent runs."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.adapters.mlflow.client import RetryingClient
from surefoot.adapters.mlflow.runs.run_views import RUNNING, JudgedGate, RunView
from surefoot.core.domain import Verdict
from surefoot.core.journal.events import GateJudged
from surefoot.core.verdicts.quantities import QuantityFormat, slice_difference_format

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True, slots=True)
class RunPlots:
    """Draws what a run shows, each as PNG.

    Attributes:
        verdicts: Verdicts under a title.
        slices: Rows of slices under a title, with their differences written like this.
        course: Looks with their times under a title.
    """

    verdicts: Callable[[Sequence[Verdict], str], bytes]
    slices: Callable[[Sequence[Mapping[str, object]], str, QuantityFormat], bytes]
    course: Callable[[Sequence[tuple[float, GateJudged]], str], bytes]


PARENT, HEAD, FLOW, WARNING = "mlflow.parentRunId", "surefoot.head", "prefect.flow_run", "surefoot.warning"
SEQ, HASH = "surefoot.seq", "surefoot.hash"


class RunWriter:
    """Creates, fills, links and deletes MLflow runs, so that two writers of one run agree.

    Every value comes from the journal and every time is an entry's, so that two writers of one run agree. The tag
    `surefoot.head` is written last: a run that has it is whole.
    """

    def __init__(self, mlflow: RetryingClient, pictures: RunPlots) -> None:
        """Nothing is asked yet."""
        self._mlflow, self._pictures = mlflow, pictures

    def create_run(self, experiment: str, wanted: RunView, parent: "Run | None", flow_run: str) -> "Run":
        """Make an empty run that already says which entry it is for; a repetition is found and removed later."""
        tags = {SEQ: str(wanted.key[0]), HASH: wanted.key[1]}
        if parent is not None:
            tags[PARENT] = str(parent.info.run_id)
        if flow_run:
            tags[FLOW] = flow_run
        return self._mlflow.call(lambda client: client.create_run(experiment, wanted.started, tags, wanted.name))

    def write_run(self, run: "Run", wanted: RunView, parent: "Run | None", reports: Mapping[int, Path]) -> None:
        """Say everything that a run has to say."""
        run_id = str(run.info.run_id)
        params = dict(wanted.params)
        if FLOW in run.data.tags:  # from the tags it was born with: a second writer comes from another flow run
            params[FLOW] = run.data.tags[FLOW]
        # MLflow's own tags are set once: a description that a person has written since is worth more.
        kept = {name for name in run.data.tags if name.startswith("mlflow.")}
        tags = {name: value for name, value in wanted.tags.items() if name not in kept}
        if parent is not None:
            tags[PARENT] = str(parent.info.run_id)
        self._mlflow.call(lambda client: _batch(client, run_id, params, wanted, tags))
        with tempfile.TemporaryDirectory() as folder:
            if self._fill(Path(folder), wanted, reports):
                self._mlflow.call(lambda client: client.log_artifacts(run_id, folder))
        if wanted.status != RUNNING:
            self._mlflow.call(lambda client: client.set_terminated(run_id, wanted.status, wanted.ended))
        self._mlflow.call(lambda client: client.set_tag(run_id, HEAD, str(wanted.head)))

    def set_parent_run(self, run: "Run", parent: "Run") -> None:
        """Hang a run under the run of its rollout."""
        self._mlflow.call(lambda client: client.set_tag(run.info.run_id, PARENT, parent.info.run_id))

    def delete_run(self, run: "Run") -> None:
        """Remove a run that says the same as another; MLflow keeps it restorable."""
        self._mlflow.call(lambda client: client.delete_run(run.info.run_id))

    def mark_foreign_run(self, run: "Run", text: str) -> None:
        """Mark a run that is none of ours."""
        self._mlflow.call(lambda client: client.set_tag(run.info.run_id, WARNING, text))

    def _fill(self, folder: Path, wanted: RunView, reports: Mapping[int, Path]) -> bool:
        """Write a run's artifacts into a folder; whether there are any."""
        for name, table in wanted.tables.items():
            (folder / name).write_text(json.dumps(table, indent=1, sort_keys=True, ensure_ascii=False), "utf-8")
        if wanted.judged:
            drawn = self._pictures.verdicts([judged.verdict for judged in wanted.judged], wanted.name)
            (folder / "verdicts.png").write_bytes(drawn)
        if len(wanted.course) > len(wanted.judged):  # a single look has no course
            (folder / "course.png").write_bytes(self._pictures.course(wanted.course, wanted.name))
        sliced = [judged.verdict for judged in wanted.judged if _slices(judged)]
        for verdict in sliced:
            name = "slices.png" if len(sliced) == 1 else f"slices-{verdict.gate}.png"
            title = f"{wanted.name}: {verdict.gate}"
            picture = self._pictures.slices(verdict.details, title, slice_difference_format(verdict))
            (folder / name).write_bytes(picture)
        page = next((reports[judged.seq] for judged in wanted.judged if judged.seq in reports), None)
        if page is not None and page.is_file():
            (folder / "validation").mkdir()
            (folder / "validation" / "report.html").write_bytes(page.read_bytes())
        return bool(wanted.tables or wanted.judged)


def _slices(judged: JudgedGate) -> bool:
    """Whether a verdict has slices to draw, and not just all requests together."""
    return any(row.get("slice", "all") != "all" for row in judged.verdict.details)


def _batch(
    client: "MlflowClient", run_id: str, params: Mapping[str, str], wanted: RunView, tags: Mapping[str, str]
) -> None:
    """Parameters, numbers and tags in one call; a number that is already there at its time is not added twice."""
    from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415 - costs 2.6 CPU seconds

    client.log_batch(
        run_id,
        metrics=[Metric(name, value, wanted.started, 0) for name, value in sorted(wanted.metrics.items())],
        params=[Param(name, value) for name, value in sorted(params.items())],
        tags=[RunTag(name, value) for name, value in sorted(tags.items())],
    )
