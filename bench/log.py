"""`python -m bench.log [--rows N ...] [--json FILE]`: measures writing prediction-log rows and querying the log."""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from surefoot.adapters.evidence.live_counts.bad_event_counts import count_bad_events
from surefoot.adapters.evidence.live_counts.measurement_histograms import count_measurements
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.log_files import WHOLE, quote_sql_string
from surefoot.adapters.predictions.prediction_log import PredictionLog as Log
from surefoot.adapters.predictions.table_publication import GROUP, GROUP_BYTES
from surefoot.core.domain import EvidenceKind, Split, Version
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.parse import parse_gate
from surefoot.gateway.inference.request_assignment import new_request
from surefoot.gateway.log.prediction_log_writer import PredictionLogWriter, prediction_lines
from surefoot.gateway.log.segment_writer import SegmentWriter
from surefoot.models.model_protocols import AnswerCost

_MODEL = "bench"
_FEATURES = 20
_DAYS = 90
_BEGIN = 1_700_006_400.0
"""Time of the first record: a midnight [Unix seconds]."""
END = _BEGIN + _DAYS * 86_400.0
_OPENED = END - 9.0 * 86_400.0
"""A rollout is open for the last tenth of the log, at a weight of 10 % [Unix seconds]."""
V1, V2 = Version("1", "sha256:1"), Version("2", "sha256:2")
_ERRORS = parse_gate("e", {"metric": "error_rate", "margin": "1pp"})
_LATENCY = parse_gate("l", {"metric": "latency", "margin": "20%"})
_LOGGED = 0.5
"""Most that a logged row may cost the gateway, in times of `json.dumps` and `os.write` of the same record."""
_QUERY_MS = {1_000_000: 200.0, 10_000_000: 2500.0}
"""Longest that the aggregate over so many rows may take [ms]."""
_RAW = 1_000_000
"""Most rows of which the raw lines are asked too, for comparison [count]."""
_AGGREGATE = """
  SELECT version, count(*), avg(CAST(error IS NOT NULL AS INTEGER)), quantile_cont(latency_ms, [0.5, 0.99])
  FROM log WHERE "at" > $1 AND "at" <= $2 GROUP BY version
"""
_ROUNDS = 5

_Row = dict[str, object]


def row(name: str, value: float, unit: str, most: float | None = None) -> _Row:
    """One measured number, and what it may be at most."""
    demand = "" if most is None else f"<= {most:g}"
    return {"name": name, "value": round(value, 2), "unit": unit, "demand": demand, "ok": most is None or value <= most}


def _median_ms(work: Callable[[], object], rounds: int = _ROUNDS) -> float:
    """Median wall time of one call [ms]."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000.0)
    return statistics.median(times)


def _written(folder: Path, count: int = 20_000) -> list[_Row]:
    """Cost of the lines of a request of one row, and of writing them: what a caller waits for.

    Beside it, in turns: the same record by the standard library's `json.dumps` and one call of `os.write`.
    """
    names = tuple(f"x{number}" for number in range(_FEATURES))
    split = Split(V1, V2, 10.0, "salt", "r1", 3)
    values: list[list[object]] = [[(number * 37 % 101) / 7.0 for number in range(_FEATURES)]]
    job = new_request(
        split, model=_MODEL, request="0" * 32, names=names, values=values, column="x3", at=_BEGIN, started=0.0
    )
    job.latency_ms, spent = 3.217, AnswerCost(1.2512, 120.5)
    log = PredictionLogWriter(SegmentWriter(folder / _MODEL / "predictions-1-1.jsonl"))

    def many() -> None:
        for _ in range(count):
            job.cost = spent.of_each(1)
            log.write(prediction_lines(job, [0.123456789], "1"))

    many()
    record = json.loads(next((folder / _MODEL).glob("*.jsonl")).read_bytes().splitlines()[0])
    file = os.open(folder / "plain.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def plain() -> None:
        for _ in range(count):
            os.write(file, json.dumps(record, separators=(",", ":")).encode() + b"\n")

    plain()
    ours, theirs = [], []
    for _ in range(_ROUNDS):
        theirs.append(_median_ms(plain, 1) / count * 1e3)
        ours.append(_median_ms(many, 1) / count * 1e3)
    os.close(file)
    name = f"write: a row of {_FEATURES} numbers, its line and its system call"
    return [
        row(name, statistics.median(ours), "us"),
        row("write: the same by json.dumps and os.write", statistics.median(theirs), "us"),
        row("write: ours in times of that", statistics.median(ours) / statistics.median(theirs), "x", _LOGGED),
    ]


def _select(rows: int, first: int, last: int) -> str:
    """SQL of some of the records, `first` to `last`, of a log of so many rows."""
    features = ", ".join(f"'x{number}', round(random() * 100, 3)" for number in range(_FEATURES))
    return f"""
      SELECT 1 AS v, md5(CAST(i AS VARCHAR)) AS request, CAST(0 AS INTEGER) AS "row", '{_MODEL}' AS model, "at",
             NULL::VARCHAR AS unit, CASE WHEN mine THEN 'candidate' ELSE 'champion' END AS arm,
             CASE WHEN mine THEN '2' ELSE '1' END AS version, CASE WHEN mine THEN '2' ELSE '1' END AS answered_by,
             CASE WHEN live THEN 10.0 ELSE 0.0 END::DOUBLE AS weight, CAST(3 AS BIGINT) AS generation,
             CASE WHEN live THEN 'r1' ELSE '' END AS rollout, round(exp(1 + random()), 3)::DOUBLE AS latency_ms,
             round(random(), 4)::DOUBLE AS cpu_ms, 120.5::DOUBLE AS rss_mb,
             CASE WHEN random() < 0.002 THEN 'ValueError: no answer' END AS error,
             CAST(round(random(), 6) AS JSON) AS prediction, json_object({features}) AS features
      FROM (SELECT i, "at", "at" > {_OPENED} AS live, "at" > {_OPENED} AND hash(i) % 10 = 0 AS mine
            FROM (SELECT i, {_BEGIN} + (i + 0.5) / {rows} * {END - _BEGIN} AS "at"
                  FROM generate_series({first}, {last - 1}) AS made(i)))
    """  # noqa: S608 - numbers of ours


def _write_tables(folder: Path, rows: int) -> None:
    """A compacted log: one whole table a day, as compaction writes them."""
    folder.mkdir(parents=True)
    options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP}, ROW_GROUP_SIZE_BYTES '{GROUP_BYTES}'"
    with duckdb.connect() as db:
        db.execute("SET memory_limit = '1GB'; SET threads = 1; SET preserve_insertion_order = false")
        for day in range(_DAYS):
            target = quote_sql_string(str(folder / f"predictions-{day:08x}{WHOLE}"))
            db.execute(
                f"COPY ({_select(rows, rows * day // _DAYS, rows * (day + 1) // _DAYS)}) TO {target} ({options})"
            )


def _write_lines(folder: Path, rows: int) -> None:
    """The same as raw lines, in ten closed segments."""
    folder.mkdir(parents=True)
    with duckdb.connect() as db:
        db.execute("SET memory_limit = '1GB'; SET threads = 1")
        for part in range(10):
            target = quote_sql_string(str(folder / f"predictions-1-1-{part:08x}.jsonl"))
            db.execute(f"COPY ({_select(rows, rows * part // 10, rows * (part + 1) // 10)}) TO {target} (FORMAT json)")


def _size_mb(folder: Path) -> float:
    """Size of a model's log [MB]."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) / 2**20


