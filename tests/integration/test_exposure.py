"""`surefoot exposure` and `surefoot correct` on what a real gateway has logged, held against the log row by row."""

import hashlib
import json
import shutil
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet
import pytest
import yaml

from surefoot import exposure as exposures
from surefoot.core.domain import Stage
from surefoot.core.journal.events import RolloutEnded, SetSplit, StageEntered
from surefoot.rollout import drive_rollout, open_rollback
from surefoot.rollout.advance_rollout import journal_and_apply_effect
from tests.fakes import POLICY, FakeRegistry, Faults
from tests.integration.emergency import MODEL, Emergency
from tests.integration.gateway_harness import BETTER, GOOD

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.pyfunc

PLACES = ("LGA", "JFK", None)
ORIGINS: dict[str, Any] = {
    **POLICY,
    "model": MODEL,
    "unit": "unit",
    "gates": {
        "errors": {"metric": "error_rate", "margin": "1pp", "by": ["origin"]},
    },
}


def write_policy(emergency: Emergency, **changes: object) -> None:
    """Have the policy of the model say what slices there are, and what the log keeps."""
    folder = emergency.config.configs
    folder.mkdir(exist_ok=True)
    (folder / f"{MODEL}.yaml").write_text(yaml.safe_dump({**ORIGINS, **changes}), encoding="utf-8")


def keep_artifacts(emergency: Emergency) -> None:
    """Have the verified versions on this host, as after they were served."""
    for version in (emergency.champion, emergency.candidate):
        home = emergency.home / "artifacts" / version.digest.removeprefix("sha256:")
        shutil.copytree(emergency.gateway.models.root / version.number, home)


def ask(emergency: Emergency, first: int, count: int) -> None:
    """Send requests of some units from some places; every fifth has two rows."""
    for number in range(first, first + count):
        rows = []
        for row in range(2 if number % 5 == 0 else 1):
            made = {"unit": f"u{number % 20}", "x": float(number % 7) + row, "y": float(number % 3)}
            origin = PLACES[number % 3]
            rows.append(made if origin is None else {**made, "origin": origin})
        body = {"dataframe_records": rows}
        assert emergency.gateway.post(body, x_request_id=f"q{number}").status_code == 200


def promote(emergency: Emergency) -> None:
    """Promote the candidate that ramps, and end its bake; callers ask in each stage."""
    name = f"rollout-{emergency.rollouts}"
    emergency.append(StageEntered(name, Stage.PROMOTING, 0, "test"))

    def apply(effect: SetSplit) -> None:
        journal_and_apply_effect(emergency.ports, emergency.ports.ledger(MODEL), effect)

    apply(SetSplit(emergency.candidate, None, 0.0))
    emergency.append(StageEntered(name, Stage.BAKING, 0, "test"))
    ask(emergency, 200, 30)
    emergency.append(RolloutEnded(name, Stage.PROMOTED, "baked"))
    ask(emergency, 300, 30)


def answered_by(emergency: Emergency, number: str) -> list[dict[str, Any]]:
    """Records of the log whose callers got an answer of a version, in the order of time."""
    records = [record for record in emergency.gateway.records() if record["answered_by"] == number]
    return sorted(records, key=lambda record: (record["at"], record["request"], record["row"]))


def by_hand(emergency: Emergency, number: str, features: dict[str, Any]) -> list[float]:
    """What a version answers to one row, asked alone by MLflow itself."""
    model = mlflow.pyfunc.load_model(str(emergency.gateway.models.root / number))
    return [float(cell) for cell in model.predict(pd.DataFrame([{k: features[k] for k in ("x", "y")}]))[0]]


def table(emergency: Emergency, *place: str) -> list[dict[str, Any]]:
    """Rows of a table in the state folder."""
    found: list[dict[str, Any]] = pyarrow.parquet.read_table(emergency.home.joinpath(*place)).to_pylist()
    return found


