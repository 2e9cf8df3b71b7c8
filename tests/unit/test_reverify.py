"""Every verdict follows from the counters beside it in the journal, for ever."""

from dataclasses import replace

import pytest

from surefoot.core.domain import Outcome, Stage
from surefoot.core.errors import InvariantBroken
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.codec import get_journal_name
from surefoot.core.journal.events import GateJudged, encode_event
from surefoot.core.judging.corner_answers import BrokenRow, CornerAnswers, CornerResult
from surefoot.core.judging.data_validation import FailedExpectation, ValidationResult
from surefoot.core.judging.evidence import (
    MILLIONTHS_PER_UNIT,
    AnswerShapes,
    BadEventCounts,
    BadEventStratum,
    DistributionShift,
    Evidence,
    FeatureShift,
    GaugeComparisons,
    GoldenRows,
    MeasurementCounts,
    MeasurementStratum,
    MissingEvidence,
    PairedBlock,
    PairedSums,
    ScoreBins,
    SlicedCounts,
    ValueCounts,
    ValueStratum,
)
from surefoot.core.judging.evidence_json import EVIDENCE_TYPES, decode_evidence, encode_evidence
from surefoot.core.judging.judge import JUDGE_RULES_VERSION, judge
from surefoot.core.judging.reverify import reverify
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.parse import parse_policy
from tests.gates import changed, gate_of
from tests.scripted import TWO, scenario, started

STRATUM = BadEventStratum(0.5, 1, 2, 3, 4, 5)
SOME: tuple[Evidence, ...] = (
    BadEventCounts((STRATUM,), 0.25, "unit", 7, 9),
    BadEventCounts((), None),
    MeasurementCounts((MeasurementStratum(0.05, ((-3, 2), (7, 1)), (), 2),), ((1, 5),), "ms", 4),
    ValueCounts((ValueStratum(0.5, (1,) * 65, (0,) * 65),), 0.5, "request", 3),
    SlicedCounts({"origin=LGA": BadEventCounts((STRATUM,), None), "origin=JFK": BadEventCounts((), 0.1)}, 12),
    GaugeComparisons(3, 4, 120.5, 100.0, 9),
    PairedSums(
        {"": (PairedBlock("2013-06-24", 9, (MILLIONTHS_PER_UNIT, -3), (0, 2**50)),)}, 9, 8, 1, 2, 3, 4, 5, 6, 10
    ),
    ScoreBins(((1, 0, 3),), ((2, 1, 5),), ((4, 0, 7),)),
    DistributionShift("the champion", (FeatureShift("hour", 0.5, 10, 11, 3),), same=True),
    AnswerShapes(("a number",), ("a text",), 200, 190, ("x", "y")),
    CornerAnswers(
        (CornerResult("carrier empty", 20, 3, 1, 2, 4),),
        20,
        2**48 - 1,
        "sha256:r",
        (BrokenRow("carrier empty", "r1", "KeyError: ", '{"a":""}', '{"a":"x"}', '{"a":"","b":1}', "0.5"),),
    ),
    GoldenRows(5, 1, 0.25, ({"row": {"x": 1}, "expected": 0.5},)),
    ValidationResult("m", 100, 3, (FailedExpectation("e", "c", "why", (1, None, "x")),), (), "report.html"),
    MissingEvidence(Outcome.STALE, "old"),
)


def test_evidence_keeps_its_names_in_the_journal() -> None:
    """A class of evidence may be renamed; entries name it as release 0.1.0 did, so that both read each other's."""
    assert set(EVIDENCE_TYPES) == {
        *(
            "SplitCounts",
            "SpeedCounts",
            "ValueCounts",
            "Sliced",
            "GaugeCounts",
            "PairedSums",
            "ScoreBins",
        ),
        *("AnswerShapes", "CornerAnswers", "GoldenRows", "InputShift", "Validation", "Missing"),
    }


def test_every_kind_of_evidence_is_among_the_examples() -> None:
    """No kind of evidence is left out of the journal's round trip."""
    assert {get_journal_name(type(evidence)) for evidence in SOME} == set(EVIDENCE_TYPES)


@pytest.mark.parametrize("evidence", SOME, ids=lambda evidence: type(evidence).__name__)
def test_counters_come_back_as_they_were(evidence: Evidence) -> None:
    """What is packed into an entry is unpacked equal."""
    assert decode_evidence(encode_evidence(evidence)) == evidence


def test_numbers_that_are_none_are_not_kept() -> None:
    """Evidence with NaN has no JSON: its entry holds no counters, and its verdict is an ERROR already."""
    assert encode_evidence(BadEventCounts((replace(STRATUM, share=float("nan")),))) == ""


@pytest.mark.parametrize("text", ["", "not base85 \x00", "VPRomVE&"])
def test_counters_that_cannot_be_read_are_said_so(text: str) -> None:
    """A text that `pack` never made is named, not guessed at."""
    with pytest.raises(InvariantBroken, match="cannot be read"):
        decode_evidence(text)


