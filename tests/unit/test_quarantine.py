"""A version that was turned away or taken back is quarantined until a person releases it, with a reason."""

from dataclasses import replace

import pytest

from surefoot.core.domain import Split, Stage, Version
from surefoot.core.errors import ArtifactTampered, NotFound, Rejected, VersionUnavailable
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import decode_event
from surefoot.core.journal.ledger import Ledger
from surefoot.core.journal.served_version_events import VersionReleased
from surefoot.core.served_versions.version_status import rollout_title, version_statuses
from surefoot.rollout import (
    drive_rollout,
    end_rollout,
    open_promotion,
    open_requested_rollout,
    open_rollback,
    release_version,
)
from tests.fakes import Scenario
from tests.scripted import at


def promote(env: Scenario, number: str = "2", *, force: bool = False) -> Ledger:
    """Open a promotion and drive it to its end."""
    open_promotion(env.ports(), env.request(number, force=force))
    return drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)


def roll_back(env: Scenario, number: str | None = None) -> Ledger:
    """Roll the champion back and drive that to its end."""
    open_rollback(env.ports(), "m", "alerts doubled", number)
    return drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)


def numbers(ledger: Ledger) -> dict[str, Stage]:
    """The quarantined versions, with how they ended."""
    return {one.version.number: one.stage for one in ledger.quarantined.values()}


@pytest.mark.parametrize(
    ("story", "stage"),
    [("bad-shadow", Stage.REJECTED), ("bad-live", Stage.ROLLED_BACK), ("bad-bake", Stage.ROLLED_BACK)],
)
def test_a_version_that_was_turned_away_is_released_by_name_and_reason(story: str, stage: Stage) -> None:
    """It is refused in one line that names the command; after the release, journalled with who and why, it is tried."""
    env = Scenario(story)
    assert numbers(promote(env)) == {"2": stage}
    with pytest.raises(
        Rejected, match=r"version 2 of m is quarantined: 'surefoot release m 2 --reason ...' lifts that"
    ):
        open_promotion(env.ports(), env.request())
    with pytest.raises(Rejected, match="with a reason"):
        release_version(env.ports(), "m", "2", "  ")
    assert numbers(release_version(env.ports("cli:ada"), "m", "2", "the feed was at fault")) == {}
    entry = env.journal.entries[-1]
    assert (entry.kind, entry.actor, entry.data["reason"]) == ("VersionReleased", "cli:ada", "the feed was at fault")
    env.evidence_source.story = "good"
    assert promote(env).champion == env.registry.versions["2"]


def test_only_what_is_quarantined_is_released() -> None:
    """Another version, or another model, is refused by name."""
    env = Scenario("bad-live")
    promote(env)
    with pytest.raises(Rejected, match=r"version 3 of m is not quarantined; quarantined versions: 2 \(RolledBack\)"):
        release_version(env.ports(), "m", "3", "why not")
    with pytest.raises(NotFound, match="the journal holds nothing of n; known: m"):
        release_version(env.ports(), "n", "2", "why not")


def test_force_is_a_release_and_is_journalled() -> None:
    """`--force` lifts the quarantine of what it promotes, and the journal says so before the rollout opens."""
    env = Scenario("bad-live")
    promote(env)
    env.evidence_source.story = "good"
    promote(env, force=True)
    kinds = [entry.kind for entry in env.journal.entries]
    where = kinds.index("VersionReleased")
    assert kinds[where + 1] == "RolloutOpened"
    event = decode_event(kinds[where], env.journal.entries[where].data)
    assert event == VersionReleased(env.registry.versions["2"], "a test asks", forced=True)
    assert "was lifted by --force: a test asks" in describe_event(event)


def test_a_withdrawn_second_attempt_leaves_the_quarantine_of_the_first() -> None:
    """What ends without a word on the version lifts nothing, unless a person has released it."""
    env = Scenario("bad-live")
    promote(env)
    release_version(env.ports(), "m", "2", "once more")
    open_promotion(env.ports(), env.request())
    end_rollout(env.ports(), "m", Stage.WITHDRAWN, "the alias is gone")
    assert numbers(drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)) == {}


