"""A replay that is spread out over workers of Dask is judged as one that is not; how far it is shows in Prefect."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import dask
import distributed
import httpx
import pytest
from prefect import artifacts as prefect_artifacts
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.testing.utilities import prefect_test_harness

from bench.evaluating.replay_stage import ROLLOUT, make_settings, open_replay_stage
from flows.count_evidence import count_evidence_before_replay
from surefoot import wiring
from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.domain import Version
from surefoot.core.journal.ledger import fold_entries
from surefoot.core.judging.evidence import BadEventCounts, Evidence, PairedSums
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.rollout import due_replay_requests
from surefoot.settings import Settings
from tasks.progress_artifact import ProgressArtifact
from tests.integration import hosted_models
from tests.integration.log_writing import DAY, label, record, write

PARTS, ROWS = 3, 40
POLICY: dict[str, object] = {
    "model": "m",
    "traffic": {"requests_per_minute": 1},
    "data": {"suite": "m"},
    "gates": {
        "errors": {"metric": "error_rate", "margin": "5pp"},
        "accuracy": {"metric": "absolute_error", "margin": 0.1, "labels": {"maturity": "1h"}, "block": "1d"},
        "apart": {"metric": "disagreement", "max": 0.5, "block": "1d"},
        "answers": {"metric": "prediction_shift", "max": 0.5, "against": "champion"},
    },
    "steps": [
        {"shadow": {"window": "30d", "gates": ["errors", "accuracy", "apart", "answers"]}},
        {"weight": 50, "hold": {"for": "1h", "gates": ["errors"]}},
    ],
    "bake": {"for": "1h", "gates": ["errors"]},
}
"""Counts of failures, sums of losses, and a distance that is computed of all answers at once."""


@pytest.fixture(scope="module")
def prefect() -> Iterator[None]:
    """A Prefect server of its own."""
    with prefect_test_harness(server_startup_timeout=300):
        yield


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    """Two workers, each a process with one thread."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", memory_limit=0
    ) as made:
        yield made


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Version, Version]]:
    """Artifacts of two versions, each with a module of the same name."""
    root = tmp_path_factory.mktemp("versions")
    hosted_models.save_prepared(root)
    first, second = (Version(number, directory_digest(root / number)) for number in ("1", "2"))
    return root, (first, second)


@dataclass(frozen=True)
class Installation:
    """An installation with a log of closed parts and a rollout that has come to its replay."""

    config: Settings
    began: float

    def look(self, kept: str = "evidence") -> tuple[dict[str, Evidence], int]:
        """What the look's gates get, and how many requests the versions were asked for it."""
        log = PredictionLog(self.config.log)
        models = wiring.make_version_processes(self.config)
        replay = wiring.make_replay(self.config, models)
        replay._root = self.config.home / kept
        evidence = PredictionLogEvidence(log, replay, lambda *_: pytest.fail("no gate asks for a suite"))
        found = {question.gate.name: _plain(evidence.gather(question)) for question in self.questions()}
        asked = replay.rows_scored
        replay.close()
        return found, asked

    def questions(self) -> tuple[EvidenceRequest, ...]:
        """What the look asks."""
        with wiring.open_journal(self.config) as journal:
            ledger = fold_entries("m", journal.read("m"))
        return due_replay_requests(ledger, ROLLOUT, self.began)


def _plain(found: Evidence) -> Evidence:
    """Evidence without what it was made of."""
    return replace(found, kept="") if isinstance(found, PairedSums | BadEventCounts) else found


@pytest.fixture
def installation(
    tmp_path: Path, versions: tuple[Path, tuple[Version, Version]], monkeypatch: pytest.MonkeyPatch
) -> Installation:
    """Three closed parts and a tail, each with its labels."""
    monkeypatch.setenv("SUREFOOT_HOME", str(tmp_path))
    config = make_settings(tmp_path)
    began = time.time()
    for part in range(PARTS + 1):
        numbers = range(part * ROWS, (part + 1) * ROWS)
        ats = {number: began - 20 * DAY + number * 3_600.0 for number in numbers}
        lines = [record(n, ats[n], answered_by="0", error=None, features={"x": float(n), "y": 0.0}) for n in numbers]
        write(config.log, lines)
        write(config.log, [label(number, at + 60.0, float(number)) for number, at in ats.items()], "labels")
        if part < PARTS:
            compact_log(config.log, "m")
    return Installation(config, began)


def _open(installation: Installation, versions: tuple[Path, tuple[Version, Version]], **scoring: object) -> None:
    root, pair = versions
    policy = {**POLICY, "scoring": scoring} if scoring else POLICY
    open_replay_stage(installation.config, policy, pair, root)


@flow(name="outer")
def outer() -> None:
    """Spread out as the promote flow does before its shadow task."""
    count_evidence_before_replay("m", ROLLOUT)


def _counted() -> dict[str, str]:
    """State of the tasks that count a part, by the part's file."""
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs()
    return {run.name.removeprefix("count "): run.state_name or "" for run in runs if run.name.startswith("count ")}


