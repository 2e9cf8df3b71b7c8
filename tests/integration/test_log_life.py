"""The prediction log after the write: it becomes Parquet, whatever comes in between, and goes when it is old."""

import fcntl
import itertools
import re
import secrets
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import orjson
import pytest

from surefoot.adapters.evidence.live_counts.bad_event_counts import count_bad_events
from surefoot.adapters.evidence.live_counts.measurement_histograms import count_measurements
from surefoot.adapters.predictions import compaction, log_files, table_publication
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.domain import EvidenceKind, FailoverLevel, Split, Version
from surefoot.core.errors import Conflict, InvariantBroken, NotFound, Rejected
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.policy_types import Metric
from surefoot.gateway.inference.request_assignment import new_request
from surefoot.gateway.log.prediction_log_writer import label_lines, prediction_lines
from surefoot.gateway.log.segment_writer import SegmentWriter
from tests.gates import make_gate
from tests.integration.log_writing import (
    DAY,
    ROOT,
    files,
    label,
    named,
    record,
    requests,
    write,
)

V1, V2 = Version("1", "sha256:1"), Version("2", "sha256:2")


def whole(root: Path) -> list[str]:
    """How the names of all files end."""
    return sorted(re.sub(r"-[0-9a-f-]+\.", "-*.", name) for name in files(root))


def test_no_answer_changes(tmp_path: Path) -> None:
    """Every question about every window is answered from Parquet as it was from the lines."""
    for first in range(3):
        write(tmp_path, [record(number) for number in range(first, 600, 3)])
    write(tmp_path, [record(5, 700.0), record(6, 701.0, features=None), record(7, 702.0, prediction=[0.25, 1e22])])
    write(tmp_path, [label(number, number + 50.0, number % 2) for number in range(0, 700, 2)], "labels")
    write(tmp_path, [label(4, 90.0, {"is": ["late", None]})], "labels")
    log = PredictionLog(tmp_path)

    def answers() -> list[object]:
        asked: list[object] = []
        for since, until in ((-1.0, 1000.0), (100.0, 200.0), (199.0, 201.0), (650.0, 800.0), (900.0, 901.0)):
            asked += [log.read_requests("m", since, until), log.read_requests("m", since, until, limit=20)]
            asked.append(log.newest_request_time("m", until))
            for table in (log.read_features("m", since, until), log.read_predictions("m", since, until)):
                asked.append(table.astype(object).where(table.notna(), None).to_dict())  # NaN equals nothing
            for by in ((), ("place",)):
                gates = (
                    make_gate("e", Metric.ERROR_RATE, by=by),
                    make_gate("l", Metric.LATENCY, by=by),
                )
                errors, speeds = (
                    EvidenceRequest("m", gate, EvidenceKind.LIVE, "", "r1", V1, V2, since, until, since)
                    for gate in gates
                )
                asked += [count_bad_events(log, errors), count_measurements(log, speeds)]
        columns = ", ".join(f'"{name}", typeof("{name}")' for name in log_files.PREDICTION_FILES.columns)
        return [
            *asked,
            log.query_rows("m", f"SELECT {columns} FROM log ORDER BY ALL"),  # noqa: S608 - a test's own
            log.query_rows("m", "SELECT * FROM labels ORDER BY ALL"),
        ]

    before = answers()
    done = compact_log(tmp_path, "m")
    assert (done.segments, done.rows, done.torn) == (6, 954, 0)
    assert whole(tmp_path) == ["labels-*.part.parquet", "predictions-*.part.parquet"]
    assert answers() == before
    write(tmp_path, [record(601)])
    mixed = answers()
    compact_log(tmp_path, "m")
    assert answers() == mixed != before


