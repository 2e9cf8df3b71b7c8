"""What the log does not hold is counted as unknown in lists of exposed requests and corrections, never guessed."""

import json
import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet
import pytest

from surefoot import wiring
from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.core.domain import LogPolicy, Version
from surefoot.gateway.log.redaction import LogRedactor
from tests.integration.gateway_process import Models
from tests.integration.hosted_models import Centred, save
from tests.integration.log_writing import record, write
from tests.integration.served_stack import HOUR, Clock, Stack

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.pyfunc

BY_PLACE = {"gates": {"errors": {"metric": "error_rate", "margin": "1pp", "by": ["place"]}}}
SIMPLE: dict[str, Any] = {
    **BY_PLACE,
    "steps": [{"weight": 20, "hold": {"for": "10m", "gates": ["errors"]}}],
}


def stack_of(home: Path, one: Path, two: Version, monkeypatch: pytest.MonkeyPatch, **policy: object) -> Stack:
    """A stack whose good version is on this host, with a history in which version 2 was a canary."""
    good = Version("1", directory_digest(one))
    made = Stack(home, good, two, **{**SIMPLE, **policy})
    shutil.copytree(one, home / "artifacts" / good.digest.removeprefix("sha256:"))
    made.history()
    monkeypatch.setattr(wiring.adapters, "build_clock", lambda _kind: Clock())
    return made


def line(stack: Stack, number: int, **fields: object) -> bytes:
    """A record of an answer that version 2 gave as a canary."""
    made: dict[str, object] = {
        "arm": "candidate",
        "version": "2",
        "answered_by": "2",
        "generation": stack.canary,
        "error": None,
        "prediction": [0.5, 0.5],
        "features": {"x": float(number), "y": 1.0, "place": "LGA"},
    }
    at = float(str(fields.pop("at", 10 * HOUR + number)))
    return record(number, at, **{**made, **fields})


