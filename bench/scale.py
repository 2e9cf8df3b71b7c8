"""`python -m bench.scale [--records N ...] [--json FILE]`: measures the memory and time of large back-tests."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_DAY = 86_400.0
_BEGIN = 1_700_006_400.0
"""Time of the first request: a midnight, so that days are blocks [Unix seconds]."""
_DAYS = 45
"""Thirty days for the shadow, three steps of a day, a bake of seven days, and some days to spare."""
_CHUNK = 100_000
"""Requests that are made and written at once [count]."""
_REGIONS = ("east", "north", "south", "west")
_AGAIN = 20
"""Requests that one unit sends on average [count]."""
_MOST_MB = 3_000.0
"""Largest peak of any back-test [MB]."""
_GROWTH = 1.5
"""Largest peak of the largest file, as a multiple of that of the smallest."""
_MODEL = "scale"
_POLICY = f"""\
model: {_MODEL}
unit: customer
traffic: {{ requests_per_minute: PER_MINUTE, stale_after: 12h }}
data: {{ suite: {_MODEL}, window: 30d }}
gates:
  errors: {{ metric: error_rate, margin: 0.5pp }}
  latency: {{ metric: latency, quantile: 0.9, margin: 20% }}
  quality:
    metric: brier
    margin: 0.005
    by: [region]
    min_per_slice: 1000
    labels: {{ maturity: 12h, coverage: 0.9 }}
steps:
  - shadow: {{ window: 30d, min_requests: 1000, gates: [errors, quality] }}
  - weight: 5
    hold: {{ for: 1d, min_requests: 100, gates: [errors, latency] }}
  - weight: 25
    hold: {{ for: 1d, min_requests: 100, gates: [errors, latency] }}
  - weight: 50
    hold: {{ for: 1d, min_requests: 100, gates: [errors, latency] }}
