"""The journal as MLflow runs, on a real MLflow server."""

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from surefoot.adapters.mlflow.client import RetryingClient
from surefoot.adapters.mlflow.runs.projection import EXPERIMENT_PREFIX, MlflowProjection
from surefoot.adapters.mlflow.runs.run_artifact_texts import edit_run_artifacts
from surefoot.adapters.mlflow.runs.run_writer import RunPlots
from surefoot.core.domain import FigureKind, Outcome, Role, RolloutKind, Stage, Verdict, VerdictFigure, Version
from surefoot.core.errors import RegistryUnavailable
from surefoot.core.journal.chain import GENESIS_HASH, Entry, seal_entry
from surefoot.core.journal.events import (
    ChampionAdopted,
    EffectDone,
    EffectIntended,
    EffectRefused,
    Event,
    GateJudged,
    Paused,
    RolloutEnded,
    RolloutOpened,
    SetAlias,
    SetSplit,
    StageEntered,
    encode_event,
)
from surefoot.reports.evidence_over_time import draw_evidence_over_time_png
from surefoot.reports.verdict_plots import draw_slice_losses_png, draw_verdicts_png

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PICTURES = RunPlots(draw_verdicts_png, draw_slice_losses_png, draw_evidence_over_time_png)
OLD, NEW = Version("1", "sha256:" + "1" * 64), Version("2", "sha256:" + "2" * 64)
ID = "ab12cd34" + "0" * 24
POLICY = {"model": "m", "steps": [{"shadow": {"window": "7d"}}, {"weight": 5}, {"weight": 50}]}
SLICES = (
    {"slice": "origin=LGA", "n": 900, "difference": 0.02, "lower": 0.01, "upper": 0.03, "margin": 0.005},
    {"slice": "origin=JFK", "n": 700, "difference": 0.0, "lower": -0.01, "upper": 0.004, "margin": 0.005},
)


def verdict(gate: str, outcome: Outcome = Outcome.PASS, estimate: float | None = 0.001) -> Verdict:
    """What a gate said, with an open end and figures whose names MLflow does not take."""
    figures = (
        VerdictFigure(FigureKind.CANDIDATE_RATE, 0.01, "share"),
        VerdictFigure(FigureKind.OTHER, float("1e300"), name="log evidence of harm (nats)"),
    )
    return Verdict(
        gate, "error_rate", outcome, Role.GUARDRAIL, "said so", 4000, estimate, -0.002, None, 0.005, figures=figures
    )


def judged(stage: Stage, look: int, answer: Verdict, step: int = 0) -> GateJudged:
    """One look of a gate."""
    return GateJudged(ID, stage, step, look, answer)


def entered(stage: Stage, step: int = 0) -> StageEntered:
    """One transition."""
    return StageEntered(ID, stage, step, f"on to {stage}")


OPENED = RolloutOpened(
    ID, RolloutKind.PROMOTION, NEW, OLD, POLICY, "sha256:p", "sha256:s", "salt", 1, "asked for by ada"
)
STORY: tuple[Event, ...] = (
    ChampionAdopted(OLD),
    OPENED,
    entered(Stage.VALIDATING),
    judged(Stage.VALIDATING, 1, replace(verdict("data", estimate=None), lower=None, margin=None)),
    entered(Stage.SHADOWING),
    judged(Stage.SHADOWING, 1, verdict("quality", Outcome.INCONCLUSIVE, 0.2)),
    judged(Stage.SHADOWING, 2, replace(verdict("quality", Outcome.PASS, 0.1), details=SLICES)),
    EffectIntended(ID, SetSplit(OLD, NEW, 5.0)),
    EffectDone(ID, 8, reconciled=False, took_ms=12.5),
    entered(Stage.RAMPING, 0),
    judged(Stage.RAMPING, 1, verdict("errors", Outcome.FAIL, 0.02)),
    Paused(ID, Outcome.FAIL, "errors", "too many errors"),
    EffectIntended(ID, SetAlias("candidate", None, "2")),
    EffectRefused(ID, 13, "somebody moved it"),
)
END = RolloutEnded(ID, Stage.ROLLED_BACK, "errors failed")


def sealed(model: str, events: Sequence[Event]) -> list[Entry]:
    """A journal of these events, a minute apart."""
    entries: list[Entry] = []
    for seq, event in enumerate(events, start=1):
        previous = entries[-1].hash if entries else GENESIS_HASH
        at = 1_372_000_000.0 + 60.0 * seq
        entries.append(seal_entry(model, seq, at, at + 0.25, "flow:promote", *encode_event(event), previous))
    return entries


@pytest.fixture
def view(mlflow_server: str) -> MlflowProjection:
    """A projection onto the real server."""
    return MlflowProjection(mlflow_server, PICTURES)


