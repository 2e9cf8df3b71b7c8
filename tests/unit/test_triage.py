"""The cause of an incident is decided from facts: the surest fact first, and unknown where none fits."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.triage.label_faults import find_label_fault
from surefoot.core.triage.triage import Cause, decide_cause
from surefoot.core.triage.triage_facts import (
    CauseDetail,
    ColumnCorrection,
    ColumnReaction,
    ColumnShift,
    ConfusedCodes,
    FailureCondition,
    LabelFacts,
    TriageFacts,
)

WELL = TriageFacts(
    replayed=500,
    asked=1000,
    labelled=400,
    loss_before=1.0,
    loss_after=1.0,
    good_before=1.1,
    good_after=1.1,
    tolerance=0.2,
    label_before=3.0,
    label_after=3.0,
    label_tolerance=0.3,
    latency_ms=5.0,
    good_latency_ms=5.0,
)
HARMED = replace(WELL, loss_after=3.0)
MOVED = ColumnShift(0.6, 0.1, "median 1013 -> 101300", restored=0.9)
HALF = ColumnShift(0.5, 0.1, "median 1 -> 2", restored=0.2)
TRIAL = replace(HARMED, trial=True)
CAME_LATER = replace(TRIAL, against_good=1.7, against_tolerance=0.3)
UNIT = ColumnCorrection("visib", "multiplied by 1.609", 0.95, CauseDetail.UNIT, 0.2, 0.1)
CODES = ColumnCorrection("carrier", "where AA and UA are swapped", 0.6, CauseDetail.CODES, 0.2, 0.1)
LATE = ColumnReaction(0.4, 0.0, 1.0, "is missing")
IGNORED = ColumnReaction(0.001, 0.2, 0.1, "is 7")
BOTH = ColumnReaction(0.2, 0.2, 0.1, "is 7")
FOLLOWED = LabelFacts(0.4, 0.4, 2)
SWAPPED = ColumnShift(
    0.4,
    0.1,
    "AA and UA come with each other's requests",
    0.1,
    CauseDetail.CODES,
    0.01,
    0.02,
    {"AA": "UA", "UA": "AA"},
    True,
)
CONFUSED = ConfusedCodes("carrier", "AA and UA", 0.3)
STILL = ColumnShift(0.05, 0.1, "median 1 -> 1")


@pytest.mark.parametrize(
    ("facts", "cause", "column"),
    [
        (WELL, Cause.UNKNOWN, ""),
        (TriageFacts(), Cause.UNKNOWN, ""),
        (replace(WELL, artifact_problem="not of its digest"), Cause.ARTIFACT, ""),
        (replace(WELL, replay_differs=50), Cause.SERVING, ""),
        (replace(WELL, replay_differs=1), Cause.UNKNOWN, ""),
        (replace(WELL, latency_ms=50.0, too_slow=True), Cause.RESOURCES, ""),
        (replace(WELL, latency_ms=50.0), Cause.UNKNOWN, ""),
        (replace(WELL, failed=100, error="MemoryError: no memory"), Cause.RESOURCES, ""),
        (replace(WELL, failed=100, error="Down: version 2 has ended and is being started again"), Cause.RESOURCES, ""),
        (replace(WELL, failed=100, error="KeyError: 'a'"), Cause.UNKNOWN, ""),
        (replace(WELL, failed=100, good_failed=0.1), Cause.UNKNOWN, ""),
        (
            replace(WELL, failed=100, condition=FailureCondition("wind", "is missing", 1.0, 0.9, 0.0)),
            Cause.CONTRACT,
            "wind",
        ),
        (
            replace(WELL, failed=100, condition=FailureCondition("wind", "is missing", 0.5, 0.9, 0.0)),
            Cause.UNKNOWN,
            "",
        ),
        (replace(HARMED, shifts={"pressure": MOVED, "seats": STILL}), Cause.FEATURE, "pressure"),
        (replace(HARMED, shifts={"pressure": HALF}), Cause.FEATURE, "pressure"),
        (replace(HARMED, good_after=3.0, shifts={"a": HALF, "b": HALF}), Cause.INPUTS, ""),
        (replace(HARMED, shifts={"a": HALF, "b": HALF}), Cause.UNKNOWN, ""),
        (replace(HARMED, good_after=3.0, label_after=9.0), Cause.LABELS, ""),
        (replace(HARMED, good_after=3.0), Cause.UNKNOWN, ""),
        (HARMED, Cause.RELATION, ""),
        (replace(HARMED, trial=True, shifts={"seats": STILL}), Cause.MODEL, ""),
        (replace(TRIAL, repair=UNIT), Cause.ENCODING, "visib"),
        (replace(TRIAL, repair=replace(UNIT, restored=0.7)), Cause.MODEL, ""),
        (replace(TRIAL, repair=replace(UNIT, restored=0.4, agrees=True)), Cause.ENCODING, "visib"),
        (replace(TRIAL, repair=replace(UNIT, restored=0.1, agrees=True)), Cause.MODEL, ""),
        (replace(WELL, trial=True, repair=replace(UNIT, agrees=True)), Cause.ENCODING, "visib"),
        (replace(WELL, trial=True, repair=UNIT), Cause.UNKNOWN, ""),
        (replace(WELL, repair=replace(UNIT, agrees=True)), Cause.UNKNOWN, ""),
        (
            replace(WELL, trial=True, repair=replace(UNIT, agrees=True), reactions={"hour": IGNORED}),
            Cause.UNKNOWN,
            "",
        ),
        (
            replace(TRIAL, repair=replace(UNIT, restored=0.4, agrees=True), reactions={"hour": IGNORED, "wind": BOTH}),
            Cause.ENCODING,
            "hour",
        ),
        (replace(TRIAL, repair=CODES), Cause.ENCODING, "carrier"),
        (replace(CAME_LATER, repair=UNIT), Cause.FEATURE, "visib"),
        (replace(CAME_LATER, shifts={"pressure": MOVED, "a": HALF}), Cause.FEATURE, "pressure"),
        (replace(CAME_LATER, shifts={"pressure": HALF, "seats": STILL}), Cause.FEATURE, "pressure"),
        (replace(CAME_LATER, shifts={"a": HALF, "b": HALF}, reactions={"delay": LATE}), Cause.INPUTS, ""),
        (replace(CAME_LATER, reactions={"delay": LATE}), Cause.TIMING, "delay"),
        (replace(CAME_LATER, against_good=1.0, shifts={"a": HALF, "b": HALF}), Cause.MODEL, ""),
        (replace(CAME_LATER, against_tolerance=1.8, shifts={"a": HALF, "b": HALF}), Cause.MODEL, ""),
        (replace(HARMED, repair=CODES), Cause.FEATURE, "carrier"),
        (replace(TRIAL, repair=replace(CODES, chance=0.3)), Cause.MODEL, ""),
        (replace(TRIAL, reactions={"delay": LATE, "hour": BOTH}), Cause.TIMING, "delay"),
        (replace(TRIAL, reactions={"delay": replace(LATE, own=0.01), "hour": BOTH}), Cause.MODEL, ""),
        (replace(TRIAL, reactions={"hour": IGNORED, "wind": BOTH}), Cause.ENCODING, "hour"),
        (replace(TRIAL, group=FailureCondition("origin", "is LGA", 0.9, 0.3, 0.0)), Cause.MODEL, "origin"),
        (replace(HARMED, labels_before=FOLLOWED, labels_after=LabelFacts(-0.3, -0.3, 2)), Cause.LABELS, ""),
        (replace(HARMED, labels_before=FOLLOWED, labels_after=LabelFacts(0.02, -0.02, 2)), Cause.LABELS, ""),
        (replace(HARMED, labels_before=FOLLOWED, labels_after=LabelFacts(0.02, -0.02, 2, 0.4)), Cause.RELATION, ""),
        (replace(HARMED, labels_before=FOLLOWED, labels_after=LabelFacts(0.02, -0.02, 2, 0.1)), Cause.LABELS, ""),
        (replace(HARMED, labels_before=FOLLOWED, labels_after=LabelFacts(None, None, 1)), Cause.LABELS, ""),
        (replace(HARMED, good_after=3.0, labels_before=FOLLOWED, labels_after=FOLLOWED), Cause.RELATION, ""),
        (replace(HARMED, labels_before=FOLLOWED, labels_after=LabelFacts(0.02, 0.4, 2)), Cause.RELATION, ""),
        (replace(WELL, too_large=True, memory_mb=900.0, good_memory_mb=300.0), Cause.RESOURCES, ""),
        (replace(WELL, memory_mb=900.0, good_memory_mb=300.0), Cause.UNKNOWN, ""),
        (replace(WELL, trial=True, loss_after=1.2), Cause.UNKNOWN, ""),
        (replace(WELL, shifts={"carrier": SWAPPED}), Cause.FEATURE, "carrier"),
        (replace(HARMED, good_after=3.0, shifts={"carrier": SWAPPED, "a": HALF}), Cause.FEATURE, "carrier"),
        (replace(HARMED, shifts={"carrier": SWAPPED, "pressure": replace(MOVED, gain=1.8)}), Cause.FEATURE, "carrier"),
        (
            replace(HARMED, shifts={"carrier": SWAPPED, "pressure": replace(MOVED, gain=1.8, detail=CauseDetail.UNIT)}),
            Cause.FEATURE,
            "pressure",
        ),
        (replace(WELL, against_good=0.5, against_tolerance=0.2), Cause.RELATION, ""),
        (replace(WELL, against_good=0.5, against_tolerance=0.6), Cause.UNKNOWN, ""),
        (replace(WELL, trial=True, against_good=0.5, against_tolerance=0.2), Cause.UNKNOWN, ""),
        (replace(WELL, against_good=0.5, against_tolerance=0.2, shifts={"pressure": MOVED}), Cause.FEATURE, "pressure"),
        (replace(WELL, trial=True, confused=CONFUSED), Cause.ENCODING, "carrier"),
        (replace(TRIAL, confused=CONFUSED, reactions={"hour": IGNORED}), Cause.ENCODING, "carrier"),
        (replace(TRIAL, confused=CONFUSED, reactions={"delay": LATE}), Cause.TIMING, "delay"),
        (replace(TRIAL, confused=CONFUSED, repair=UNIT), Cause.ENCODING, "visib"),
    ],
)
def test_the_facts_decide(facts: TriageFacts, cause: Cause, column: str) -> None:
    """Each pattern of facts has its cause; what fits none is unknown, and what would tell is named."""
    found = decide_cause(facts)
    assert (found.cause, found.column) == (cause, column), found.sentence
    assert found.sentence
    if cause is Cause.UNKNOWN:
        assert found.would_tell


@given(st.floats(0.0, 10.0), st.floats(0.0, 10.0), st.integers(0, 1000), st.booleans())
def test_exact_facts_come_before_statistics(loss: float, moved: float, failed: int, trial: bool) -> None:
    """Law: damaged bytes are the cause whatever else was measured, and answers that differ are before losses."""
    facts = replace(
        WELL, loss_after=loss, failed=failed, trial=trial, shifts={"a": ColumnShift(min(moved, 1.0), 0.1, "moved")}
    )
    assert decide_cause(replace(facts, artifact_problem="broken")).cause is Cause.ARTIFACT
    assert decide_cause(replace(facts, replay_differs=400)).cause is Cause.SERVING


def test_a_swap_that_explains_little_says_so() -> None:
    """Swapped codes that take away a small part of the loss are named, with the advice to look for a second cause."""
    found = decide_cause(replace(HARMED, good_after=3.0, shifts={"carrier": SWAPPED}))
    assert found.detail is CauseDetail.CODES
    assert any("second cause" in one for one in found.would_tell)
    assert not any("second cause" in one for one in decide_cause(replace(WELL, shifts={"carrier": SWAPPED})).would_tell)


def test_no_harm_blames_no_column() -> None:
    """A column that has moved without harm is evidence, and no cause."""
    found = decide_cause(replace(WELL, shifts={"pressure": MOVED}))
    assert (found.cause, found.column) == (Cause.UNKNOWN, "")
    assert any("pressure has moved" in line for line in found.evidence)


def test_at_most_three_columns_are_named() -> None:
    """Of many moved columns the evidence names the three that restore most."""
    shifts = {f"c{n}": ColumnShift(0.5, 0.1, "moved", restored=n / 20) for n in range(8)}
    found = decide_cause(replace(HARMED, shifts=shifts))
    named = [line.split()[0] for line in found.evidence if "has moved" in line]
    assert named == ["c7", "c6", "c5"]


@pytest.mark.parametrize(
    ("facts", "detail"),
    [
        (replace(WELL, failed=100, error="MemoryError: no memory"), CauseDetail.MEMORY),
        (replace(WELL, failed=100, error="the model's process died"), CauseDetail.PROCESS),
        (
            replace(WELL, failed=100, error="its process died", memory_mb=900.0, good_memory_mb=300.0),
            CauseDetail.MEMORY,
        ),
        (replace(WELL, failed=100, error="it did not answer within 5 s"), CauseDetail.SLOW),
        (replace(WELL, failed=100, error="Late: no answer within 1000 ms"), CauseDetail.SLOW),
        (
            replace(WELL, failed=100, error="Down: its process has ended and is being started again"),
            CauseDetail.PROCESS,
        ),
        (replace(WELL, too_slow=True, latency_ms=50.0), CauseDetail.SLOW),
        (replace(WELL, too_slow=True, latency_ms=50.0, memory_mb=900.0, good_memory_mb=300.0), CauseDetail.MEMORY),
        (replace(HARMED, shifts={"a": replace(MOVED, detail=CauseDetail.UNIT)}), CauseDetail.UNIT),
        (replace(TRIAL, reactions={"delay": LATE}), CauseDetail.LATE),
    ],
)
def test_a_cause_says_what_is_wrong(facts: TriageFacts, detail: CauseDetail) -> None:
    """Beside the cause stands what is wrong with the column or the resource, where the facts show it."""
    assert decide_cause(facts).detail is detail


@given(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.integers(1, 5))
def test_labels_are_broken_only_where_both_versions_say_so(
    own: float, own_after: float, good: float, good_after: float, values: int
) -> None:
    """Law: while one version's answers follow the labels as before, labels of several values are not called broken."""
    before, after = LabelFacts(own, good, 3), LabelFacts(own_after, good_after, values)
    fault, said = find_label_fault(before, after)
    assert (fault is CauseDetail.NONE) is (said == "")
    if values > 1 and (own_after >= own > 0.0 or good_after >= good > 0.0):
        assert fault is CauseDetail.NONE
