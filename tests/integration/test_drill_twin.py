"""A drill plays a whole rollback in a twin: real gateway, real journal, the policy's gates, and an injected fault."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from surefoot import wiring
from surefoot.adapters.config.policy_file import read_policy
from surefoot.adapters.replay import version_processes
from surefoot.core.domain import Outcome
from surefoot.core.drills.drill_faults import DrillFault
from surefoot.core.journal.events import GateJudged, decode_event
from surefoot.drills.drill_session import DrillSession, prepare_drill_session
from surefoot.drills.misbehaviour import Misbehaviour
from surefoot.drills.twin_sources import TwinSource, copy_policy_and_suite

MODEL = "orders"
POLICY = {
    "model": MODEL,
    "unit": "customer",
    "traffic": {"requests_per_minute": 60},
    "data": {"suite": MODEL, "window": "7d"},
    "gates": {"errors": {"metric": "error_rate", "margin": "5pp"}},
    "steps": [
        {"shadow": {"window": "1h", "gates": ["errors"]}},
        {"weight": 40, "hold": {"for": "5m", "gates": ["errors"]}},
    ],
    "bake": {"for": "1h", "gates": ["errors"]},
    "data_layer": [
        {"name": "t", "kind": "sql", "url_variable": "NOT_SET", "table": "t", "valid_from": "at",
         "version_column": "v", "key": ["id"]}
    ],
    "drill": {"every": "7d", "expires": "14d"},
    "artifacts": {"pickle": "refuse", "signed_by": "keys/release.pem"},
    "provenance": ["data", "author"],
    "corners": {"rows": 8, "extremes": ["price"], "missing": ["price"], "unseen": ["shop"], "max_difference": 0.1},
}  # fmt: skip
LEFT_OUT = {"data_layer", "drill", "corners", "artifacts", "provenance"}
"""What a twin does not have of it, or has in another form."""


def orders() -> pd.DataFrame:
    """Requests of an hour, one a second, with labels ten seconds later."""
    chance = np.random.default_rng(1)
    count = 3600
    frame = pd.DataFrame(
        {
            "id": [f"o{number}" for number in range(count)],
            "at": 1_750_000_000.0 + np.arange(count),
            "customer": [f"c{number}" for number in chance.integers(0, 500, count)],
            "price": chance.uniform(1.0, 100.0, count),
            "shop": chance.choice(["a", "b", "c"], count),
        }
    )
    # Customers of shop c never pay by card: a drill makes requests of such pairs.
    frame["payment"] = np.where(frame["shop"] == "c", "bill", chance.choice(["bill", "card"], count))
    frame["label"] = (frame["price"] + chance.normal(0.0, 20.0, count) > 50.0).astype(float)
    frame["label_at"] = frame["at"] + 10.0
    return frame


def save_model(folder: Path, frame: pd.DataFrame) -> None:
    """Save the good version."""
    columns = ["price", "shop", "payment"]
    texts = OneHotEncoder(handle_unknown="ignore")
    prepared = ColumnTransformer([("texts", texts, ["shop", "payment"])], remainder="passthrough")
    pipeline = Pipeline([("columns", prepared), ("model", LogisticRegression(max_iter=1000))])
    pipeline.fit(frame[columns], frame["label"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
        import mlflow.sklearn  # noqa: PLC0415 - costs seconds

        mlflow.sklearn.save_model(
            pipeline,
            str(folder),
            signature=mlflow.models.infer_signature(frame[columns], pipeline.predict_proba(frame[columns])),
            pyfunc_predict_fn="predict_proba",
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
        )


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillSession]:
    """Twins of a small model in each stage of its promotion."""
    root = tmp_path_factory.mktemp("drill")
    frame = orders()
    save_model(root / "good", frame)
    frame.to_parquet(root / "traffic.parquet")
    (root / "source" / "configs").mkdir(parents=True)
    (root / "source" / "expectations").mkdir()
    (root / "source" / "configs" / f"{MODEL}.yaml").write_text(yaml.safe_dump(POLICY), encoding="utf-8")
    suite = {
        "name": MODEL,
        "expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "price"}}],
    }
    (root / "source" / "expectations" / f"{MODEL}.json").write_text(json.dumps(suite), encoding="utf-8")
    policy = copy_policy_and_suite(root / "source", root / "project", MODEL)
    source = TwinSource(MODEL, root / "project", policy, str(root / "good"), root / "traffic.parquet")
    yield prepare_drill_session(source, root / "twins", root / "cache", lambda _text: None)
    mine = version_processes._program.pid  # the forkserver of this process, which ends with it
    left = [one for one in psutil.process_iter() if one.pid != mine and str(root) in " ".join(_environment(one))]
    _, alive = psutil.wait_procs(left, timeout=60.0)
    assert not [(one.cmdline(), one.create_time()) for one in alive]


def _environment(process: psutil.Process) -> list[str]:
    try:
        return list(process.environ().values())
    except psutil.Error:
        return []


def test_a_twin_touches_nothing_outside_of_its_gateway(session: DrillSession) -> None:
    """Tables, files, fallbacks and what is demanded of artifacts are left out of its policy; its gates are the same."""
    kept, _ = read_policy(session.source.project / "configs" / f"{MODEL}.yaml")
    left = {key: value for key, value in POLICY.items() if key not in LEFT_OUT}
    assert {key: value for key, value in kept.items() if key != "corners"} == left
    assert [(stage.name, stage.weight) for stage in session.stages] == [("ramp 40 %", 40.0), ("bake", 100.0)]


@pytest.mark.sweep
def test_a_twin_asks_the_corners_of_production(session: DrillSession) -> None:
    """Its promotion asks both versions about synthetic rows, but not how far apart their answers are."""
    kept, _ = read_policy(session.source.project / "configs" / f"{MODEL}.yaml")
    assert kept["corners"] == {"rows": 8, "extremes": ["price"], "missing": ["price"], "unseen": ["shop"]}
    judged = [
        event
        for one in session.stages[-1].twin.entries()
        if isinstance(event := decode_event(one.kind, one.data), GateJudged)
    ]
    (verdict,) = [one.verdict for one in judged if one.verdict.gate == "corners"]
    assert (verdict.outcome, verdict.n) == (Outcome.PASS, 48)
    assert "both versions break on 8 rows, which stops no candidate" in verdict.reason


def test_a_version_that_fails_is_taken_back_and_its_cause_named(session: DrillSession) -> None:
    """The policy's own gate sees the errors, the good version serves again, no caller sees one, the cause is right."""
    plan = replace(session.plan(DrillFault.ERRORS, "1"), stage=0)
    result = session.play(plan, "errors", lambda _text: None).result
    assert (result.detected, result.gate, result.caller_errors, result.problem) == (True, "errors", 0, "")
    assert result.restore_ms is not None
    assert result.requests
    assert result.cause_right, result.cause


