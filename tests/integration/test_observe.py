"""`surefoot observe` says what would have been done with two versions in a foreign log, and changes nothing."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from surefoot.core.journal.chain import GENESIS_HASH, Entry, check_chain
from surefoot.core.judging.reverify import reverify
from tests.commands import run_command
from tests.integration.gateway_harness import Gateway
from tests.integration.provided_rollout import COLUMNS, LABEL_COLUMNS, policy_of

GATES: dict[str, Any] = {
    "errors": {"metric": "error_rate", "margin": "2pp"},
    "latency": {"metric": "latency", "quantile": 0.9, "margin": "50%"},
    "quality": {"metric": "brier", "margin": "10%", "labels": {"maturity": "1m"}, "block": "2m"},
}


def log_rows(failing: float, *, paired: bool = False, count: int = 6000) -> list[dict[str, Any]]:
    """Two hours of a log: version 7 alone for one hour, then version 8 beside it with a fifth of the requests."""
    draw, now = np.random.default_rng(3), time.time()
    made = []
    for number in range(count):
        at = now - 7200.0 + 7190.0 * number / count
        late = number > count // 2
        versions = ["7", "8"] if paired and late else ["8" if late and draw.random() < 0.2 else "7"]
        x = float(draw.random())
        for version in versions:
            failed = draw.random() < (failing if version == "8" else 0.01)
            row = {"id": f"q{number}", "ts": datetime.fromtimestamp(at, UTC), "model_version": version}
            row |= {"score": None if failed else x, "failure": "HTTP 500" if failed else None}
            made.append({**row, "took_ms": float(draw.lognormal(3.0, 0.3)), "x": x, "place": "LGA"})
    return made


def project(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """A project whose policy names a folder of Parquet files."""
    (folder / "configs").mkdir(parents=True)
    (folder / "expectations").mkdir()
    (folder / "log").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "log" / "rows.parquet")
    labels = [{"id": row["id"], "late": 1, "known": row["ts"]} for row in rows]
    (folder / "labels").mkdir()
    pq.write_table(pa.Table.from_pylist(labels), folder / "labels" / "labels.parquet")
    section = {
        "predictions": {"source": "parquet", "path": "log", "columns": COLUMNS},
        "labels": {"source": "parquet", "path": "labels", "columns": LABEL_COLUMNS},
    }
    policy = json.loads(json.dumps(policy_of(section, GATES)))
    (folder / "configs" / "m.yaml").write_text(yaml.safe_dump(policy))
    suite = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    (folder / "expectations" / "m.json").write_text(json.dumps({"name": "m", "expectations": [suite]}))
    return folder


def observe(folder: Path, home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own."""
    environment = {**os.environ, "SUREFOOT_HOME": str(home), "COLUMNS": "300"}
    return run_command("observe", "m", *words, "--project", str(folder), environment=environment, timeout=900.0)


def test_a_version_that_fails_would_have_been_rolled_back(tmp_path: Path) -> None:
    """Of a version that fails a tenth of its requests the gate, the time and the reason are said, without any stack."""
    folder = project(tmp_path / "project", log_rows(0.10))
    said = observe(folder, tmp_path / "home", "7", "8")
    assert said.returncode == 0, said.stderr
    assert "version 8 would be RolledBack, by gate errors:" in said.stdout
    assert "6,000 rows (version 7: 5," in said.stdout
    assert "not judged, because each request has one version's answer: quality" in said.stdout
    found = json.loads(observe(folder, tmp_path / "home", "7", "8", "--json").stdout)
    assert (found["stage"], found["gate"]) == ("RolledBack", "errors")
    assert found["weight"] == pytest.approx(20.0, abs=2.0)
    assert {one["gate"] for one in found["looks"]} >= {"errors", "latency"}


def test_an_equal_version_would_have_gone_on(tmp_path: Path) -> None:
    """A version that is as good passes its gates as far as the log goes, and its verdicts can be verified."""
    folder = project(tmp_path / "project", log_rows(0.01))
    found = json.loads(observe(folder, tmp_path / "home", "7", "8", "--weight", "20", "--json").stdout)
    assert found["stage"] in {"Ramping", "Baking", "Promoted"}
    assert "FAIL" not in {one["outcome"] for one in found["looks"]}
    assert "PASS" in {one["outcome"] for one in found["looks"] if one["gate"] == "errors"}
    (kept,) = (tmp_path / "home" / "observations" / "m").iterdir()
    entries = [json.loads(line) for line in kept.read_text().splitlines()]
    assert kept.name == "7-8.jsonl"
    assert [one["seq"] for one in entries] == list(range(1, len(entries) + 1))
    assert sum(one["kind"] == "GateJudged" for one in entries) == len(found["looks"])
    previous = [GENESIS_HASH, *(one["hash"] for one in entries)]
    sealed = [Entry(**one, previous=before) for one, before in zip(entries, previous, strict=False)]
    check_chain(sealed)
    again = list(reverify(sealed))
    assert [one.problem for one in again if one.problem] == []
    assert len(again) == len(found["looks"])