def test_every_field_that_the_gateway_writes_is_kept(tmp_path: Path) -> None:
    """What the gateway writes of a request and of a label stands in Parquet field by field."""
    job = new_request(
        Split(V1, V2, 25.0, "salt", "r1", 3),
        model="m",
        request="q",
        names=("x", "who"),
        values=[[0.1, "é\"'"], [2, None]],
        column="who",
        at=12.25,
        started=0.0,
    )
    job.latency_ms = 3.5
    lines = prediction_lines(job, [0.1, {"p": [1, None]}], "1")
    lines += prediction_lines(replace(job, request="r", values=[["x" * (1 << 20)], [2]]), [0.1, 0.2], "1")[:1]
    failed = replace(job, request="s", error="down", rung=FailoverLevel.FALLBACK)
    lines += prediction_lines(failed, None, None, "constant", ["[0.5,1]"] * 2)
    labels = label_lines(b'[{"request": "q", "label": {"cost": 1.5}, "at": 3}]', 0.0)
    write(tmp_path, lines)
    write(tmp_path, labels, "labels")
    compact_log(tmp_path, "m")
    for view, written in (("log", lines), ("labels", labels)):
        sql = f"SELECT to_json(w) FROM {view} w ORDER BY w.request, w.row"  # noqa: S608 - a test's own
        for row, line in zip(PredictionLog(tmp_path).query_rows("m", sql), written, strict=True):
            unwritten = dict.fromkeys(("left_out", "rung", "fallback", "fallback_answer"))
            absent = unwritten if view == "log" else {}  # where nothing is left out and a version has answered
            assert orjson.loads(str(row[0])) == absent | orjson.loads(line)


def test_the_documented_columns_are_those_of_the_tables() -> None:
    """docs/record-schema.md lists exactly the columns of the tables, in their order."""
    text = (ROOT / "docs" / "record-schema.md").read_text(encoding="utf-8")
    for kind, heading in (
        (log_files.PREDICTION_FILES, "## Predictions, version 1"),
        (log_files.LABEL_FILES, "## Labels, version 1"),
    ):
        table = text.split(heading)[1].split("\n\n|")[1].split("\n\n")[0]
        assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(kind.columns)
    section = text.split("## Shadows, version 1")[1].split("In Parquet the")[1].partition("\n\n")[0]
    assert re.findall(r"`(\w+)`", section) == list(log_files.SHADOW_FILES.columns)


def test_torn_lines_are_counted_and_left_out(tmp_path: Path) -> None:
    """What is no record is skipped by readers, and counted by the compaction that drops it; empty lines are nothing."""
    write(
        tmp_path,
        [record(0), b'{"v":1,"request":"q0000', b"\n\n\n", b"[1]\n", b"\x00\x00\n", record(1), b'{"v":1,"requ'],
    )
    write(tmp_path, [b'{"v":1'])
    write(tmp_path, [b'{"v":1'], "labels")
    assert requests(tmp_path) == named(range(2))
    done = compact_log(tmp_path, "m")
    assert (done.segments, done.rows, done.torn) == (3, 2, 6)
    assert requests(tmp_path) == named(range(2))
    assert whole(tmp_path) == ["predictions-*.part.parquet"]


def test_only_closed_segments_are_taken(tmp_path: Path) -> None:
    """A segment that is written is left alone, locked or (by a gateway of 0.1.0) not; an empty closed one goes."""
    write(tmp_path, [record(0)])
    locked = SegmentWriter(tmp_path / "m" / "predictions-2-2.jsonl")
    locked.append(record(1))
    (tmp_path / "m" / "predictions-4-4.jsonl").touch()
    with (tmp_path / "m" / "predictions-3-3.jsonl").open("ab", buffering=0) as older:
        older.write(record(2))
        assert compact_log(tmp_path, "m").segments == 1
        assert whole(tmp_path) == ["predictions-*.jsonl", "predictions-*.jsonl", "predictions-*.part.parquet"]
        older.write(record(3))
        locked.append(record(4))
    locked.close()
    assert compact_log(tmp_path, "m").segments == 2
    assert requests(tmp_path) == named(range(5))


