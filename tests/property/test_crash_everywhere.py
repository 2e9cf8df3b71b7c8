"""A kill, a refusal or a lost reply at any port call ends where the undisturbed run ends."""

from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.core.approvals.approval_statement import APPROVE, DENY
from surefoot.core.domain import Stage
from surefoot.core.journal.events import EffectDone, EffectIntended, decode_event
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.policy.parse import parse_policy
from surefoot.core.stages.hold_events import FreezeBegan, FreezeSource
from surefoot.core.stages.waiting_stage import is_approved
from surefoot.rollout import (
    Ports,
    approval_view,
    drive_rollout,
    end_rollout,
    open_promotion,
    open_rollback,
    pause_rollout,
    record_signed_decision,
    restore_due_tables,
    resume_rollout,
)
from tests.fakes import (
    APPROVED,
    BY_ALIAS,
    MIRRORED,
    POLICY,
    STEPPED,
    WITH_CONFIG,
    WITH_TABLES,
    FakeApprovers,
    Faults,
    Killed,
    Scenario,
)
from tests.sweeps import EVERYTHING, swept

FAULTS = ["before", "after", "refused", "unknown"]


def promote(scenario: Scenario) -> None:
    """Promote version 2, or take it back as its story demands."""
    if not any(e.kind == "RolloutEnded" for e in scenario.journal.entries):
        drive_to_end(scenario, lambda ports: open_promotion(ports, scenario.request()))


def promote_and_roll_back(scenario: Scenario) -> None:
    """Promote version 2, then an operator takes it back."""
    promote(scenario)
    ended = [e for e in scenario.journal.entries if e.kind == "RolloutEnded"]
    if len(ended) == 1:
        drive_to_end(scenario, lambda ports: open_rollback(ports, "m", "operator"))


def write_and_roll_back(scenario: Scenario) -> None:
    """Promote version 2, which writes to every table; then an operator takes it back."""
    promote(scenario)
    ended = [e for e in scenario.journal.entries if e.kind == "RolloutEnded"]
    if len(ended) == 1 and not fold_entries("m", scenario.journal.entries).open:
        for rows in scenario.data_layer.tables.values():
            rows.extend(["2"] * (rows[-1] == "1"))
    if len(ended) == 1:
        drive_to_end(scenario, lambda ports: open_rollback(ports, "m", "operator"))
    restore_due_tables(scenario.ports(), "m")


