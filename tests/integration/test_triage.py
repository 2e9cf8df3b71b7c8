"""The cause of an incident, found from a prediction log by asking real versions again; one injected cause each."""

import itertools
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from surefoot.adapters.mlflow.artifacts import ArtifactCache, directory_digest
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.version_processes import VersionProcesses
from surefoot.adapters.served_answers.triage.request_traces import RequestTracer
from surefoot.adapters.served_answers.triage.triage_facts import TriageQuery, measure_triage_facts
from surefoot.core.domain import Version
from surefoot.core.policy.parse import parse_gate
from surefoot.core.triage.triage import Cause, Triage, decide_cause
from surefoot.core.triage.triage_facts import CauseDetail
from tests.integration.log_writing import label, record, write
from tests.sweeps import in_turns

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.sklearn
    from mlflow.models import infer_signature

HOUR = 3600.0
ONSET, UNTIL = 100 * HOUR, 150 * HOUR
COLUMNS = ["pressure", "wind", "seats"]
GATE: Any = parse_gate("error", {"metric": "absolute_error", "margin": 1, "labels": {"maturity": "1h"}})
Change = Callable[[dict[str, Any], dict[str, Any]], None]
"""Changes one request after the onset: its features, and what is logged of it."""


def features(draw: np.random.Generator) -> dict[str, Any]:
    """One flight on a day like any other."""
    return {
        "pressure": float(draw.normal(1013, 8)),
        "wind": float(draw.gamma(2, 5)),
        "seats": float(draw.integers(50, 300)),
    }


def truth(row: dict[str, Any], draw: np.random.Generator) -> float:
    """What comes true of a row."""
    return float(0.5 * (row["pressure"] - 1013) + 1.5 * row["wind"] + draw.normal(0, 1))


class Versions:
    """Two versions trained on two samples of the same data; version 2 has an imputer only when told so."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.models: dict[str, Any] = {}
        self.saved: dict[str, Version] = {}
        for number, seed in (("1", 1), ("2", 2), ("3", 3)):
            draw = np.random.default_rng(seed)
            rows = [features(draw) for _ in range(800)]
            frame = pd.DataFrame(rows)[COLUMNS]
            steps = [LinearRegression()] if number == "3" else [SimpleImputer(), LinearRegression()]
            model = make_pipeline(*steps).fit(frame, [truth(row, draw) for row in rows])
            self.keep(number, model, frame)

    def keep(self, number: str, model: Any, frame: pd.DataFrame) -> None:
        """Save a version as MLflow does, and its verified copy as a host keeps it."""
        path = self.root / number
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
            mlflow.sklearn.save_model(
                model,
                str(path),
                signature=infer_signature(frame),
                serialization_format="cloudpickle",
                pip_requirements=["scikit-learn"],
            )
        digest = directory_digest(path)
        shutil.copytree(path, self.root / "artifacts" / digest.removeprefix("sha256:"))
        self.models[number], self.saved[number] = model, Version(number, digest)

    def answer(self, number: str, row: dict[str, Any]) -> float | None:
        """What a version answers to a row; None where it fails."""
        frame = pd.DataFrame([row], columns=COLUMNS).astype(float)
        try:
            return float(self.models[number].predict(frame)[0])
        except ValueError:
            return None


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    """The versions, saved once."""
    return Versions(tmp_path_factory.mktemp("versions"))


def log_of(root: Path, versions: Versions, number: str, change: Change, shared: float = 0.0) -> PredictionLog:
    """A prediction log: version `number` serves, a request every ten minutes before the onset, more often after it.

    Args:
        root: Folder of the log.
        versions: The versions.
        number: The version that answers.
        change: What is different after the onset.
        shared: Share of the requests after the onset that version 1 answers [fraction].
    """
    draw, count = np.random.default_rng(7), itertools.count(1)
    records, labels = [], []
    for at in [*np.arange(0.0, ONSET, 600.0), *np.arange(ONSET + 1.0, UNTIL, 300.0)]:
        row, more = features(draw), dict[str, Any](version=number, arm="champion", error=None)
        outcome = truth(row, draw)
        if at > ONSET:
            if draw.random() < shared:
                more["version"] = "1"
            more["label"] = outcome
            change(row, more)
            outcome = float(more.pop("label"))
        own = str(more["version"])
        answer = more.pop("prediction", None) or versions.answer(own, row)
        if answer is None:
            more["error"] = "ValueError: Input X contains NaN."
            own, answer = "1", versions.answer("1", row)
        n = next(count)
        records.append(record(n, float(at), features=row, prediction=answer, answered_by=own, **more))
        labels.append(label(n, float(at) + 60.0, outcome))
    write(root, records)
    write(root, labels, "labels")
    return PredictionLog(root)


def triage(
    versions: Versions,
    log: PredictionLog,
    number: str,
    *,
    trial: bool = False,
    tracer: RequestTracer | None = None,
    onset: float = ONSET,
) -> Triage:
    """The cause that is found."""
    processes = VersionProcesses(ArtifactCache(versions.root / "artifacts", "http://127.0.0.1:9"), 4000)
    good = versions.saved["1"]
    query = TriageQuery("m", versions.saved[number], good, trial, 0.0, onset, UNTIL, UNTIL + 10 * HOUR, GATE)
    return decide_cause(measure_triage_facts(log, processes, query, tracer))


def nothing(row: dict[str, Any], more: dict[str, Any]) -> None:
    """Everything stays as it was."""


def pascal(row: dict[str, Any], more: dict[str, Any]) -> None:
    """The pressure comes in pascal."""
    row["pressure"] *= 100.0


def frozen(row: dict[str, Any], more: dict[str, Any]) -> None:
    """The wind is what it was at the onset."""
    row["wind"] = 4.0


def everywhere(row: dict[str, Any], more: dict[str, Any]) -> None:
    """No request has a wind any more."""
    row["wind"] = None


def gaps(row: dict[str, Any], more: dict[str, Any]) -> None:
    """Some requests come without a wind."""
    if int(row["seats"]) % 3 == 0:
        row["wind"] = None


def several(row: dict[str, Any], more: dict[str, Any]) -> None:
    """Some requests come without a wind, others without a pressure."""
    if int(row["seats"]) % 5 == 0:
        row["wind" if int(row["seats"]) % 2 else "pressure"] = None


def online(row: dict[str, Any], more: dict[str, Any]) -> None:
    """The gateway's environment computes other answers than the version does."""
    more["prediction"] = 17.0 + row["wind"]


