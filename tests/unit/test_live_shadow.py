"""A live shadow step: how a policy asks for one, what a rollout does in it, and what is said of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from surefoot.adapters.mlflow.runs.run_views import make_run_views
from surefoot.cli.printing import plan_output
from surefoot.cli.printing.plan_output import print_plan
from surefoot.cli.printing.status_output import print_status
from surefoot.core.actions import JudgeGates
from surefoot.core.domain import Outcome, Split, Stage, Version
from surefoot.core.errors import Rejected
from surefoot.core.journal.event_sentences import describe_effect
from surefoot.core.journal.events import SetSplit, decode_event
from surefoot.core.journal.ledger import fold_entries
from surefoot.core.judging.evidence import AnswerShapes, BadEventCounts, BadEventStratum, Evidence, MissingEvidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.judging.judge import judge
from surefoot.core.judging.reverify import reverify
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.planning import list_policy_notes, plan_policy
from surefoot.core.planning.alpha_per_gate import TOTAL_SHADOW_GATE_ALPHA, compute_alpha_per_shadow_gate
from surefoot.core.policy.gates.implicit import ANSWER_SHAPE_GATE
from surefoot.core.policy.gates.metrics import NOT_MIRRORED_METRIC_REASONS
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Metric
from surefoot.core.policy.violations import Violation
from surefoot.core.state_machine import decide_action
from surefoot.rollout import drive_rollout, open_promotion
from surefoot.rollout.journal_differences import describe_split_mismatch
from tests.fakes import MIRRORED, POLICY, SAME_SHAPE, Scenario
from tests.gates import make_gate
from tests.scripted import FAIL, PASS, at, events, scenario, started

STEP = {"source": "live", "share": 20, "for": "2h", "min_requests": 500, "gates": ["errors"]}
RAMP = {"weight": 5, "hold": {"for": "10m", "gates": ["errors"]}}
LABELS = {"labels": {"maturity": "1h"}}
GATES: dict[Metric, dict[str, object]] = {
    Metric.MISSING_LABEL: {"margin": "1pp", **LABELS},
    Metric.VALUE: {"cap": 1, "margin": 0.1, **LABELS},
    Metric.EXPECTED_LOSS: {"role": "signal", "margin": 0.1, **LABELS},
    Metric.GOLDEN: {},
    Metric.LATENCY: {"margin": "20%"},
    Metric.RESOURCE: {"margin": "20%", "column": "cpu_ms"},
    Metric.GAUGE: {"margin": "20%", "column": "rss_mb"},
    Metric.BRIER: {"margin": 0.01, **LABELS},
    Metric.DISAGREEMENT: {"max": 0.1},
    Metric.PREDICTION_SHIFT: {"max": 0.1, "against": "champion"},
    Metric.INPUT_SHIFT: {"max": 0.1},
    Metric.TPR_GAP: {"margin": 0.1, "by": "group", **LABELS},
}


def policy(*steps: Mapping[str, object], **fields: object) -> dict[str, object]:
    """A policy with these steps."""
    return {**POLICY, "steps": list(steps), **fields}


def test_a_policy_asks_for_a_live_shadow() -> None:
    """Share, length, fewest requests, gates and looks are read; a look comes twelve times by default."""
    read = parse_policy(policy({"shadow": STEP}, RAMP))
    live = read.live_shadow
    assert live is not None
    assert (live.share, live.hold, live.min_requests, live.gates, live.every) == (20.0, 7200.0, 500, ("errors",), 600.0)
    assert read.shadow is None
    assert [step.weight for step in read.ramp] == [5.0]


REPLAY = {"shadow": {"window": "7d", "gates": ["errors"]}}
WRONG: dict[str, tuple[dict[str, object], str]] = {
    "no share": (policy({"shadow": {k: v for k, v in STEP.items() if k != "share"}}, RAMP), "'share' is missing"),
    "no length": (policy({"shadow": {k: v for k, v in STEP.items() if k != "for"}}, RAMP), "'for' is missing"),
    "too small": (policy({"shadow": {**STEP, "share": 0.05}}, RAMP), "must be at least 0.1"),
    "too large": (policy({"shadow": {**STEP, "share": 101}}, RAMP), "must be at most 100"),
    "a window": (policy({"shadow": {**STEP, "window": "7d"}}, RAMP), "unknown key 'window'; known here: every, for"),
    "a share of a replay": (policy({"shadow": {"window": "7d", "gates": ["errors"], "share": 5}}, RAMP), "unknown key"),
    "another source": (policy({"shadow": {**STEP, "source": "mirror"}}, RAMP), "expected one of replay, live"),
    "no gate": (policy({"shadow": {**STEP, "gates": []}}, RAMP), "at least one gate is needed"),
    "after a weight": (policy(RAMP, {"shadow": STEP}), "comes before the weights, once"),
    "twice": (policy({"shadow": STEP}, {"shadow": STEP}, RAMP), "comes before the weights, once"),
    "before the replay": (policy({"shadow": STEP}, REPLAY, RAMP), "the shadow step comes first, once"),
    "no weight": (policy({"shadow": STEP}), "at least one weight step is needed"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_live_shadow_is_refused_in_one_line(case: str) -> None:
    """What is wrong with a live shadow is said in one line that names the rule."""
    value, rule = WRONG[case]
    with pytest.raises(Violation) as refused:
        parse_policy(value)
    assert rule in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("metric", GATES)
def test_what_mirrored_requests_do_not_show_is_refused(metric: Metric) -> None:
    """A gate on something that callers' requests to a shadow cannot show is refused with the reason; others are not."""
    gates = {"errors": {"metric": "error_rate", "margin": "1pp"}, "odd": {"metric": metric.value, **GATES[metric]}}
    value = policy({"shadow": {**STEP, "gates": ["odd"]}}, RAMP, gates=gates)
    if metric not in NOT_MIRRORED_METRIC_REASONS:
        assert parse_policy(value).live_shadow is not None
        return
    with pytest.raises(Violation) as refused:
        parse_policy(value)
    assert f"gate 'odd' measures {metric}, which mirrored requests do not show: " in str(refused.value)