def abort_while_ramping(scenario: Scenario) -> None:
    """Abort while the first weight is live."""
    ports = scenario.ports()
    if not any(e.kind == "RolloutEnded" for e in scenario.journal.entries):
        open_promotion(ports, scenario.request())
        drive_rollout(ports, "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.stage is Stage.RAMPING))
        drive_rollout(ports, "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.done))
        end_rollout(ports, "m", Stage.ABORTED, "operator")
        drive_rollout(ports, "m", until=lambda ledger: not ledger.open)


def abort_while_mirroring(scenario: Scenario) -> None:
    """Abort while requests are mirrored."""
    ports = scenario.ports()
    if not any(e.kind == "RolloutEnded" for e in scenario.journal.entries):
        open_promotion(ports, scenario.request())
        drive_rollout(ports, "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.done))
        end_rollout(ports, "m", Stage.ABORTED, "operator")
        drive_rollout(ports, "m", until=lambda ledger: not ledger.open)


def step_back_and_abort(scenario: Scenario) -> None:
    """Promote version 2; an operator takes it back step by step, and calls that off at the first weight."""
    promote(scenario)
    ended = [e for e in scenario.journal.entries if e.kind == "RolloutEnded"]
    if len(ended) > 1:
        return
    ports = scenario.ports()
    if not fold_entries("m", scenario.journal.entries).open:
        open_rollback(ports, "m", "operator")
    ledger = ports.ledger("m")
    if ledger.rollout and not ledger.rollout.ending:
        drive_rollout(ports, "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.done))
        end_rollout(ports, "m", Stage.ABORTED, "operator")
    drive_rollout(ports, "m", until=lambda ledger: not ledger.open)


def step_back_then_at_once(scenario: Scenario) -> None:
    """Promote version 2; an operator takes it back step by step, and finishes that at the first weight."""
    promote(scenario)
    ended = [e for e in scenario.journal.entries if e.kind == "RolloutEnded"]
    if len(ended) > 1:
        return
    ports = scenario.ports()
    if not fold_entries("m", scenario.journal.entries).open:
        open_rollback(ports, "m", "operator")
    ledger = ports.ledger("m")
    if ledger.rollout and not ledger.rollout.ending:
        drive_rollout(ports, "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.done))
        open_rollback(ports, "m", "at once", mode="immediate")
    drive_rollout(ports, "m", until=lambda ledger: not ledger.open)


def approve_and_promote(scenario: Scenario) -> None:
    """Promote version 2; two people sign at each approve step."""
    scenario.approvers = FakeApprovers()
    if any(e.kind == "RolloutEnded" for e in scenario.journal.entries):
        return
    ports = scenario.ports()
    if not fold_entries("m", scenario.journal.entries).open:
        open_promotion(ports, scenario.request())
    while drive_rollout(ports, "m", until=lambda ledger: not ledger.open or _asks(ledger)).open:
        for person in ("ann", "ben"):
            if _asks(fold_entries("m", scenario.journal.entries)):
                sign(scenario, ports, person, APPROVE)


def sign(scenario: Scenario, ports: Ports, person: str, decision: str) -> None:
    """Let a person decide, once."""
    view = approval_view(ports.ledger("m"))
    state = view.rollout.approvals
    if person not in {one.signed.person for one in state.given} | {one.signed.person for one in state.denied}:
        nonce = f"{person} {len(scenario.journal.entries)}"
        record_signed_decision(
            ports, "m", FakeApprovers.sign(view.statement(decision, nonce, ports.clock.now()), person)
        )


def _asks(ledger: Ledger) -> bool:
    """Whether a rollout waits for more people."""
    rollout = ledger.rollout
    if rollout is None or rollout.stage is not Stage.AWAITING_APPROVAL or rollout.ending:
        return False
    return not is_approved(rollout, parse_policy(rollout.opened.policy).approvals[rollout.step])


def deny(scenario: Scenario) -> None:
    """One person approves the ramp, and denies the promotion."""
    scenario.approvers = FakeApprovers()
    if any(e.kind == "RolloutEnded" for e in scenario.journal.entries):
        return
    ports = scenario.ports()
    if not fold_entries("m", scenario.journal.entries).open:
        open_promotion(ports, scenario.request())
    for step, decision in enumerate((APPROVE, DENY)):
        asked = drive_rollout(ports, "m", until=partial(_comes_to, step))
        if _asks_at(asked, step):
            sign(scenario, ports, "ann", decision)
    drive_rollout(ports, "m", until=lambda ledger: not ledger.open)


def _comes_to(step: int, ledger: Ledger) -> bool:
    """Whether a rollout waits at an approve step, or has passed it."""
    return _past(ledger, step) or _asks_at(ledger, step)


def _past(ledger: Ledger, step: int) -> bool:
    """Whether a rollout has come beyond an approve step, or to its end."""
    rollout = ledger.rollout
    return rollout is None or (step == 0 and (rollout.stage is Stage.RAMPING or rollout.step > 0))


def _asks_at(ledger: Ledger, step: int) -> bool:
    """Whether a rollout waits for people at an approve step."""
    rollout = ledger.rollout
    waits = rollout is not None and (rollout.stage, rollout.step) == (Stage.AWAITING_APPROVAL, step)
    return waits and rollout is not None and not rollout.ending


def pause_and_freeze(scenario: Scenario) -> None:
    """Promote version 2: a person pauses the ramp and resumes it, and the calendar freezes the promotion."""
    if any(e.kind == "RolloutEnded" for e in scenario.journal.entries):
        return
    ports = scenario.ports()
    if not fold_entries("m", scenario.journal.entries).open:
        open_promotion(ports, scenario.request())
    if not any(e.kind == "RolloutPaused" for e in scenario.journal.entries):
        drive_rollout(ports, "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.done))
        pause_rollout(ports, "m", "the night shift looks at it")
    if not any(e.kind == "RolloutResumed" for e in scenario.journal.entries):
        drive_rollout(ports, "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.stage is Stage.HOLDING))
        resume_rollout(ports, "m", "it is fine")
    if not any(e.kind == "FreezeEnded" for e in scenario.journal.entries):
        scenario.window = FreezeBegan(FreezeSource.CALENDAR, "holidays")
        drive_rollout(ports, "m", until=_is_frozen)
        assert all(split.champion.number == "1" for split in scenario.traffic.changes)
        scenario.window = None
    drive_rollout(ports, "m", until=lambda ledger: not ledger.open)


def _is_frozen(ledger: Ledger) -> bool:
    """Whether a freeze holds a rollout in place."""
    rollout = ledger.rollout
    return rollout is not None and rollout.stage is Stage.HOLDING and rollout.reason == "frozen: holidays"


def drive_to_end(scenario: Scenario, opening: Callable[[Ports], object]) -> None:
    """Open unless already ended, then drive to the end."""
    ports = scenario.ports()
    if not fold_entries("m", scenario.journal.entries).open:
        opening(ports)
    drive_rollout(ports, "m", until=lambda ledger: not ledger.open)


STORIES: dict[str, tuple[str, Callable[[Scenario], None]]] = {
    "promoted": ("good", promote),
    "rejected in shadow": ("bad-shadow", promote),
    "rolled back in canary": ("bad-live", promote),
    "operator rolls back": ("good", promote_and_roll_back),
    "stepped rollback": ("good", promote_and_roll_back),
    "stepped rollback aborted": ("good", step_back_and_abort),
    "stepped rollback finished at once": ("good", step_back_then_at_once),
    "promoted with tables": ("good", promote),
    "operator rolls back with tables": ("good", write_and_roll_back),
    "promoted with configuration": ("good", promote),
    "rolled back in canary with configuration": ("bad-live", promote),
    "operator rolls back with configuration": ("good", promote_and_roll_back),
    "operator aborts": ("good", abort_while_ramping),
    "mirrored and promoted": ("good", promote),
    "rejected in the live shadow": ("bad-live_shadow", promote),
    "operator aborts while mirrored": ("good", abort_while_mirroring),
    "promoted with approvals": ("good", approve_and_promote),
    "denied after the ramp": ("good", deny),
    "rolled back in canary with approvals": ("bad-live", approve_and_promote),
    "paused and frozen": ("good", pause_and_freeze),
    "promoted by alias alone": ("good", promote),
    "rejected in shadow by alias alone": ("bad-shadow", promote),
    "rolled back in bake by alias alone": ("bad-bake", promote),
    "operator rolls back by alias alone": ("good", promote_and_roll_back),
    "promoted with configuration by alias alone": ("good", promote),
}
POLICIES = {story: MIRRORED for story in STORIES if "mirrored" in story or "live shadow" in story}
POLICIES |= {story: STEPPED for story in STORIES if "stepped" in story}
POLICIES |= {story: WITH_CONFIG for story in STORIES if "configuration" in story}
POLICIES |= {story: APPROVED for story in STORIES if "approvals" in story or "denied" in story}
POLICIES |= {story: WITH_TABLES for story in STORIES if "tables" in story}
POLICIES |= {
    story: {**BY_ALIAS, **({"bundle": WITH_CONFIG["bundle"]} if "configuration" in story else {})}
    for story in STORIES
    if "by alias alone" in story
}
ENDS = {
    "promoted": (("Promoted",), {"champion": "2", "previous": "1"}, ("2", None, 0.0)),
    "rejected in shadow": (("Rejected",), {"champion": "1", "candidate": "2"}, ("1", None, 0.0)),
    "rolled back in canary": (("RolledBack",), {"champion": "1", "candidate": "2"}, ("1", None, 0.0)),
    "operator rolls back": (("Promoted", "FastRolledBack"), {"champion": "1"}, ("1", None, 0.0)),
    "stepped rollback": (("Promoted", "FastRolledBack"), {"champion": "1"}, ("1", None, 0.0)),
    "stepped rollback aborted": (("Promoted", "Aborted"), {"champion": "2", "previous": "1"}, ("2", None, 0.0)),
    "stepped rollback finished at once": (("Promoted", "FastRolledBack"), {"champion": "1"}, ("1", None, 0.0)),
    "promoted with tables": (("Promoted",), {"champion": "2", "previous": "1"}, ("2", None, 0.0)),
    "operator rolls back with tables": (("Promoted", "FastRolledBack"), {"champion": "1"}, ("1", None, 0.0)),
    "promoted with configuration": (("Promoted",), {"champion": "2", "previous": "1"}, ("2", None, 0.0)),
    "rolled back in canary with configuration": (
        ("RolledBack",),
        {"champion": "1", "candidate": "2"},
        ("1", None, 0.0),
    ),
    "operator rolls back with configuration": (("Promoted", "FastRolledBack"), {"champion": "1"}, ("1", None, 0.0)),
    "operator aborts": (("Aborted",), {"champion": "1", "candidate": "2"}, ("1", None, 0.0)),
    "mirrored and promoted": (("Promoted",), {"champion": "2", "previous": "1"}, ("2", None, 0.0)),
    "rejected in the live shadow": (("Rejected",), {"champion": "1", "candidate": "2"}, ("1", None, 0.0)),
    "operator aborts while mirrored": (("Aborted",), {"champion": "1", "candidate": "2"}, ("1", None, 0.0)),
    "promoted with approvals": (("Promoted",), {"champion": "2", "previous": "1"}, ("2", None, 0.0)),
    "denied after the ramp": (("Aborted",), {"champion": "1", "candidate": "2"}, ("1", None, 0.0)),
    "rolled back in canary with approvals": (("RolledBack",), {"champion": "1", "candidate": "2"}, ("1", None, 0.0)),
    "paused and frozen": (("Promoted",), {"champion": "2", "previous": "1"}, ("2", None, 0.0)),
    "promoted by alias alone": (("Promoted",), {"champion": "2", "previous": "1"}, ("2", None, 0.0)),
    "rejected in shadow by alias alone": (("Rejected",), {"champion": "1", "candidate": "2"}, ("1", None, 0.0)),
    "rolled back in bake by alias alone": (("RolledBack",), {"champion": "1"}, ("1", None, 0.0)),
    "operator rolls back by alias alone": (("Promoted", "FastRolledBack"), {"champion": "1"}, ("1", None, 0.0)),
    "promoted with configuration by alias alone": (("Promoted",), {"champion": "2", "previous": "1"}, ("2", None, 0.0)),
}


def run(story: str, faults: dict[int, str]) -> Scenario:
    """Run a story; after each kill a new process starts it again."""
    seed, play = STORIES[story]
    scenario = Scenario(seed, Faults(dict(faults)), dict(POLICIES.get(story, POLICY)))
    for _ in range(len(faults) + 3):
        try:
            play(scenario)
        except Killed:
            continue
        except Exception as error:
            if not getattr(error, "retryable", False):
                raise
            continue
        return scenario
    raise AssertionError("the story never came to an end")


def laws(scenario: Scenario) -> None:
    """Every intent has at most one end, and no effect is done twice."""
    intents: dict[int, object] = {}
    for entry in scenario.journal.entries:
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, EffectIntended):
            intents[entry.seq] = event.effect
        if isinstance(event, EffectDone):
            assert intents.pop(event.intent)
    generations = [split.generation for split in scenario.traffic.changes]
    assert generations == sorted(set(generations))
    mirrored = [split for split in scenario.traffic.changes if split.mirror]
    assert all(split.candidate is not None and not split.weight for split in mirrored)
    assert scenario.traffic.split is not None
    assert scenario.traffic.split.mirror == 0.0
    tables_are_right(scenario)
    config_is_right(scenario)


def config_is_right(scenario: Scenario) -> None:
    """No request goes to version 2 while the file holds what goes with version 1; in the end it is the champion's."""
    writes, split = scenario.config_files.writes, scenario.traffic.split
    if not scenario.policy.get("bundle"):
        assert not writes
        return
    for place, change in enumerate(scenario.traffic.changes):
        asked = change.champion.number == "2" or (change.candidate and (change.weight or change.mirror))
        holds = [content for before, content in writes if before <= place]
        assert not asked or holds[-1] == "sha256:2"
    assert split is not None
    assert scenario.config_files.files == {"thresholds.json": f"sha256:{split.champion.number}"}
    assert not fold_entries("m", scenario.journal.entries).drifts


def tables_are_right(scenario: Scenario) -> None:
    """Each table is checkpointed once a promotion, and settled once a rollback, as its policy says."""
    kinds = Counter((e.kind, str(e.data["name"])) for e in scenario.journal.entries if e.kind.startswith("Data"))
    tables = ("predictions", "stream", "scratch") if scenario.policy.get("data_layer") else ()
    assert {name for (kind, name) in kinds if kind == "DataCheckpointed"} == set(tables)
    assert all(count == 1 for (kind, _), count in kinds.items() if kind != "DataRestoreRequested"), kinds
    ends = [e.data["sink"] for e in scenario.journal.entries if e.kind == "RolloutEnded"]
    if tables and ends[-1] == "FastRolledBack":
        assert scenario.data_layer.tables == {"predictions": ["1"], "stream": ["1", "2"], "scratch": ["1", "2"]}
        assert [name for name, _ in scenario.data_layer.restores] == ["predictions"]
        assert {kind for kind, name in kinds if name == "predictions"} >= {"DataRestoreRequested", "DataRestored"}
        assert {name for kind, name in kinds if kind == "DataLeft"} == {"stream", "scratch"}
        assert not fold_entries("m", scenario.journal.entries).data.due


@pytest.mark.parametrize("story", STORIES)
def test_undisturbed(story: str) -> None:
    """Without faults each story ends as it should."""
    scenario = run(story, {})
    assert scenario.picture() == ENDS[story]
    laws(scenario)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("story", STORIES)
def test_single_fault_at_every_call(story: str, fault: str) -> None:
    """One fault at each port call in turn changes nothing about the end; `make fault` tries each kind at each call."""
    calls = run(story, {}).faults.calls
    assert calls > 10
    for number in swept(calls, FAULTS.index(fault), share=12):
        scenario = run(story, {number: fault})
        assert scenario.picture() == ENDS[story], (story, fault, number)
        laws(scenario)


@settings(max_examples=400 if EVERYTHING else 75, deadline=None)
@given(data=st.data(), story=st.sampled_from(sorted(STORIES)))
def test_several_faults(data: st.DataObject, story: str) -> None:
    """Up to four faults of any kind at any calls change nothing about the end."""
    numbers = st.integers(1, 80)
    faults = data.draw(st.dictionaries(numbers, st.sampled_from(FAULTS), max_size=4))
    scenario = run(story, faults)
    assert scenario.picture() == ENDS[story]
    laws(scenario)