def test_after_a_release_the_registry_may_ask_again() -> None:
    """An alias that still stands on the version opens a rollout at the next tick, and not before."""
    env = Scenario("bad-live")
    promote(env)
    env.registry.aliases["candidate"] = "2"

    def tick() -> str:
        view = env.registry.view("m")
        return open_requested_rollout(env.ports(), "m", view, lambda wish: env.request(wish.number), "").number

    assert [tick(), tick()] == ["", ""]
    release_version(env.ports(), "m", "2", "the feed was at fault")
    assert tick() == "2"


def test_pages_say_that_a_version_was_released() -> None:
    """The status of a version keeps how it ended, and says that its quarantine was lifted."""
    env = Scenario("bad-live")
    promote(env)
    release_version(env.ports(), "m", "2", "the feed was at fault")
    found = version_statuses(env.journal.entries)["2"]
    assert (found.outcome, found.reason.endswith("; released: the feed was at fault")) == ("RolledBack", True)


def three_proven() -> Scenario:
    """A world in which versions 1, 2 and 3 have been promoted one after the other."""
    env = Scenario()
    promote(env)
    promote(env, "3")
    return env


def test_a_quarantined_version_is_no_target_and_is_named() -> None:
    """The next proven-good version is; the opening names the one that is passed over, and --to refuses it."""
    env = three_proven()
    env.evidence_source.story = "bad-shadow"
    ledger = promote(env, "2", force=True)
    assert (numbers(ledger), [v.number for v in ledger.proven]) == ({"2": Stage.REJECTED}, ["1", "2", "3"])
    with pytest.raises(Rejected, match=r"version 2 of m is quarantined: 'surefoot release m 2"):
        open_rollback(env.ports(), "m", "alerts doubled", "2")
    ledger = open_rollback(env.ports(), "m", "alerts doubled")
    assert ledger.rollout is not None
    opened = ledger.rollout.opened
    assert (opened.candidate.number, opened.passed_over) == ("1", ("2",))
    assert describe_event(opened).endswith("alerts doubled; version 2 is passed over: it is quarantined")
    done = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert (done.champion, numbers(done)) == (
        env.registry.versions["1"],
        {"2": Stage.REJECTED, "3": Stage.FAST_ROLLED_BACK},
    )


def test_a_released_version_that_was_proven_good_is_a_target_again() -> None:
    """A release gives a version back what its quarantine took; one that was taken back has to be proved anew."""
    env = three_proven()
    env.evidence_source.story = "bad-shadow"
    promote(env, "2", force=True)
    assert release_version(env.ports(), "m", "2", "the suite was at fault").target() == env.registry.versions["2"]
    roll_back(env)
    ledger = release_version(env.ports(), "m", "3", "it was not the model")
    assert [version.number for version in ledger.proven] == ["1", "2"]


def refuse(env: Scenario, monkeypatch: pytest.MonkeyPatch, error: Exception, *refused: str) -> None:
    """Have the gateway refuse to serve some versions as the champion."""
    shift = env.traffic.shift

    def shifted(model: str, split: Split) -> None:
        if split.champion.number in refused:
            raise error
        shift(model, split)

    monkeypatch.setattr(env.traffic, "shift", shifted)


UNLOADABLE = [Rejected("it needs torch"), ArtifactTampered("its bytes differ"), VersionUnavailable("MLflow is down")]


