"""Answers come back from Arrow columns as the JSON values that they were, and metrics read both alike."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.adapters.replay.answer_columns import (
    answer_scores,
    answer_table,
    answer_values,
    make_answer_column,
    merge_answer_parts,
    missing_answer_mask,
    paired_answer_arrays,
    parse_answer_column,
)
from surefoot.core.answers.disagreement import find_disagreeing_requests
from surefoot.core.answers.losses import compute_losses
from surefoot.core.policy.policy_types import Metric
from tests.gates import make_gate

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)
SCALARS = NUMBERS | st.booleans() | st.text(max_size=5)
ANSWERS = st.one_of(
    st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False)),
    st.lists(st.none() | st.lists(st.floats(0.0, 1.0), min_size=2, max_size=2)),
    st.lists(st.none() | st.text(max_size=5)),
    st.lists(
        st.none() | SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
    ),
)


@given(answers=ANSWERS)
def test_answers_come_back(answers: list[object]) -> None:
    """What was put into a column, or was logged as JSON, comes out of it; None is no answer."""
    column = make_answer_column(answers)
    assert answer_values(column) == answers
    assert missing_answer_mask(column).tolist() == [answer is None for answer in answers]
    texts = pa.array([None if answer is None else json.dumps(answer) for answer in answers], type=pa.string())
    assert answer_values(parse_answer_column(texts)) == answers


def test_parts_come_to_their_places() -> None:
    """Parts of one type stay of that type; parts of several keep each value; rows without a part have none."""
    numbers, texts = pa.array([0.5, 0.25]), pa.array(["a"])
    one = merge_answer_parts(4, [(np.array([2, 0]), numbers)])
    assert answer_values(one) == [0.25, None, 0.5, None]
    both = merge_answer_parts(4, [(np.array([2, 0]), numbers), (np.array([3]), texts)])
    assert answer_values(both) == [0.25, None, 0.5, "a"]
    assert answer_values(merge_answer_parts(2, [])) == [None, None]


@given(pairs=st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=20))
@pytest.mark.parametrize("metric", [Metric.BRIER, Metric.LOG_LOSS])
def test_metrics_read_columns_as_values(metric: Metric, pairs: list[tuple[float, float, bool]]) -> None:
    """Losses and disagreements of two class probabilities are the same from columns as from the values."""
    gate = make_gate("g", metric, margin=0.1)
    old, new = ([[1.0 - pair[side], pair[side]] for pair in pairs] for side in (0, 1))
    labels = np.array([float(pair[2]) for pair in pairs])
    fast = paired_answer_arrays(gate, make_answer_column(old), make_answer_column(new))
    assert all(isinstance(side, np.ndarray) for side in fast)
    for quick, slow in zip(fast, (old, new), strict=True):
        assert compute_losses(gate, quick, labels).tolist() == compute_losses(gate, slow, labels).tolist()
    assert find_disagreeing_requests(*fast, 0.5).tolist() == find_disagreeing_requests(old, new, 0.5).tolist()


@given(pairs=st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e-3, 1e-3)), min_size=1, max_size=20))
def test_numbers_differ_alike_in_arrays_and_lists(pairs: list[tuple[float, float]]) -> None:
    """Whether two numbers are one decision does not depend on how they are held, nor on which comes first."""
    old, new = [one for one, _ in pairs], [one * (1.0 + apart) for one, apart in pairs]
    fast = find_disagreeing_requests(np.array(old), np.array(new), 0.5)
    assert fast.tolist() == find_disagreeing_requests(old, new, 0.5).tolist()
    assert fast.tolist() == find_disagreeing_requests(np.array(new), np.array(old), 0.5).tolist()


def test_scores_are_probabilities_or_nothing() -> None:
    """The probability of yes is read from numbers and pairs; whatever else was answered is NaN."""
    given_ = [[0.3, 0.7], 0.25, "late", None, 7.0, [0.5, 0.9]]
    found = answer_scores(make_answer_column(given_)).tolist()
    assert found[:2] == [0.7, 0.25]
    assert all(math.isnan(one) for one in found[2:])
    assert answer_scores(make_answer_column([[0.3, 0.7], None])).tolist()[0] == 0.7


def test_answers_as_a_table() -> None:
    """Numbers are one column, several outputs a column each, and requests without an answer are left out."""
    numbers = answer_table([make_answer_column([0.5, None]), make_answer_column([0.25])], [["a", "b"], ["c"]])
    assert numbers["prediction"].tolist() == [0.5, 0.25]
    several = answer_table([make_answer_column([[0.1, 0.9], None])], [["a", "b"]])
    assert several.to_dict("list") == {"prediction.0": [0.1], "prediction.1": [0.9]}
    mixed = answer_table([make_answer_column([0.5, None]), make_answer_column(["late"])], [["a", "b"], ["c"]])
    assert mixed["prediction"].to_dict() == {"a": 0.5, "c": "late"}
