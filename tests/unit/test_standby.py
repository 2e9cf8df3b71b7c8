"""The version that answers for the champion is the one that a rollback would go to, and it is named with each split."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from surefoot.controller.standbys import StandbySender
from surefoot.controller.tick_state import CachedPorts
from surefoot.core.domain import FailoverLevel, RolloutKind, Stage, Version
from surefoot.core.errors import Rejected
from surefoot.core.journal.events import RolloutOpened, decode_event
from surefoot.core.journal.fallback_events import FallbackBegan, FallbackEnded
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.served_versions.quarantine import Quarantine
from surefoot.core.served_versions.standby import standby_version
from surefoot.rollout import Ports, choose_standby, drive_rollout, open_promotion, open_rollback
from tests.fakes import POLICY, Scenario

VERSIONS = [Version(str(number), f"sha256:{number:064}") for number in range(1, 6)]
DAY_S = 86400.0


def named(env: Scenario, *, refuse: bool = False) -> tuple[Ports, list[tuple[str, str | None]]]:
    """Ports that remember champion and standby of each naming, or refuse it."""
    told: list[tuple[str, str | None]] = []

    def set_standby(model: str, generation: int, standby: Version | None, *, going_back: bool) -> None:
        if refuse:
            raise Rejected("the gateway has no standby")
        assert env.traffic.split is not None
        assert env.traffic.split.generation == generation
        told.append((env.traffic.split.champion.number, standby.number if standby else None))

    return replace(env.ports(), set_standby=set_standby), told


def promote(env: Scenario, ports: Ports, number: str) -> None:
    """Promote a version to its end."""
    open_promotion(ports, env.request(number))
    drive_rollout(ports, "m", until=lambda ledger: not ledger.open)


def test_each_split_names_the_version_that_a_rollback_would_go_to() -> None:
    """None before the first promotion ends, the former champion after it, none again once that is gone back to."""
    env = Scenario()
    ports, told = named(env)
    promote(env, ports, "2")
    assert {one for one in told if one[0] == "1"} == {("1", None)}
    assert told[-1] == ("2", "1")
    open_rollback(ports, "m", "test", mode="immediate")
    drive_rollout(ports, "m", until=lambda ledger: not ledger.open)
    assert told[-1] == ("1", None)  # the version that is taken back answers for nothing


def test_a_gateway_that_refuses_the_standby_stops_nothing() -> None:
    """Promotion and rollback come to the same end without it."""
    env = Scenario()
    ports, _ = named(env, refuse=True)
    promote(env, ports, "2")
    open_rollback(ports, "m", "test", mode="immediate")
    ledger = drive_rollout(ports, "m", until=lambda ledger: not ledger.open)
    assert [one.stage for one in ledger.rollouts.values()] == [Stage.PROMOTED, Stage.FAST_ROLLED_BACK]


def test_a_standby_outside_of_the_window_is_not_kept() -> None:
    """It is kept for `rollback.window.age` after it last served, and without a window always."""
    for window, kept in (({"age": "2d"}, (True, False)), ({"versions": 1}, (True, True)), (None, (True, True))):
        rollback = {"mode": "stepped", **({"window": window} if window else {})}
        env = Scenario(policy={**POLICY, "rollback": rollback})
        ports, _ = named(env)
        promote(env, ports, "2")
        ledger = ports.ledger("m")
        champion = ledger.champion
        assert champion is not None
        found = [choose_standby(ledger, champion, age, lambda _: 0.0) is not None for age in (DAY_S, 3 * DAY_S)]
        assert tuple(found) == kept


@given(
    st.lists(st.sampled_from(VERSIONS), unique=True),
    st.sets(st.sampled_from(VERSIONS)),
    st.sampled_from(VERSIONS),
    st.sampled_from(VERSIONS),
    st.sampled_from([None, *RolloutKind]),
)
def test_no_version_answers_for_the_champion_that_a_rollback_could_not_go_to(
    proven: list[Version], held: set[Version], champion: Version, other: Version, kind: RolloutKind | None
) -> None:
    """It is proven-good, not quarantined, not the champion, not being taken back; the last one of those."""
    quarantined = {one.digest: Quarantine(one, Stage.REJECTED, "", "", 0.0) for one in held}
    ledger = Ledger("m", champion=champion, proven=tuple(proven), quarantined=quarantined)
    expected = ledger.target()
    if kind is not None:
        taken, target = (other, champion) if kind is RolloutKind.ROLLBACK else (champion, other)
        opened = RolloutOpened("r", kind, target, taken, {}, "", "", "", 1, "")
        ledger = replace(ledger, open="r", rollouts={"r": Rollout(opened, 0.0)})
    found = standby_version(ledger, champion)
    if found is not None:
        assert found in proven
        assert found not in held
        assert found != champion
        assert kind is not RolloutKind.ROLLBACK or found != other
    if kind is not RolloutKind.ROLLBACK:
        assert found == expected


def test_journals_without_a_rung_speak_of_the_fallback() -> None:
    """What an earlier release has written of fallback answers is read as the rung of the policy's fallback."""
    version = {"number": "1", "digest": f"sha256:{1:064}", "data_digest": ""}
    began = decode_event("FallbackBegan", {"champion": version, "kind": "constant", "reason": "down"})
    ended = decode_event("FallbackEnded", {"champion": version})
    assert isinstance(began, FallbackBegan)
    assert isinstance(ended, FallbackEnded)
    assert (began.rung, began.standby, ended.rung) == (FailoverLevel.FALLBACK, None, FailoverLevel.FALLBACK)


def test_a_tick_names_the_standby_again_when_something_has_changed() -> None:
    """A window that ends, a gateway that has forgotten and a gateway that was down are each told once."""
    env = Scenario(policy={**POLICY, "rollback": {"mode": "stepped", "window": {"age": "2d"}}})
    ports, told = named(env)
    promote(env, ports, "2")
    down = [True]

    def set_standby(model: str, generation: int, standby: Version | None, *, going_back: bool) -> None:
        if down[0]:
            raise Rejected("the gateway is down")
        ports.set_standby(model, generation, standby, going_back=going_back)

    ledger = ports.ledger("m")
    cached = CachedPorts(
        ports.journal, ports.registry, ports.traffic, ports.evidence_source, ports.clock, "controller",
        set_standby=set_standby, ledgers={"m": ledger},
    )  # fmt: skip
    snapshot: Any = SimpleNamespace(heads={"m": (ledger.head, "hash")}, marks={"m": (None, "loaded")})
    standbys = StandbySender()
    told.clear()
    standbys.send_all(cached, snapshot)
    assert told == []
    down[0] = False
    for state in ("loaded", "loaded", "started anew", "started anew"):
        snapshot.marks = {"m": (None, state)}
        standbys.send_all(cached, snapshot)
    assert told == [("2", "1")] * 2
    env.clock.time += 3 * DAY_S
    for _ in range(3):
        standbys.send_all(cached, snapshot)
    assert told[2:] == [("2", None)]
