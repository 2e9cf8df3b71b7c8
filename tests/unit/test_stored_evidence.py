"""What was counted of a closed part is kept, is asked for once, and an altered part is named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.evidence_store.evidence_store import EvidenceStore
from surefoot.adapters.evidence_store.request_key_index import find_altered_files
from surefoot.adapters.evidence_store.verdict_recount import recount_verdict
from surefoot.adapters.predictions.compaction import PARTS_PER_TABLE, compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay import replay_window
from surefoot.adapters.replay.incremental_replay import IncrementalReplay
from surefoot.adapters.replay.window_copy import copy_window
from surefoot.core.domain import Outcome
from surefoot.core.judging.evidence import BadEventCounts, Evidence, MissingEvidence, PairedSums
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.reverify import RecountResult
from surefoot.core.policy.policy_types import Metric
from surefoot.models.model_protocols import PredictorLost
from tests.gates import changed, make_gate
from tests.unit.test_replay import ASKED, DAY, QUALITY, V1, V2, Model, half, label, record

SLICED = replace(ASKED, gate=changed(QUALITY, by=("origin",)))
ERRORS = replace(ASKED, gate=make_gate("errors", Metric.ERROR_RATE, margin=0.02))
PER_FILE = 10


class House:
    """A log, what is kept of it, and two models that count what they are asked."""

    def __init__(self, home: Path, candidate: Model | None = None) -> None:
        self.home, self.root, self.files = home, home / "gateway" / "log", 0
        (self.root / "m").mkdir(parents=True)
        self.models = {V1.digest: Model(half), V2.digest: candidate or Model(lambda row: (row["i"] % 4) / 4.0)}  # type: ignore[operator] # numbers
        self.store = EvidenceStore(home / "evidence", "m")

    def add(self, *, compacted: bool) -> None:
        """Ten more requests, an hour apart, and their labels."""
        first = self.files * PER_FILE
        rows = [
            record(i, 3600.0 * (i + 1), features={"i": i, "origin": "AB"[i % 2]})
            for i in range(first, first + PER_FILE)
        ]
        self.write("predictions", rows)
        self.write("labels", [label(i, i % 2, 3600.0 * (i + 1) + 50.0) for i in range(first, first + PER_FILE)])
        if compacted:
            compact_log(self.root, "m")

    def write(self, kind: str, rows: list[dict[str, object]]) -> None:
        """One more file."""
        self.files += kind == "predictions"
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (self.root / "m" / f"{kind}-{self.files}-{len(list(self.root.rglob('*')))}.jsonl").write_text(text)

    def look(self, question: EvidenceRequest = SLICED) -> tuple[Evidence, int]:
        """Ask in a process of its own, as it were; and how many rows the versions were asked."""
        log = PredictionLog(self.root)
        replay = IncrementalReplay(log, lambda _model, version: self.models[version.digest], self.home / "evidence")
        found = PredictionLogEvidence(log, replay, lambda *_: pytest.fail("no gate asks for a suite")).gather(question)
        asked = replay.rows_scored
        replay.close()
        return found, asked

    def sums(self, question: EvidenceRequest = SLICED) -> tuple[PairedSums, int]:
        """The same, of sums that must be there."""
        found, asked = self.look(question)
        assert isinstance(found, PairedSums), found
        return found, asked

    def parts(self, kind: str = "predictions") -> list[Path]:
        """Closed files."""
        return sorted((self.root / "m").glob(f"{kind}-*.parquet"))


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A log of two closed parts and a tail."""
    made = House(tmp_path)
    for compacted in (True, True, False):
        made.add(compacted=compacted)
    return made


def test_parts_that_are_counted_before_a_look_are_added_up_by_it(house: House) -> None:
    """Each closed part waits until it is counted, by whichever process; then the look asks only about the tail."""
    questions = (SLICED, ERRORS)
    whole = [house.look(question)[0] for question in questions]
    shutil.rmtree(house.home / "evidence")

    def replay() -> IncrementalReplay:
        models = house.models
        return IncrementalReplay(
            PredictionLog(house.root), lambda _m, version: models[version.digest], house.home / "evidence"
        )

    waiting = replay().uncounted_files(questions)
    assert sorted(waiting.values()) == [path.name for path in house.parts()]
    for name in reversed(list(waiting)):
        mine = replay()
        assert mine.count_file(questions, name)
        assert mine.rows_scored == 2 * PER_FILE
        mine.close()
    assert replay().uncounted_files(questions) == {}
    assert replay().count_file(questions, "of another log") is False
    looks = [house.look(question) for question in questions]
    assert [found for found, _ in looks] == whole
    assert [asked for _, asked in looks] == [2 * PER_FILE, 0]


