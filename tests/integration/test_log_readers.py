"""A reader of the log sees every record once while it is written, compacted and merged."""

import threading
from pathlib import Path

import pytest

from surefoot.adapters.predictions import compaction, log_files, prediction_log
from surefoot.adapters.predictions.compaction import CompactionResult, compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.errors import EvidenceUnavailable
from tests.integration.log_writing import acknowledged, label, named, record, requests, start_writer, write


@pytest.mark.parametrize("becomes", ["parts", "a whole table", "both"])
@pytest.mark.parametrize("strike", range(1, 9))  # four listings of each kind
def test_a_compaction_between_two_listings_hides_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, becomes: str, strike: int
) -> None:
    """Wherever a compaction runs while a reader lists segments, parts, tables and notes, each record counts once."""
    monkeypatch.setattr(compaction, "PARTS_PER_TABLE", 3)
    for number in range(2):
        write(tmp_path, [record(number)])
        write(tmp_path, [label(number, 1.0)], "labels")
        if becomes != "parts":
            compact_log(tmp_path, "m")
    if becomes == "both":
        write(tmp_path, [record(2)])
        write(tmp_path, [label(2, 1.0)], "labels")
    elif becomes == "a whole table":
        monkeypatch.setattr(compaction, "PARTS_PER_TABLE", 2)
    real, left = log_files.list_all_log_files, [0]

    def lists(folder: Path, kind: log_files.FileKind, ending: str) -> list[str]:
        left[0] -= 1
        if left[0] == 0:
            assert bool(compact_log(tmp_path, "m").merged) == (becomes != "parts")
        return real(folder, kind, ending)

    monkeypatch.setattr(log_files, "list_all_log_files", lists)
    left[0] = strike
    sql = "SELECT request, 'log' AS view FROM log UNION ALL SELECT request, 'labels' FROM labels ORDER BY ALL"
    found = PredictionLog(tmp_path).query_rows("m", sql)
    assert left[0] < 0
    assert found == [(name, view) for name in named(range(3 if becomes == "both" else 2)) for view in ("labels", "log")]


def test_files_that_go_while_they_are_read_are_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question whose files are replaced after they were listed is answered from what replaced them."""
    write(tmp_path, [record(number) for number in range(9)])
    write(tmp_path, [label(0, 1.0)], "labels")
    real, runs = log_files.log_view_sql, list[CompactionResult]()

    def late(segments: list[Path], tables: list[Path], kind: log_files.FileKind) -> str:
        if not runs:
            runs.append(compact_log(tmp_path, "m"))
        return real(segments, tables, kind)

    monkeypatch.setattr(prediction_log, "log_view_sql", late)
    assert requests(tmp_path) == named(range(9))
    assert runs[0].segments == 2


def test_files_that_are_always_gone_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader gives up with a reason when its files vanish again and again."""
    write(tmp_path, [record(0)])
    monkeypatch.setattr(
        prediction_log, "list_current_log_files", lambda folder, _kind: ([folder / "predictions-gone.jsonl"], [])
    )
    with pytest.raises(EvidenceUnavailable, match="cannot be read"):
        requests(tmp_path)


def test_readers_see_every_record_once_while_it_is_written_and_compacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a writer that rotates and a compaction that merges, a reader counts all that was acknowledged, once."""
    monkeypatch.setattr(compaction, "PARTS_PER_TABLE", 2)
    monkeypatch.setattr(compaction, "PART_TARGET_BYTES", 30_000)
    most, merged, troubles = 20_000, [0], list[Exception]()
    log, looking = PredictionLog(tmp_path), threading.Event()

    def compacts() -> None:
        try:
            while writer.poll() is None:
                looking.wait()  # one run beside each look: files go while they are listed, opened or read
                looking.clear()
                if (tmp_path / "m").is_dir():
                    merged[0] += compact_log(tmp_path, "m", batches=2).merged
        except Exception as error:  # noqa: BLE001 - the test says what it was
            troubles.append(error)

    with start_writer(tmp_path, size=10_000, most=most) as writer:
        thread = threading.Thread(target=compacts)
        thread.start()
        looks = 0
        try:
            while writer.poll() is None:
                looking.set()
                known = acknowledged(tmp_path)
                ((n, distinct, last),) = log.query_rows(
                    "m", 'SELECT count(*), count(DISTINCT request), max("at") FROM log'
                )
                assert n == distinct
                assert known <= int(str(n))
                assert last is None or float(str(last)) == int(str(n)) - 1
                looks += 1
        finally:
            writer.kill()
            looking.set()
            thread.join()
    assert troubles == []
    assert looks > 3
    compact_log(tmp_path, "m")
    assert requests(tmp_path) == named(range(most))
    assert merged[0] > 0