@pytest.fixture
def model() -> str:
    """A model that no other test uses."""
    return f"m-{uuid4().hex[:8]}"


@pytest.fixture
def client(mlflow_server: str) -> "MlflowClient":
    """MLflow's own client, to look with."""
    from mlflow import MlflowClient  # noqa: PLC0415 - costs seconds that a collection should not

    return MlflowClient(tracking_uri=mlflow_server)


def runs(client: "MlflowClient", model: str) -> "list[Run]":
    """Every run of the model's experiment, in order of the journal."""
    experiment = client.get_experiment_by_name(f"surefoot/{model}")
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    return sorted(found, key=lambda run: int(run.data.params.get("surefoot.seq", "0")))


def artifact(client: "MlflowClient", run: "Run", name: str, folder: Path) -> bytes:
    """The bytes of one artifact."""
    return Path(client.download_artifacts(run.info.run_id, name, str(folder))).read_bytes()


def names(client: "MlflowClient", run: "Run") -> set[str]:
    """The artifacts at the top of a run."""
    return {item.path for item in client.list_artifacts(run.info.run_id)}


def picture(client: "MlflowClient", model: str) -> list[tuple[object, ...]]:
    """All that a person sees of the runs, without the ids that MLflow gives."""
    named = {run.info.run_id: run.info.run_name for run in runs(client, model)}
    return [
        (
            run.info.run_name,
            run.info.status,
            run.info.start_time,
            run.info.end_time,
            sorted(run.data.params.items()),
            sorted(run.data.metrics.items()),
            sorted((k, named.get(v, v)) for k, v in run.data.tags.items()),
            names(client, run),
        )
        for run in runs(client, model)
    ]


def test_every_transition_is_a_run_below_its_rollout(
    view: MlflowProjection, client: "MlflowClient", model: str
) -> None:
    """A rollout is a parent run, each stage it enters and its end are child runs, and adoption is none."""
    entries = sealed(model, [*STORY, END])
    assert view.project(model, entries, flow_run="flow-7") == 5
    parent, *children = runs(client, model)
    assert parent.info.run_name == "promotion of version 2 (ab12cd34)"
    assert parent.data.params["surefoot.candidate"] == "2"
    assert parent.data.params["surefoot.champion"] == "1"
    assert parent.data.params["surefoot.policy_digest"] == "sha256:p"
    assert parent.data.tags["surefoot.stage"] == "RolledBack"
    assert parent.info.status == "FAILED"
    assert [run.info.run_name for run in children] == [
        "01 Validating",
        "02 Shadowing",
        "03 Ramping 5 %",
        "04 RolledBack",
    ]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    for run in (parent, *children):
        entry = entries[int(run.data.params["surefoot.seq"]) - 1]
        assert run.data.params["surefoot.hash"] == entry.hash
        assert run.data.params["surefoot.actor"] == "flow:promote"
        assert run.data.params["prefect.flow_run"] == "flow-7"
        assert run.info.start_time == round(entry.wall * 1000)
    assert [run.data.params["surefoot.stage"] for run in children] == [
        "Validating",
        "Shadowing",
        "Ramping",
        "RolledBack",
    ]


def test_a_transition_shows_what_it_rests_on(
    view: MlflowProjection, client: "MlflowClient", model: str, tmp_path: Path
) -> None:
    """Metrics, tags and artifacts of a run are the last look of each gate and the effects since the last transition."""
    page = tmp_path / "page.html"
    page.write_text("<p>good data</p>", "utf-8")
    view.project(model, sealed(model, [*STORY, END]), reports={4: page})
    parent, validating, shadowing, ramping, ended = runs(client, model)
    assert names(client, parent) == {"policy.json"}
    assert json.loads(artifact(client, parent, "policy.json", tmp_path)) == POLICY
    assert names(client, validating) == set()
    assert artifact(client, shadowing, "validation/report.html", tmp_path) == b"<p>good data</p>"
    assert shadowing.data.tags["data"] == "PASS"
    assert "data.estimate" not in shadowing.data.metrics
    assert shadowing.data.metrics["data.n"] == 4000.0
    assert ramping.data.tags["quality"] == "PASS"
    assert ramping.data.metrics["quality.estimate"] == 0.1
    assert ramping.data.metrics["quality.lower"] == -0.002
    assert "quality.upper" not in ramping.data.metrics
    assert ramping.data.metrics["quality.candidate_rate"] == 0.01
    assert ramping.data.metrics["quality.log_evidence_of_harm_nats"] == 1e300
    assert ramping.data.metrics["effect.1.took_ms"] == 12.5
    assert names(client, ramping) == {"verdicts.json", "verdicts.png", "course.png", "slices.png", "effects.json"}
    (told,) = json.loads(artifact(client, ramping, "verdicts.json", tmp_path))
    assert (told["seq"], told["look"], told["outcome"], told["details"]) == (7, 2, "PASS", list(SLICES))
    assert artifact(client, ramping, "slices.png", tmp_path).startswith(b"\x89PNG")
    assert artifact(client, ramping, "course.png", tmp_path).startswith(b"\x89PNG")
    assert ended.data.tags["errors"] == "FAIL"
    effects = json.loads(artifact(client, ended, "effects.json", tmp_path))
    row = dict(zip(effects["columns"], effects["data"][0], strict=True))
    assert (row["done"], row["reason"], row["effect"]["alias"]) == (False, "somebody moved it", "candidate")