def test_a_rollout_mirrors_before_it_ramps() -> None:
    """Replay, live shadow, ramp: the candidate is mirrored first, while the champion answers every caller."""
    env = scenario(MIRRORED)
    started(env)
    stages = [str(item["stage"]) for item in events(env, "StageEntered")]
    assert stages == ["Validating", "Shadowing", "LiveShadowing", "Ramping", "Promoting", "Baking"]
    splits = [(s.candidate and s.candidate.number, s.weight, s.mirror) for s in env.traffic.changes]
    assert splits == [(None, 0.0, 0.0), ("2", 0.0, 20.0), ("2", 5.0, 0.0), (None, 0.0, 0.0)]


def test_a_live_shadow_lasts_from_when_it_is_mirrored() -> None:
    """The step takes its whole length from the acknowledgement of the split, and looks as often as the policy says."""
    env = scenario(MIRRORED)
    started(env)
    done = next(e for e in env.journal.entries if e.kind == "EffectDone" and _mirrors(env, int(str(e.data["intent"]))))
    left = next(e for e in env.journal.entries if e.kind == "StageEntered" and e.data["stage"] == "Ramping")
    assert 7200.0 <= left.at - done.at <= 7800.0
    assert len({e["look"] for e in events(env, "GateJudged") if e["stage"] == "LiveShadowing"}) > 4


def _mirrors(env: Scenario, seq: int) -> bool:
    effect: Any = env.journal.entries[seq - 1].data["effect"]
    return bool(effect.get("mirror"))


def test_the_gates_ask_about_mirrored_requests() -> None:
    """Each look asks for mirrored evidence since the split was live, of the named gates and of the answers' shape."""
    env = scenario(MIRRORED)
    ledger = started(env, at(Stage.LIVE_SHADOWING, 0, 1))
    assert ledger.rollout is not None
    read = parse_policy(ledger.rollout.opened.policy)
    action = decide_action(ledger, read, env.clock.now())
    assert isinstance(action, JudgeGates)
    assert (action.kind, action.since) == ("live_shadow", ledger.rollout.entered_at)
    assert [gate.name for gate in action.gates] == ["errors", ANSWER_SHAPE_GATE.name]
    assert action.level.min_requests == 500
    assert action.level.alpha == compute_alpha_per_shadow_gate(read) == TOTAL_SHADOW_GATE_ALPHA / 2
    drive_rollout(env.ports(), "m", until=lambda now: bool(now.rollout and now.rollout.verdicts))
    asked = env.evidence_source.asked[-1]  # type: ignore[attr-defined]
    assert (asked.mirrored, asked.epoch) == (20.0, 300.0)


def test_answers_of_any_shape_are_not_compared() -> None:
    """Where the policy lets the answers change their shape, the live shadow does not ask for it either."""
    env = scenario({**MIRRORED, "data": {"suite": "m", "answers": "any"}})
    started(env)
    assert {str(item["verdict"]["gate"]) for item in events(env, "GateJudged")} == {"data", "errors"}  # type: ignore[index]