def test_losses_are_judged_where_both_versions_answered(tmp_path: Path) -> None:
    """Where each request has both versions' answers, gates of losses are judged too."""
    folder = project(tmp_path / "project", log_rows(0.01, paired=True, count=3000))
    found = json.loads(observe(folder, tmp_path / "home", "7", "8", "--json").stdout)
    assert found["paired"] > 1000
    assert "quality" in {one["gate"] for one in found["looks"]}
    assert not any("quality" in note for note in found["notes"])


def registry_bytes(url: str, model: str) -> bytes:
    """Everything that the registry says of a model."""
    answers = [
        httpx.get(f"{url}/api/2.0/mlflow/registered-models/get", params={"name": model}),
        httpx.get(f"{url}/api/2.0/mlflow/model-versions/search", params={"filter": f"name='{model}'"}),
    ]
    assert all(one.status_code == httpx.codes.OK for one in answers)
    return b"\n".join(one.content for one in answers)


def route_bytes(gateway: Gateway) -> bytes:
    """The route that the gateway serves."""
    answer = httpx.get(f"{gateway.url}/models/flights/route")
    assert answer.status_code == httpx.codes.OK
    return answer.content


def stored_bytes(home: Path) -> dict[str, bytes]:
    """Every file of a state folder, but for what is observed."""
    return {
        str(file.relative_to(home)): file.read_bytes()
        for file in sorted(home.rglob("*"))
        if file.is_file() and "observations" not in file.parts
    }


def test_nothing_is_written_to_registry_routes_journal_or_log(
    tmp_path: Path, routed: Gateway, mlflow_server: str
) -> None:
    """Registry, routes and state folder are byte for byte what they were, while a version would be rolled back."""
    from mlflow import MlflowClient  # noqa: PLC0415 - costs seconds

    client = MlflowClient(tracking_uri=mlflow_server, registry_uri=mlflow_server)
    client.create_registered_model("m")
    run = client.create_run("0")
    for _ in range(8):
        client.create_model_version("m", f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
    client.set_registered_model_alias("m", "champion", "7")
    client.set_registered_model_alias("m", "candidate", "8")
    try:
        home = tmp_path  # the gateway of this test keeps its routes and its log in there
        folder = project(tmp_path / "project", log_rows(0.10))
        before = registry_bytes(mlflow_server, "m"), stored_bytes(home), route_bytes(routed)
        said = observe(folder, home, "7", "8")
        assert said.returncode == 0, said.stderr
        assert "would be RolledBack" in said.stdout
        after = registry_bytes(mlflow_server, "m"), stored_bytes(home), route_bytes(routed)
        assert before == after
    finally:
        client.delete_registered_model("m")


def test_following_prints_what_is_new_and_ends_with_the_rollout(tmp_path: Path) -> None:
    """New rows bring new looks; when the rollout would have ended, so does the command."""
    rows = log_rows(0.10)
    folder = project(tmp_path / "project", rows[:3200])
    environment = {**os.environ, "SUREFOOT_HOME": str(tmp_path / "home"), "COLUMNS": "300"}
    words = ["observe", "m", "7", "8", "--follow", "--interval", "1", "--project", str(folder), "--weight", "20"]
    command = [sys.executable, "-u", "-m", "surefoot", *words]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = next(line for line in process.stdout if "as if routed by Surefoot" in line)
        assert "would be RolledBack" not in first
        pq.write_table(pa.Table.from_pylist(rows[3200:]), folder / "log" / "more.parquet")
        last = process.stdout.read()
        assert process.wait(600) == 0
    assert "version 8 would be RolledBack, by gate errors" in last


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["7", "7"], 2, "name two versions"),
        (["7", "9"], 2, "the sources hold no row of version 9; they hold versions 7 ("),
        (["7", "8", "--follow", "--json"], 2, "leave --follow out"),
    ],
)
def test_what_cannot_be_observed_is_one_line(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    """Each mistake is one line that says what to do, and nothing is kept."""
    folder = project(tmp_path / "project", log_rows(0.01, count=200))
    found = observe(folder, tmp_path / "home", *words)
    assert found.returncode == code
    assert said in found.stderr
    assert not (tmp_path / "home").exists()