def test_an_open_rollout_is_followed_as_it_goes_on(view: MlflowProjection, client: "MlflowClient", model: str) -> None:
    """A parent run stays running with its latest stage until the rollout ends, and an older look takes nothing back."""
    entries = sealed(model, [*STORY, END])
    assert view.project(model, entries[:5]) == 3
    assert runs(client, model)[0].data.tags["surefoot.stage"] == "Shadowing"
    assert runs(client, model)[0].info.status == "RUNNING"
    assert view.project(model, entries) == 3
    assert view.project(model, entries[:5]) == 0
    assert runs(client, model)[0].data.tags["surefoot.stage"] == "RolledBack"
    assert runs(client, model)[0].info.status == "FAILED"


@pytest.mark.parametrize(
    ("kind", "terminal_stage", "status"),
    [
        (RolloutKind.PROMOTION, Stage.PROMOTED, "FINISHED"),
        (RolloutKind.PROMOTION, Stage.SUPERSEDED, "KILLED"),
        (RolloutKind.PROMOTION, Stage.REJECTED, "FAILED"),
        ("rollback", Stage.FAST_ROLLED_BACK, "FINISHED"),
    ],
)
def test_the_end_of_a_rollout_is_the_status_of_its_run(
    view: MlflowProjection, client: "MlflowClient", model: str, kind: RolloutKind, terminal_stage: Stage, status: str
) -> None:
    """A rollout that reaches its aim is finished, a superseded one is killed, and every other one has failed."""
    opened = replace(OPENED, kind=kind, policy={}, suite_digest="")
    view.project(model, sealed(model, [opened, RolloutEnded(ID, terminal_stage, "over")]))
    assert [run.info.status for run in runs(client, model)] == [status, status]


def test_projecting_again_changes_nothing(view: MlflowProjection, client: "MlflowClient", model: str) -> None:
    """A second projection of the same entries writes nothing at all."""
    entries = sealed(model, [*STORY, END])
    view.project(model, entries, flow_run="first")
    before = picture(client, model)
    assert view.project(model, entries, flow_run="second") == 0
    assert picture(client, model) == before


def test_a_run_left_half_written_is_completed(view: MlflowProjection, client: "MlflowClient", model: str) -> None:
    """A run whose writer died after any of its calls ends as if nobody had died."""
    entries = sealed(model, [*STORY, END])
    view.project(model, entries)
    whole = picture(client, model)
    for run in runs(client, model)[1:]:
        client.delete_tag(run.info.run_id, "surefoot.head")
        client.update_run(run.info.run_id, status="RUNNING")
    newborn = runs(client, model)[3]
    client.delete_run(newborn.info.run_id)
    tags = {key: newborn.data.params[key] for key in ("surefoot.seq", "surefoot.hash")}
    client.create_run(newborn.info.experiment_id, newborn.info.start_time, tags, newborn.info.run_name)
    assert view.project(model, entries) == 4
    assert picture(client, model) == whole
    history = client.get_metric_history(runs(client, model)[2].info.run_id, "data.n")
    assert len(history) == 1


def test_deleted_runs_come_back(view: MlflowProjection, client: "MlflowClient", model: str) -> None:
    """A deleted child, a deleted parent and a deleted experiment are projected again, children under their parent."""
    entries = sealed(model, [*STORY, END])
    view.project(model, entries)
    whole = picture(client, model)
    parent, child = runs(client, model)[:2]
    client.delete_run(child.info.run_id)
    assert view.project(model, entries) == 1
    assert picture(client, model) == whole
    client.delete_run(parent.info.run_id)
    assert view.project(model, entries) == 5
    assert picture(client, model) == whole
    client.delete_experiment(parent.info.experiment_id)
    view.project(model, entries)
    assert picture(client, model) == whole