def test_a_question_that_needs_no_version_waits_for_no_part(house: House) -> None:
    """Parts wait for gates that ask about all requests; not for golden rows, nor where the window is sampled."""
    log = PredictionLog(house.root)
    replay = IncrementalReplay(log, lambda _m, version: house.models[version.digest], house.home / "evidence")
    golden = replace(ASKED, gate=make_gate("rows", Metric.GOLDEN))
    assert replay.uncounted_files([golden, replace(SLICED, max_rows=5)]) == {}
    assert len(replay.uncounted_files([golden, SLICED])) == 2
    assert replay.count_file([], "any") is False


def test_a_version_is_asked_about_each_request_once(house: House) -> None:
    """A second look, another gate and a compaction ask no version about a request again; new ones are asked."""
    first, asked = house.sums()
    assert (asked, first.requests) == (2 * 3 * PER_FILE, 3 * PER_FILE)
    assert house.sums() == (first, 0)
    assert house.look(ERRORS)[1] == 0
    house.add(compacted=False)
    second, asked = house.sums()
    assert (asked, second.requests) == (2 * PER_FILE, 4 * PER_FILE)
    compact_log(house.root, "m")
    again, asked = house.sums()
    assert (replace(again, kept=""), asked) == (replace(second, kept=""), 0)


def test_a_merge_of_parts_asks_no_version_again(tmp_path: Path) -> None:
    """The answers of many parts are found when these have become one table, and the files of the parts go."""
    house = House(tmp_path)
    for _ in range(PARTS_PER_TABLE - 1):
        house.add(compacted=True)
    assert house.sums()[1] == 2 * (PARTS_PER_TABLE - 1) * PER_FILE
    house.add(compacted=True)
    assert [path.name for path in house.parts() if not path.name.endswith(".whole.parquet")] == []
    found, asked = house.sums(replace(SLICED, until=40 * DAY))
    assert (asked, found.requests) == (2 * PER_FILE, PARTS_PER_TABLE * PER_FILE)
    answers = list((tmp_path / "evidence" / "m" / "answers").rglob("*.parquet"))
    assert len(answers) == 2  # one a version


def test_later_labels_change_the_sums_of_their_part_and_ask_nobody(house: House) -> None:
    """A label that comes late, or replaces an earlier one, counts at the next look, without asking a version."""
    first, _ = house.sums()
    house.write("labels", [label(3, 0, 3600.0 * 4 + 60.0), label(27, 0, 3600.0 * 28 + 70.0)])
    second, asked = house.sums()
    assert (asked, second.corrected - first.corrected) == (0, 2)
    assert second.slices != first.slices
    compact_log(house.root, "m")
    third, asked = house.sums()
    assert (replace(third, kept=""), asked) == (replace(second, kept=""), 0)


def test_the_kept_sums_add_up_to_the_counters_when_the_rows_are_gone(house: House) -> None:
    """With no row of the log left, the counters of both kinds of evidence are computed again from what was kept."""
    found = [house.look(question)[0] for question in (SLICED, ERRORS)]
    shutil.rmtree(house.root)
    for question, evidence in zip((SLICED, ERRORS), found, strict=True):
        assert isinstance(evidence, PairedSums | BadEventCounts)
        assert evidence.kept
        assert recount_verdict(house.store, question.gate, evidence) == (RecountResult.DONE, "")
    sums = found[0]
    assert isinstance(sums, PairedSums)
    done, problem = recount_verdict(house.store, SLICED.gate, replace(sums, labelled=sums.labelled - 1))
    assert (done, "do not add up" in problem) == (RecountResult.DONE, True)


@pytest.mark.parametrize("place", ["sums", "looks"])
def test_an_altered_file_of_sums_is_named(house: House, place: str) -> None:
    """A kept file with other bytes than its name says is named, by a recount and by the next look that needs it."""
    found, _ = house.sums()
    for path in (house.home / "evidence" / "m" / place).glob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    done, problem = recount_verdict(house.store, SLICED.gate, found)
    assert done is RecountResult.DONE
    assert "has been altered" in problem
    if place == "sums":
        again = house.look()[0]
        assert isinstance(again, MissingEvidence)
        assert (again.outcome, "has been altered" in again.reason) == (Outcome.ERROR, True)