def listed(stack: Stack, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the command says, and the rows of its table."""
    capfd.readouterr()
    assert stack.command("exposure", "m", "--json", *words) == 0
    said = json.loads(capfd.readouterr().out)
    return said, pyarrow.parquet.read_table(said["file"]).to_pylist()


@pytest.fixture
def stack(tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack without a log."""
    return stack_of(tmp_path / "home", models.root / "1", models.version("2"), monkeypatch)


def by_hand(models: Models, row: dict[str, float]) -> list[float]:
    """What version 1 answers, asked alone by MLflow itself."""
    model = mlflow.pyfunc.load_model(str(models.root / "1"))
    return [float(cell) for cell in model.predict(pd.DataFrame([row]))[0]]


def test_each_thing_that_the_log_leaves_out_has_its_reason(
    stack: Stack, models: Models, capfd: pytest.CaptureFixture[str]
) -> None:
    """Rows without features, under an unknown split, or that the good version cannot answer are counted as unknown."""
    write(
        stack.config.log,
        [
            line(stack, 1),
            line(stack, 2, features=None, left_out={"features": "not kept"}),
            line(stack, 3, features=None, left_out={"features": "too long"}),
            line(stack, 4, generation=999),
            line(stack, 5, features={"x": "no number", "y": 1.0}),
            line(stack, 6, prediction=None, left_out={"prediction": "too long"}),
            line(stack, 7, answered_by="1"),  # the champion answered for it: nobody was exposed
            line(stack, 8, answered_by=None, error="ValueError: no"),
            line(stack, 9, unit=None),
        ],
    )
    said, rows = listed(stack, capfd)
    found = {row["request"]: row for row in rows}
    assert list(found) == [f"q{number:06d}" for number in (1, 2, 3, 4, 5, 6, 9)]
    assert {name: row["unknown"] for name, row in found.items()} == {
        "q000001": None,
        "q000002": "features left out: not kept",
        "q000003": "features left out: too long",
        "q000004": "the journal knows no good version for its split",
        "q000005": "the good version could not answer",
        "q000006": None,
        "q000009": None,
    }
    assert said["unknown"] == dict(Counter(row["unknown"] for row in rows if row["unknown"]))
    assert (found["q000006"]["answer"], found["q000006"]["changed"]) == (None, None)
    assert json.loads(found["q000006"]["good_answer"]) == pytest.approx(by_hand(models, {"x": 6.0, "y": 1.0}))
    assert {name: row["group.place"] for name, row in found.items() if row["group.place"] != "LGA"} == {
        "q000002": None,
        "q000003": None,
        "q000005": "(missing)",
    }
    assert said["groups"] == {"place=LGA": 4, "place=(unknown)": 2, "place=(missing)": 1}
    assert found["q000004"]["phase"] == "unknown"


def test_answers_under_one_request_id_are_all_listed(
    stack: Stack, models: Models, capfd: pytest.CaptureFixture[str]
) -> None:
    """A caller that sends an id twice was answered twice: each answer has its own row and its own good answer."""
    later = {"at": 10 * HOUR + 50.0}
    write(
        stack.config.log,
        [line(stack, 1), line(stack, 1, features={"x": 3.0, "y": 1.0}, **later), line(stack, 2, answered_by="1")],
    )
    said, rows = listed(stack, capfd)
    assert [(row["request"], row["occurrence"]) for row in rows] == [("q000001", 0), ("q000001", 1)]
    for row, x in zip(rows, (1.0, 3.0), strict=True):
        assert json.loads(row["good_answer"]) == pytest.approx(by_hand(models, {"x": x, "y": 1.0}))
    assert said["repeated"] == 1


def test_equal_answers_are_not_called_changed(stack: Stack, models: Models, capfd: pytest.CaptureFixture[str]) -> None:
    """Only a difference beyond last digits is one."""
    exact = by_hand(models, {"x": 1.0, "y": 1.0})
    near = [cell * (1.0 + 1e-9) for cell in exact]
    other = [cell * (1.0 + 1e-3) for cell in exact]
    features = {"x": 1.0, "y": 1.0}
    lines = [line(stack, n, prediction=p, features=features) for n, p in enumerate((exact, near, other, "late", 0.5))]
    write(stack.config.log, lines)
    said, rows = listed(stack, capfd)
    assert [row["changed"] for row in rows] == [False, False, True, True, True]
    assert (said["changed"], said["known"]) == (3, 5)


@pytest.mark.parametrize("place", ["segments", "parquet"])
def test_hidden_columns_that_the_good_version_reads_are_unknown(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], place: str
) -> None:
    """A dropped or hashed input makes a row unknown; a hidden column that no model reads, and a plain value, do not."""
    kept = {"log": {"hash": ["x", "customer"], "drop": ["y"]}}
    stack = stack_of(tmp_path / "home", models.root / "1", models.version("2"), monkeypatch, **kept)
    redactor = LogRedactor(LogPolicy(("x", "customer"), ("y",)), stack.config.token, None)
    hidden = {"x": redactor.keyed_digest(1.0), "customer": redactor.keyed_digest("ada"), "place": "LGA"}
    rows = [
        line(stack, 1, features=hidden),
        line(stack, 2, features={"x": 1.0, "customer": redactor.keyed_digest("ada"), "place": "LGA"}),
        line(stack, 3, features={"x": 1.0, "y": 2.0, "customer": redactor.keyed_digest("ada"), "place": "LGA"}),
    ]
    write(stack.config.log, rows)
    if place == "parquet":
        wiring.compact_model_log(stack.config, "m", 10_000_000.0)
    said, found = listed(stack, capfd)
    why = "the log hashes or drops a column that the good version reads"
    assert [row["unknown"] for row in found] == [why, why, None]
    assert [note.partition(":")[0] for note in said["notes"]] == ["the log holds digests of", "the log drops"]
    assert stack.command("exposure", "m") == 0
    assert "the log drops: y: what cannot be known of that is counted as unknown" in capfd.readouterr().out


