"""Segments of the log: they rotate, they are closed for good, and nothing that was acknowledged is ever lost."""

import fcntl
import json
import os
import resource
import threading
from pathlib import Path

import pytest

from surefoot.adapters.predictions.compaction import compact_log
from surefoot.gateway.log.segment_writer import SegmentWriter
from tests.integration.log_writing import acknowledged, named, record, requests, start_writer


def closed(path: Path) -> bool:
    """Whether another one could take the lock of a file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def segments(root: Path) -> list[Path]:
    """Files of the log, oldest first."""
    return sorted((root / "m").glob("predictions-*.jsonl"), key=lambda path: path.stat().st_mtime_ns)


def test_a_full_segment_is_closed_and_the_next_one_begun(tmp_path: Path) -> None:
    """A segment that has reached its size is never written again; only the last one is locked."""
    segment = SegmentWriter(tmp_path / "m" / "predictions-7-9.jsonl", size=1000)
    for number in range(20):
        segment.append(record(number))
    found = segments(tmp_path)
    assert len(found) > 3
    assert all(path.name.startswith("predictions-7-9-") for path in found)
    assert [closed(path) for path in found] == [True] * (len(found) - 1) + [False]
    assert all(1000 <= path.stat().st_size < 2000 for path in found[:-1])
    assert requests(tmp_path) == named(range(20))
    segment.close()
    assert all(closed(path) for path in found)


def test_an_old_segment_is_closed_at_the_next_append(tmp_path: Path) -> None:
    """Age closes a segment as size does."""
    segment = SegmentWriter(tmp_path / "m" / "predictions-7-9.jsonl", age=0.0)
    for number in range(3):
        segment.append(record(number))
    assert len(segments(tmp_path)) == 3
    segment.close()


def test_the_same_name_never_comes_again(tmp_path: Path) -> None:
    """Two segments of the same process that began in the same millisecond are two files."""
    for number in range(2):
        segment = SegmentWriter(tmp_path / "m" / "predictions-7-9.jsonl")
        segment.append(record(number))
        segment.close()
    assert len(segments(tmp_path)) == 2
    assert requests(tmp_path) == named(range(2))


def test_a_torn_write_spoils_its_own_line_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a write that stopped half-way the next record stands on a line of its own."""
    segment = SegmentWriter(tmp_path / "m" / "predictions-7-9.jsonl")
    segment.append(record(0))
    real, left = os.write, [20]

    def stops(descriptor: int, data: bytes) -> int:
        if not left:
            raise OSError(28, "No space left on device")
        return real(descriptor, bytes(data)[: left.pop()])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", stops)
        with pytest.raises(OSError, match="No space"):
            segment.append(record(1))
    segment.append(record(2))
    segment.close()
    assert requests(tmp_path) == named([0, 2])


def test_without_a_next_file_the_open_one_serves_on(tmp_path: Path) -> None:
    """A process that may open no more files goes on writing where it wrote, and rotates when it may again."""
    segment = SegmentWriter(tmp_path / "m" / "predictions-7-9.jsonl", size=1)
    segment.append(record(0))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open(tmp_path, os.O_RDONLY)
    os.close(probe)  # the number that the next file would get
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, before[1]))
    try:
        segment.append(record(1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    segment.append(record(2))
    segment.close()
    assert [len(path.read_bytes().splitlines()) for path in segments(tmp_path)] == [2, 1]


@pytest.mark.parametrize("taken", ["removed", "locked"])
def test_a_segment_taken_before_it_is_locked_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    """A new file that is taken, or locked, in the instant before its writer locks it makes the writer begin another."""
    real, holders = fcntl.flock, []

    def first(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        (path,) = segments(tmp_path)
        if taken == "removed":
            path.unlink()
        else:
            holders.append(path.open("rb"))
            real(holders[0], fcntl.LOCK_SH)
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", first)
    segment = SegmentWriter(tmp_path / "m" / "predictions-7-9.jsonl")
    segment.append(record(0))
    segment.append(record(1))
    for holder in holders:
        holder.close()
    (path,) = segments(tmp_path)
    assert path == segment.path
    assert requests(tmp_path) == named(range(2))
    segment.close()


def test_threads_share_a_segment(tmp_path: Path) -> None:
    """Eight threads that append while it rotates leave every record whole, and once."""
    segment = SegmentWriter(tmp_path / "m" / "predictions-7-9.jsonl", size=5000)

    def appends(first: int) -> None:
        for number in range(first, 2000, 8):
            segment.append(record(number))

    threads = [threading.Thread(target=appends, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    segment.close()
    lines = [json.loads(line) for path in segments(tmp_path) for line in path.read_bytes().splitlines()]
    assert sorted(str(line["request"]) for line in lines) == named(range(2000))


def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    """After kill -9 every acknowledged record is there, at most one more, and every segment is closed."""
    with start_writer(tmp_path, size=20_000, most=10**9) as writer:
        try:
            while acknowledged(tmp_path) < 2000:
                assert writer.poll() is None
        finally:
            writer.kill()
    told = acknowledged(tmp_path)
    found = segments(tmp_path)
    assert len(found) > 10
    assert all(closed(path) for path in found)
    seen = requests(tmp_path)
    assert told <= len(seen) <= told + 1
    assert seen == named(range(len(seen)))
    done = compact_log(tmp_path, "m")
    assert (done.rows, done.torn) == (len(seen), 0)
    assert segments(tmp_path) == []
    assert requests(tmp_path) == seen
