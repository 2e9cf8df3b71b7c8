"""Predictions and labels that others record give the verdicts of the local log, from each kind of source."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from deltalake import write_deltalake

from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.judging.evidence import MissingEvidence
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.settings import Settings
from tests.integration.object_store import BUCKET, object_store
from tests.integration.provided_rollout import COLUMNS, LABEL_COLUMNS, ProvidedRollout, later
from tests.sweeps import in_turns

LEVEL = DecisionThresholds()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> ProvidedRollout:
    """One rollout, and what was recorded of it."""
    return ProvidedRollout(tmp_path_factory.mktemp("rollout"))


@pytest.fixture(scope="module")
def local(played: ProvidedRollout) -> dict[str, Any]:
    """The evidence that the local log gives."""
    config = played.home("local")
    played.write_local_log(config)
    return dict(played.ask(config))


def in_parquet(played: ProvidedRollout, folder: Path) -> dict[str, Any]:
    """Write the records as Parquet files of several days in folders; the policy's section."""
    predictions, labels = played.foreign_predictions(), played.foreign_labels()
    for part in range(3):
        target = folder / "predictions" / f"part={part}"
        target.mkdir(parents=True)
        size = -(-len(predictions) // 3)
        pq.write_table(predictions.slice(part * size, size), target / "rows.parquet")
    (folder / "labels").mkdir()
    pq.write_table(labels, folder / "labels" / "all.parquet")
    return {
        "predictions": {"source": "parquet", "path": str(folder / "predictions"), "columns": COLUMNS},
        "labels": {"source": "parquet", "path": str(folder / "labels" / "*.parquet"), "columns": LABEL_COLUMNS},
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """An object store."""
    with object_store(tmp_path_factory.mktemp("store")) as environment:
        yield environment


@pytest.fixture
def in_s3(store: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let libraries of this process find the object store."""
    for name, value in store.items():
        monkeypatch.setenv(name, value)


def in_parquet_of_s3(played: ProvidedRollout, folder: Path) -> dict[str, Any]:
    """The same files in an object store."""
    import s3fs  # noqa: PLC0415 - costs seconds

    in_parquet(played, folder)
    system, place = s3fs.S3FileSystem(skip_instance_cache=True), f"{BUCKET}/{folder.name}"
    system.put(str(folder / "predictions"), f"{place}/predictions", recursive=True)
    system.put(str(folder / "labels"), f"{place}/labels", recursive=True)
    return {
        "predictions": {"source": "parquet", "path": f"s3://{place}/predictions", "columns": COLUMNS},
        "labels": {"source": "parquet", "path": f"s3://{place}/labels/*.parquet", "columns": LABEL_COLUMNS},
    }


def in_delta(played: ProvidedRollout, folder: Path) -> dict[str, Any]:
    """The records as Delta Lake tables of several commits; of the predictions some rows were written twice."""
    predictions, labels = played.foreign_predictions(), played.foreign_labels()
    for part in (predictions.slice(0, 6000), predictions.slice(5900)):
        write_deltalake(str(folder / "predictions"), part, mode="append")
    write_deltalake(str(folder / "labels"), labels)
    return {
        "predictions": {"source": "delta", "path": str(folder / "predictions"), "columns": COLUMNS},
        "labels": {"source": "delta", "path": str(folder / "labels"), "columns": LABEL_COLUMNS},
    }


def in_delta_of_s3(played: ProvidedRollout, folder: Path) -> dict[str, Any]:
    """The same in an object store."""
    place, options = f"s3://{BUCKET}/{folder.name}", {"AWS_ALLOW_HTTP": "true", "AWS_S3_ALLOW_UNSAFE_RENAME": "true"}
    write_deltalake(f"{place}/predictions", played.foreign_predictions(), storage_options=options)
    write_deltalake(f"{place}/labels", played.foreign_labels(), storage_options=options)
    return {
        "predictions": {"source": "delta", "path": f"{place}/predictions", "columns": COLUMNS},
        "labels": {"source": "delta", "path": f"{place}/labels", "columns": LABEL_COLUMNS},
    }


def in_postgresql(played: ProvidedRollout, folder: Path) -> dict[str, Any]:
    """The records as tables of PostgreSQL, in a schema of their own."""
    schema = folder.name.replace("-", "_")[:60]
    engine = sa.create_engine(sa.make_url(os.environ["WAREHOUSE_URL"]).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.exec_driver_sql(f'CREATE SCHEMA "{schema}"')
        for name, table in (("predictions", played.foreign_predictions()), ("labels", played.foreign_labels())):
            table.to_pandas().to_sql(name, connection, schema=schema, index=False)
    engine.dispose()
    where = "> :since AND {time} <= :until"
    return {
        "predictions": {
            "source": "sql",
            "url_variable": "WAREHOUSE_URL",
            "query": f'SELECT * FROM "{schema}".predictions WHERE ts {where.format(time="ts")}',  # noqa: S608 - a test's own
            "columns": COLUMNS,
        },
        "labels": {
            "source": "sql",
            "url_variable": "WAREHOUSE_URL",
            "query": f'SELECT id, late, known FROM "{schema}".labels WHERE known {where.format(time="known")}',  # noqa: S608
            "columns": LABEL_COLUMNS,
        },
    }


FORMS: dict[str, Callable[[ProvidedRollout, Path], Mapping[str, Any]]] = {
    "parquet": in_parquet,
    "parquet in s3": in_parquet_of_s3,
    "delta": in_delta,
    "delta in s3": in_delta_of_s3,
    "postgresql": in_postgresql,
}
ALWAYS = ("delta in s3", "postgresql")
"""Forms that are played each day: one behind each library that reads."""


@pytest.mark.parametrize("form", in_turns(FORMS, lambda form: form in ALWAYS))
def test_a_source_gives_the_verdicts_of_the_local_log(
    form: str,
    played: ProvidedRollout,
    local: dict[str, Any],
    tmp_path: Path,
    in_s3: None,
    postgres_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Evidence and verdict of each gate are those of the local log, also when rows are read again at the next look."""
    monkeypatch.setenv("WAREHOUSE_URL", postgres_server)
    config = played.home(f"from-{form}-{tmp_path.name}")
    section = FORMS[form](played, tmp_path)
    found = played.ask(config, section)
    for question in played.questions(section):
        name = question.gate.name
        assert not isinstance(local[name], MissingEvidence)
        assert found[name] == local[name], name
        assert judge(question.gate, found[name], LEVEL) == judge(question.gate, local[name], LEVEL)
    rows = counted(config)
    assert rows == (len(played.records), len(played.labels))
    source = played.source(config)
    again = [source.gather(later(question, 1.0)) for question in played.questions(section)]
    assert not any(isinstance(one, MissingEvidence) for one in again)
    assert counted(config) == rows


def counted(config: Settings) -> tuple[int, int]:
    """Rows of the log, and labels in it."""
    log = PredictionLog(config.log)
    found = log.query_rows("m", "SELECT (SELECT count(*) FROM log), (SELECT count(*) FROM labels)")[0]
    return int(str(found[0])), int(str(found[1]))