def test_a_hashed_unit_is_found_by_its_name(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Who asks for one unit types its name, though the log holds a digest."""
    policy = {"unit": "customer", "log": {"hash": ["customer"]}}
    stack = stack_of(tmp_path / "home", models.root / "1", models.version("2"), monkeypatch, **policy)
    redactor = LogRedactor(LogPolicy(("customer",)), stack.config.token, "customer")
    units = [redactor.redact_unit(name) for name in ("ada", "bob", "7")]
    write(stack.config.log, [line(stack, number, unit=unit) for number, unit in enumerate(units)])
    for name, request in (("ada", "q000000"), ("7.0", "q000002")):
        capfd.readouterr()
        assert stack.command("exposure", "m", "--unit", name, "--json", "--no-score") == 0
        assert [one["request"] for one in json.loads(capfd.readouterr().out)["answers"]] == [request]


def test_a_model_that_looks_at_its_batch_is_not_asked_half_a_request(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where rows depend on each other, a request that lacks a row in the log is unknown; others are asked whole."""
    save(tmp_path / "centred", Centred())
    stack = stack_of(tmp_path / "home", tmp_path / "centred", models.version("2"), monkeypatch)
    cut = {"features": None, "left_out": {"features": "too long"}}
    write(
        stack.config.log,
        [
            *(line(stack, 1, row=row, features={"x": 2.0 * row, "y": 0.0}) for row in (0, 1)),
            line(stack, 2, row=0, features={"x": 1.0, "y": 0.0}),
            line(stack, 2, row=1, **cut),
            line(stack, 3, row=1, features={"x": 1.0, "y": 0.0}),
        ],
    )
    _, rows = listed(stack, capfd)
    why = "other rows of its request are not in the log, and the good version does not answer each row by itself"
    assert [row["unknown"] for row in rows] == [None, None, why, "features left out: too long", why]
    assert [json.loads(row["good_answer"]) for row in rows[:2]] == [0.0, 2.0]


def test_a_version_that_fails_on_most_requests_is_given_up(
    stack: Stack, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request in ten that fails ends nothing; when most of them fail, the rest says that it was not asked."""
    odd = {"x": "no number", "y": 1.0}
    write(stack.config.log, [line(stack, n, **({"features": odd} if n % 5 == 0 else {})) for n in range(600)])
    _, rows = listed(stack, capfd)
    assert Counter(row["unknown"] for row in rows) == {None: 480, "the good version could not answer": 120}
    monkeypatch.setattr("surefoot.adapters.served_answers.corrected_answers._PATIENCE", 1)
    _, rows = listed(stack, capfd)
    why = "the good version was given up: it failed too often"
    assert {row["unknown"] for row in rows if row["good_answer"] is None} == {why}


def test_a_good_version_that_is_gone_leaves_the_list_and_stops_the_correction(
    stack: Stack, capfd: pytest.CaptureFixture[str]
) -> None:
    """The list is written with what is known and says why the rest is not; no half correction is written."""
    write(stack.config.log, [line(stack, 1), line(stack, 2)])
    shutil.rmtree(stack.home / "artifacts")
    said, rows = listed(stack, capfd)
    assert {row["unknown"] for row in rows} == {"the good version could not be loaded"}
    assert "1" in said["problems"]
    assert stack.command("correct", "m") == 4
    assert not (stack.home / "corrections").exists()
    assert not [one for one in stack.journal.read("m") if one.kind == "CorrectionsWritten"]


def test_the_log_is_listed_the_same_before_and_after_compaction(
    stack: Stack, capfd: pytest.CaptureFixture[str]
) -> None:
    """Segments and tables give the same bytes, and so do two runs."""
    write(stack.config.log, [line(stack, number) for number in range(300)])
    first, rows = listed(stack, capfd)
    assert (len(rows), [row["at"] for row in rows]) == (300, sorted(row["at"] for row in rows))
    assert listed(stack, capfd)[0]["digest"] == first["digest"]
    wiring.compact_model_log(stack.config, "m", 10_000_000.0)
    assert listed(stack, capfd)[0]["digest"] == first["digest"]
    assert len([one for one in stack.journal.read("m") if one.kind == "ExposureListed"]) == 1