def told() -> list[Entry]:
    """The journal of a rollout that went all the way."""
    env = scenario(TWO)
    started(env)
    return list(env.journal.entries)


def test_a_whole_rollout_is_judged_again() -> None:
    """Every verdict of a rollout follows from its counters."""
    found = list(reverify(told()))
    assert {row.gate for row in found} == {"data", "answer_shape", "errors", "drift"}
    assert len(found) > 5
    assert not [row for row in found if row.problem]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("outcome", "FAIL", "its counters say PASS"),
        ("n", 7, "the journal says n 7"),
        ("estimate", 0.5, "the journal says estimate 0.5"),
        ("culprit", "origin=LGA", "the journal blames origin=LGA"),
    ],
)
def test_a_verdict_that_does_not_follow_is_named(field: str, value: object, words: str) -> None:
    """A verdict that says other than its counters is named, even where the chain was made anew around it."""
    entries = told()
    where = next(i for i, e in enumerate(entries) if e.kind == "GateJudged" and e.data["verdict"]["gate"] == "errors")  # type: ignore[index]
    data = {**entries[where].data, "verdict": {**entries[where].data["verdict"], field: value}}  # type: ignore[dict-item]
    entries[where] = replace(entries[where], data=data)
    problems = [row for row in reverify(entries) if row.problem]
    assert [(row.seq, row.gate) for row in problems] == [(entries[where].seq, "errors")]
    assert words in problems[0].problem


def test_a_gate_that_its_policy_does_not_know_is_named() -> None:
    """A verdict of a gate that the rollout's policy never had follows from nothing."""
    entries = told()
    where = next(i for i, e in enumerate(entries) if e.kind == "GateJudged" and e.data["verdict"]["gate"] == "errors")  # type: ignore[index]
    data = {**entries[where].data, "verdict": {**entries[where].data["verdict"], "gate": "ghost"}}  # type: ignore[dict-item]
    entries[where] = replace(entries[where], data=data)
    assert [row.problem for row in reverify(entries) if row.problem] == ["its policy has no such gate"]


def test_verdicts_of_the_first_release_are_left_alone() -> None:
    """Entries without counters, as version 0.1.0 wrote them, are not judged again and not complained about."""
    old = [
        replace(e, data={k: v for k, v in e.data.items() if k not in {"level", "evidence"}})
        if e.kind == "GateJudged"
        else e
        for e in told()
    ]
    found = list(reverify(old))
    assert found
    assert {(row.problem, row.skipped) for row in found} == {("", "its counters were not kept")}


def test_verdicts_of_another_edition_are_left_alone() -> None:
    """A release whose judge has changed does not call what an earlier one said tampered."""
    old = [replace(e, data={**e.data, "judge": 0}) if e.kind == "GateJudged" else e for e in told()]
    assert {row.skipped for row in reverify(old)} == {"another edition of the judge gave it"}


def test_verdicts_of_the_edition_before_are_judged_again() -> None:
    """What the first edition judged follows from its counters still: what is new since then it did not count."""
    old = [replace(e, data={**e.data, "judge": 1}) if e.kind == "GateJudged" else e for e in told()]
    found = list(reverify(old))
    assert found
    assert not [row for row in found if row.problem or row.skipped]


def test_protected_slices_of_an_old_journal_are_compared_as_they_were_written() -> None:
    """A slice that an old policy spelled "night=True" is the one that its counters have under that name."""
    written = {"metric": "error_rate", "margin": "1pp", "by": "night", "protected": ["night=True"], "min_per_slice": 1}
    half = BadEventCounts((BadEventStratum(0.5, 0, 5000, 0, 5000),), 0.0, recent=20_000)
    opened = next(e for e in told() if e.kind == "RolloutOpened")
    policy = {**opened.data["policy"], "gates": {"errors": written, "drift": opened.data["policy"]["gates"]["drift"]}}  # type: ignore[dict-item, index]
    opened = replace(opened, data={**opened.data, "policy": policy})
    level = DecisionThresholds(0.01)
    gate = gate_of(parse_policy(policy), "errors")
    assert gate.protected == ("night=true",)
    for edition, name in ((1, "night=True"), (JUDGE_RULES_VERSION, "night=true")):
        evidence = SlicedCounts({name: half}, 20_000)
        verdict = judge(changed(gate, protected=(name,)), evidence, level)
        assert verdict.outcome is Outcome.PASS
        event = GateJudged(
            str(opened.data["rollout"]), Stage.RAMPING, 0, 1, verdict, level, encode_evidence(evidence), edition
        )
        kind, data = encode_event(event)
        entry = replace(opened, seq=opened.seq + 1, kind=kind, data=data)
        assert [row.problem for row in reverify([opened, entry])] == [""]
