"""Each pair of an answer and a label is read by itself: no other pair can change its loss."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.adapters.evidence.paired.paired_loss_evidence import build_paired_loss_evidence
from surefoot.adapters.evidence.paired.scored_batch import ScoredBatch
from surefoot.core.answers.losses import compute_losses
from surefoot.core.errors import InvariantBroken
from surefoot.core.judging.evidence import MILLIONTHS_PER_UNIT, PairedBlock, PairedSums
from surefoot.core.policy.policy_types import LOSS_METRICS, Costs, Metric, PairedGate, get_gate_class_names
from tests.gates import make_gate

COSTS = Costs(tp=1.0, fp=2.0, fn=3.0, tn=4.0)
GATES = [
    make_gate("g", metric, where_known={"classes": classes, "costs": COSTS}, block=10.0, by=("o",))
    for classes in ((), ("0", "1"), ("1", "2"), ("1", "0"), ("no", "yes"))
    for metric in (Metric.ZERO_ONE, Metric.BRIER, Metric.COST, Metric.SELECTION_GAP, Metric.AUC)
] + [
    make_gate("g", metric, where_known={"quantiles": (0.5,)}, block=10.0, by=("o",))
    for metric in (Metric.ABSOLUTE_ERROR, Metric.PINBALL, Metric.DISAGREEMENT)
]
SCALARS = st.sampled_from([0, 1, 2, 1.0, 0.3, 0.97, -1, True, False, "1", "0", "2", "1.0", "yes", "no", "NaN", " "])
VALUES = SCALARS | st.sampled_from([[0.2, 0.8], [0.9, 0.9], [5, 7], [], {"no": 0.4, "yes": 0.6}, {"p": 0.5}, [[1]]])
ROWS = st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=12)


def batch(rows: list[tuple[Any, Any, Any]], start: int = 0) -> ScoredBatch:
    """Rows of champion, candidate and label as one batch."""
    old, new, labels = (list(side) for side in zip(*rows, strict=True))
    at = np.arange(start, start + len(rows), dtype=np.float64)
    ids = [f"q{index}" for index in range(start, start + len(rows))]
    groups = ["a" if index % 2 else "b" for index in range(start, start + len(rows))]
    return ScoredBatch(at, old, new, labels, np.zeros(len(rows), dtype=bool), columns={"o": groups}, ids=ids)


def summed(gate: PairedGate, *batches: ScoredBatch) -> PairedSums:
    """The evidence of some batches."""
    return build_paired_loss_evidence(gate, 0.0, 1000.0, batches).evidence()


@given(gate=st.sampled_from(GATES), rows=ROWS, data=st.data())
def test_batches_may_be_cut_anywhere(gate: PairedGate, rows: list[tuple[Any, Any, Any]], data: st.DataObject) -> None:
    """Whatever kinds of values meet, the sums, the odd requests and the slices are those of any cut."""
    cut = data.draw(st.integers(0, len(rows)))
    parts = [batch(part, start) for part, start in ((rows[:cut], 0), (rows[cut:], cut)) if part]
    assert summed(gate, *parts) == summed(gate, batch(rows))


ALONE = [gate for gate in GATES if get_gate_class_names(gate) not in {("1", "2"), ("1", "0")}]


@given(gate=st.sampled_from(ALONE), rows=ROWS)
def test_no_pair_changes_another(gate: PairedGate, rows: list[tuple[Any, Any, Any]]) -> None:
    """The sums of a window are those of its requests, each alone."""
    whole = summed(gate, batch(rows))
    alone = [summed(gate, batch([row], index)) for index, row in enumerate(rows)]
    assert whole.left.odd == sum(part.left.odd for part in alone)
    blocks = [block for part in alone for block in part.slices.get("", ())]
    for side in ("champion", "candidate"):
        assert total(whole.slices.get("", ()), side) == total(blocks, side)


def total(blocks: Sequence[PairedBlock], side: str) -> dict[str, list[int]]:
    """Sums of one version by the time of the block."""
    made: dict[str, list[int]] = {}
    for block in blocks:
        values = getattr(block, side)
        made[block.key] = [a + b for a, b in zip(made.get(block.key, [0] * len(values)), values, strict=True)]
    return made


@given(
    gate=st.sampled_from([gate for gate in GATES if gate.metric in LOSS_METRICS]),
    label=st.sampled_from([[1, 1.0, True, "1", "1.0"], [0, 0.0, False, "0"]]),
    answer=st.sampled_from([[1, 1.0, True], [0, 0.0, False]]),
)
def test_one_reading_of_one(gate: PairedGate, label: list[object], answer: list[object]) -> None:
    """1, 1.0, true and "1" have one loss, whichever of them stands for an answer or a label."""
    if get_gate_class_names(gate) == ("no", "yes"):
        label = ["yes" if label[0] else "no"]
    found = set()
    for told in label:
        for given_ in answer:
            try:
                found.add(float(compute_losses(gate, [given_], [told])[0]))
            except InvariantBroken:
                found.add(-1.0)
    assert len(found) == 1


@pytest.mark.parametrize("classes", [("1", "2"), ("1", "0"), ("2", "1")])
@given(share=st.floats(0.02, 1.0), wrong=st.booleans())
def test_a_sure_probability_is_one(classes: tuple[str, str], share: float, *, wrong: bool) -> None:
    """A version that answers with probabilities is right with 1.0 as with 0.97, though a class is named 1."""
    n = 200
    unsure = max(int(share * n), 3)
    answers: list[float] = [0.97] * unsure + [1.0] * (n - unsure)
    found = compute_losses(
        make_gate("g", Metric.ZERO_ONE, classes=classes), answers, [classes[0] if wrong else classes[1]] * n
    )
    assert list(found) == [float(wrong)] * n


@given(others=st.lists(st.sampled_from([0.5, 0.01, 1.0]), max_size=2))
def test_a_few_fractions_do_not_make_names_probabilities(others: list[float]) -> None:
    """A version that answers 1 and 2 is read by names, whatever a few other answers are."""
    gate = make_gate("g", Metric.ZERO_ONE, classes=("1", "2"), block=10.0)
    rows: list[tuple[Any, Any, Any]] = [(1 + i % 2, 2 - i % 2, str(1 + i % 2)) for i in range(300)]
    found = summed(gate, batch(rows + [(1, other, "1") for other in others]))
    assert found.left.odd == sum(other != 1.0 for other in others)
    right, wrong = (sum(sum(getattr(b, side)) for b in found.slices[""]) for side in ("champion", "candidate"))
    assert (right, wrong) == (0, 300 * MILLIONTHS_PER_UNIT)