def _subflows() -> list[str]:
    """States of all subflows that have spread something out."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs()
    return [run.state_name or "" for run in runs if run.name == "score m"]


@pytest.mark.usefixtures("prefect")
def test_evidence_of_two_workers_is_that_of_one_process(
    installation: Installation,
    versions: tuple[Path, tuple[Version, Version]],
    cluster: distributed.LocalCluster,
) -> None:
    """Two workers count three parts, each in a task named for its file; the look asks for the tail alone.

    All evidence is bit for bit that of a look that counts everything itself, and no worker imports what loads models.
    A second time nothing waits, so there is no subflow.
    """
    _open(installation, versions, engine="dask", address=cluster.scheduler_address)
    outer()
    outer()
    tables = [path.name for path in (installation.config.log / "m").glob("predictions-*.parquet")]
    assert len(tables) == PARTS
    assert _counted() == dict.fromkeys(tables, "Completed")
    assert _subflows() == ["Completed"]
    spread, asked = installation.look()
    alone, whole = installation.look("nothing")
    assert (asked, whole) == (2 * ROWS, 2 * ROWS * (PARTS + 1))
    assert spread == alone
    assert isinstance(spread["accuracy"], PairedSums)
    with distributed.Client(cluster) as client:
        loaded = client.run(lambda: "mlflow" in __import__("sys").modules)
    assert list(loaded.values()) == [False, False]


@pytest.mark.sweep
@pytest.mark.usefixtures("prefect")
def test_parts_that_no_worker_could_count_are_counted_by_the_look(
    installation: Installation, versions: tuple[Path, tuple[Version, Version]]
) -> None:
    """Workers that cannot have the candidate end their subflow as failed, not the flow; the look counts everything."""
    _open(installation, versions, engine="dask", workers=2)
    before = len(_subflows())
    kept = installation.config.home / "artifacts" / versions[1][1].digest.removeprefix("sha256:")
    kept.rename(kept.with_name("elsewhere"))
    outer()
    assert sorted(_subflows())[before:] == ["Failed"]
    kept.with_name("elsewhere").rename(kept)
    found, asked = installation.look()
    assert asked == 2 * ROWS * (PARTS + 1)
    assert found == installation.look("nothing")[0]


@pytest.mark.usefixtures("prefect")
def test_a_cluster_that_is_not_there_stops_nothing(
    installation: Installation, versions: tuple[Path, tuple[Version, Version]]
) -> None:
    """Where no scheduler answers at the policy's address the flow goes on, and the look counts everything."""
    _open(installation, versions, engine="dask", address="tcp://127.0.0.1:9")
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        outer()
    assert installation.look()[1] == 2 * ROWS * (PARTS + 1)


@pytest.mark.usefixtures("prefect")
def test_without_an_engine_nothing_is_spread_out(
    installation: Installation, versions: tuple[Path, tuple[Version, Version]]
) -> None:
    """A policy that names no engine has its parts counted by the look, in the process of the look."""
    _open(installation, versions)
    before = _subflows()
    outer()
    assert _subflows() == before


class Watch:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        """The time [s]."""
        return self.now


@task(name="wait", task_run_name="wait")
def long_wait(name: str, seconds: tuple[float, ...]) -> None:
    """Report 0, 100, 200 ... of 1,000 requests at these times, and the end at the last one."""
    watch = Watch()
    report = ProgressArtifact("flights late", name, watch)
    for number, at in enumerate(seconds):
        watch.now = at
        report(1_000 if at == seconds[-1] else 100 * number, 1_000)


@flow(name="waiting")
def waiting(name: str, seconds: tuple[float, ...]) -> None:
    """Run one such task."""
    long_wait(name, seconds)


def _artifacts(name: str) -> list[tuple[float, str]]:
    """Progress and words of the artifacts of a rollout."""
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[f"progress-flights-late-{name}"]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=wanted)
    return [(float(str(one.data)), one.description or "") for one in found]


@pytest.mark.usefixtures("prefect")
def test_a_long_evaluation_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to five seconds show nothing; then there is one artifact, updated every three seconds and at the end."""
    updates: list[float] = []
    update = prefect_artifacts.update_progress_artifact

    def counted(artifact: UUID, progress: float, description: str) -> object:
        updates.append(progress)
        return update(artifact, progress=progress, description=description)

    monkeypatch.setattr("tasks.progress_artifact.update_progress_artifact", counted)
    waiting("short", (0.0, 1.0, 4.9))
    assert _artifacts("short") == []
    waiting("long", (0.0, 4.0, 6.0, 7.0, 8.0, 9.5, 10.0))
    assert updates == [50.0, 100.0]
    assert _artifacts("long") == [(100.0, "1,000 of 1,000 requests to both versions of flights late, 100 a second")]


@pytest.mark.usefixtures("prefect")
def test_what_prefect_cannot_show_stops_no_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API that refuses artifacts is asked once, with a warning; the evaluation goes on."""
    asked: list[float] = []

    def refuse(**told: float) -> UUID:
        asked.append(told["progress"])
        raise httpx.ConnectError("no server")

    monkeypatch.setattr("tasks.progress_artifact.create_progress_artifact", refuse)
    waiting("refused", (0.0, 6.0, 10.0, 20.0))
    assert (len(asked), _artifacts("refused")) == (1, [])
