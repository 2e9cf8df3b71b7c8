"""Files of records and of labels that are refused: in one line, with the file, the request and what to do."""

import math
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.core.errors import Rejected
from tests.unit.test_records import Row, pair, record, write


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files of one test are seen by that test alone."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def refused(records: Path, labels: Path | None = None) -> str:
    """The one line with which a file is refused; nothing of it stays behind."""
    with pytest.raises(Rejected) as caught:
        RecordedRequests(records, labels)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    assert not list(Path(tempfile.gettempdir()).glob("surefoot-backtest-*"))
    return said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (record(None), "record 3 has no request id"),
        (record("b", at=None), "request 'b' has no time 'at': give Unix seconds or a timestamp"),
        (record("b", at=math.nan), "request 'b' has no time 'at'"),
        (record("b", at=1.7e12), "request 'b' has a time 'at' beyond the year 9999: give Unix seconds, not millis"),
        (record("b", label=1, label_at=1.7e12), "request 'b' has a time 'label_at' beyond the year 9999"),
        (record("b", "control"), "request 'b' has an 'arm' that is neither champion nor candidate"),
        (record("b", version=None), "request 'b' has no version: give its number"),
        (record("b", weight=100.5), "request 'b' has a 'weight' outside 0 to 100: give the candidate's share in perc"),
        (record("b", weight="half"), "request 'b' has something in 'weight' that is not a number"),
        (record("b", row="second"), "request 'b' has something in 'row' that is not a whole number"),
        (record("b", row=1.5), "request 'b' has something in 'row' that is not a whole number"),
        (record("b", latency_ms=-1.0), "request 'b' has a negative or infinite 'latency_ms': give milliseconds"),
        (record("b", cpu_ms=math.inf), "request 'b' has a negative or infinite 'cpu_ms'"),
        (record("b"), "request 'b' was answered by one version only and has no 'weight': give the candidate's share"),
        (record("b", version="3"), "request 'b' has version 3 as the champion, others have 1: write a file for each"),
    ],
)
def test_record_that_breaks_a_rule_is_named(tmp_path: Path, wrong: Row, said: str) -> None:
    """A record that cannot be used is refused with its file, its request and what to do."""
    path = write(tmp_path / "records.parquet", [*pair("a"), wrong])
    line = refused(path)
    assert line.startswith(f"{path}: ")
    assert said in line


def test_first_of_many_is_named_with_their_number(tmp_path: Path) -> None:
    """Of several wrong records the first in the file is named, and all are counted."""
    rows = [*pair("a"), *pair("z", weight=-1.0), *pair("b", weight=200.0)]
    line = refused(write(tmp_path / "records.parquet", rows))
    assert "request 'z' has a 'weight' outside 0 to 100" in line
    assert line.endswith("(4 such records)")


@pytest.mark.parametrize("at", ["yesterday", "2026-13-01"])
def test_text_that_is_no_time_is_refused(tmp_path: Path, at: str) -> None:
    """A time that nobody can read is refused, not left out."""
    line = refused(write(tmp_path / "records.parquet", pair("a", at=at)))
    assert "request 'a' has something in 'at' that is not a time: give Unix seconds or a timestamp" in line


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([record("a")], "has no record of the candidate: a file needs those of both versions"),
        ([record("a", "candidate")], "has no record of the champion"),
        (pair("a", version="7"), "version 7 is both champion and candidate: nothing to compare"),
    ],
)
def test_file_without_two_versions_is_refused(tmp_path: Path, rows: list[Row], said: str) -> None:
    """A file that does not compare one version with another says what it lacks."""
    path = write(tmp_path / "records.parquet", rows)
    line = refused(path)
    assert line.startswith(str(path))
    assert said in line


@pytest.mark.parametrize("name", ["request", "at", "arm", "version", "prediction"])
def test_needed_column_is_missed(tmp_path: Path, name: str) -> None:
    """A file without a needed column is refused with the column's name and all that are needed."""
    rows = [{key: value for key, value in row.items() if key != name} for row in pair("a")]
    line = refused(write(tmp_path / "records.parquet", rows))
    assert f"has no column '{name}': needed are request, at, arm, version, prediction (docs/record-schema.md)" in line


def test_file_without_records_is_refused(tmp_path: Path) -> None:
    """A file that has the columns but no row is refused as such."""
    whole = write(tmp_path / "whole.parquet", pair("a"))
    path = tmp_path / "records.parquet"
    pq.write_table(pq.read_table(whole).slice(0, 0), path)
    assert refused(path) == f"{path} has no records"


@pytest.mark.parametrize("content", [b"", b"request,at\na,1\n", b"PAR1 torn PAR1"])
def test_file_that_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty file, a text and a torn file are each one line that names the file, as records and as labels."""
    path = tmp_path / "broken.parquet"
    path.write_bytes(content)
    good = write(tmp_path / "records.parquet", pair("a"))
    assert refused(path).startswith(f"{path} cannot be read: ")
    assert refused(good, path).startswith(f"{path} cannot be read: ")


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A path to nothing, and one to a folder, are refused for records and for labels."""
    good = write(tmp_path / "records.parquet", pair("a"))
    for path in (tmp_path / "nothing.parquet", tmp_path):
        assert refused(path) == f"there is no file {path}"
        assert refused(good, path) == f"there is no file {path}"


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ({"request": "a", "at": 1.0}, "has no column 'label': needed are request, label, at"),
        ({"request": "a", "label": 1}, "has no column 'at'"),
        ({"request": None, "label": 1, "at": 1.0}, "record 1 has no request id: give that of the request whose label"),
        ({"request": "a", "label": 1, "at": None}, "request 'a' has no time 'at': give when the label became known"),
        ({"request": "a", "label": 1, "at": 1.7e12}, "request 'a' has a time 'at' beyond the year 9999"),
        ({"request": "a", "label": 1, "at": "soon"}, "request 'a' has something in 'at' that is not a time"),
    ],
)
def test_label_that_breaks_a_rule_is_named(tmp_path: Path, label: Row, said: str) -> None:
    """A label that cannot be used is refused with the file of labels, its request and what to do."""
    labels = write(tmp_path / "labels.parquet", [label])
    line = refused(write(tmp_path / "records.parquet", pair("a")), labels)
    assert line.startswith(str(labels))
    assert said in line