@pytest.mark.sweep
def test_damaged_files_are_never_served(session: DrillSession) -> None:
    """Bytes that are damaged on the disk and in the registry are refused by their digest, and named as the cause."""
    plan = replace(session.plan(DrillFault.CORRUPTED_ARTIFACT, "1"), stage=0)
    result = session.play(plan, "damaged", lambda _text: None).result
    assert (result.detected, result.caller_errors, result.problem) == (True, 0, "")
    assert (result.cause, result.cause_right) == ("damaged artifact", True)
    assert not (session.folder / "damaged").exists()


@pytest.mark.sweep
def test_a_version_that_is_asked_again_misbehaves_as_its_own_twin_says(session: DrillSession, tmp_path: Path) -> None:
    """Of two twins one after the other, each has the version misbehave by its own file, in processes of its own."""
    first = session.traffic.drop(columns=["id", "at", "label", "label_at"]).iloc[0]
    row: dict[str, object] = json.loads(first.to_json())
    answers = []
    for name, how in (("well", Misbehaviour()), ("opposite", Misbehaviour("invert")), ("again well", Misbehaviour())):
        twin = session.stages[0].twin.copy_to(tmp_path / name)
        twin.misbehave(how)
        rollout = twin.ledger().rollout
        assert rollout is not None
        with twin.ports():
            scorer = wiring.make_version_processes(twin.config).start_scorer(MODEL, rollout.opened.candidate)
            try:
                answers.append(scorer.predict([row])[0])
            finally:
                scorer.close()
    well, opposite, again = answers
    assert well == again
    assert isinstance(well, list)
    assert opposite == pytest.approx(well[::-1])
