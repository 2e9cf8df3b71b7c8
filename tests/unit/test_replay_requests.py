"""What versions are asked beside their losses: golden rows, inputs, answers, scores to come; and what goes wrong."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from surefoot.adapters.evidence.column_distances import column_distances, unequal_row_shares
from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.offline_replay import MAX_COMPARED_INPUTS, UNREADABLE_ANSWERS_REASON, OfflineReplay
from surefoot.core.domain import EvidenceKind, Outcome, Role, Version
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import (
    DistributionShift,
    Evidence,
    FeatureShift,
    GoldenRows,
    MissingEvidence,
    ScoreBins,
)
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Gate, Metric
from tests.gates import make_gate
from tests.unit.test_replay import ASKED, V1, V2, days, half, label, record, write
from tests.unit.test_replay import Model as Plain

GOLDEN = replace(ASKED, gate=make_gate("golden", Metric.GOLDEN, tolerance=1e-3))
FED = replace(ASKED, gate=make_gate("fed", Metric.INPUT_SHIFT, against="champion", limit=0.01))
GIVEN = replace(ASKED, gate=make_gate("given", Metric.PREDICTION_SHIFT, against="champion", limit=0.1))
FORESEEN = replace(ASKED, gate=make_gate("foreseen", Metric.EXPECTED_LOSS, Role.SIGNAL, maturity=100.0))
SINCE = replace(
    ASKED,
    gate=make_gate("given", Metric.PREDICTION_SHIFT, limit=0.1),
    kind=EvidenceKind.LIVE,
    since=2000.0,
    until=3000.0,
)
Row = Mapping[str, object]


def near(value: float) -> float:
    """A number that equals those near it, where a float is wanted."""
    return cast("float", pytest.approx(value))


class Model(Plain):
    """A model that carries golden rows, and is fed what a function makes of its rows."""

    def __init__(
        self,
        function: Callable[[Row], object] = half,
        rows: tuple[dict[str, object], ...] = (),
        written: tuple[object, ...] = (),
        fed: Callable[[dict[str, object]], dict[str, object]] = dict,
    ) -> None:
        super().__init__(function)
        self.rows, self.written, self.fed = rows, written, fed

    def golden_rows(self) -> tuple[list[dict[str, object]], list[object]]:
        """Rows and answers as its author saw them."""
        return list(self.rows), list(self.written)

    def preprocessed(self, rows: list[dict[str, object]]) -> pd.DataFrame:
        """Rows as they are after the first steps."""
        return pd.DataFrame([self.fed(row) for row in rows])


def house(root: Path, champion: Model | None = None, candidate: Model | None = None) -> OfflineReplay:
    """A replay over a log with two loaded models."""
    models = {V1.digest: champion or Model(), V2.digest: candidate or Model()}
    return OfflineReplay(PredictionLog(root), lambda _model, version: models[version.digest])


def measured(root: Path, champion: Model | None = None, candidate: Model | None = None) -> PredictionLogEvidence:
    """The evidence port over a log."""
    return PredictionLogEvidence(
        PredictionLog(root),
        house(root, champion, candidate),
        lambda suite, frame, _: ValidationResult(suite, len(frame), 1, ()),
    )


def golden(root: Path, answers: tuple[object, ...], written: tuple[object, ...]) -> GoldenRows:
    """Golden rows that are answered like this, and were like that."""

    def function(row: Row) -> object:
        made = answers[int(str(row["i"]))]
        if made is None:
            raise ZeroDivisionError("division by zero")
        return made

    rows: tuple[dict[str, object], ...] = tuple({"i": index} for index in range(len(written)))
    found = house(root, Model(lambda _row: "the champion's"), Model(function, rows, written)).golden_rows(GOLDEN)
    assert isinstance(found, GoldenRows)
    return found


@pytest.mark.parametrize(
    ("answer", "written", "apart"),
    [
        (0.5, 0.5, 0.0),
        (0.5, 0.5009, 0.0009),
        (0.5, 0.502, 0.002),
        (1, 1.0, 0.0),
        ([0.2, 0.8], [0.2, 0.8], 0.0),
        ([0.2, 0.8], [0.3, 0.7], 0.1),
        ([0.2, 0.8], [0.2, 0.5, 0.3], math.inf),
        ({"a": 0.2, "b": [1, 2]}, {"b": [1, 2.5], "a": 0.2}, 0.5),
        ({"a": 0.2}, {"b": 0.2}, math.inf),
        ("late", "late", 0.0),
        ("late", "early", math.inf),
        (0.5, "0.5", math.inf),
        (0.5, math.nan, math.inf),
        (None, 0.5, math.inf),
    ],
)
def test_golden_answers_are_compared_inside(tmp_path: Path, answer: object, written: object, apart: float) -> None:
    """Numbers may differ by the tolerance, wherever they stand in an answer; what is not alike is wrong."""
    found = golden(tmp_path, (answer, 0.25), (written, 0.25))
    assert (found.rows, found.wrong) == (2, int(apart > 1e-3))
    if math.isfinite(apart):
        assert found.worst == pytest.approx(apart)
    if found.wrong:
        (sample,) = found.samples
        assert isinstance(sample, dict)
        assert (sample["row"], sample["answered"]) == ({"i": 0}, answer)
    verdict = judge(GOLDEN.gate, found, DecisionThresholds())
    assert verdict.outcome is (Outcome.FAIL if found.wrong else Outcome.PASS)


def test_one_golden_row_that_breaks_the_model_is_wrong_alone(tmp_path: Path) -> None:
    """A row that the candidate cannot answer is one wrong row, and at most five are shown."""
    found = golden(tmp_path, (*(0.5,) * 9, None), (0.5,) * 10)
    assert (found.rows, found.wrong) == (10, 1)
    many = golden(tmp_path, (0.1,) * 10, (0.5,) * 10)
    assert (many.wrong, len(many.samples)) == (10, 5)


def test_version_without_golden_rows_has_none(tmp_path: Path) -> None:
    """A model that carries no rows is not asked anything."""
    candidate = Model()
    assert house(tmp_path, candidate=candidate).golden_rows(GOLDEN) == GoldenRows(0, 0)
    assert candidate.sizes == []


def test_share_of_rows_on_which_another_value_is_seen(tmp_path: Path) -> None:
    """What two models are fed is compared row by row, in the columns that both look at."""
    days(tmp_path, 40)

    def other(row: dict[str, object]) -> dict[str, object]:
        return {"i": float(str(row["i"])) + (int(str(row["i"])) % 4 == 0), "origin": "JFK", "own": 1}

    found = house(tmp_path, Model(), Model(fed=other)).input_differences(FED)
    assert found == DistributionShift(
        "the champion", (FeatureShift("i", 0.25, 40, 40), FeatureShift("origin", 0.0, 40, 40)), same=True
    )


def test_only_the_latest_inputs_are_compared(tmp_path: Path) -> None:
    """Of a long window the last five thousand requests are looked at: what both see now is what counts."""
    write(tmp_path, "predictions", [record(i, 1000.0 + i, features={"i": i}) for i in range(MAX_COMPARED_INPUTS + 10)])
    found = house(tmp_path, Model(), Model(fed=lambda row: {"i": max(int(str(row["i"])), 10)})).input_differences(FED)
    assert found == DistributionShift(
        "the champion", (FeatureShift("i", 0.0, MAX_COMPARED_INPUTS, MAX_COMPARED_INPUTS),), same=True
    )


def test_answers_are_compared_as_distributions(tmp_path: Path) -> None:
    """The distance is that of Kolmogorov and Smirnov; what one of them cannot answer is left out of its side alone."""
    days(tmp_path, 50)

    def function(row: Row) -> object:
        if row["i"] == 7:
            raise ZeroDivisionError("division by zero")
        return int(str(row["i"])) / 100.0 + 0.2

    found = house(tmp_path, Model(lambda row: int(str(row["i"])) / 100.0), Model(function)).answer_shift(GIVEN)
    assert isinstance(found, DistributionShift)
    old = np.arange(50) / 100.0
    expected = stats.ks_2samp(old, np.delete(old, 7) + 0.2).statistic
    assert found.features == (FeatureShift("prediction", near(expected), 50, 49),)
    assert not found.same


def test_scores_to_come_are_told_from_the_past(tmp_path: Path) -> None:
    """Labelled requests are halved by time; young ones wait, label or not, and a label that came late is none."""
    times = [*(1000.0 + i for i in range(10)), ASKED.until - 50.0, ASKED.until - 100.0]
    write(tmp_path, "predictions", [record(i, at) for i, at in enumerate(times)])
    known = [label(i, int(i < 3), times[i] + 20.0) for i in range(9)]
    write(tmp_path, "labels", [*known, label(9, 1, times[9] + 101.0), label(10, 1, times[10] + 20.0)])
    candidate = Model(lambda row: 0.1 if row["i"] in {0, 1, 2, 3} else 0.9 if row["i"] != 8 else 1 // 0)
    found = house(tmp_path, candidate=candidate).past_scores(FORESEEN)
    assert isinstance(found, ScoreBins)
    sides = [{n: cell for n, cell in enumerate(side) if cell[0]} for side in (found.past, found.checked, found.now)]
    assert sides == [{10: (4, 3, 400_000)}, {90: (4, 0, 3_600_000)}, {90: (1, 0, 900_000)}]


@pytest.mark.parametrize("question", [FED, GIVEN], ids=["inputs", "answers"])
def test_empty_window_is_no_data(tmp_path: Path, question: object) -> None:
    """A window without a request is NO_DATA, and nothing to foresee is no data for its gate either."""
    replay = house(tmp_path)
    found = replay.input_differences(FED) if question is FED else replay.answer_shift(GIVEN)
    assert isinstance(found, MissingEvidence)
    assert found.outcome is Outcome.NO_DATA
    assert judge(FORESEEN.gate, replay.past_scores(FORESEEN), DecisionThresholds()).outcome is Outcome.NO_DATA


NUMBERS = st.lists(st.integers(0, 9), min_size=1, max_size=30)


@given(NUMBERS, NUMBERS)
def test_distance_of_numbers_is_that_of_kolmogorov_and_smirnov(old: list[int], new: list[int]) -> None:
    """Numbers lie as far apart as the shares that are no larger than some value, whichever side comes first."""
    expected = max(abs(sum(a <= x for a in old) / len(old) - sum(b <= x for b in new) / len(new)) for x in (*old, *new))
    for one, other in ((old, new), (new, old)):
        (found,) = column_distances(pd.DataFrame({"x": one}), pd.DataFrame({"x": other}))
        assert found == FeatureShift("x", near(expected), len(one), len(other))


@given(NUMBERS, NUMBERS)
def test_distance_of_categories_is_half_of_all_differences(old: list[int], new: list[int]) -> None:
    """Categories lie as far apart as their shares, summed up and halved; all that were seen are counted."""
    (found,) = column_distances(*(pd.DataFrame({"x": [f"c{n}" for n in side]}) for side in (old, new)))
    names = set(old) | set(new)
    expected = sum(abs(old.count(n) / len(old) - new.count(n) / len(new)) for n in names) / 2.0
    assert found == FeatureShift("x", near(expected), len(old), len(new), len(names))


@given(st.integers(0, 20), st.integers(0, 20))
def test_numbers_that_go_missing_have_moved(gone: int, missing: int) -> None:
    """A share of numbers that is missing now and was not is a distance of that share, up to all of them."""
    old, new = (pd.DataFrame({"x": [float(i) if i >= n else np.nan for i in range(20)]}) for n in (gone, missing))
    (found,) = column_distances(old, new)
    assert found.distance >= abs(gone - missing) / 20.0 - 1e-12


def test_few_numbers_among_many_missing_ones_prove_nothing() -> None:
    """A feature that is nearly always absent has too few values to say that they moved."""
    random = np.random.default_rng(3)
    for _ in range(20):
        old, new = (
            pd.DataFrame({"x": np.where(random.random(20_000) < 0.001, random.random(20_000), np.nan)})
            for _ in range(2)
        )
        verdict = judge(SINCE.gate, DistributionShift("before", column_distances(old, new)), DecisionThresholds())
        assert verdict.outcome is Outcome.PASS


def test_empty_sides_have_no_distance() -> None:
    """Without rows there is nothing to compare."""
    some, none = pd.DataFrame({"x": [1.0]}), pd.DataFrame({"x": []})
    assert column_distances(some, none) == column_distances(none, some) == ()


def test_values_that_are_the_same_are_no_difference() -> None:
    """Two absent values are the same, and so are numbers but for their last bits; a value and none are not."""
    old = pd.DataFrame({"x": [1.0, np.nan, np.nan, 2.0], "c": ["a", None, None, "b"], "kind": [1, 2, 3, 4]})
    new = pd.DataFrame({"x": [1.0 + 1e-12, np.nan, 0.0, 2.1], "c": ["a", None, "", "B"], "kind": ["1", "2", "3", "x"]})
    assert unequal_row_shares(old, new) == tuple(
        FeatureShift(name, share, 4, 4) for name, share in (("x", 0.5), ("c", 0.5), ("kind", 0.25))
    )
    assert unequal_row_shares(old, new[["c"]]) == (FeatureShift("c", 0.5, 4, 4),)


def test_model_that_raises_is_an_error_with_its_reason(tmp_path: Path) -> None:
    """Whatever a version does when it is asked, the gate is an ERROR that says what and why."""
    days(tmp_path, 3)
    broken = Model(rows=({"i": 1},), written=(0.5,), fed=lambda row: {"x": row["no such column"]})
    found = measured(tmp_path, candidate=broken).gather(FED)
    assert found == MissingEvidence(Outcome.ERROR, "input_shift cannot be measured: KeyError: 'no such column'")
    text = measured(tmp_path, candidate=Model(lambda _row: "late"))
    assert text.gather(FORESEEN) == MissingEvidence(
        Outcome.ERROR, f"{UNREADABLE_ANSWERS_REASON}: none of 3 can be read"
    )
    moved = text.gather(GIVEN)
    assert isinstance(moved, DistributionShift)
    assert moved.features[0].distance == 1.0
    odd = measured(tmp_path, candidate=Model(lambda _row: 1.5)).gather(FORESEEN)
    assert isinstance(odd, MissingEvidence)
    assert odd.reason.startswith(UNREADABLE_ANSWERS_REASON)


@pytest.mark.parametrize(
    "gate",
    [
        make_gate("e", Metric.ERROR_RATE),
        make_gate("l", Metric.LATENCY),
        make_gate("g", Metric.GAUGE, column="rss_mb", block=60.0),
        make_gate("v", Metric.VALUE, column="label"),
        make_gate("b", Metric.BRIER),
        make_gate("p", Metric.PREDICTION_SHIFT),
        make_gate("i", Metric.INPUT_SHIFT, against="champion"),
        make_gate("x", Metric.EXPECTED_LOSS),
    ],
    ids=lambda gate: gate.metric.value,
)
def test_log_that_cannot_be_read_is_an_error_of_every_gate(tmp_path: Path, gate: Gate) -> None:
    """A folder in the place of a segment makes no gate pass, fail, or raise."""
    (tmp_path / "m" / "predictions-1-1.jsonl").mkdir(parents=True)
    found = measured(tmp_path).gather(replace(ASKED, gate=gate, kind=EvidenceKind.LIVE))
    assert isinstance(found, MissingEvidence)
    assert found.outcome is Outcome.ERROR
    assert found.reason.startswith("the prediction log of m cannot be read: ")


def gathered(root: Path, kind: EvidenceKind, stale_after: float, gate: Gate = SINCE.gate) -> Evidence:
    """Evidence of a log that ends at 2,500 s, when it is 3,000."""
    return measured(root).gather(replace(SINCE, gate=gate, kind=kind, stale_after=stale_after))


@pytest.mark.parametrize("metric", [Metric.ERROR_RATE, Metric.LATENCY, Metric.BRIER, Metric.PREDICTION_SHIFT])
def test_silence_is_stale(tmp_path: Path, metric: Metric) -> None:
    """While a rollout serves, a log that is older than allowed is STALE, to the second, and says how old it is."""
    write(tmp_path, "predictions", [record(0, 2500.0), record(1, 3500.0)])
    gate = make_gate("g", metric, where_known={"limit": 0.1})
    for kind in (EvidenceKind.LIVE, EvidenceKind.BAKE):
        found = gathered(tmp_path, kind, 499.0, gate)
        assert isinstance(found, MissingEvidence)
        assert found.outcome is Outcome.STALE
        assert found.reason == (
            "the newest request was logged 8 min 20 s ago; after 8 min 19 s of silence (stale_after) nothing is decided"
        )
    for kind, allowed in ((EvidenceKind.LIVE, 500.0), (EvidenceKind.LIVE, 0.0), (EvidenceKind.SHADOW, 1.0)):
        fresh = gathered(tmp_path, kind, allowed, gate)
        assert not isinstance(fresh, MissingEvidence) or fresh.outcome is not Outcome.STALE


def test_log_without_a_request_is_not_stale(tmp_path: Path) -> None:
    """Nothing was ever logged: that is no data, not old data."""
    found = gathered(tmp_path, EvidenceKind.LIVE, 1.0, make_gate("e", Metric.ERROR_RATE))
    assert isinstance(found, MissingEvidence)
    assert found.outcome is Outcome.NO_DATA


def test_answers_are_compared_with_the_window_before(tmp_path: Path) -> None:
    """A window is compared with the one of the same length before it, by what callers got from either version."""
    cells = [(1000.0, 0.9), (1001.0, 0.1), (2000.0, 0.2), (2001.0, 0.2), (2999.0, 0.3), (3000.0, 0.3), (3001.0, 0.9)]
    rows = [record(i, at, prediction=given, answered_by=str(i % 2)) for i, (at, given) in enumerate(cells)]
    write(tmp_path, "predictions", [*rows, record(9, 2500.0, prediction=None, error="E: x")])
    found = measured(tmp_path).gather(SINCE)
    shift = FeatureShift("prediction", near(2 / 3), 2, 3)
    assert found == DistributionShift("the window before", (shift,), left=ExcludedRecords(records=4))


def test_versions_are_asked_by_their_bytes(tmp_path: Path) -> None:
    """Two versions with the same bytes are one model, loaded once."""
    days(tmp_path, 3)
    loaded: list[str] = []

    def load(_model: str, version: Version) -> Model:
        loaded.append(version.number)
        return Model()

    replay = OfflineReplay(PredictionLog(tmp_path), load)
    replay.input_differences(replace(FED, candidate=Version("9", V1.digest)))
    assert loaded == ["1"]
