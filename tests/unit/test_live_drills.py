"""A live drill ends with the champion alone, whatever stops it, and leaves no other trace than its own entries."""

import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from surefoot.core.domain import Split, Stage
from surefoot.core.drills.drill_events import DrillFinished, describe_drill
from surefoot.core.drills.live_drill_events import LiveDrillBegan, LiveDrillResult
from surefoot.core.drills.live_drill_limits import LiveDrillCounts, find_live_drill_breach
from surefoot.core.errors import Rejected
from surefoot.core.incidents.incident_statistics import compute_incident_statistics
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import EffectIntended, SetSplit
from surefoot.core.journal.ledger import Ledger
from surefoot.core.served_versions.exposure_periods import ServingRole, exposure_periods
from surefoot.core.served_versions.service_summary import service_summaries
from surefoot.core.served_versions.version_checks import latest_checks
from surefoot.core.traffic_split_json import encode_traffic_split
from surefoot.drills.live import live_drill
from surefoot.gateway.control.route_entry import policy_of_rollout
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.rollout import (
    adopt_champion,
    begin_live_drill,
    drive_rollout,
    end_overdue_live_drill,
    end_rollout,
    find_live_drill_problem,
    has_live_drill_route,
    is_live_drill_overdue,
    journal_model_drift,
    open_promotion,
    open_rollback,
    record_drill,
    retry_on_conflict,
    stop_live_drill,
    take_back_live_drill,
)
from surefoot.rollout.recovery.live_drill import LIVE_DRILL_OVERDUE_S
from tests.fakes import POLICY, Killed, Scenario
from tests.sweeps import swept

SPAN = 600.0
FAULTS = ["before", "after", "refused", "unknown"]
MOST_CALLS = 40
"""Faults strike at so many calls at most: the rest of a promotion is that of every other one."""
SHOWN = LiveDrillResult(212, 0, 5.0, 8.0, 212, 0)


def drilling(env: Scenario, weight: float = 10.0) -> Ledger:
    """Adopt the champion unless that is done, and begin a live drill."""
    ports = env.ports()
    ledger = adopt_champion(ports, "m")
    assert ledger.champion is not None
    began = LiveDrillBegan("d1", ledger.champion, weight, ("N1",), env.clock.now() + SPAN)
    return begin_live_drill(ports, ledger, began)


@functools.cache
def once_promoted() -> Scenario:
    """The fakes after the promotion of version 2."""
    env = Scenario()
    open_promotion(env.ports(), env.request())
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    return env


def promoted() -> Scenario:
    """Fakes of a test's own in which version 2 was promoted, so that a rollback has a target."""
    return copy.deepcopy(once_promoted())


def serves(env: Scenario) -> tuple[str, str | None, float]:
    """What the gateway serves."""
    live = env.traffic.split
    assert live is not None
    return live.champion.number, None if live.candidate is None else live.candidate.number, live.weight


def kinds(env: Scenario) -> list[str]:
    """Names of all events."""
    return [entry.kind for entry in env.journal.entries]


def test_the_champion_serves_in_both_arms_and_then_alone() -> None:
    """A drill is one journalled split there and one back, with a name and a salt of its own and no rollout."""
    env = Scenario()
    ledger = drilling(env)
    champion = env.registry.versions["1"]
    assert env.traffic.split == Split(champion, champion, 10.0, "d1", "d1", ledger.split.generation, 0.0, ("N1",))  # type: ignore[union-attr]
    assert (ledger.open, ledger.rollouts, ledger.drifts) == ("", {}, {})
    assert find_live_drill_problem(ledger) == "live drill d1 of m is under way: 'surefoot drill --stop-all' ends it"
    ledger = take_back_live_drill(env.ports("ops"), ledger, "enough", completed=True)
    assert serves(env) == ("1", None, 0.0)
    assert (ledger.drills.live, ledger.split) == (None, env.traffic.split)
    assert env.journal.entries[-1].actor == "ops"
    assert not has_live_drill_route(ledger)
    assert find_live_drill_problem(ledger) == ""
    before = len(env.journal.entries)
    stop_live_drill(env.ports(), "m", "again")
    assert len(env.journal.entries) == before


def promote(env: Scenario) -> None:
    """A promotion opens and runs to its end."""
    open_promotion(env.ports(), env.request("3"))
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)


def roll_back(env: Scenario) -> None:
    """A person takes the champion back."""
    open_rollback(env.ports(), "m", "alerts doubled")
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)


def abort(env: Scenario) -> None:
    """A person aborts."""
    end_rollout(env.ports(), "m", Stage.ABORTED, "enough")


def stop(env: Scenario) -> None:
    """A person stops all live drills."""
    stop_live_drill(env.ports(), "m", "enough")