def _asked(root: Path, name: str, most: float | None = None) -> list[_Row]:
    """The gates' questions to one log."""
    log, last = Log(root), END - (END - _BEGIN) / 100.0
    live = EvidenceRequest(_MODEL, _ERRORS, EvidenceKind.LIVE, "", "r1", V1, V2, _OPENED, END, _OPENED, 86_400.0)
    speed = EvidenceRequest(
        _MODEL,
        _LATENCY,
        EvidenceKind.LIVE,
        "",
        "r1",
        V1,
        V2,
        _OPENED,
        END,
        _OPENED,
        86_400.0,
    )
    return [
        row(f"{name}: size", _size_mb(root / _MODEL), "MB"),
        row(
            f"{name}: n, errors, p50, p99 by version",
            _median_ms(lambda: log.query_rows(_MODEL, _AGGREGATE, (0.0, END))),
            "ms",
            most,
        ),
        row(
            f"{name}: the same of the last 1 %",
            _median_ms(lambda: log.query_rows(_MODEL, _AGGREGATE, (last, END))),
            "ms",
        ),
        row(f"{name}: evidence of an error-rate gate", _median_ms(lambda: count_bad_events(log, live), 1), "ms"),
        row(f"{name}: evidence of a latency gate", _median_ms(lambda: count_measurements(log, speed), 1), "ms"),
    ]


def _read(home: Path, rows: int) -> list[_Row]:
    """What a log of so many rows answers, compacted and (where it is not too large) raw."""
    made = []
    if rows <= _RAW:
        _write_lines(home / "raw" / _MODEL, rows)
        made += _asked(home / "raw", f"{rows:,} rows, raw lines")
        took = _median_ms(lambda: compact_log(home / "raw", _MODEL), 1)
        made.append(row(f"{rows:,} rows, compaction", rows / took, "rows/ms"))
    _write_tables(home / "tables" / _MODEL, rows)
    return made + _asked(home / "tables", f"{rows:,} rows, compacted", _QUERY_MS.get(rows))


def _measured(sizes: list[int], place: Path | None) -> list[_Row]:
    """Every row; what one size wrote is gone before the next one is written."""
    with tempfile.TemporaryDirectory(prefix="surefoot-log-", dir=place) as home:
        made = _written(Path(home))
    for rows in sorted(sizes):
        with tempfile.TemporaryDirectory(prefix="surefoot-log-", dir=place) as home:
            print(f"a log of {rows:,} rows", file=sys.stderr)
            made += _read(Path(home), rows)
    return made


def main() -> int:
    """Print the rows; 1 when a demand is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.log", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000], help="sizes of the logs")
    parser.add_argument("--place", type=Path, help="folder on the disk to measure; the temporary one without it")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    made = _measured(options.rows, options.place)
    for item in made:
        mark = "" if not item["demand"] else "ok" if item["ok"] else "MISSED"
        print(f"{item['name']:<62} {item['value']:>10} {item['unit']:<7} {item['demand']:<8} {mark}")
    if options.json:
        options.json.write_text(json.dumps({"rows": made}, indent=2), encoding="utf-8")
    return 0 if all(item["ok"] for item in made) else 1


if __name__ == "__main__":
    sys.exit(main())
