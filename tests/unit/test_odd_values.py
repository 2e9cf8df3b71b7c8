"""One odd value is counted and its request named; it decides nothing until there are many."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from surefoot.adapters.evidence.column_distances import column_distances, count_texts_among_numbers
from surefoot.adapters.evidence.excluded_counts import count_excluded_records
from surefoot.adapters.evidence.paired.paired_loss_evidence import build_paired_loss_evidence
from surefoot.adapters.evidence.paired.scored_batch import ScoredBatch
from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.predictions.validation_table import answers_to_frame
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.core.domain import Outcome
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import MILLIONTHS_PER_UNIT, DistributionShift, Evidence, PairedSums
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Gate, Metric
from tests.gates import make_gate
from tests.unit.test_replay import ASKED, QUALITY, V1, V2, label, record, write
from tests.unit.test_replay_requests import Model

DAY = 86400.0
ALL = 10 * 60
"""Requests of ten days [count]."""


def shadow(root: Path, strange: int, gate: Gate = QUALITY, value: object = "belated") -> Evidence:
    """Ten days of requests of which the first ones have a label that no metric of numbers can read."""
    write(root, "predictions", [record(i, 100.0 + (i % 10) * DAY + i, features={"x": float(i)}) for i in range(ALL)])
    told = [label(i, value if i < strange else i // 10 % 2, 150.0 + (i % 10) * DAY + i) for i in range(ALL)]
    write(root, "labels", told)
    models = {V1.digest: Model(lambda _row: 0.4), V2.digest: Model(lambda _row: 0.5)}
    log = PredictionLog(root)
    replay = OfflineReplay(log, lambda _model, version: models[version.digest])
    measured = PredictionLogEvidence(log, replay, lambda suite, _frame, _name: ValidationResult(suite, 1, 1, ()))
    return measured.gather(replace(ASKED, gate=gate, until=11 * DAY))


@pytest.mark.parametrize(("strange", "wrong"), [(3, False), (40, True)])
def test_a_few_labels_that_cannot_be_read_are_left_out(tmp_path: Path, strange: int, *, wrong: bool) -> None:
    """Three texts among labels of 0 and 1 are counted and their requests named; forty make an ERROR."""
    found = shadow(tmp_path, strange)
    assert isinstance(found, PairedSums)
    assert found.left.odd == strange
    assert len(found.left.requests) == min(strange, 5)
    assert sum(block.n for block in found.slices[""]) == ALL - strange
    verdict = judge(QUALITY, found, DecisionThresholds())
    assert (verdict.outcome is Outcome.ERROR) is wrong
    assert f"{strange} values that cannot be read" in verdict.reason
    assert found.left.requests[0] in verdict.reason
    assert "belated" not in str(verdict)


def test_a_label_that_is_no_class_is_odd() -> None:
    """A label that is none of the classes and an answer that is no distribution are odd, each once."""
    three = make_gate("g", Metric.BRIER, classes=("H", "D", "A"), block=10.0)
    even = [0.2, 0.3, 0.5]
    batch = ScoredBatch(
        at=np.arange(4, dtype=np.float64),
        champion=[even, even, [1.0], even],
        candidate=[even] * 4,
        labels=["H", "X", "D", "A"],
        late=np.zeros(4, dtype=bool),
        ids=["a", "b", "c", "d"],
    )
    found = build_paired_loss_evidence(three, 0.0, 100.0, [batch]).evidence()
    assert (found.left.odd, set(found.left.requests)) == (2, {"b", "c"})
    (block,) = found.slices[""]
    assert block.n == 2
    assert block.champion == block.candidate


def test_the_sums_are_those_without_the_odd_requests() -> None:
    """Leaving out what cannot be read gives the sums of the rest, in any cut of the batches."""
    gate = make_gate("g", Metric.ABSOLUTE_ERROR, block=10.0)

    def batch(labels: list[object]) -> ScoredBatch:
        n = len(labels)
        return ScoredBatch(np.arange(n, dtype=np.float64), [1.0] * n, [2.0] * n, labels, np.zeros(n, dtype=bool))

    mixed, clean = (
        build_paired_loss_evidence(gate, 0.0, 100.0, [batch([1, "x", 3, "y", 5])]),
        build_paired_loss_evidence(gate, 0.0, 100.0, [batch([1])]),
    )
    (block,), (alone,) = mixed.evidence().slices[""], clean.evidence().slices[""]
    assert (block.n, block.champion, block.candidate) == (3, (6 * MILLIONTHS_PER_UNIT,), (5 * MILLIONTHS_PER_UNIT,))
    assert (alone.champion, alone.candidate) == ((0,), (MILLIONTHS_PER_UNIT,))
    assert mixed.evidence().left.odd == 2


@pytest.mark.parametrize("odd", ["oops", [1], {"a": 1}, True, 10**400], ids=repr)
def test_one_text_among_numbers_moves_no_distance(odd: object) -> None:
    """A column of numbers with one value of another kind is one of numbers: its distance is what it is without it."""
    rows = [float(i) for i in range(200)]
    clean = pd.DataFrame({"x": rows}, index=[f"q{i}" for i in range(200)])
    mixed = pd.DataFrame({"x": pd.Series([odd, *rows], dtype=object).to_list()}, index=[f"q{i}" for i in range(201)])
    (found,) = column_distances(clean, mixed)
    assert (found.distance, found.categories) == (0.0, 0)
    assert count_texts_among_numbers(clean, mixed).requests == ("q0",)
    assert count_texts_among_numbers(clean, clean).odd == 0


def test_texts_are_categories_where_they_are_the_rule() -> None:
    """A column of texts is compared by its categories, and so are answers that are classes or several numbers."""
    old, new = (answers_to_frame(side, list("abcd")) for side in (["H", "H", "D", "A"], ["H", "D", "D", "A"]))
    (found,) = column_distances(old, new)
    assert found.distance == pytest.approx(0.25)
    many = answers_to_frame([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], ["a", "b"])
    assert list(many.columns) == ["prediction.0", "prediction.1", "prediction.2"]


@pytest.mark.parametrize("keys", [("x",), ()])
def test_columns_can_be_left_out_of_a_shift(tmp_path: Path, keys: tuple[str, ...]) -> None:
    """A column of the calendar is not compared, and the verdict names it."""
    rows = [
        record(i, at, features={"x": at, "y": 1.0}) for i, at in enumerate([*range(1000, 1300), *range(2000, 2300)])
    ]
    write(tmp_path, "predictions", rows)
    log = PredictionLog(tmp_path)
    gate = make_gate("inputs", Metric.INPUT_SHIFT, limit=0.1, ignored=keys)
    question = replace(ASKED, gate=gate, since=1999.0, until=2999.0)
    found = PredictionLogEvidence(
        log, OfflineReplay(log, lambda _m, _v: Model()), lambda s, _f, _n: ValidationResult(s, 1, 1, ())
    ).gather(question)
    assert isinstance(found, DistributionShift)
    assert {feature.name for feature in found.features} == {"y"} | ({"x"} - set(keys))
    verdict = judge(gate, found, DecisionThresholds())
    assert ("not compared: x" in verdict.reason) is bool(keys)
    assert (verdict.outcome is Outcome.FAIL) is not keys


def test_what_a_gate_cannot_see_is_said() -> None:
    """Where both versions are fed the row as it came, the verdict says that nothing inside them was looked at."""
    gate = make_gate("fed", Metric.INPUT_SHIFT, against="champion", limit=0.01)
    frame = pd.DataFrame({"x": [1.0] * 900})
    shifts = column_distances(frame, frame)
    for blind in (False, True):
        verdict = judge(gate, DistributionShift("the champion", shifts, same=True, blind=blind), DecisionThresholds())
        assert ("is not seen" in verdict.reason) is blind


def test_features_that_are_not_kept_are_counted(tmp_path: Path) -> None:
    """Requests whose features the policy does not keep are missing from every window, and counted."""
    write(tmp_path, "predictions", [record(i, 100.0 + i, features=None if i % 2 else {"x": 1}) for i in range(10)])
    assert count_excluded_records(PredictionLog(tmp_path), ASKED).unkept == 5