def test_sums_that_are_not_here_are_said_to_be_gone(house: House) -> None:
    """Where the folder of kept evidence was lost, verdicts are still judged again from the journal, and it is said."""
    found, _ = house.sums()
    shutil.rmtree(house.home / "evidence")
    assert recount_verdict(house.store, SLICED.gate, found)[0] is RecountResult.GONE


def test_an_altered_part_of_the_log_is_named(house: House) -> None:
    """A closed part whose requests were counted, and that has other bytes now, ends the look with its name."""
    house.sums()
    assert find_altered_files(house.store.indexes, house.root / "m") == []
    path = house.parts()[0]
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    assert find_altered_files(house.store.indexes, house.root / "m") == [path.name]
    found = house.look()[0]
    assert isinstance(found, MissingEvidence)
    assert path.name in found.reason


def test_a_part_that_is_copied_back_is_the_same_part(house: House) -> None:
    """A part with the same bytes and another time of change, as after a restored backup, is not counted again."""
    first = house.sums()[0]
    for path in house.parts():
        path.write_bytes(path.read_bytes())
    assert house.sums() == (first, 0)


def test_what_a_lost_process_did_not_answer_is_asked_again(tmp_path: Path) -> None:
    """A row that has no answer because the version's process ended is asked again at the next look."""
    ends = [True]

    def answer(row: object) -> object:
        if row["i"] == 3 and ends[0]:  # type: ignore[index] # a mapping
            raise PredictorLost("killed")
        return 0.5

    house = House(tmp_path, Model(answer))
    house.add(compacted=True)
    assert house.sums()[0].unscored == 1
    assert house.sums()[0].unscored == 1
    ends[0] = False
    found, asked = house.sums()
    assert (found.unscored, asked) == (0, 1)


def test_what_a_version_cannot_answer_is_kept_like_an_answer(tmp_path: Path) -> None:
    """A row for which the version raises is not asked again, and counts as unanswered at each look."""
    house = House(tmp_path, Model(lambda row: 1.0 / (row["i"] - 3)))  # type: ignore[operator] # numbers
    house.add(compacted=True)
    assert house.sums()[0].unscored == 1
    found, asked = house.sums()
    assert (found.unscored, asked) == (1, 0)
    errors, asked = house.look(ERRORS)
    assert isinstance(errors, BadEventCounts)
    assert (errors.strata[0].candidate_bad, asked) == (1, 0)


def test_answers_go_with_their_requests(house: House) -> None:
    """Answers to requests that are older than what the log keeps are removed; younger ones stay."""
    house.sums()
    assert house.store.answers.remove_before(3600.0 * (PER_FILE + 0.5)) == 2
    assert house.sums()[1] == 0  # the sums of that part are kept
    house.write("labels", [label(3, 0, 3600.0 * 4 + 60.0)])
    assert house.sums()[1] == 2 * PER_FILE


def test_two_parts_of_the_same_bytes_are_one_set_of_requests(tmp_path: Path) -> None:
    """Files with equal bytes, such as a restored backup beside the original, are counted as the same requests once."""
    house = House(tmp_path)
    for compacted in (True, True):
        house.add(compacted=compacted)
    whole, _ = house.look()
    for kind in ("predictions", "labels"):
        first = house.parts(kind)[0]
        shutil.copy(first, first.with_name(f"{kind}-0123456789abcdef.part.parquet"))
    again, _ = house.look()
    assert isinstance(whole, PairedSums)
    assert isinstance(again, PairedSums)
    assert (again.slices, again.requests) == (whole.slices, whole.requests)


def test_a_look_copies_each_part_out_of_the_log_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """All gates of a look are counted while a part is open; what the next gate asks is at hand or kept."""
    copied: list[Path | None] = []

    def copy(db: duckdb.DuckDBPyConnection, place: Path, *rest: object, part: Path | None, **how: object) -> int:
        copied.append(part)
        return copy_window(db, place, *rest, part=part, **how)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(replay_window, "copy_window", copy)
    models = house.models
    replay = IncrementalReplay(
        PredictionLog(house.root), lambda _m, version: models[version.digest], house.home / "evidence"
    )
    gates = (SLICED.gate, ERRORS.gate, make_gate("apart", Metric.DISAGREEMENT, limit=0.01, block=0.0))
    for gate in gates:
        question = replace(SLICED, gate=gate, look_gates=gates)
        PredictionLogEvidence(PredictionLog(house.root), replay, lambda *_: None).gather(question)  # type: ignore[arg-type] # no suite
    assert len(copied) == 3
    replay.close()
