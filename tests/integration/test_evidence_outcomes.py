"""A source that is down, slow, partial, empty or stale is told by an outcome and words of its own, and never passes."""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.domain import Outcome, Verdict
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.settings import Settings
from tests.commands import run_command
from tests.conftest import free_port
from tests.integration.provided_rollout import COLUMNS, LABEL_COLUMNS, ProvidedRollout, later, policy_of

if TYPE_CHECKING:
    import subprocess

SECRET = "hunter2-of-the-warehouse"  # noqa: S105 - a test's own


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> ProvidedRollout:
    """One rollout, and what was recorded of it."""
    return ProvidedRollout(tmp_path_factory.mktemp("rollout"))


@pytest.fixture
def home(played: ProvidedRollout, tmp_path: Path) -> Settings:
    """A state folder without a log."""
    return played.home(f"home-{tmp_path.name}")


def verdicts(
    played: ProvidedRollout, home: Settings, section: Mapping[str, Any], delay: float = 0.0
) -> dict[str, Verdict]:
    """The verdict of each gate."""
    source = played.source(home)
    asked = [later(one, delay) for one in played.questions(section)]
    return {one.gate.name: judge(one.gate, source.gather(one), DecisionThresholds()) for one in asked}


def parquet(folder: Path, **more: Any) -> dict[str, Any]:
    """A section about a folder of Parquet files."""
    return {"predictions": {"source": "parquet", "path": str(folder), "columns": COLUMNS}, **more}


def sql(query: str = "SELECT * FROM rows WHERE ts > :since AND ts <= :until", **more: Any) -> dict[str, Any]:
    """A section about a query."""
    source = {"source": "sql", "url_variable": "WAREHOUSE_URL", "query": query, "columns": COLUMNS}
    return {"predictions": source, **more}


