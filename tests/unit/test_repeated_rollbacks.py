"""What a critical reading of the first release found, and stays mended."""

from typing import cast

import pytest

from surefoot.core.domain import Outcome, Split, Stage
from surefoot.core.errors import Rejected, RolloutInProgress
from surefoot.core.journal.chain import Entry
from surefoot.core.judging.evidence import MissingEvidence
from surefoot.rollout import adopt_champion, drive_rollout, open_promotion, open_rollback, retry_on_conflict
from tests.fakes import FakeJournal, Scenario
from tests.scripted import events, started
from tests.scripted import scenario as scripted


def promoted() -> Scenario:
    """A world in which version 2 was promoted and has baked."""
    scenario = Scenario()
    open_promotion(scenario.ports(), scenario.request())
    drive_rollout(scenario.ports(), "m", until=lambda ledger: not ledger.open)
    return scenario


def test_second_rollback_needs_a_name() -> None:
    """Asking twice takes back one version, not two."""
    scenario = promoted()
    open_promotion(scenario.ports(), scenario.request("3"))
    drive_rollout(scenario.ports(), "m", until=lambda ledger: not ledger.open)
    open_rollback(scenario.ports(), "m", "first")
    drive_rollout(scenario.ports(), "m", until=lambda ledger: not ledger.open)
    with pytest.raises(Rejected, match=r"traffic is back at version 2 already .* name a proven-good version with --to"):
        open_rollback(scenario.ports(), "m", "second")
    open_rollback(scenario.ports(), "m", "on purpose", "1")
    drive_rollout(scenario.ports(), "m", until=lambda ledger: not ledger.open)
    assert scenario.traffic.split
    assert scenario.traffic.split.champion.number == "1"


def test_the_second_rollback_of_a_first_candidate_says_that_traffic_is_back() -> None:
    """Where one version only is proven-good, asking twice is told what the first rollback has done."""
    scenario = Scenario()
    open_promotion(scenario.ports(), scenario.request())
    open_rollback(scenario.ports(), "m", "first")
    drive_rollout(scenario.ports(), "m", until=lambda ledger: not ledger.open)
    with pytest.raises(Rejected, match=r"traffic is back at version 1 already \(Aborted: first\)"):
        open_rollback(scenario.ports(), "m", "second")


def test_a_rollback_that_another_shell_ends_meanwhile_says_that_traffic_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two shells read the same open rollout; the slower one is told what the faster one has done."""
    scenario = Scenario()
    open_promotion(scenario.ports(), scenario.request())
    slower = scenario.ports()
    read, faster = FakeJournal.read, [True]

    def read_late(journal: FakeJournal, model: str, after: int = 0) -> tuple[Entry, ...]:
        entries = read(journal, model, after)
        if faster:  # between this reading and what is done with it
            faster.clear()
            open_rollback(scenario.ports(), "m", "first")
            drive_rollout(scenario.ports(), "m", until=lambda ledger: not ledger.open)
        return entries

    monkeypatch.setattr(FakeJournal, "read", read_late)
    with pytest.raises(Rejected, match=r"traffic is back at version 1 already \(Aborted: first\)"):
        retry_on_conflict(lambda: open_rollback(slower, "m", "second"))


def test_unservable_target_ends_the_rollback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback whose target cannot be served ends as aborted, and another target can be named."""
    scenario = promoted()
    shift = scenario.traffic.shift

    def refuse(model: str, split: Split) -> None:
        if split.champion.number == "1":
            raise Rejected("version 1 cannot be loaded")
        shift(model, split)

    monkeypatch.setattr(scenario.traffic, "shift", refuse)
    opened = open_rollback(scenario.ports(), "m", "operator")
    ended = drive_rollout(scenario.ports(), "m", until=lambda ledger: not ledger.open).rollouts[opened.open]
    assert ended.stage is Stage.ABORTED
    assert "--to" in ended.reason
    assert scenario.registry.aliases["champion"] == "2"


def test_newcomer_waits_for_a_bake() -> None:
    """A new candidate never takes back a champion that bakes."""
    scenario = Scenario()
    open_promotion(scenario.ports(), scenario.request())
    baking = drive_rollout(
        scenario.ports(), "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.stage is Stage.BAKING)
    )
    assert baking.open
    with pytest.raises(RolloutInProgress, match="version 3 waits"):
        open_promotion(scenario.ports(), scenario.request("3"))
    assert scenario.registry.aliases["champion"] == "2"


def test_lost_gateway_gets_its_route_again() -> None:
    """A gateway that has lost its state is given the champion again."""
    scenario = promoted()
    scenario.traffic.split = None
    adopt_champion(scenario.ports(), "m")
    assert scenario.traffic.split is not None
    assert scenario.traffic.split.champion.number == "2"


def test_broken_policy_does_not_stop_the_way_back() -> None:
    """An ending rollout ends although its journalled policy can no longer be read."""
    scenario = Scenario()
    open_promotion(scenario.ports(), scenario.request())
    drive_rollout(scenario.ports(), "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.done))
    open_rollback(scenario.ports(), "m", "operator")
    opened = next(entry for entry in scenario.journal.entries if entry.kind == "RolloutOpened")
    cast("dict[str, object]", opened.data["policy"])["gates"] = {}
    assert not drive_rollout(scenario.ports(), "m", until=lambda ledger: not ledger.open).open


def test_a_step_begins_when_its_weight_is_live() -> None:
    """A version that takes days to load has its whole hold afterwards, and is not expelled for having no data yet."""
    empty = MissingEvidence(Outcome.NO_DATA, "no request has been served under this rollout yet")
    env = scripted(play=lambda question: empty if question.kind == "live" else None)
    shift, clock = env.traffic.shift, env.clock

    def slow(model: str, split: Split) -> None:
        clock.time += 5 * 86400.0
        shift(model, split)

    env.traffic.shift = slow  # type: ignore[method-assign]
    ledger = started(
        env,
        until=lambda ledger: bool(
            ledger.rollout and ledger.rollout.verdicts.get("errors") and ledger.rollout.stage is Stage.RAMPING
        ),
    )
    rollout = ledger.rollout
    assert rollout is not None
    assert rollout.ending is None
    assert clock.time - rollout.entered_at < 600.0
    assert drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open).rollout is None
    (ended,) = events(env, "EndDecided")
    assert "NO_DATA" in str(ended["reason"])
    assert clock.time - rollout.entered_at >= 600.0 + 7200.0
