"""Nothing is left out of the evidence without a word: refused and repeated requests, bare rows, labels of nothing."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.offline_replay import MAX_REFUSED_REQUESTS, OfflineReplay
from surefoot.core.domain import EvidenceKind, Outcome, Role, Verdict, Version
from surefoot.core.errors import NotFound
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import BadEventCounts, BadEventStratum, PairedSums
from surefoot.core.judging.evidence_json import decode_evidence, encode_evidence
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Metric
from surefoot.core.verdicts.excluded_report import EXCLUSION_REASON_TEXTS, report_excluded_records
from tests.gates import make_gate
from tests.unit.test_counts import ERRORS, LATENCY, LIVE, V1, V2, before
from tests.unit.test_counts import record as served
from tests.unit.test_replay import ASKED, Model, half, label, record, write

NO: dict[str, Any] = {"error": "ValueError: no", "answered_by": None, "prediction": None}
"""A request that no version could answer."""
MISSING = make_gate("labels", Metric.MISSING_LABEL, margin=0.01, maturity=10.0)


def strict(row: Mapping[str, object]) -> object:
    """A model that takes numbers only."""
    return float(str(row["x"]))  # a text is no number for it


def measured(root: Path, champion: Model | None = None, candidate: Model | None = None) -> PredictionLogEvidence:
    """The evidence port over a log of both kinds of records."""
    models = {V1.digest: champion or Model(strict), V2.digest: candidate or Model(strict)}
    log = PredictionLog(root)
    return PredictionLogEvidence(
        log,
        OfflineReplay(log, lambda _model, version: models[version.digest]),
        lambda suite, frame, _name: ValidationResult(suite, len(frame), 1, ()),
    )


def garbage(count: int, **fields: Any) -> list[dict[str, object]]:
    """Requests that no version can answer, half of them in each arm."""
    odd: dict[str, Any] = {"features": {"x": "oops"}, **NO, **fields}
    return [served(f"g{i}", arm=("champion", "candidate")[i % 2], **odd) for i in range(count)]


def test_what_every_version_refuses_is_no_failure_of_any(tmp_path: Path) -> None:
    """A thousand requests that no version can answer change no count, and the verdict says that they came."""
    good = [served(f"q{i}", arm=("champion", "candidate")[i % 2]) for i in range(400)]
    write(tmp_path, "predictions", [*good, *garbage(1000), before("b", features={"x": "oops"}, **NO), before("ok")])
    found = measured(tmp_path).gather(LIVE)
    assert isinstance(found, BadEventCounts)
    assert found.strata == (BadEventStratum(0.05, 0, 200, 0, 200),)
    assert (found.baseline, found.history) == (0.0, 1)
    assert found.left.refused == 1001
    verdict = judge(ERRORS, found, DecisionThresholds())
    assert "1,001 requests that no version could answer" in verdict.reason
    assert {"left out": EXCLUSION_REASON_TEXTS["refused"], "n": 1001} in verdict.details


def test_a_failure_of_one_version_stays_its_own(tmp_path: Path) -> None:
    """What the champion refuses and the candidate can answer is a failure of the champion, and the other way round."""
    write(
        tmp_path,
        "predictions",
        [
            *(served(f"a{i}", features={"x": "oops"}, **NO) for i in range(6)),
            *(served(f"b{i}", arm="candidate", error="E: x", answered_by="1") for i in range(3)),
            served("c", arm="candidate"),
        ],
    )
    found = measured(tmp_path, candidate=Model(half)).gather(LIVE)
    assert isinstance(found, BadEventCounts)
    assert found.strata == (BadEventStratum(0.05, 3, 1, 6, 0),)
    assert found.left.refused == 0


def test_while_it_bakes_the_old_champion_is_asked(tmp_path: Path) -> None:
    """Alone, the candidate's failure counts where the old champion could have answered, and not where it could not."""
    rows = [served(f"b{i}", version="2", weight=0.0, **NO) for i in range(4)]
    odd = [served(f"g{i}", version="2", weight=0.0, features={"x": "oops"}, **NO) for i in range(5)]
    write(tmp_path, "predictions", [*rows, *odd, served("ok", version="2", weight=0.0), before("old")])
    found = measured(tmp_path, candidate=Model(strict)).gather(replace(LIVE, kind=EvidenceKind.BAKE))
    assert isinstance(found, BadEventCounts)
    assert [(s.candidate_bad, s.candidate_good) for s in found.strata] == [(4, 1)]
    assert found.left.refused == 5


def test_of_very_many_the_rest_is_taken_as_most(tmp_path: Path) -> None:
    """So many are asked and no more; the rest is taken as most of those."""
    candidate = Model(strict)
    write(
        tmp_path,
        "predictions",
        [served(f"g{i}", features={"x": "oops"}, **NO) for i in range(MAX_REFUSED_REQUESTS + 50)],
    )
    assert len(measured(tmp_path, candidate=candidate)._answers.refused_requests(LIVE)) == MAX_REFUSED_REQUESTS + 50
    assert len(candidate.sizes) == MAX_REFUSED_REQUESTS


def test_a_version_that_cannot_be_loaded_refuses_nothing(tmp_path: Path) -> None:
    """Without the other version to ask, errors are counted as they stand; the gate is no ERROR for it."""
    write(tmp_path, "predictions", [served("a", **NO), served("b", arm="candidate")])

    def load(_model: str, _version: Version) -> Model:
        raise NotFound("no such version")

    log = PredictionLog(tmp_path)
    found = PredictionLogEvidence(
        log, OfflineReplay(log, load), lambda suite, _f, _n: ValidationResult(suite, 1, 1, ())
    ).gather(LIVE)
    assert isinstance(found, BadEventCounts)
    assert found.strata == (BadEventStratum(0.05, 0, 1, 1, 0),)