def test_a_source_that_is_down_is_an_error(
    played: ProvidedRollout, home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that does not answer is an ERROR that says so, names the source, and shows no password."""
    monkeypatch.setenv("WAREHOUSE_URL", f"postgresql://someone:{SECRET}@127.0.0.1:{free_port()}/warehouse")
    for verdict in verdicts(played, home, sql()).values():
        assert verdict.outcome is Outcome.ERROR
        assert verdict.reason.startswith("down: source 'sql' at the database of WAREHOUSE_URL: ")
        assert "refused" in verdict.reason
        assert SECRET not in verdict.reason


def test_a_source_that_is_slow_is_an_error(
    played: ProvidedRollout, home: Settings, postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query that takes longer than the policy's timeout is ended by the database, and is an ERROR that says so."""
    monkeypatch.setenv("WAREHOUSE_URL", postgres_server)
    query = "SELECT pg_sleep(60), :since, :until"
    for verdict in verdicts(played, home, sql(query, timeout="1s")).values():
        assert verdict.outcome is Outcome.ERROR
        assert verdict.reason == "slow: source 'sql' at the database of WAREHOUSE_URL: the query took more than 1 s"


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An object store that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        yield


def test_an_object_store_that_hangs_is_slow(played: ProvidedRollout, home: Settings, silent: None) -> None:
    """A library that waits for ever is waited for as long as the policy says."""
    section = parquet(Path("x"), timeout="2s")
    section["predictions"]["path"] = "s3://evidence/predictions"
    verdict = verdicts(played, home, section)["errors"]
    assert verdict.outcome is Outcome.ERROR
    assert verdict.reason == (
        "slow: source 'parquet' at s3://evidence/predictions: it has given nothing for 2 s (evidence.timeout)"
    )


def test_a_source_without_rows_has_no_data(played: ProvidedRollout, home: Settings, tmp_path: Path) -> None:
    """A source that answers and has no row in reach is NO_DATA."""
    pq.write_table(played.foreign_predictions().slice(0, 0), tmp_path / "none.parquet")
    for verdict in verdicts(played, home, parquet(tmp_path)).values():
        assert verdict.outcome is Outcome.NO_DATA
        assert verdict.reason == f"parquet {tmp_path} answers, and has no row of the last 30 d"


def test_a_source_whose_rows_are_old_is_stale(played: ProvidedRollout, home: Settings, tmp_path: Path) -> None:
    """A source whose newest row is older than stale_after is STALE, and says how old it is."""
    pq.write_table(played.foreign_predictions(), tmp_path / "all.parquet")
    for verdict in verdicts(played, home, parquet(tmp_path), delay=7200.0).values():
        assert verdict.outcome is Outcome.STALE
        assert verdict.reason.startswith(f"the newest row of parquet {tmp_path} is 2 h")


def test_a_source_with_a_torn_file_is_partial_until_it_is_whole(
    played: ProvidedRollout, home: Settings, tmp_path: Path
) -> None:
    """A file that cannot be read is an ERROR, whatever the others hold; when it is whole, nothing is missing."""
    rows = played.foreign_predictions()
    size = -(-len(rows) // 3)
    for part in range(3):
        pq.write_table(rows.slice(part * size, size), tmp_path / f"{part}.parquet")
    whole = (tmp_path / "1.parquet").read_bytes()
    (tmp_path / "1.parquet").write_bytes(whole[: len(whole) // 2])
    verdict = verdicts(played, home, parquet(tmp_path))["errors"]
    assert verdict.outcome is Outcome.ERROR
    assert verdict.reason.startswith(f"partial: source 'parquet' at {tmp_path}: 2 of 3 files can be read; 1.parquet")
    (tmp_path / "1.parquet").write_bytes(whole)
    assert verdicts(played, home, parquet(tmp_path))["errors"].outcome is not Outcome.ERROR
    assert PredictionLog(home.log).query_rows("m", "SELECT count(*) FROM log") == [(len(rows),)]


def test_many_rows_that_cannot_be_used_are_partial_evidence(
    played: ProvidedRollout, home: Settings, tmp_path: Path
) -> None:
    """Where more rows than the policy accepts cannot be used, nothing is judged, and the reasons are counted."""
    rows = played.foreign_predictions().to_pylist()
    for row in rows[:900]:
        row["model_version"] = None
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "all.parquet")
    verdict = verdicts(played, home, parquet(tmp_path))["errors"]
    assert verdict.outcome is Outcome.ERROR
    assert verdict.reason == (
        f"partial: 900 of 10,000 rows of parquet {tmp_path} cannot be used: 900 rows without a version"
        " (q000000, q000001, q000002)"
    )
    accepted = verdicts(played, home, parquet(tmp_path, max_unusable=0.1))["errors"]
    assert accepted.outcome is not Outcome.ERROR


def test_labels_that_cannot_be_read_stop_only_what_waits_for_them(
    played: ProvidedRollout, home: Settings, tmp_path: Path
) -> None:
    """Gates without labels are judged; those with labels are an ERROR that names the source of the labels."""
    (tmp_path / "rows").mkdir()
    pq.write_table(played.foreign_predictions(), tmp_path / "rows" / "all.parquet")
    labels = {"source": "parquet", "path": str(tmp_path / "nowhere"), "columns": LABEL_COLUMNS}
    found = verdicts(played, home, parquet(tmp_path / "rows", labels=labels))
    failed = {name for name, one in found.items() if one.outcome is Outcome.ERROR}
    assert failed == {"quality", "labels"}
    assert f"source 'parquet' at {tmp_path / 'nowhere'}" in found["labels"].reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "number"}, "there is no column 'number'; it has id, ts, model_version"),
        ({"at": "score"}, "holds"),
        ({"at": "place"}, "column 'place' holds string, and no times"),
    ],
)
def test_columns_that_are_not_there_are_named(
    change: Mapping[str, str], said: str, played: ProvidedRollout, home: Settings, tmp_path: Path
) -> None:
    """A column that the source lacks, or that holds no times, is an ERROR that names it."""
    rows = played.foreign_predictions()
    rows = rows.set_column(3, "score", pa.array([str(one) for one in rows["score"].to_pylist()]))
    pq.write_table(rows, tmp_path / "all.parquet")
    section = parquet(tmp_path)
    section["predictions"]["columns"] = {**COLUMNS, **change}
    verdict = verdicts(played, home, section)["errors"]
    assert verdict.outcome is Outcome.ERROR
    assert said in verdict.reason