@pytest.mark.parametrize("error", UNLOADABLE, ids=lambda error: type(error).__name__)
def test_a_target_that_cannot_be_loaded_gives_way_to_the_next(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traffic and alias go to the next proven-good version, which the journal and every title name."""
    env = three_proven()
    refuse(env, monkeypatch, error, "2")
    ledger = roll_back(env)
    assert (ledger.champion, env.registry.aliases["champion"]) == (env.registry.versions["1"], "1")
    assert env.traffic.split is not None
    assert env.traffic.split.champion.number == "1"
    rollout = tuple(ledger.rollouts.values())[-1]
    assert (rollout.stage, rollout_title(rollout)) == (Stage.FAST_ROLLED_BACK, "rollback of version 3 to version 1")
    (changed,) = [decode_event(e.kind, e.data) for e in env.journal.entries if e.kind == "RollbackTargetChanged"]
    assert describe_event(changed) == (
        "traffic cannot go back to version 2 (it cannot be served): it goes to version 1, the next proven-good one"
    )
    assert version_statuses(env.journal.entries)["3"].reason.startswith("rollback of version 3 to version 1")
    # Version 1 served last: it is what a later version goes back to.
    assert [version.number for version in ledger.proven] == ["2", "1"]


@pytest.mark.parametrize("error", UNLOADABLE[:2], ids=lambda error: type(error).__name__)
def test_without_another_target_a_rollback_ends_and_may_be_asked_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The champion serves on, the end says why, and the same command tries again once the target can be served."""
    env = three_proven()
    with monkeypatch.context() as broken:
        refuse(env, broken, error, "2", "1")
        ledger = roll_back(env)
    assert (tuple(ledger.rollouts.values())[-1].stage, ledger.champion) == (Stage.ABORTED, env.registry.versions["3"])
    assert roll_back(env).champion == env.registry.versions["2"]


def test_a_target_that_was_deleted_from_the_registry_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the alias shows that the target is deleted, traffic goes on to the last version that the registry has."""
    env = Scenario()
    env.registry.versions["4"] = Version("4", "sha256:" + "4" * 64)
    for number in ("2", "3", "4"):
        promote(env, number)
    set_alias = env.registry.set_alias

    def refused(model: str, alias: str, number: str | None) -> None:
        if number is not None and number not in env.registry.versions:
            raise NotFound(f"no version {number}")
        set_alias(model, alias, number)

    monkeypatch.setattr(env.registry, "set_alias", refused)
    del env.registry.versions["2"], env.registry.versions["3"]
    ledger = roll_back(env)
    assert ledger.champion is not None
    assert (ledger.champion.number, env.registry.aliases["champion"], ledger.drifts) == ("1", "1", {})
    assert [split.champion.number for split in env.traffic.changes[-2:]] == ["3", "1"]


def test_a_bake_goes_back_to_the_next_proven_version_when_the_old_champion_cannot_be_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failing bake does not stay on the bad version because the champion of before cannot be loaded any more."""
    env = Scenario()
    promote(env)
    open_promotion(env.ports(), env.request("3"))
    drive_rollout(env.ports(), "m", until=at(Stage.BAKING))
    refuse(env, monkeypatch, Rejected("its file is gone"), "2")
    end_rollout(env.ports(), "m", Stage.ROLLED_BACK, "errors doubled")
    ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    rollout = tuple(ledger.rollouts.values())[-1]
    assert (rollout.stage, ledger.champion, env.registry.aliases["champion"]) == (
        Stage.ROLLED_BACK,
        env.registry.versions["1"],
        "1",
    )
    assert numbers(ledger) == {"3": Stage.ROLLED_BACK}


@pytest.mark.parametrize("stepped", [False, True])
def test_no_traffic_goes_to_a_target_that_the_registry_has_deleted(*, stepped: bool) -> None:
    """Where the registry says so in time, the next proven-good version gets the first request already."""
    env = three_proven()
    before = len(env.traffic.changes)
    ports = replace(env.ports(), is_deleted=lambda _model, number: number == "2")
    open_rollback(ports, "m", "test", mode="stepped" if stepped else "immediate")
    ledger = drive_rollout(ports, "m", until=lambda ledger: not ledger.open)
    assert ledger.champion == env.registry.versions["1"]
    asked = [version for split in env.traffic.changes[before:] for version in (split.champion, split.candidate)]
    assert "2" not in {version.number for version in asked if version is not None}
    (changed,) = [decode_event(e.kind, e.data) for e in env.journal.entries if e.kind == "RollbackTargetChanged"]
    assert "it is not in the registry" in describe_event(changed)


def test_loaded_bytes_count_where_every_target_is_deleted() -> None:
    """Without another proven-good version traffic goes back all the same: the version at hand is known to be bad."""
    env = three_proven()
    ports = replace(env.ports(), is_deleted=lambda _model, _number: True)
    open_rollback(ports, "m", "test", mode="immediate")
    drive_rollout(ports, "m", until=lambda ledger: not ledger.open)
    assert env.traffic.split is not None
    assert env.traffic.split.champion.number == "1"
