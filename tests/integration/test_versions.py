"""`surefoot versions`: what is counted of the journal and of the log, and what is left when the log has expired."""

import json
import shutil
from pathlib import Path

import pytest

from surefoot import wiring
from surefoot.core.fallback import FallbackReference
from surefoot.core.journal.fallback_events import FallbackDrilled
from surefoot.core.tables.data_events import DataCheckpointed, DataCheckpointRefused, DataProved
from surefoot.core.tables.table_checkpoint import TableCheckpoint, TableDigest
from surefoot.rollout import is_answer_count_due
from tests.integration.log_writing import label, record, write
from tests.integration.served_stack import HOUR, ONE, TWO, Clock, Stack


def lines() -> tuple[list[bytes], list[bytes], dict[str, list[float]]]:
    """Records and labels, and by version the losses that a reader of both would compute by hand."""
    records, labels, losses = [], [], {"1": [], "2": []}  # type: tuple[list[bytes], list[bytes], dict[str, list[float]]]
    for number in range(1, 400):
        at = 10 * HOUR + number * 10.0
        version = "2" if number % 5 == 0 else "1"
        answered = None if number % 50 == 7 else version
        records.append(record(number, at, answered_by=answered, error=None if answered else "ValueError: no"))
        if number % 3:
            late = number % 7 == 0
            labels.append(label(number, at + (60.0 if late else 5.0), number % 2))
            if answered and not late:
                losses[answered].append((number % 10 / 10.0 - number % 2) ** 2)
    # A request of two rows is one request; the second row has a label too.
    records += [record(900, 11 * HOUR, row=row, answered_by="1", prediction=0.5) for row in (0, 1)]
    labels.append(label(900, 11 * HOUR + 1.0, 1).replace(b'"row": 0', b'"row": 1'))
    losses["1"].append(0.25)
    return records, labels, losses


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack with a history and a log, at a fixed time."""
    made = Stack(tmp_path / "home")
    made.history()
    records, labels, _ = lines()
    write(made.config.log, records)
    write(made.config.log, labels, "labels")
    monkeypatch.setattr(wiring.adapters, "build_clock", lambda _kind: Clock())
    return made


def told(stack: Stack, capfd: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    """What `versions --json` says, by version."""
    capfd.readouterr()
    assert stack.command("versions", "m", "--json") == 0
    return {one["version"]: one for one in json.loads(capfd.readouterr().out)["versions"]}


def test_hours_requests_labels_and_score_are_those_of_journal_and_log(
    stack: Stack, capfd: pytest.CaptureFixture[str]
) -> None:
    """Hours come from the journal; requests, matured labels and the mean loss equal what is counted by hand."""
    found = told(stack, capfd)
    records, _, losses = lines()
    for number in ("1", "2"):
        answered = [one for one in map(json.loads, records) if one["answered_by"] == number and one["row"] == 0]
        assert (found[number]["requests"], found[number]["labels"]) == (len(answered), len(losses[number]))
        assert found[number]["score"] == pytest.approx(sum(losses[number]) / len(losses[number]), abs=1e-6)
        assert (found[number]["metric"], found[number]["last_drill"]) == ("brier", None)
    assert (found["1"]["hours_at_100"], found["1"]["hours_shared"]) == (11.0, 2.0)
    assert (found["2"]["hours_at_100"], found["2"]["hours_shared"]) == (0.0, 2.0)
    assert [found[number]["standing"] for number in ("1", "2")] == ["champion", "quarantined"]
    assert found["2"]["reason"] == "RolledBack: errors is FAIL"
    assert (found["1"]["verdicts"], found["2"]["verdicts"]) == ({}, {})
    assert stack.command("versions", "m") == 0
    said = capfd.readouterr().out
    assert "quarantined" in said
    assert "none yet" in said
    assert stack.command("versions", "n") == 2


def test_the_last_drill_is_that_of_checkpoints_and_fallback(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    """A checkpoint counts for the version that a rollback would restore it with, a fallback for the version asked."""
    kept = TableCheckpoint("3", TableDigest(7, "sha256:rows", "sha256:schema"))
    stack.append(10 * HOUR, DataCheckpointed("r1", "scores", 1, {"kind": "delta"}, "restore", kept, proved=True))
    seq = stack.ports.ledger("m").head
    stack.append(10 * HOUR + 60.0, DataCheckpointRefused("r1", "prices", 2, "it has deletion vectors"))
    found = told(stack, capfd)
    assert found["1"]["last_drill"] == {
        "at": 10 * HOUR + 60.0,
        "tried": ["table scores", "table prices"],
        "problems": ["table prices: it has deletion vectors"],
    }
    assert found["2"]["last_drill"] is None
    two = FallbackReference("m", "2")
    stack.append(11 * HOUR, FallbackDrilled("pyfunc", TWO.digest, 5, "", two, TWO))
    stack.append(11 * HOUR, FallbackDrilled("pyfunc", ONE.digest, 5, "", FallbackReference("base", "1"), ONE))
    stack.append(12 * HOUR, DataProved("scores", seq, "vacuumed"), DataProved("scores", 1, "no such checkpoint"))
    found = told(stack, capfd)
    assert found["1"]["last_drill"] == {
        "at": 12 * HOUR,
        "tried": ["table scores", "table prices"],
        "problems": ["table scores: vacuumed", "table prices: it has deletion vectors"],
    }
    assert found["2"]["last_drill"] == {"at": 11 * HOUR, "tried": ["fallback"], "problems": []}
    assert stack.command("versions", "m") == 0
    said = " ".join(capfd.readouterr().out.split())
    assert "none yet" not in said
    stack.append(13 * HOUR, FallbackDrilled("pyfunc", "", 0, "its files are gone", two))
    assert told(stack, capfd)["2"]["last_drill"] == {
        "at": 13 * HOUR,
        "tried": ["fallback"],
        "problems": ["fallback: its files are gone"],
    }


def test_the_count_outlives_the_log(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    """Journalled once after a rollout has ended, the counts stay the same when the log is gone; none counts twice."""
    before = told(stack, capfd)
    assert is_answer_count_due(stack.ports.ledger("m"), Clock().now())
    head = stack.ports.ledger("m").head
    assert wiring.record_answer_counts(stack.config, stack.ports, "m").head == head + 1
    assert wiring.record_answer_counts(stack.config, stack.ports, "m").head == head + 1, "nothing has ended since"
    assert told(stack, capfd) == before
    shutil.rmtree(stack.config.log)
    assert told(stack, capfd) == before


def test_nothing_is_counted_before_all_answers_are_in_the_log(stack: Stack) -> None:
    """A rollout that has just ended is counted two minutes later: what is under way then is in the log by then."""
    ledger = stack.ports.ledger("m")
    assert not is_answer_count_due(ledger, 12 * HOUR + 119.0)
    assert is_answer_count_due(ledger, 12 * HOUR + 120.0)


def test_compaction_journals_the_counts_of_what_it_removes(
    stack: Stack, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that expires without a rollout is counted before; labels are counted once, however the time is cut."""
    before = told(stack, capfd)
    monkeypatch.setattr(wiring.adapters, "build_clock", lambda _kind: Clock(13 * HOUR + 200 * 86_400.0))
    wiring.compact_model_log(stack.config, "m")
    wiring.compact_model_log(stack.config, "m")
    kinds = [entry.kind for entry in stack.journal.read("m")]
    assert kinds.count("ServiceCounted") == 1
    after = told(stack, capfd)
    for number in ("1", "2"):
        for key in ("requests", "labels", "scored"):
            assert after[number][key] == before[number][key]