def test_where_files_cannot_be_leased_the_lock_alone_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without leases a segment that is written is left alone for its lock."""

    def refuses(_descriptor: int, _command: int, _argument: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(fcntl, "fcntl", refuses)
    write(tmp_path, [record(0)])
    segment = SegmentWriter(tmp_path / "m" / "predictions-2-2.jsonl")
    segment.append(record(1))
    assert compact_log(tmp_path, "m").segments == 1
    segment.append(record(2))
    segment.close()
    assert compact_log(tmp_path, "m").segments == 1
    assert requests(tmp_path) == named(range(3))


def test_rows_of_a_table_are_in_the_order_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row groups of a part and of a whole table do not overlap in time, so that a window reads few of them."""
    monkeypatch.setattr(table_publication, "GROUP", 2048)
    monkeypatch.setattr(compaction, "PARTS_PER_TABLE", 2)
    for first in range(2):
        for second in range(2):
            write(tmp_path, [record(number) for number in range(20_000) if number % 4 == first * 2 + second])
        compact_log(tmp_path, "m")
        (table,) = (tmp_path / "m").glob("*.parquet")
        spans = duckdb.execute(
            f"SELECT stats_min_value::DOUBLE, stats_max_value::DOUBLE FROM parquet_metadata('{table}')"  # noqa: S608 - a test's own
            " WHERE path_in_schema = 'at' ORDER BY row_group_id"
        ).fetchall()
        assert len(spans) >= 5
        assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))
    assert table.name.endswith(".whole.parquet")


def test_rows_too_large_to_sort_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that do not fit in the memory allowed for sorting are written as they came, every one."""
    monkeypatch.setattr(table_publication, "SORT_MEMORY_LIMIT", "310MB")
    monkeypatch.setattr(table_publication, "GROUP_BYTES", "1MB")
    write(tmp_path, [record(number, features={"x": f"{number}" * 40_000}) for number in reversed(range(1000))])
    assert compact_log(tmp_path, "m").rows == 1000
    assert requests(tmp_path) == named(range(1000))
    assert PredictionLog(tmp_path).query_rows("m", "SELECT request FROM log LIMIT 1") == [("q000999",)]


CRASH = """
import os, shutil, signal, sys
from pathlib import Path
from surefoot.adapters.predictions import compaction

def deadly(real):
    def call(*arguments, **keywords):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **keywords)
    return call

home, before = Path(sys.argv[1]), float(sys.argv[2])
compaction.PARTS_PER_TABLE, compaction.PART_TARGET_BYTES = 2, 1
for name in ("rename", "unlink", "fsync", "mkdir", "rmdir"):
    setattr(os, name, deadly(getattr(os, name)))
for strike in range(1, 1000):
    left = 0
    shutil.copytree(home / "start", home / str(strike))
    child = os.fork()  # a child a strike: to import all this again would take most of the time
    if not child:
        left = strike
        compaction.compact_log(home / str(strike), "m", before=before)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


@pytest.mark.sweep
def test_a_kill_anywhere_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Killed before any call that changes the disk, a compaction leaves every record once; the next run ends it."""
    start = tmp_path / "start"
    for first in (0, 10, 20):
        write(start, [record(number) for number in range(first, first + 10)])
    compact_log(start, "m")
    for first in (30, 40):
        write(start, [record(number) for number in range(first, first + 10)])
    write(start, [record(number, 9 * DAY + number) for number in range(50, 60)])
    write(start, [label(number, 5.0) for number in range(10)], "labels")
    done = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path), "0"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    struck = sorted(path for path in tmp_path.iterdir() if path.name.isdigit())
    assert len(struck) > 40
    for case in struck:
        assert (requests(case), requests(case, "labels")) == (named(range(60)), named(range(10))), case.name
        compact_log(case, "m")
        assert (requests(case), requests(case, "labels")) == (named(range(60)), named(range(10))), case.name
        assert not [name for name in files(case) if name.endswith(".jsonl")]
        assert sorted(path.name for path in (case / "m" / log_files.COMPACTION_FOLDER).iterdir()) == ["lock"]


FULL = """
import resource, sys
from pathlib import Path
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.core.errors import SurefootError

resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    compact_log(Path(sys.argv[1]), "m")
except SurefootError as error:
    print(type(error).__name__, error.exit_code, error)