@pytest.fixture
def exposed(emergency: Emergency) -> Emergency:
    """A version that answered as a canary, while it baked and as the champion, and was taken back."""
    write_policy(emergency)
    keep_artifacts(emergency)
    ask(emergency, 0, 20)
    emergency.ramp()
    ask(emergency, 100, 60)
    promote(emergency)
    registry = FakeRegistry(Faults())
    registry.aliases = {"champion": BETTER}
    ports = replace(emergency.ports, registry=registry)
    open_rollback(ports, MODEL, "alerts doubled")
    drive_rollout(ports, MODEL, until=lambda ledger: not ledger.open)
    ask(emergency, 400, 20)
    return emergency


def test_the_list_is_complete_and_exact(exposed: Emergency, capfd: pytest.CaptureFixture[str]) -> None:
    """Each answer that callers got from the version is one row, with the log's values and the good version's answer."""
    capfd.readouterr()
    assert exposed.command("exposure", MODEL, "--json") == 0
    said = json.loads(capfd.readouterr().out)
    logged = answered_by(exposed, BETTER)
    rows = pyarrow.parquet.read_table(said["file"]).to_pylist()
    assert len(rows) == len(logged) == said["rows"] > 90
    for row, record in zip(rows, logged, strict=True):
        same = ("request", "row", "at", "unit", "rollout", "weight", "generation")
        assert {name: row[name] for name in same} == {name: record[name] for name in same}
        assert (json.loads(row["answer"]), row["version"], row["good_version"]) == (record["prediction"], BETTER, GOOD)
        assert json.loads(row["good_answer"]) == pytest.approx(by_hand(exposed, GOOD, record["features"]), abs=1e-12)
        assert (row["changed"], row["unknown"]) == (row["answer"] != row["good_answer"], None)
        assert row["group.origin"] == record["features"].get("origin", "(missing)")
        phase = {"1": "canary", "2": "baking", "3": "champion"}[record["request"][1]]
        assert row["phase"] == phase
    assert said["phases"] == dict(Counter(row["phase"] for row in rows))
    assert said["groups"] == dict(Counter(f"origin={row['group.origin']}" for row in rows))
    assert (said["units"], said["unknown"]) == (len({row["unit"] for row in rows}), {})
    (entry,) = [one for one in exposed.journal.read(MODEL) if one.kind == "ExposureListed"]
    assert (entry.data["digest"], entry.data["requests"]) == (said["digest"], len(rows))
    assert said["digest"] == "sha256:" + hashlib.sha256(Path(said["file"]).read_bytes()).hexdigest()