def test_refused_requests_are_not_validated_and_not_replayed(tmp_path: Path) -> None:
    """A request with a text for a number, answered 400, is not in the suite's table and not in the shadow."""
    rows = [record(i, 100.0 + i, features={"x": 1.0}) for i in range(5)]
    write(tmp_path, "predictions", [*rows, record(9, 200.0, features={"x": "oops"}, **NO)])
    found = measured(tmp_path).gather(replace(ASKED, gate=make_gate("data", Metric.VALIDATION), kind=EvidenceKind.DATA))
    assert found == ValidationResult("sha256:s", 5, 1, (), left=ExcludedRecords(records=6, refused=1))
    shadow = measured(tmp_path).gather(replace(ASKED, gate=ERRORS))
    assert isinstance(shadow, BadEventCounts)
    assert shadow.strata == (BadEventStratum(0.5, 0, 5, 0, 5),)


@pytest.mark.parametrize(("copies", "outcome"), [(9900, Outcome.ERROR), (3, Outcome.PASS)])
def test_recycled_ids_are_counted_once_and_told(tmp_path: Path, copies: int, outcome: Outcome) -> None:
    """Failing requests under one id are no 0 % of failures: a few repetitions are told, many make an ERROR."""
    good = [served(f"q{i}", arm=("champion", "candidate")[i % 2], weight=50.0) for i in range(4000)]
    again = [
        served("q1", at=1200.0, arm="candidate", weight=50.0, error="E: x", answered_by="1") for _ in range(copies)
    ]
    write(tmp_path, "predictions", [*good, *again])
    found = measured(tmp_path).gather(LIVE)
    assert isinstance(found, BadEventCounts)
    assert found.left.repeated == copies
    verdict = judge(ERRORS, found, DecisionThresholds(0.01, 0.05))
    assert verdict.outcome is outcome
    assert f"{copies:,} records with the id of a request that was counted already" in verdict.reason


def test_every_live_gate_says_what_was_left_out(tmp_path: Path) -> None:
    """The latency gate tells of refused requests as the error gate does."""
    write(tmp_path, "predictions", [*garbage(10), served("a"), served("b", arm="candidate")])
    found = measured(tmp_path).gather(replace(LIVE, gate=LATENCY))
    assert found.left == ExcludedRecords(records=12, refused=10)  # type: ignore[union-attr]


def test_labels_of_nothing_and_labels_before_their_request(tmp_path: Path) -> None:
    """Each gate that waits for labels tells how many are of unknown requests, too early, or not of this time."""
    write(tmp_path, "predictions", [served(f"q{i}", at=1100.0 + i) for i in range(3)])
    labels = [label(0, 1, 1050.0), label(1, 1, 1.2e12), label(77, 1, 1500.0), label(78, 1, 1500.0)]
    write(tmp_path, "labels", labels)
    found = measured(tmp_path).gather(replace(LIVE, gate=MISSING))
    assert isinstance(found, BadEventCounts)
    assert (found.left.unknown, found.left.early, found.left.future) == (2, 1, 1)
    paired = measured(tmp_path).gather(replace(ASKED, since=0.0, until=2000.0))
    assert isinstance(paired, PairedSums)
    assert (paired.left.unknown, paired.left.early, paired.left.future) == (2, 1, 1)


def test_bare_arrays_are_evidence_too(tmp_path: Path) -> None:
    """Requests that are lists of numbers are replayed as they came, validated by position, and answered by both."""
    rows = [record(i, 100.0 + i, features=[1.0, 2.0]) for i in range(4)]
    write(tmp_path, "predictions", [*rows, record(9, 150.0), record(8, 151.0, features=None)])
    seen: list[object] = []

    def answer(row: object) -> object:
        seen.append(row)
        return 0.5

    found = measured(tmp_path, Model(half), Model(answer)).gather(replace(ASKED, gate=ERRORS))
    assert isinstance(found, BadEventCounts)
    assert found.strata == (BadEventStratum(0.5, 0, 5, 0, 5),)
    assert seen.count([1.0, 2.0]) == 4
    assert found.left.unkept == 1
    frame = PredictionLog(tmp_path).read_features("m", 0.0, 1000.0)
    assert list(frame.columns) == ["0", "1", "i", "origin"]
    assert len(frame) == 5


SOME = Verdict("g", "error_rate", Outcome.PASS, Role.GUARDRAIL, "it holds", details=({"slice": "all"},))


@given(st.builds(ExcludedRecords, **{name: st.integers(0, 3) for name in EXCLUSION_REASON_TEXTS}))
def test_every_count_is_in_the_sentence_and_in_the_details(left: ExcludedRecords) -> None:
    """A count that is not zero is told twice; without any the verdict is what it was, and it survives the journal."""
    verdict = report_excluded_records(SOME, left)
    told = {str(row["left out"]): row["n"] for row in verdict.details if "left out" in row}
    assert told == {words: getattr(left, name) for name, words in EXCLUSION_REASON_TEXTS.items() if getattr(left, name)}
    assert all(words in verdict.reason for words in told)
    assert told or verdict == SOME
    assert decode_evidence(encode_evidence(BadEventCounts((), left=left))) == BadEventCounts((), left=left)