"""


def test_a_full_disk_leaves_all_as_it_was(tmp_path: Path) -> None:
    """A disk that takes no more is one sentence, and segments and tables stay as they were to the byte."""
    write(tmp_path, [record(number) for number in range(10)])
    compact_log(tmp_path, "m")
    write(tmp_path, [record(number, features={"x": str(hash(number) * 7919)}) for number in range(10, 2000)])
    before = files(tmp_path)
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], cwd=ROOT, capture_output=True, check=False)
    (said,) = done.stdout.decode().splitlines()
    assert said.startswith("EvidenceUnavailable 4 the log of m was not compacted, and nothing of it is lost: ")
    assert files(tmp_path) == before
    assert sorted(path.name for path in (tmp_path / "m" / log_files.COMPACTION_FOLDER).iterdir()) == ["lock"]
    assert requests(tmp_path) == named(range(2000))
    assert compact_log(tmp_path, "m").rows == 1990


def test_one_compacts_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second compaction at the same time is refused, and changes nothing."""
    write(tmp_path, [record(0)])
    real, refused = log_files.json_lines_sql, list[bool]()

    def meanwhile(segments: list[Path], kind: log_files.FileKind) -> str:
        with pytest.raises(Conflict, match="another process compacts the log of m"):
            compact_log(tmp_path, "m")
        refused.append(True)
        return real(segments, kind)

    monkeypatch.setattr(compaction, "json_lines_sql", meanwhile)
    assert compact_log(tmp_path, "m").rows == 1
    assert refused
    with pytest.raises(NotFound, match="nothing of n has been logged"):
        compact_log(tmp_path, "n")


def test_files_stay_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment an hour leaves one whole table a day and less than a day's parts, with every record once."""
    for hour in range(60):
        write(tmp_path, [record(hour, hour * 3600.0)])
        done = compact_log(tmp_path, "m", batches=1)
        assert done.merged == (24 if hour % 24 == 23 else 0)
    assert whole(tmp_path) == ["predictions-*.part.parquet"] * 12 + ["predictions-*.whole.parquet"] * 2
    assert requests(tmp_path) == named(range(60))


def test_merged_tables_have_a_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts become several tables where one would have too many rows; a large part stays as it is."""
    monkeypatch.setattr(compaction, "PARTS_PER_TABLE", 4)
    monkeypatch.setattr(compaction, "MAX_TABLE_ROWS", 10)
    first = 0
    for size in (4, 4, 6, 4, 4):
        write(tmp_path, [record(number, number * 60.0) for number in range(first, first + size)])
        compact_log(tmp_path, "m", batches=1)
        first += size
    assert whole(tmp_path) == ["predictions-*.part.parquet"] + ["predictions-*.whole.parquet"] * 2
    assert requests(tmp_path) == named(range(first))


def test_tables_expire_as_a_whole(tmp_path: Path) -> None:
    """A table goes when its newest record is older than is kept, whichever kind it is, and nothing else does."""
    for day in range(4):
        write(tmp_path, [record(day * 10 + part, day * DAY + part) for part in range(2)])
        write(tmp_path, [label(day * 10, day * DAY + 5.0)], "labels")
        compact_log(tmp_path, "m")
    assert compact_log(tmp_path, "m", before=0.0).removed == 0
    done = compact_log(tmp_path, "m", before=2 * DAY + 1.0)
    assert (done.removed, done.removed_rows) == (4, 6)
    assert requests(tmp_path) == named([20, 21, 30, 31])
    assert requests(tmp_path, "labels") == named([20, 30])


def test_a_segment_that_grows_though_it_is_closed_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a closed segment grows after it was counted, the compaction stops and removes nothing."""
    path = write(tmp_path, [record(0)])
    real = secrets.token_hex

    def meanwhile(count: int) -> str:
        path.write_bytes(record(0) + record(1))
        return real(count)

    monkeypatch.setattr(secrets, "token_hex", meanwhile)
    with pytest.raises(InvariantBroken, match="2 of 1 rows"):
        compact_log(tmp_path, "m")
    assert list(files(tmp_path)) == [path.name]
    assert requests(tmp_path) == named(range(2))


def test_records_of_a_later_release_are_left_alone(tmp_path: Path) -> None:
    """Records of a version that this release does not know are never rewritten by half."""
    write(tmp_path, [record(0), record(1, v=2, more="fields")])
    before = files(tmp_path)
    with pytest.raises(Rejected, match="records of version 2"):
        compact_log(tmp_path, "m")
    assert files(tmp_path) == before