def test_an_edited_outcome_is_set_right_and_a_description_is_not(
    view: MlflowProjection, client: "MlflowClient", model: str
) -> None:
    """A verdict that somebody has edited in MLflow says again what the journal says; a person's notes stay."""
    entries = sealed(model, [*STORY, END])
    view.project(model, entries)
    ended = runs(client, model)[-1].info.run_id
    client.set_tag(ended, "errors", "PASS")
    client.set_tag(ended, "mlflow.note.content", "see incident 7")
    assert view.project(model, entries) == 1
    assert client.get_run(ended).data.tags["errors"] == "FAIL"
    assert client.get_run(ended).data.tags["mlflow.note.content"] == "see incident 7"


def test_a_run_of_another_journal_is_marked_and_left(
    view: MlflowProjection, client: "MlflowClient", model: str
) -> None:
    """A run with an entry's number and another hash gets a warning once; the entry gets its own run."""
    forged = sealed(model, [*STORY[:2], StageEntered(ID, Stage.BAKING, 0, "never happened")])
    view.project(model, forged)
    entries = sealed(model, [*STORY, END])
    assert view.project(model, entries) == 6
    assert view.project(model, entries) == 0
    third = [run for run in runs(client, model) if run.data.params["surefoot.seq"] == "3"]
    assert sorted("surefoot.warning" in run.data.tags for run in third) == [False, True]
    marked = next(run for run in third if "surefoot.warning" in run.data.tags)
    assert marked.data.params["surefoot.hash"] == forged[2].hash


def test_two_writers_at_once_leave_one_run_an_entry(mlflow_server: str, client: "MlflowClient", model: str) -> None:
    """Projections that race, from different flow runs, leave one whole run for each entry under one parent."""
    entries = sealed(model, [*STORY, END])
    start, failures = threading.Barrier(2), list[Exception]()

    def race(flow_run: str) -> None:
        writer = MlflowProjection(mlflow_server, PICTURES)
        start.wait()
        try:
            writer.project(model, entries, flow_run)
        except Exception as error:  # noqa: BLE001 - a thread's error would otherwise be lost
            failures.append(error)

    threads = [threading.Thread(target=race, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [run.data.params["surefoot.seq"] for run in runs(client, model)] == ["2", "3", "5", "10", "15"]
    assert len({run.data.tags.get("mlflow.parentRunId") for run in runs(client, model)}) == 2
    assert "RUNNING" not in {run.info.status for run in runs(client, model)}
    assert MlflowProjection(mlflow_server, PICTURES).project(model, entries) == 0


def test_texts_of_a_runs_pages_are_edited_and_nothing_else(
    mlflow_server: str, client: "MlflowClient", model: str, tmp_path: Path
) -> None:
    """A name is replaced in pages and tables of all runs, deleted ones too; pictures are as they were."""
    experiment = client.create_experiment(f"{EXPERIMENT_PREFIX}{model}")
    page = tmp_path / "report.html"
    page.write_text("<p>Ann asked</p>", encoding="utf-8")
    made = [client.create_run(experiment).info.run_id for _ in range(2)]
    for run in made:
        client.log_artifact(run, str(page), "validation")
        client.log_dict(run, {"who": "Ann", "n": 1}, "rows.json")
        (tmp_path / "plot.png").write_bytes(b"\x89PNG Ann")
        client.log_artifact(run, str(tmp_path / "plot.png"))
    client.delete_run(made[1])

    def change(text: str) -> tuple[str, int]:
        return text.replace("Ann", "somebody"), text.count("Ann")

    retrying = RetryingClient(mlflow_server, 10.0)
    assert edit_run_artifacts(retrying, f"{EXPERIMENT_PREFIX}{model}", change) == 4
    assert edit_run_artifacts(retrying, f"{EXPERIMENT_PREFIX}{model}", change) == 0
    assert edit_run_artifacts(retrying, f"{EXPERIMENT_PREFIX}none of {model}", change) == 0
    left = Path(client.download_artifacts(made[0], "", str(tmp_path)))
    assert (left / "validation" / "report.html").read_text(encoding="utf-8") == "<p>somebody asked</p>"
    assert json.loads((left / "rows.json").read_text(encoding="utf-8")) == {"who": "somebody", "n": 1}
    assert (left / "plot.png").read_bytes() == b"\x89PNG Ann"


def test_a_server_that_is_gone_is_unavailable(model: str) -> None:
    """Without MLflow the projection says that the registry does not answer, which may be tried again."""
    view = MlflowProjection("http://127.0.0.1:9", PICTURES, deadline_s=0.0)
    with pytest.raises(RegistryUnavailable):
        view.project(model, sealed(model, STORY))


def test_a_journal_without_rollouts_asks_nothing(model: str) -> None:
    """An empty journal, and one that has only adopted a champion, need no MLflow at all."""
    view = MlflowProjection("http://127.0.0.1:9", PICTURES)
    assert view.project(model, []) == 0
    assert view.project(model, sealed(model, STORY[:1])) == 0