def feed(row: dict[str, Any], more: dict[str, Any]) -> None:
    """The labels are reported in another unit."""
    more["label"] = more["label"] * 6.0 + 40.0


@pytest.mark.parametrize(
    ("change", "number", "cause", "column"),
    in_turns(
        [
            (pascal, "2", Cause.FEATURE, "pressure"),
            (frozen, "2", Cause.FEATURE, "wind"),
            (gaps, "3", Cause.CONTRACT, "wind"),
            (several, "3", Cause.CONTRACT, "wind or pressure"),
            (everywhere, "3", Cause.UNKNOWN, ""),
            (online, "2", Cause.SERVING, ""),
            (feed, "2", Cause.LABELS, ""),
            (nothing, "2", Cause.UNKNOWN, ""),
        ],
        lambda one: one[0] in {pascal, gaps, online, nothing},
    ),
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_an_injected_cause_is_found(
    change: Change, number: str, cause: Cause, column: str, versions: Versions, tmp_path: Path
) -> None:
    """The cause that was injected is named with its column; where nothing was, the cause is unknown."""
    found = triage(versions, log_of(tmp_path, versions, number, change), number)
    assert (found.cause, found.column) == (cause, column), json.dumps([found.sentence, *found.evidence], indent=1)
    assert found.evidence


@pytest.mark.parametrize("late", [0.2, -0.5])
def test_trouble_that_began_at_another_time_than_its_onset_is_found(
    versions: Versions, tmp_path: Path, late: float
) -> None:
    """Where the onset is estimated too late or days too early, the cause and the mistake are found all the same."""
    onset = ONSET + late * (UNTIL - ONSET)
    found = triage(versions, log_of(tmp_path, versions, "2", pascal), "2", onset=onset)
    assert (found.cause, found.column, found.detail) == (Cause.FEATURE, "pressure", CauseDetail.UNIT), found.evidence


def test_requests_are_traced_through_each_stage_of_both_versions(versions: Versions, tmp_path: Path) -> None:
    """The worst answers after the onset are traced from the input as received to the answer that is in the log."""
    tracer = RequestTracer()
    triage(versions, log_of(tmp_path, versions, "2", pascal), "2", tracer=tracer)
    traces = tracer.traces()
    assert len(traces) == 3
    for trace in traces:
        assert [one.version for one in trace.versions] == ["2", "1"]
        stages = {stage.name: stage for stage in trace.versions[0].stages}
        assert list(stages) == [
            "received",
            "typed by the signature",
            "after step simpleimputer",
            "output of the model",
            "answer",
        ]
        received = json.loads(stages["received"].text)
        assert received["pressure"] > 90_000
        assert json.loads(stages["after step simpleimputer"].text) == [list(received.values())]
        assert json.loads(stages["answer"].text) == pytest.approx(json.loads(trace.logged))
        assert json.loads(stages["answer"].text) == pytest.approx(versions.answer("2", received))


def test_the_trace_of_a_failure_ends_where_the_version_has_failed(versions: Versions, tmp_path: Path) -> None:
    """The stage that raises is the last one, with its error; what the log says of the request is there too."""
    tracer = RequestTracer()
    triage(versions, log_of(tmp_path, versions, "3", gaps), "3", tracer=tracer)
    for trace in tracer.traces():
        (own,) = trace.versions
        assert [(stage.name, stage.failed) for stage in own.stages] == [
            ("received", False),
            ("typed by the signature", False),
            ("output of the model", True),
        ]
        assert "NaN" in own.stages[-1].text
        assert trace.logged == "ValueError: Input X contains NaN."
    assert tracer.traces()


def test_a_version_that_is_worse_from_the_start_is_to_blame_itself(versions: Versions, tmp_path: Path) -> None:
    """On trial, on inputs that have not moved, a version whose loss is higher than the good one's is the cause."""
    draw = np.random.default_rng(9)
    frame = pd.DataFrame([features(draw) for _ in range(400)])[COLUMNS]
    wrong = 0.5 * (frame["pressure"] - 1013.0) + 20.0 - frame["wind"] ** 2 / 20.0
    versions.keep("4", make_pipeline(SimpleImputer(), LinearRegression()).fit(frame, wrong), frame)

    def half(_row: dict[str, Any], more: dict[str, Any]) -> None:
        more["version"] = "4" if more["version"] == "2" else "1"

    log = log_of(tmp_path, versions, "2", half, shared=0.5)
    found = triage(versions, log, "4", trial=True)
    assert found.cause is Cause.MODEL, [found.sentence, *found.evidence]


def test_damaged_bytes_are_the_cause(versions: Versions, tmp_path: Path) -> None:
    """A version whose copy on this host is not of its digest is told as that, whatever else was measured."""
    broken = tmp_path / "artifacts"
    shutil.copytree(versions.root / "artifacts", broken)
    home = broken / versions.saved["2"].digest.removeprefix("sha256:")
    file = next(home.rglob("*.pkl"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    log = log_of(tmp_path / "log", versions, "2", nothing)
    processes = VersionProcesses(ArtifactCache(broken, "http://127.0.0.1:9"), 4000)
    query = TriageQuery(
        "m", versions.saved["2"], versions.saved["1"], False, 0.0, ONSET, UNTIL, UNTIL + 10 * HOUR, GATE
    )
    found = decide_cause(measure_triage_facts(log, processes, query))
    assert found.cause is Cause.ARTIFACT
    assert "not of the digest" in found.sentence


def test_without_labels_it_is_said_what_would_tell(versions: Versions, tmp_path: Path) -> None:
    """Without a label after the onset and without another sign the cause is unknown, and labels would tell it."""
    log = log_of(tmp_path, versions, "2", nothing)
    for file in (tmp_path / "m").glob("labels*"):
        file.unlink()
    found = triage(versions, log, "2")
    assert found.cause is Cause.UNKNOWN
    assert any("labels" in line for line in found.would_tell)


def test_failures_at_certain_times_are_blamed_on_no_calendar(tmp_path: Path) -> None:
    """A version that fails on one weekday and where a value is missing is told by the value, never by the weekday."""
    lines = [
        record(
            number,
            ONSET + 1.0 + number,
            version="2",
            arm="champion",
            error="ValueError: no" if number % 4 == 0 else None,
            features={"weekday": 2.0 if number % 4 == 0 else 3.0, "wind": None if number % 4 == 0 else 5.0},
        )
        for number in range(1, 200)
    ]
    write(tmp_path / "log", lines)
    damaged = tmp_path / "artifacts" / ("2" * 64)
    damaged.mkdir(parents=True)
    (damaged / "MLmodel").write_text("nothing", encoding="utf-8")
    processes = VersionProcesses(ArtifactCache(tmp_path / "artifacts", "http://127.0.0.1:9"), 4000)
    query = TriageQuery("m", Version("2", "sha256:" + "2" * 64), None, False, 0.0, ONSET, UNTIL, UNTIL, None)
    facts = measure_triage_facts(PredictionLog(tmp_path / "log"), processes, query)
    assert facts.condition is not None
    assert (facts.condition.column, facts.condition.what) == ("wind", "is missing")