def test_a_candidate_that_fails_its_live_shadow_is_rejected() -> None:
    """A guardrail that fails ends the rollout before any caller had an answer of the candidate, and ends the mirror."""
    env = scenario(MIRRORED, lambda q: FAIL if q.kind == "live_shadow" and q.gate.name == "errors" else None)
    started(env)
    assert env.picture() == (("Rejected",), {"champion": "1", "candidate": "2"}, ("1", None, 0.0))
    assert env.traffic.split is not None
    assert env.traffic.split.mirror == 0.0
    assert all(not split.weight for split in env.traffic.changes)


@pytest.mark.parametrize("outcome", [Outcome.INCONCLUSIVE, Outcome.NO_DATA, Outcome.STALE, Outcome.ERROR])
def test_only_pass_leaves_the_live_shadow(outcome: Outcome) -> None:
    """What is no PASS keeps the candidate in its live shadow until the policy's reaction."""
    reaction = {outcome.value.lower(): {"hold": "1h", "then": "pause"}}
    env = scenario({**MIRRORED, "on": reaction}, lambda q: _if_mirrored(q, MissingEvidence(outcome, "so it is")))
    start = env.clock.time
    ledger = started(env, lambda ledger: not ledger.open or ledger.now > start + 50_000)
    assert ledger.rollout is not None
    assert ledger.rollout.stage is Stage.LIVE_SHADOWING
    assert ledger.rollout.paused is not None


def _if_mirrored(question: EvidenceRequest, found: Evidence) -> Evidence | None:
    mirrored = question.kind == "live_shadow" and question.gate.metric is not Metric.ANSWER_SHAPE
    return found if mirrored else None


def test_a_candidate_that_the_gateway_cannot_load_ends_as_on_a_weight_step() -> None:
    """A mirror that the gateway refuses ends the rollout as Aborted with the reason, and the champion serves on."""
    env = scenario(MIRRORED)
    shift = env.traffic.shift

    def refuse(model: str, split: Split) -> None:
        if split.mirror:
            raise Rejected("version 2 cannot be loaded")
        shift(model, split)

    env.traffic.shift = refuse  # type: ignore[method-assign]
    ledger = started(env)
    (rollout,) = ledger.rollouts.values()
    assert rollout.stage is Stage.ABORTED
    assert "version 2 cannot be loaded" in rollout.reason
    assert env.traffic.split is not None
    assert (env.traffic.split.candidate, env.traffic.split.mirror) == (None, 0.0)


def test_verdicts_of_a_live_shadow_are_judged_again_from_the_journal() -> None:
    """Every verdict of the step follows from its journalled counters."""
    env = scenario(MIRRORED)
    started(env)
    found = list(reverify(env.journal.entries))
    assert any(entry.data.get("stage") == "LiveShadowing" for entry in env.journal.entries)
    assert [one for one in found if one.problem] == []


V1, V2 = (Version(n, f"sha256:{n * 64}") for n in "12")


def test_a_mirror_is_said_in_words() -> None:
    """The journal's line, and the drift of a gateway that does not mirror, name the share and both versions."""
    effect = SetSplit(V1, V2, 0.0, 20.0)
    assert (
        describe_effect(effect) == "version 1 answers everything, and version 2 is asked 20 % of the requests as well"
    )
    env = scenario(MIRRORED)
    ledger = started(env, at(Stage.LIVE_SHADOWING, 0, 1))
    assert describe_split_mismatch(ledger, env.traffic.split) == ""
    assert env.traffic.split is not None
    said = describe_split_mismatch(ledger, replace(env.traffic.split, mirror=0.0))
    assert said == "the gateway serves version 1, the journal says version 1, mirrored to version 2 at 20%"


def test_a_split_of_an_earlier_release_mirrors_nothing() -> None:
    """An intent that was journalled before there was a mirror is read without one."""
    effect = {"effect": "SetSplit", "champion": {"number": "1", "digest": "d"}, "candidate": None, "weight": 5.0}
    event: Any = decode_event("EffectIntended", {"rollout": "r", "effect": effect})
    assert event.effect.mirror == 0.0


ERRORS = make_gate("errors", Metric.ERROR_RATE, margin=0.01)
COUNTS = BadEventCounts((BadEventStratum(0.5, 0, 20_000, 0, 20_000),), 0.0, recent=20_000)