def test_one_unit_sees_what_it_was_answered(
    exposed: Emergency, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """`--unit` tells the answers of one unit alone, journals nothing, and leaves no file but the one that is named."""
    head = exposed.ports.ledger(MODEL).head
    capfd.readouterr()
    assert exposed.command("exposure", MODEL, "--unit", "u7", "--json", "--no-score") == 0
    said = json.loads(capfd.readouterr().out)
    logged = [record for record in answered_by(exposed, BETTER) if record["unit"] == "u7"]
    assert [(one["request"], one["row"]) for one in said["answers"]] == [(r["request"], r["row"]) for r in logged]
    assert (said["unknown"], said["changed"], said["file"]) == ({"not asked": len(logged)}, None, None)
    assert exposed.ports.ledger(MODEL).head == head
    assert not (exposed.home / "exposure").exists()
    out = tmp_path / "u7.parquet"
    assert exposed.command("exposure", MODEL, "--unit", "u7", "--no-score", "--out", str(out)) == 0
    assert pyarrow.parquet.read_table(out).num_rows == len(logged)
    assert str(out) in capfd.readouterr().out
    assert exposed.command("exposure", MODEL, "--unit", "stranger", "--no-score") == 0
    assert "gave 0 answers" in capfd.readouterr().out


def test_a_rollout_may_be_asked_about_alone(exposed: Emergency, capfd: pytest.CaptureFixture[str]) -> None:
    """Of a promotion its own answers are listed: those after its end belong to the rollback, which lists them all."""
    capfd.readouterr()
    assert exposed.command("exposure", MODEL, "--rollout", "rollout-1", "--json", "--no-score") == 0
    assert json.loads(capfd.readouterr().out)["phases"].keys() == {"canary", "baking", "champion"}
    logged = [record for record in answered_by(exposed, BETTER) if record["rollout"] == "rollout-1"]
    assert len(table(exposed, "exposure", MODEL, f"version-{BETTER}-rollout-1.parquet")) == len(logged)
    assert exposed.command("exposure", MODEL, "--rollout", "nothing") == 2
    assert exposed.command("exposure", MODEL, "--version", "99") == 2
    assert exposed.command("exposure", MODEL, "--version", BETTER, "--rollout", "rollout-1") == 2


def test_the_list_of_a_rollback_is_written_and_journalled_once(exposed: Emergency) -> None:
    """What `reconcile` does after a rollback: the list without the good answers, with its counts by group."""
    assert exposed.ports.ledger(MODEL).unlisted
    line = exposures.write_due_exposure(exposed.config, exposed.ports, MODEL)
    assert line == f"{len(answered_by(exposed, BETTER))} answers of version {BETTER}"
    ledger = exposed.ports.ledger(MODEL)
    assert ledger.unlisted == ()
    assert exposures.write_due_exposure(exposed.config, exposed.ports, MODEL) == ""
    (entry,) = [one for one in exposed.journal.read(MODEL) if one.kind == "ExposureListed"]
    assert entry.data["unknown"] == {"not asked": len(answered_by(exposed, BETTER))}
    groups = entry.data["groups"]
    assert isinstance(groups, dict)
    assert set(groups) == {"origin=LGA", "origin=JFK", "origin=(missing)"}


def test_the_correction_table_equals_scoring_by_hand(exposed: Emergency, capfd: pytest.CaptureFixture[str]) -> None:
    """Each answer of the bad version has the proven-good one's beside it, digest and counts are journalled."""
    capfd.readouterr()
    assert exposed.command("correct", MODEL, "--json") == 0
    said = json.loads(capfd.readouterr().out)
    rows = pyarrow.parquet.read_table(said["file"]).to_pylist()
    logged = answered_by(exposed, BETTER)
    assert len(rows) == len(logged) == said["known"]
    for row, record in zip(rows, logged, strict=True):
        assert (row["request"], row["row"], row["unit"], row["at"]) == (
            record["request"],
            record["row"],
            record["unit"],
            record["at"],
        )
        assert (json.loads(row["answer"]), row["version"], row["corrected_by"]) == (record["prediction"], BETTER, GOOD)
        wanted = by_hand(exposed, GOOD, record["features"])
        assert json.loads(row["corrected_answer"]) == pytest.approx(wanted, abs=1e-12)
    (entry,) = [one for one in exposed.journal.read(MODEL) if one.kind == "CorrectionsWritten"]
    assert (entry.data["digest"], entry.data["rows"], entry.data["corrected"]) == (said["digest"], len(rows), len(rows))


def test_a_correction_may_be_repeated(exposed: Emergency, capfd: pytest.CaptureFixture[str]) -> None:
    """The same input gives the same bytes: the second time it says so, and journals nothing."""
    assert exposed.command("correct", MODEL) == 0
    said = capfd.readouterr().out
    assert "written to" in said
    head = exposed.ports.ledger(MODEL).head
    assert exposed.command("correct", MODEL) == 0
    assert "already written, with the same bytes" in capfd.readouterr().out
    assert exposed.ports.ledger(MODEL).head == head


def test_without_a_version_that_was_taken_back_one_has_to_be_named(
    emergency: Emergency, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing was taken back: the error names the option; a champion without another proven-good version says so."""
    assert emergency.command("exposure", MODEL) == 2
    assert "name one with --version" in capfd.readouterr().err
    assert emergency.command("correct", MODEL, "--version", GOOD) == 2
    assert "no other proven-good version" in capfd.readouterr().err
