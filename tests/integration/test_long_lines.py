"""Lines that are longer than readers of JSON make room for: older gateways wrote them, today's do not."""

from pathlib import Path

import pytest

from surefoot.adapters.predictions import compaction, log_files
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.log_files import MAX_LINE_BYTES, find_overlong_lines
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.domain import Split, Version
from surefoot.gateway.http.scoring_body import decode_table
from surefoot.gateway.inference.request_assignment import new_request
from surefoot.gateway.log.prediction_log_writer import prediction_lines
from tests.integration.log_writing import label, named, record, requests, write

POISON = {"x": "\x01" * (6 << 20)}
"""Features of 6 MiB that take 36 MiB when they are written."""


def lengths(root: Path) -> list[tuple[object, ...]]:
    """Of every record its request, the length of its features, and what it leaves out."""
    return PredictionLog(root).query_rows("m", "SELECT request, length(features), left_out FROM log ORDER BY request")


def test_a_line_of_an_older_release_stops_no_reader(tmp_path: Path) -> None:
    """A question reads it like all others, and a compaction keeps its record without what made it too long."""
    write(tmp_path, [record(0), record(1, features=POISON, prediction=0.25), record(2)])
    write(tmp_path, [record(3)])
    write(tmp_path, [label(number, 5.0) for number in range(4)], "labels")
    assert requests(tmp_path) == named(range(4))
    assert len(PredictionLog(tmp_path).read_requests("m", -1.0, 10.0)) == 4
    done = compact_log(tmp_path, "m")
    assert (done.segments, done.rows, done.torn) == (3, 8, 0)
    assert [row[2] for row in lengths(tmp_path)] == [None, '{"features":"too long"}', None, None]
    assert lengths(tmp_path)[1][1] is None
    assert PredictionLog(tmp_path).query_rows("m", "SELECT prediction FROM log WHERE left_out IS NOT NULL") == [
        ("0.25",)
    ]
    assert not list((tmp_path / "m").glob("*.jsonl"))
    assert sorted(path.name for path in (tmp_path / "m" / log_files.COMPACTION_FOLDER).iterdir()) == ["lock"]


def test_long_lines_that_are_no_record_are_counted_and_left_out(tmp_path: Path) -> None:
    """Torn lines, labels and answers beyond measure: a compaction counts what it cannot keep, and keeps the others."""
    torn = record(9, features={"x": "a" * MAX_LINE_BYTES})[:-20]
    write(tmp_path, [record(0), torn + b"\n", b"[" + b" " * MAX_LINE_BYTES + b"]\n", record(1), torn])
    write(tmp_path, [torn])
    write(tmp_path, [record(2, features=None, prediction="a" * MAX_LINE_BYTES)])
    write(tmp_path, [label(0, 5.0), label(1, 5.0, "a" * MAX_LINE_BYTES)], "labels")
    assert requests(tmp_path) == named(range(3))
    done = compact_log(tmp_path, "m")
    assert (done.segments, done.rows, done.torn) == (4, 4, 5)
    assert requests(tmp_path) == named(range(3))
    assert requests(tmp_path, "labels") == named([0])


def test_long_lines_are_found_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever ends of lines fall, those longer than the limit are found, and no other."""
    monkeypatch.setattr(log_files, "MAX_LINE_BYTES", 10)
    path = tmp_path / "lines"
    for around in range(12):
        for long in (10, 11, 12, 25):
            made = [b"a" * around, b"b" * (long - 1), b"", b"c" * 3, b"d" * (long - 1), b"e" * around]
            path.write_bytes(b"\n".join(made))
            starts = [sum(len(line) + 1 for line in made[:number]) for number in range(len(made))]
            ends = [start + len(line) + 1 for start, line in zip(starts, made, strict=True)]
            ends[-1] -= 1
            spans = [(start, end) for start, end in zip(starts, ends, strict=True) if end - start > 10]
            assert find_overlong_lines(path) == spans
    path.write_bytes(b"")
    assert find_overlong_lines(path) == []


def test_a_copy_is_gone_when_its_batch_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compaction needs room for one batch's copies, and a kill in the middle leaves every record."""
    monkeypatch.setattr(compaction, "PART_TARGET_BYTES", 1)
    for number in range(3):
        write(tmp_path, [record(number, features=POISON)])
    scratch, real, seen = (
        tmp_path / "m" / log_files.COMPACTION_FOLDER / "scratch",
        log_files.json_lines_sql,
        list[int](),
    )

    def lines(segments: list[Path], kind: log_files.FileKind) -> str:
        seen.append(len(list(scratch.iterdir())))
        return real(segments, kind)

    monkeypatch.setattr(compaction, "json_lines_sql", lines)
    assert compact_log(tmp_path, "m").rows == 3
    assert seen == [1, 1, 1]
    assert requests(tmp_path) == named(range(3))


def test_what_a_request_of_today_makes_is_read_and_compacted(tmp_path: Path) -> None:
    """A request whose cells grow sixfold leaves lines that every reader takes."""
    header = b",".join(b"%d" % number for number in range(44))
    table = decode_table(header + b"\n" + b",".join([b"\x01" * 130_000] * 44), "text/csv")
    job = new_request(
        Split(Version("1", "sha256:1"), None, 0.0, "salt", "", 1),
        model="m",
        request=named([1])[0],
        names=table.names,
        values=table.values,
        column="0",
        at=1.0,
        started=0.0,
        options=table.options,
    )
    write(tmp_path, [record(0), *prediction_lines(job, [0.5], "1")])
    for _ in range(2):
        assert requests(tmp_path) == named(range(2))
        compact_log(tmp_path, "m")
    assert lengths(tmp_path)[1] == (named([1])[0], None, '{"features":"too long"}')