@pytest.mark.parametrize(("dropped", "outcome"), [(0, "PASS"), (1_999, "PASS"), (2_001, "INCONCLUSIVE")])
def test_no_gate_passes_when_too_many_mirrored_requests_are_missing(dropped: int, outcome: str) -> None:
    """A fifth of the mirrored requests may be missing, and the verdict says how many are."""
    left = ExcludedRecords(records=10_000, dropped=dropped)
    for gate, found in ((ERRORS, COUNTS), (ANSWER_SHAPE_GATE, SAME_SHAPE)):
        verdict = judge(gate, replace(found, left=left), DecisionThresholds())
        assert verdict.outcome == outcome, verdict.reason
        assert (f"{dropped:,} mirrored requests" in verdict.reason) is bool(dropped)
    if outcome != "PASS":
        assert "2,001 of 10,000 mirrored requests are missing, and at most 20 % may be" in verdict.reason


def test_missing_requests_save_no_candidate_that_fails() -> None:
    """A proof of harm stands, however many requests are missing."""
    found = replace(FAIL, left=ExcludedRecords(records=100_000, dropped=60_000))
    assert judge(ERRORS, found, DecisionThresholds()).outcome is Outcome.FAIL


def test_the_shape_of_answers_waits_for_the_demanded_requests() -> None:
    """With fewer mirrored requests than the step demands the implicit gate is not decided."""
    few = AnswerShapes(("a number",), ("a number",), 400, 399)
    verdict = judge(ANSWER_SHAPE_GATE, few, DecisionThresholds(min_requests=500))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "399 of the 500" in verdict.reason


def test_a_plan_says_what_a_live_shadow_detects() -> None:
    """Each gate has a line that counts the mirrored share of the traffic; too many demanded is a warning."""
    read = parse_policy(policy({"shadow": STEP}, RAMP))
    (sight,) = [one for one in plan_policy(read) if one.step == "live shadow"]
    assert (sight.gate, sight.n, sight.counts) == ("errors", 2 * 0.2 * 600 * 120, "answers")
    assert sight.effect is not None
    assert sight.warning == ""
    (note,) = [one for one in list_policy_notes(read) if "live shadow" in one]
    assert "20 % more processor time" in note
    assert "only while the host has processors to spare" in note
    few = parse_policy(policy({"shadow": {**STEP, "min_requests": 10**6}}, RAMP))
    (short,) = [one for one in plan_policy(few) if one.step == "live shadow"]
    assert short.warning == "demands 1,000,000 mirrored requests, but only about 28,800 come in time"


def test_the_replay_keeps_its_level_without_a_live_shadow() -> None:
    """The level of a replayed shadow is what it was where there is no live one; with one they share it."""
    assert compute_alpha_per_shadow_gate(parse_policy(POLICY)) == TOTAL_SHADOW_GATE_ALPHA
    assert compute_alpha_per_shadow_gate(parse_policy(MIRRORED)) == TOTAL_SHADOW_GATE_ALPHA / 2


def test_a_run_that_was_interrupted_while_mirroring_goes_on() -> None:
    """A new process finds the mirror in force and does not set it again."""
    env = scenario(MIRRORED, lambda q: PASS if q.kind == "live_shadow" and q.gate.name == "errors" else None)
    open_promotion(env.ports(), env.request())
    drive_rollout(env.ports(), "m", until=at(Stage.LIVE_SHADOWING, 0, 1))
    before = len(env.traffic.changes)
    drive_rollout(env.ports(), "m", until=at(Stage.RAMPING, 0, 1))
    assert len(env.traffic.changes) == before
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert fold_entries("m", env.journal.entries).champion == env.registry.versions["2"]


def test_plan_and_status_say_what_is_mirrored(capsys: pytest.CaptureFixture[str]) -> None:
    """`plan` says share, length, requests and looks of the step; `status` says what is mirrored to which version."""
    read = parse_policy(policy({"shadow": STEP}, RAMP))
    print_plan(read, "2", "1")
    plan_output.print_stages(read)
    env = scenario(MIRRORED)
    ledger = started(env, at(Stage.LIVE_SHADOWING, 0, 1))
    print_status(ledger, env.traffic.split, [])
    said = capsys.readouterr().out
    step = (
        "2. mirror 20 % of the requests to version 2 for 2 h and 500 requests that both answer: errors must pass"
        " (about 14,400 requests; callers get the champion's answers, and version 2 waits while the host is busy);"
        " looks every 10 min: 12 looks"
    )
    for words in (
        step,
        "live shadow: 20 % of the requests for 2 h, looks every 10 min: 12 looks",
        "served: version 1 answers everything; 20 % of the requests are mirrored to version 2",
    ):
        assert words in said, said


def test_a_mirrored_run_has_its_share_in_its_name() -> None:
    """The MLflow run of the transition into the live shadow is named for the stage and the share of the requests."""
    env = scenario(MIRRORED)
    started(env)
    names = [run.name for run in make_run_views(env.journal.entries)]
    assert "03 LiveShadowing 20 %" in names
    assert "04 Ramping 5 %" in names