def run_out(env: Scenario) -> None:
    """The command is gone, and `reconcile` looks after the time is over."""
    env.clock.time += SPAN + LIVE_DRILL_OVERDUE_S
    assert end_overdue_live_drill(env.ports(), "m")


WINNERS: dict[str, tuple[Callable[[Scenario], None], str]] = {
    "promotion": (promote, "3"),
    "rollback": (roll_back, "1"),
    "abort": (abort, "2"),
    "stop": (stop, "2"),
    "reconcile": (run_out, "2"),
}


@pytest.mark.parametrize("who", WINNERS)
def test_every_other_decision_wins_at_once(who: str) -> None:
    """A promotion, a rollback, an abort and a stop end a live drill by the next route, and none is refused for it."""
    env = promoted()
    generation = drilling(env).split.generation  # type: ignore[union-attr]
    act, number = WINNERS[who]
    act(env)
    assert serves(env) == (number, None, 0.0)
    ledger = env.ports().ledger("m")
    assert ledger.drills.live is None
    assert not has_live_drill_route(ledger)
    after = [split for split in env.traffic.changes if split.generation > generation]
    assert after
    assert not any(split.is_live_drill for split in after)
    assert env.registry.aliases["champion"] == number


def test_who_has_set_another_route_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The route changes before the journal says who has ended the drill: that is no failure of the drill."""
    env = promoted()
    ledger = drilling(env)
    assert ledger.drills.live is not None
    drill, head = ledger.drills.live, ledger.head
    stop(env)
    ports = env.ports()
    read, looks = ports.journal.read, []

    def late(model: str, after: int = 0) -> tuple[Entry, ...]:
        looks.append(model)
        return read(model, after=after) if len(looks) > 2 else ()

    monkeypatch.setattr(ports.journal, "read", late)
    monkeypatch.setattr(live_drill, "CHECK_INTERVAL_S", 0.01)
    found = live_drill._await_end_by_other(ports, "m", head, drill)
    assert found is not None
    assert (found.reason, found.taken_back, len(looks)) == ("enough", True, 3)
    monkeypatch.setattr(live_drill, "_JOURNALLED_S", 0.02)
    monkeypatch.setattr(ports.journal, "read", lambda _model, after=0: ())
    assert live_drill._await_end_by_other(ports, "m", head, drill) is None


def test_a_rollback_leaves_the_intended_route_of_a_drill() -> None:
    """Where the drill's route is intended and not in force, a rollback gives it up and goes its own way at once."""
    env = promoted()
    ports = env.ports()
    ledger = ports.ledger("m")
    assert ledger.champion is not None
    ledger = ports.append(ledger, LiveDrillBegan("d1", ledger.champion, 10.0, (), env.clock.now() + SPAN))
    ports.append(ledger, EffectIntended("", SetSplit(env.registry.versions["2"], env.registry.versions["2"], 10.0)))
    roll_back(env)
    assert serves(env) == ("1", None, 0.0)
    assert not any(split.is_live_drill for split in env.traffic.changes)
    assert "EffectRefused" in kinds(env)
    assert not env.ports().ledger("m").rollouts[[*env.ports().ledger("m").rollouts][-1]].refused


STORIES: dict[str, Callable[[Scenario], None]] = {
    "it comes to its end": lambda env: take_back(env, completed=True),
    **{name: act for name, (act, _) in WINNERS.items() if name != "reconcile"},
}
ENDS = {name: number for name, (_, number) in WINNERS.items()} | {"it comes to its end": "2"}


def take_back(env: Scenario, *, completed: bool) -> None:
    """The command takes the traffic back."""
    ports = env.ports()
    retry_on_conflict(lambda: take_back_live_drill(ports, ports.ledger("m"), "its time is over", completed=completed))


def reconciled(env: Scenario) -> None:
    """What `reconcile` does, tick by tick, until nothing is left to do."""
    for _ in range(3):
        env.clock.time += SPAN
        try:
            end_overdue_live_drill(env.ports(), "m")
            adopt_champion(env.ports(), "m")
            if env.ports().ledger("m").open:
                drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
            journal_model_drift(env.ports(), "m")
        except Killed:
            continue
        except Exception as error:
            if not getattr(error, "retryable", False):
                raise