def test_a_query_can_change_nothing(
    played: ProvidedRollout, home: Settings, postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query that writes is refused by the database: its transaction only reads."""
    monkeypatch.setenv("WAREHOUSE_URL", postgres_server)
    query = "WITH made AS (SELECT lo_create(4711)) SELECT * FROM made WHERE :since < :until"
    verdict = verdicts(played, home, sql(query))["errors"]
    assert verdict.outcome is Outcome.ERROR
    assert "read-only transaction" in verdict.reason


def test_the_log_keeps_what_the_policy_lets_it_keep(played: ProvidedRollout, home: Settings, tmp_path: Path) -> None:
    """Columns that the policy hashes or drops are hashed and dropped in what is imported."""
    from surefoot.core.policy.parse import parse_policy  # noqa: PLC0415 - for this test alone
    from surefoot.wiring.foreign_evidence.evidence_import import EvidenceImporter  # noqa: PLC0415 - same

    pq.write_table(played.foreign_predictions(), tmp_path / "all.parquet")
    policy = parse_policy({**policy_of(parquet(tmp_path)), "log": {"hash": ["place"], "drop": ["stop"]}})
    assert policy.evidence_origin is not None
    EvidenceImporter(home).refresh("m", policy.evidence_origin, played.now)
    (text,) = PredictionLog(home.log).query_rows("m", "SELECT features::VARCHAR FROM log LIMIT 1")[0]
    kept = json.loads(str(text))
    assert kept.keys() == {"x", "place"}
    assert len(kept["place"]) == 24


def plain(policy: dict[str, Any]) -> object:
    """A policy without a part that stands in it twice: YAML would write an alias."""
    return json.loads(json.dumps(policy))


def evidence_command(project: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run `surefoot evidence m`, on a host without a stack."""
    environment = {**os.environ, "SUREFOOT_HOME": str(project / "no-home"), "COLUMNS": "300"}
    return run_command("evidence", "m", "--project", str(project), *words, environment=environment, timeout=900.0)


def test_the_command_shows_rows_as_the_judge_reads_them(played: ProvidedRollout, tmp_path: Path) -> None:
    """Ten rows are shown, what cannot be used is counted by reason with exit 1, and nothing is written."""
    rows = played.foreign_predictions().to_pylist()
    now = datetime.fromtimestamp(time.time(), UTC)
    rows = [{**row, "ts": now, "id": f"n{number}"} for number, row in enumerate(rows[:100])]
    for row in rows[:3]:
        row["id"] = None
    (tmp_path / "configs").mkdir()
    (tmp_path / "log").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log" / "all.parquet")
    section = parquet(Path("log"))
    (tmp_path / "configs" / "m.yaml").write_text(yaml.safe_dump(plain(policy_of(section))))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    said = evidence_command(tmp_path)
    assert said.returncode == 1, said.stderr
    assert "parquet log: 100 rows in 1 d (version 1: 97), 0 labels" in said.stdout
    assert "not used: 3 rows without a request id (None, None, None)" in said.stdout
    shown = [line for line in said.stdout.splitlines() if '"place":' in line]
    assert len(shown) == 10
    assert shown[-1].split()[0] == "n99"
    found = json.loads(evidence_command(tmp_path, "--json", "--rows", "2").stdout)["sources"][0]
    assert (found["rows"], found["unusable"]) == (100, {"rows without a request id": 3})
    assert [one["key"][0] for one in found["predictions"]] == ["n98", "n99"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_the_command_says_what_is_wrong_with_a_source(tmp_path: Path) -> None:
    """A missing folder is one line that names it, and exit 1; a policy without sources is exit 2."""
    (tmp_path / "configs").mkdir()
    file = tmp_path / "configs" / "m.yaml"
    file.write_text(yaml.safe_dump(plain(policy_of(parquet(Path("log"))))))
    said = evidence_command(tmp_path)
    assert said.returncode == 1, said.stderr
    assert "unusable: source 'parquet' at log: there is no Parquet file" in said.stdout
    gates = {"errors": {"metric": "error_rate", "margin": "1pp"}}
    file.write_text(yaml.safe_dump(plain(policy_of(None, gates))))
    said = evidence_command(tmp_path)
    assert said.returncode == 2
    assert "has no section 'evidence'" in said.stderr