bake: {{ for: 7d, gates: [errors, latency, quality] }}
"""
_SUITE = {
    "name": _MODEL,
    "expectations": [
        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1000}},
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "region", "value_set": list(_REGIONS)}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "x", "min_value": -10, "max_value": 10}},
    ],
}


@dataclass(frozen=True, slots=True)
class _Run:
    """What one back-test cost, and how it ended.

    Attributes:
        records: Records in the file [count].
        seconds: Wall time [s].
        processor: Processor time [s].
        peak: Largest resident memory of its process [MB].
        stage: Where the rollout ended.
        verdicts: Verdicts that it gave [count].
    """

    records: int
    seconds: float
    processor: float
    peak: float
    stage: str
    verdicts: int


def _names(rng: np.random.Generator, n: int) -> pa.StringArray:
    """Request ids as the gateway makes them up: 32 hex digits each."""
    digits = rng.bytes(16 * n).hex().encode()
    return pa.StringArray.from_buffers(n, pa.py_buffer(np.arange(n + 1, dtype=np.int32) * 32), pa.py_buffer(digits))


def _chunk(rng: np.random.Generator, at: "np.ndarray", units: int) -> Iterator[tuple[str, pa.Table]]:
    """The requests of a window: records of both versions, then what came true."""
    n = len(at)
    request = _names(rng, n)
    customer = pa.array(np.char.add("c", rng.integers(units, size=n).astype(str)))
    region = pa.array(np.array(_REGIONS)[rng.integers(len(_REGIONS), size=n)])
    x = rng.normal(size=n)
    chance = 1.0 / (1.0 + np.exp(-x))
    # The candidate is a little closer to the truth, and as fast and as sturdy as the champion.
    for arm, version, noise in (("champion", "1", 0.12), ("candidate", "2", 0.1)):
        failed = rng.random(n) < 0.002
        score = np.clip(chance + rng.normal(0.0, noise, n), 0.0, 1.0)
        columns = {
            "request": request,
            "at": at,
            "unit": customer,
            "arm": pa.array([arm]).take(pa.array(np.zeros(n, dtype=np.int32))),
            "version": pa.array([version]).take(pa.array(np.zeros(n, dtype=np.int32))),
            "prediction": pa.array(score, mask=failed),
            "error": pa.array(["ValueError: no answer"]).take(pa.array(np.zeros(n, dtype=np.int32), mask=~failed)),
            "latency_ms": np.exp(rng.normal(3.0, 0.5, n)),
            "region": region,
            "x": x,
        }
        yield "records", pa.table(columns)
    came = np.flatnonzero(rng.random(n) < 0.97)
    truth = (rng.random(n) < chance).astype(np.int64)
    delay = rng.exponential(2.0 * 3600.0, n)  # a few come after the twelve hours that they have
    yield "labels", pa.table({"request": request.take(pa.array(came)), "label": truth[came], "at": (at + delay)[came]})
    again = came[rng.random(len(came)) < 0.02]  # and a few are corrected
    yield (
        "labels",
        pa.table(
            {"request": request.take(pa.array(again)), "label": 1 - truth[again], "at": (at + delay)[again] + 3600.0}
        ),
    )


def _write(folder: Path, records: int) -> None:
    """Record file, labels, policy and suite of one back-test; never more than a chunk is in memory."""
    requests = records // 2
    writers: dict[str, pq.ParquetWriter] = {}
    try:
        for number, first in enumerate(range(0, requests, _CHUNK)):
            rng = np.random.default_rng((records, number))
            at = _BEGIN + (np.arange(first, min(first + _CHUNK, requests)) + 0.5) / requests * _DAYS * _DAY
            for name, table in _chunk(rng, at, max(requests // _AGAIN, 1)):
                if name not in writers:
                    writers[name] = pq.ParquetWriter(folder / f"{name}.parquet", table.schema, compression="zstd")
                writers[name].write_table(table)
    finally:
        for writer in writers.values():
            writer.close()
    for place in ("configs", "expectations"):
        (folder / place).mkdir(exist_ok=True)
    policy = _POLICY.replace("PER_MINUTE", f"{requests / _DAYS / 1440.0:.6g}")
    (folder / "configs" / f"{_MODEL}.yaml").write_text(policy, encoding="utf-8")
    (folder / "expectations" / f"{_MODEL}.json").write_text(json.dumps(_SUITE), encoding="utf-8")


def _measured(folder: Path, records: int) -> _Run:
    """Back-test one file in a process of its own."""
    command = [sys.executable, "-m", "surefoot", "backtest", _MODEL, "--project", str(folder), "--json"]
    command += ["--log", str(folder / "records.parquet"), "--labels", str(folder / "labels.parquet")]
    answer = folder / "answer.json"
    began = time.monotonic()
    inside = {**os.environ, "TMPDIR": str(folder)}  # whatever becomes of the child, its files go with the folder
    with answer.open("wb") as out:
        child = subprocess.Popen(command, stdout=out, cwd=Path(__file__).parent.parent, env=inside)
        _, status, used = os.wait4(child.pid, 0)  # the peak of this one child; RUSAGE_CHILDREN keeps the largest of all
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"the back-test of {records:,} records failed with {child.returncode}")
    found = json.loads(answer.read_text(encoding="utf-8"))
    return _Run(
        records,
        time.monotonic() - began,
        used.ru_utime + used.ru_stime,
        used.ru_maxrss / 1024.0,
        found["stage"],
        len(found["looks"]),
    )


def _runs(sizes: list[int]) -> list[_Run]:
    """One back-test a size, smallest first; what it read is gone before the next one is written."""
    made = []
    for records in sorted(sizes):
        with tempfile.TemporaryDirectory(prefix="surefoot-scale-") as home:
            print(f"writing {records:,} records", file=sys.stderr)
            _write(Path(home), records)
            size = sum(path.stat().st_size for path in Path(home).glob("*.parquet")) / 2**20
            print(f"back-test of {records:,} records in {size:,.0f} MB", file=sys.stderr)
            made.append(_measured(Path(home), records))
            print(f"{made[-1].seconds:,.0f} s, at most {made[-1].peak:,.0f} MB", file=sys.stderr)
    return made


def rows(found: list[_Run]) -> list[dict[str, object]]:
    """Hold every back-test against the demands."""
    made: list[dict[str, object]] = []

    def add(name: str, value: float | str, unit: str, demand: str = "", *, ok: bool = True) -> None:
        made.append({"name": name, "value": value, "unit": unit, "demand": demand, "ok": ok})

    for run in found:
        name = f"back-test of {run.records:,} records"
        add(f"{name}: ends", run.stage, "", "Promoted", ok=run.stage == "Promoted")
        add(f"{name}: verdicts", run.verdicts, "count")
        add(f"{name}: wall time", round(run.seconds, 1), "s")
        add(f"{name}: processor time", round(run.processor, 1), "s")
        add(f"{name}: peak memory", round(run.peak), "MB", f"<= {_MOST_MB:g}", ok=run.peak <= _MOST_MB)
    if len(found) > 1:
        first, last = found[0], found[-1]
        growth = round(last.peak / first.peak, 3)
        name = f"peak memory, {last.records:,} against {first.records:,} records"
        add(name, growth, "times", f"<= {_GROWTH:g}", ok=growth <= _GROWTH)
    return made


def main() -> int:
    """Print the rows; 1 when a demand is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument(
        "--records",
        type=int,
        nargs="+",
        default=[1_000_000, 10_000_000],
        help="sizes of the files (300,000 and more end promoted)",
    )
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    made = rows(_runs(options.records))
    for row in made:
        mark = "" if not row["demand"] else "ok" if row["ok"] else "MISSED"
        print(f"{row['name']:<60} {row['value']:>10} {row['unit']:<5} {row['demand']:<8} {mark}")
    if options.json:
        options.json.write_text(json.dumps({"rows": made}, indent=2), encoding="utf-8")
    return 0 if all(row["ok"] for row in made) else 1


if __name__ == "__main__":
    sys.exit(main())