def play(story: str, faults: dict[int, str]) -> tuple[Scenario, int]:
    """Begin a drill and end it as the story says; the first fault ends the process, and `reconcile` does the rest.

    Returns:
        What is left, and how many port calls there were before `reconcile`.
    """
    env = promoted()
    calls = env.faults.calls
    env.faults.at = {calls + number: fault for number, fault in faults.items()}
    try:
        drilling(env)
        STORIES[story](env)
    except Killed:
        pass
    except Exception as error:
        if not getattr(error, "retryable", False):
            raise
    made = env.faults.calls - calls
    reconciled(env)
    return env, made


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("story", STORIES)
def test_a_kill_at_any_call_ends_at_the_champion_alone(story: str, fault: str) -> None:
    """After a kill, a refusal or a lost reply at each port call, `reconcile` ends with one version and no drift."""
    clean, calls = play(story, {})
    assert serves(clean)[0] == ENDS[story]
    assert calls > 10
    for number in swept(min(calls + 20, MOST_CALLS) - 1, FAULTS.index(fault)):
        env, _ = play(story, {number: fault})
        ledger = env.ports().ledger("m")
        assert serves(env) == (ledger.champion.number, None, 0.0), (story, fault, number)  # type: ignore[union-attr]
        assert env.registry.aliases["champion"] == ledger.champion.number  # type: ignore[union-attr]
        assert (ledger.drills.live, ledger.intent, ledger.drifts) == (None, None, {}), (story, fault, number)
        assert ledger.split == env.traffic.split
        generations = [split.generation for split in env.traffic.changes]
        assert generations == sorted(set(generations))


def test_a_drill_is_no_attempt_no_exposure_and_no_incident() -> None:
    """Quarantine, attempts, proven versions, incidents and exposure are as before; its time counts as served alone."""
    env = promoted()
    before = env.ports().ledger("m")
    ledger = drilling(env)
    env.clock.time += 3600.0
    ledger = take_back_live_drill(env.ports(), ledger, "its time is over", completed=True)
    same = ("rollouts", "quarantined", "proven", "champion", "incidents", "unlisted", "drifts", "watch", "data")
    assert [getattr(ledger, name) for name in same] == [getattr(before, name) for name in same]
    (served,) = (
        one for one in service_summaries(ledger, env.journal.entries, env.clock.now()) if one.version == ledger.champion
    )
    assert served.alone_s >= 3600.0
    shared = next(
        one for one in service_summaries(before, env.journal.entries, env.clock.now()) if one.version == ledger.champion
    )
    assert served.shared_s == shared.shared_s
    assert ledger.champion is not None
    phases = {period.phase for period in exposure_periods("m", env.journal.entries, ledger.champion)[-2:]}
    assert phases == {ServingRole.CHAMPION}


def test_no_drift_is_journalled_while_a_drill_runs() -> None:
    """A cut of the arm by the gateway is the drill's to notice: it is told, and no drift."""
    env = Scenario()
    ledger = drilling(env)
    assert journal_model_drift(env.ports(), "m") == []
    assert env.traffic.split is not None
    env.traffic.split = replace(env.traffic.split, weight=0.0)
    assert journal_model_drift(env.ports(), "m") == [
        "m: the gateway serves version 1, the journal says version 1, and version 1 at 10% with the units N1"
    ]
    assert not env.ports().ledger("m").drifts
    assert not is_live_drill_overdue(ledger, env.clock.now() + SPAN)
    assert is_live_drill_overdue(ledger, env.clock.now() + SPAN + LIVE_DRILL_OVERDUE_S)


def test_none_begins_beside_a_rollout_or_another_drill() -> None:
    """A drill is refused in one line while a rollout is open, a change is pending, or another drill is under way."""
    env = Scenario()
    adopt_champion(env.ports(), "m")
    open_promotion(env.ports(), env.request())
    ledger = env.ports().ledger("m")
    assert ledger.champion is not None
    with pytest.raises(Rejected, match=r"rollout \w+ of m is Submitted: a live drill waits for its end"):
        begin_live_drill(env.ports(), ledger, LiveDrillBegan("d1", ledger.champion, 10.0, (), 0.0))
    assert "LiveDrillBegan" not in kinds(env)
    assert "has no champion" in find_live_drill_problem(Ledger("m"))


def test_a_refused_route_is_given_up_and_the_champion_serves() -> None:
    """Where the gateway refuses both arms, the intent is given up and the champion alone is served."""
    env = Scenario()
    adopt_champion(env.ports(), "m")
    real = env.traffic.shift

    def refuse(model: str, split: Split) -> None:
        if split.is_live_drill:
            raise Rejected("the kill switch is set")
        real(model, split)

    env.traffic.shift = refuse  # type: ignore[method-assign]
    with pytest.raises(Rejected, match="kill switch"):
        drilling(env)
    stop(env)
    assert serves(env) == ("1", None, 0.0)
    ledger = env.ports().ledger("m")
    assert (ledger.intent, ledger.drills.live) == (None, None)


