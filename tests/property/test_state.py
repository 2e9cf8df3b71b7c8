"""The fold of a journal does not depend on where it is cut, nor on what nonsense it holds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.core.actions import AbandonEffect, ApplyEffect, FinishEffect, NoRollout, RecordEvent
from surefoot.core.domain import TERMINAL_STAGES, Outcome, Role, RolloutKind, Stage, Verdict, Version
from surefoot.core.journal.chain import GENESIS_HASH, Entry, seal_entry
from surefoot.core.journal.events import (
    ChampionAdopted,
    DriftFound,
    EffectDone,
    EffectIntended,
    EffectRefused,
    EndDecided,
    Event,
    GateJudged,
    Paused,
    RolloutEnded,
    RolloutOpened,
    SetAlias,
    SetSplit,
    StageEntered,
    encode_event,
)
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.policy.parse import parse_policy
from surefoot.core.stages.stage_places import has_place
from surefoot.core.state_machine import decide_action
from tests.fakes import POLICY

ONE, TWO, THREE = (Version(n, f"sha256:{n * 64}") for n in "123")
VERSIONS = st.sampled_from([ONE, TWO, THREE])
NUMBERS = st.sampled_from(["1", "2", "3"])
MIRRORS = st.sampled_from([0.0, 20.0, 100.0])
IDS = st.sampled_from(["r1", "r2"])
EFFECTS = st.builds(SetSplit, VERSIONS, st.none() | VERSIONS, st.sampled_from([0.0, 5.0, 50.0]), MIRRORS) | st.builds(
    SetAlias, st.sampled_from(["champion", "candidate", "previous"]), st.none() | NUMBERS, st.none() | NUMBERS
)
RUNNING = st.sampled_from([stage for stage in Stage if not stage.is_terminal])
TERMINAL = st.sampled_from(sorted(TERMINAL_STAGES))
VERDICTS = st.builds(
    Verdict,
    st.sampled_from(["data", "errors"]),
    st.just("error_rate"),
    st.sampled_from(Outcome),
    st.sampled_from(Role),
    st.just("a reason"),
)
STEPS = st.integers(0, 9)
EVENT: st.SearchStrategy[Event] = st.one_of(
    st.builds(ChampionAdopted, VERSIONS),
    st.builds(
        RolloutOpened,
        IDS,
        st.sampled_from([RolloutKind.PROMOTION, "rollback"]),
        VERSIONS,
        VERSIONS,
        st.just(POLICY),
        *[st.just("x")] * 3,
        st.integers(1, 3),
        st.just("why"),
    ),
    st.builds(StageEntered, IDS, RUNNING, STEPS, st.just("on")),
    st.builds(GateJudged, IDS, RUNNING, STEPS, st.integers(1, 3), VERDICTS),
    st.builds(EffectIntended, IDS, EFFECTS),
    st.builds(EffectDone, IDS, st.integers(1, 12), st.booleans(), st.just(1.0)),
    st.builds(EffectRefused, IDS, st.integers(1, 12), st.just("no")),
    st.builds(Paused, IDS, st.sampled_from(Outcome), st.just("errors"), st.just("wait")),
    st.builds(EndDecided, IDS, TERMINAL, st.just(""), st.just("enough")),
    st.builds(RolloutEnded, IDS, TERMINAL, st.just("over")),
    st.builds(DriftFound, IDS, st.just("alias champion"), st.just("1"), st.just("3")),
)


def sealed(events: list[Event]) -> list[Entry]:
    """Entries of a chain, one every ten minutes."""
    entries: list[Entry] = []
    for seq, event in enumerate(events, start=1):
        kind, data = encode_event(event)
        entries.append(
            seal_entry("m", seq, 600.0 * seq, 0.0, "test", kind, data, entries[-1].hash if entries else GENESIS_HASH)
        )
    return entries


@settings(deadline=None)
@given(st.lists(EVENT, max_size=25), st.data())
def test_fold_may_be_cut_anywhere(events: list[Event], data: st.DataObject) -> None:
    """Folding a journal at once, or in two parts, gives the same ledger."""
    entries = sealed(events)
    cut = data.draw(st.integers(0, len(entries)))
    whole = fold_entries("m", entries)
    assert fold_entries("m", entries[cut:], fold_entries("m", entries[:cut])) == whole
    assert whole.head == len(entries)


@settings(deadline=None)
@given(st.lists(EVENT, max_size=25))
def test_ledger_is_consistent(events: list[Event]) -> None:
    """After any events: the open rollout exists, a pending intent was written, nobody is proven twice."""
    entries = sealed(events)
    ledger = fold_entries("m", entries)
    assert not ledger.open or ledger.open in ledger.rollouts
    assert ledger.intent is None or entries[ledger.intent[0] - 1].kind == "EffectIntended"
    digests = [version.digest for version in ledger.proven]
    assert len(digests) == len(set(digests))
    target = ledger.target()
    assert target is None or (target in ledger.proven and target != ledger.champion)


@settings(deadline=None)
@given(st.lists(EVENT, max_size=25), st.floats(0.0, 1e6))
def test_machine_answers_every_ledger(events: list[Event], later: float) -> None:
    """Whatever the journal holds there is a next action, the same each time; an ending rollout only goes back."""
    ledger = fold_entries("m", sealed(events))
    now = ledger.now + later
    action = decide_action(ledger, parse_policy(POLICY), now)
    assert action == decide_action(ledger, parse_policy(POLICY), now)
    rollout = ledger.rollout
    if ledger.intent:
        assert isinstance(action, FinishEffect | AbandonEffect)
    elif rollout is None:
        assert action == NoRollout()
    elif rollout.ending and rollout.opened.kind == "promotion":
        assert isinstance(action, ApplyEffect | RecordEvent)
        if isinstance(action, ApplyEffect) and isinstance(action.effect, SetSplit):
            assert action.effect == SetSplit(rollout.opened.champion, None, 0.0)
        if isinstance(action, RecordEvent):
            assert isinstance(action.event, RolloutEnded)
            assert action.event.terminal_stage is rollout.ending.terminal_stage


@given(st.sampled_from([stage for stage in Stage if not stage.is_terminal]), st.integers(0, 9), st.booleans())
def test_a_stage_that_the_policy_does_not_have_is_aborted(stage: Stage, step: int, asks: bool) -> None:
    """A rollout whose journal names a stage or step that its own policy lacks is taken back, whatever the stage is."""
    policy = POLICY if not asks else {**POLICY, "steps": [*POLICY["steps"], {"approve": {"by": "team", "quorum": 1}}]}
    opened = RolloutOpened("r1", RolloutKind.PROMOTION, ONE, TWO, policy, "x", "x", "x", 1, "why")
    ledger = fold_entries("m", sealed([opened, StageEntered("r1", stage, step, "on")]))
    known = has_place(parse_policy(policy), stage, step)
    action = decide_action(ledger, parse_policy(policy), ledger.now)
    ended = action.event if isinstance(action, RecordEvent) and isinstance(action.event, EndDecided) else None
    assert (ended is None) is known
    assert ended is None or f"{stage}, step {step}" in ended.reason


def judged(ledger: Ledger, outcome: Outcome) -> Ledger:
    """The ledger after one more verdict of the rollout's current stage."""
    rollout = ledger.rollout
    assert rollout is not None
    verdict = Verdict("errors", "error_rate", outcome, Role.GUARDRAIL, "so")
    kind, data = encode_event(GateJudged(ledger.open, rollout.stage, rollout.step, 1, verdict))
    return fold_entries(
        "m", [seal_entry("m", ledger.head + 1, ledger.now, 0.0, "test", kind, data, GENESIS_HASH)], ledger
    )


@settings(deadline=None)
@given(st.sampled_from([Stage.SHADOWING, Stage.RAMPING, Stage.BAKING]), st.sampled_from(Outcome), st.floats(0.0, 1e6))
def test_only_pass_advances(stage: Stage, outcome: Outcome, later: float) -> None:
    """No outcome but PASS ever moves a rollout on, however late it is."""
    v1, v2 = (Version(n, f"sha256:{n * 64}") for n in "12")
    split = SetSplit(v1, v2, 5.0)
    events: list[Event] = [
        ChampionAdopted(v1),
        RolloutOpened("r", RolloutKind.PROMOTION, v2, v1, POLICY, "", "", "", 1, ""),
        EffectIntended("r", split),
        EffectDone("r", 3, False, 1.0),
        StageEntered("r", stage, 0, ""),
    ]
    ledger = judged(fold_entries("m", sealed(events)), outcome)
    action = decide_action(ledger, parse_policy(POLICY), ledger.now + later)
    advanced = isinstance(action, RecordEvent) and isinstance(action.event, StageEntered | RolloutEnded)
    assert not advanced or outcome is Outcome.PASS
