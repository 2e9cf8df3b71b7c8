"""Groups that are too rare in a window get older real requests, each counted once and for its own group alone."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from surefoot.adapters.evidence_store.evidence_store import EvidenceStore
from surefoot.adapters.evidence_store.verdict_recount import recount_verdict
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.incremental_replay import IncrementalReplay
from surefoot.core.domain import Outcome
from surefoot.core.judging.corner_answers import CornerAnswers, SupplementedGroup
from surefoot.core.judging.evidence import PairedSums
from surefoot.core.judging.evidence_json import decode_evidence, encode_evidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.judge import judge
from surefoot.core.judging.reverify import RecountResult
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.corners import Corners
from surefoot.core.policy.gates.implicit import CORNERS_GATE
from surefoot.core.policy.parse import examine_policy
from surefoot.core.policy.policy_types import Metric, PairedGate
from tests.fakes import POLICY
from tests.gates import make_gate
from tests.unit.test_replay import ASKED, DAY, V1, V2, Model, house, label, paired, record, write

NEEDED, SINCE, UNTIL = 30, 40 * DAY, 50 * DAY
GATE: PairedGate = make_gate(
    "origins", Metric.BRIER, margin=0.5, by=("origin",), min_per_slice=NEEDED, maturity=100.0, block=DAY
)
RARE = Corners.model_validate({"rows": 9, "missing": "i", "rare_groups": {"reach": "60d"}})
QUESTION = replace(
    ASKED, gate=GATE, since=SINCE, until=UNTIL, opened=UNTIL, corners=RARE, shadow_gates=(GATE,), look_gates=(GATE,)
)


def logged(root: Path, older: int = 60, unlabelled: int = 0, *, compacted: bool = False) -> None:
    """Many requests of JFK and eight of LGA in the window; more of LGA before it, two a day; the first lack labels."""
    root.mkdir(exist_ok=True)
    records, labels = [], []

    def add(number: int, at: float, origin: object) -> None:
        records.append(record(number, at, features={"i": number, "origin": origin}))
        if number >= unlabelled:
            labels.append(label(number, number % 2, at + 50.0))

    for place in range(older):
        add(place, SINCE - 1000.0 - (older - 1 - place) * DAY / 2.0, "LGA")
    records.append(records[5])
    if compacted:  # a closed file of what lies before the window, and one of the window
        write(root, "predictions", records)
        write(root, "labels", labels)
        compact_log(root, "m")
        records, labels = [], []
    for place in range(100):
        add(1000 + place, SINCE + 1000.0 + place * 8 * DAY / 100.0, "JFK")
    for place in range(8):
        add(2000 + place, SINCE + 2000.0 + place * DAY, "LGA")
    write(root, "predictions", records)
    write(root, "labels", labels)
    if compacted:
        compact_log(root, "m")


def answers(row: Mapping[str, Any]) -> float:
    """Answers that tell requests apart."""
    return float(row["i"] or 0) % 7 / 10.0


def asked(root: Path, question: EvidenceRequest = QUESTION, candidate: Model | None = None) -> PairedSums:
    """Sums of a window."""
    return paired(house(root, Model(answers), candidate or Model(lambda row: answers(row) / 2.0)), question)


def counted(sums: PairedSums, name: str) -> int:
    """Requests of a group."""
    return sum(block.n for block in sums.slices[name])


def test_a_rare_group_is_raised_to_where_its_gate_can_decide(tmp_path: Path) -> None:
    """The newest older requests of the group are added in whole blocks until there are enough; nothing else changes."""
    logged(tmp_path)
    before, after = asked(tmp_path, replace(QUESTION, corners=None)), asked(tmp_path)
    assert counted(before, "origin=LGA") == 8
    (raised,) = after.raised
    assert NEEDED <= counted(after, "origin=LGA") == 8 + raised.added <= NEEDED + 2
    for name in ("", "origin=JFK"):
        assert after.slices[name] == before.slices[name]
    assert replace(after, slices={}, raised=()) == replace(before, slices={})
    verdicts = [judge(GATE, found, DecisionThresholds(0.05)) for found in (before, after)]
    assert "1 slices have too little data to be judged" in verdicts[0].reason
    assert "too little data" not in verdicts[1].reason
    said = f"raised with older real requests: origin=LGA from 8 to {8 + raised.added}, back to 1970-01-"
    assert said in verdicts[1].reason
    assert decode_evidence(encode_evidence(after)) == after


def test_the_sums_are_those_of_a_longer_window_of_that_group(tmp_path: Path) -> None:
    """What is added is what a window that reaches as far back has of the group: real labels, each request once."""
    logged(tmp_path)
    found = asked(tmp_path)
    longer = asked(tmp_path, replace(QUESTION, since=found.raised[0].since - 1.0, corners=None))
    assert found.slices["origin=LGA"] == longer.slices["origin=LGA"]


def test_a_protected_group_that_the_window_lacks_is_raised_too(tmp_path: Path) -> None:
    """A protected group without a request in the window is judged on older ones."""
    logged(tmp_path)
    gate = GATE.model_copy(update={"protected": ("origin=LGA",)})
    found = asked(tmp_path, replace(QUESTION, gate=gate, since=SINCE + 7.5 * DAY))
    assert found.raised[0].recorded == 0
    assert counted(found, "origin=LGA") >= NEEDED


def test_where_the_log_has_no_more_it_stays_undecided_and_says_so(tmp_path: Path) -> None:
    """Too few older requests with labels are added all the same; the verdict says what is missing."""
    logged(tmp_path, older=20, unlabelled=10)
    found = asked(tmp_path)
    assert found.raised[0] == replace(found.raised[0], added=10, needed=NEEDED, recorded=8)
    verdict = judge(GATE, found, DecisionThresholds(0.05))
    assert "1 slices have too little data" in verdict.reason
    assert "the log has no more; 30 are needed" in verdict.reason


def test_which_requests_are_taken_depends_on_no_answer(tmp_path: Path) -> None:
    """Whatever the candidate answers, or fails, the same older requests are asked; failures are told."""
    logged(tmp_path)

    def some(row: Mapping[str, Any]) -> float:
        if row["origin"] == "LGA" and row["i"] < 1000 and row["i"] % 2:
            raise KeyError("no such airport")
        return 1.0

    good, bad = asked(tmp_path), asked(tmp_path, candidate=Model(some))
    assert good.raised[0].since == bad.raised[0].since
    assert bad.raised[0].added + bad.raised[0].unanswered == good.raised[0].added
    assert bad.raised[0].unanswered > 0
    assert "that the candidate cannot answer" in judge(GATE, bad, DecisionThresholds(0.05)).reason


@pytest.mark.parametrize("metric", [Metric.ZERO_ONE, Metric.DISAGREEMENT])
def test_gates_without_blocks_are_raised_one_by_one(tmp_path: Path, metric: Metric) -> None:
    """A gate that judges each request for itself gets as many as it needs, a gate of agreement without any label."""
    logged(tmp_path, unlabelled=9999 if metric is Metric.DISAGREEMENT else 0)
    gate = (
        make_gate("g", metric, limit=0.9, margin=0.5, by=("origin",), min_per_slice=NEEDED, block=0.0)
        if (metric is Metric.DISAGREEMENT)
        else make_gate("g", metric, margin=0.5, by=("origin",), min_per_slice=NEEDED, maturity=100.0, block=0.0)
    )
    found = asked(tmp_path, replace(QUESTION, gate=gate))
    assert counted(found, "origin=LGA") == NEEDED


def test_kept_sums_add_up_to_the_raised_ones(tmp_path: Path) -> None:
    """A replay that keeps sums gives the same evidence, and `verify` adds it up again without the log."""
    logged(tmp_path / "log", compacted=True)
    models = {V1.digest: Model(answers), V2.digest: Model(lambda row: answers(row) / 2.0)}
    replay = IncrementalReplay(
        PredictionLog(tmp_path / "log"), lambda _model, one: models[one.digest], tmp_path / "kept"
    )
    found = replay.paired_loss_evidence(QUESTION)
    replay.close()
    assert isinstance(found, PairedSums)
    assert replace(found, kept="") == asked(tmp_path / "log")
    assert found.raised
    done, wrong = recount_verdict(EvidenceStore(tmp_path / "kept", "m"), GATE, found)
    assert (done, wrong) == (RecountResult.DONE, "")


def test_a_rare_group_is_a_corner_and_its_requests_are_asked_with_the_other_corners(tmp_path: Path) -> None:
    """A candidate that breaks on a rare group alone fails, though its gate could not have said so; no label is used."""
    logged(tmp_path)

    def breaks(row: Mapping[str, Any]) -> float:
        if row["origin"] == "LGA" and row["i"] is None:
            raise ZeroDivisionError("no i")
        return 0.5

    question = replace(QUESTION, gate=CORNERS_GATE)
    found = house(tmp_path, Model(answers), Model(breaks)).corner_answers(question)
    assert isinstance(found, CornerAnswers)
    names = {one.name: one for one in found.corners}
    assert names["origin=LGA rare"].rows >= RARE.rows
    assert 0 < names["origin=LGA rare"].broken < names["origin=LGA rare"].rows
    assert "origin=JFK rare" not in names
    assert judge(CORNERS_GATE, found, DecisionThresholds()).outcome is Outcome.FAIL


def test_without_a_rare_group_or_a_corner_there_is_nothing_to_ask(tmp_path: Path) -> None:
    """Rare groups alone are a valid section; where no group is rare the gate passes and says so."""
    logged(tmp_path)
    gate = GATE.model_copy(update={"min_per_slice": 3})
    only = Corners.model_validate({"rare_groups": {}})
    question = replace(QUESTION, gate=gate, corners=only, shadow_gates=(gate,))
    assert asked(tmp_path, question).raised == ()
    found = house(tmp_path).corner_answers(replace(question, gate=CORNERS_GATE))
    verdict = judge(CORNERS_GATE, found, DecisionThresholds())
    assert (verdict.outcome, verdict.n) == (Outcome.PASS, 0)
    assert "no group of the shadow's gates is too rare" in verdict.reason


def test_a_mistake_about_rare_groups_is_named() -> None:
    """Without a gate that has groups, or with a reach inside of the window, the policy is refused with what to do."""
    (broken,) = examine_policy({**POLICY, "corners": {"rare_groups": {}}}).broken
    assert str(broken) == "corners.rare_groups: no gate of the shadow has groups: give one the key 'by'"
    gates = {**POLICY["gates"], "o": {"metric": "disagreement", "max": 0.1, "by": "origin"}}
    steps = [{"shadow": {"window": "7d", "gates": ["errors", "o"]}}, *POLICY["steps"][1:]]
    short = {**POLICY, "gates": gates, "steps": steps, "corners": {"rare_groups": {"reach": "7d"}}}
    (broken,) = examine_policy(short).broken
    assert str(broken).startswith("corners.rare_groups.reach: must be longer than the shadow's window")


def test_verdicts_name_two_groups_and_count_the_rest() -> None:
    """Many raised groups make no endless sentence; all of them stand in the details."""
    groups = tuple(SupplementedGroup(f"o={n}", 1, 2, 3, 0.0) for n in range(5))
    sums = PairedSums({}, 0, 0, raised=groups)
    verdict = judge(GATE, sums, DecisionThresholds())
    assert verdict.reason.endswith("o=1 from 1 to 3, back to 1970-01-01, 3 more groups likewise")
    assert len([row for row in verdict.details if "older" in row]) == 5