def test_a_passed_drill_lets_a_promotion_through_and_a_stopped_one_does_not() -> None:
    """Only a drill that came to its end and passed counts as a proof of the way back."""
    env = Scenario(policy={**POLICY, "drill": {"every": "7d", "expires": "14d"}})
    drilling(env)
    stop(env)
    champion = env.registry.versions["1"]
    with pytest.raises(Rejected, match="not been proven by a drill yet"):
        open_promotion(env.ports(), env.request())
    failed = DrillFinished("d2", "live", champion, None, (), 0, 9.0, live=replace(SHOWN, problem="3 answers differ"))
    record_drill(env.ports(), "m", failed)
    with pytest.raises(Rejected, match="the last drill has failed"):
        open_promotion(env.ports(), env.request())
    passed = DrillFinished("d3", "live", champion, champion, (), 0, 9.0, live=SHOWN)
    record_drill(env.ports(), "m", passed)
    open_promotion(env.ports(), env.request())
    assert describe_drill(failed).endswith("with version 1 in both arms: 3 answers differ")
    assert describe_event(passed) == (
        "rollback rehearsed in production with version 1 in both arms: 212 requests answered, 0 of 212 answers differ,"
        " traffic back in 8 ms"
    )
    counted = compute_incident_statistics("m", (), (failed, passed))
    assert (counted.drills, counted.failed_drills, counted.drill_to_restore) == (2, 1, 0.008)
    assert latest_checks("m", env.journal.entries) == {}, "no version was gone back to"


def test_what_is_logged_of_requests_stays_as_it_was(tmp_path: Path) -> None:
    """A drill begins no rollout: unit and logged features are those of the route before, there and back."""
    env = promoted()
    champion = env.registry.versions["2"]
    alone, both = Split(champion, generation=7), Split(champion, champion, 5.0, "d1", "d1", 9)
    settings = GatewaySettings(root=tmp_path, token="t", units={"m": "edited since"})  # noqa: S106 - of no gateway

    def entry(split: Split) -> dict[str, object]:
        return {"route": encode_traffic_split(split), "warm": [], "unit": "user"}

    assert policy_of_rollout(entry(alone), both, settings, "m") == {"unit": "user"}
    assert policy_of_rollout(entry(both), replace(alone, generation=11), settings, "m") == {"unit": "user"}
    assert policy_of_rollout(entry(alone), replace(alone, generation=11), settings, "m") == {"unit": "edited since"}
    other = Split(env.registry.versions["1"], generation=11)
    assert policy_of_rollout(entry(both), other, settings, "m") == {"unit": "edited since"}


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (LiveDrillCounts(1000, 100), ""),
        (LiveDrillCounts(1000, 100, late=2, candidate_errors=2), ""),
        (LiveDrillCounts(100_000, 1000, late=10, candidate_errors=10), ""),
        (LiveDrillCounts(1000, 100, late=3, candidate_errors=3), "3 of 100 requests of the candidate's arm were late"),
        (LiveDrillCounts(1000, 100, candidate_errors=1), "has failed 1 request that the champion's arm answered"),
        (LiveDrillCounts(1000, 100, caller_errors=1), "no version answered 1 request of callers"),
        (LiveDrillCounts(1000, 100, process_ends=1), "the version's process has ended 1 time"),
        (LiveDrillCounts(1000, 100, stand_in_answers=4), "the proven-good version or the fallback answered 4 requests"),
        (LiveDrillCounts(1000, 100, lost_records=1), "the prediction log lacks 1 record that could not be written"),
    ],
)
def test_each_guardrail_stops_a_drill(counts: LiveDrillCounts, said: str) -> None:
    """Errors, lateness beyond a few, ends of processes and fallback answers each stop a drill by name."""
    assert said in find_live_drill_breach(counts)
    assert bool(said) is bool(find_live_drill_breach(counts))
    assert counts.is_whole
    assert not LiveDrillCounts(5, 1).since(LiveDrillCounts(6, 1)).is_whole, "a worker is not in the later reading"


def test_a_rollback_that_cannot_be_served_leaves_no_drill_behind() -> None:
    """Where the target of a rollback cannot be served, `reconcile` takes back the drill's route that it left."""
    env = promoted()
    drilling(env)
    real = env.traffic.shift

    def refuse(model: str, split: Split) -> None:
        if split.champion.number == "1":
            raise Rejected("version 1 cannot be loaded")
        real(model, split)

    env.traffic.shift = refuse  # type: ignore[method-assign]
    roll_back(env)
    ledger = env.ports().ledger("m")
    assert (ledger.open, serves(env)) == ("", ("2", "2", 10.0))
    assert is_live_drill_overdue(ledger, env.clock.now())
    assert end_overdue_live_drill(env.ports(), "m")
    assert serves(env) == ("2", None, 0.0)
    assert not has_live_drill_route(env.ports().ledger("m"))
