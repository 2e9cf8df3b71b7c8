"""Configuration files go with a version before its first request, and back last."""

from dataclasses import replace
from typing import Any

import pytest

from surefoot.core.domain import Stage
from surefoot.core.errors import ConfigUnavailable, Rejected
from surefoot.core.journal.bundled_files import SetConfig
from surefoot.core.journal.event_sentences import describe_effect
from surefoot.core.journal.events import EffectDone, EffectIntended, decode_event
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.parse import examine_policy
from surefoot.rollout import drive_rollout, journal_model_drift, open_promotion, open_rollback
from tests.fakes import POLICY, WITH_CONFIG, Scenario

FILE = "thresholds.json"


def promote(env: Scenario, number: str = "2") -> Ledger:
    """Promote a version to the end."""
    open_promotion(env.ports(), env.request(number))
    return drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)


def roll_back(env: Scenario, **more: Any) -> Ledger:
    """Take the champion back to the end."""
    open_rollback(env.ports(), "m", "operator", **more)
    return drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)


def served(env: Scenario) -> str:
    """The version that callers get."""
    split = env.traffic.split
    return split.champion.number if split else ""


def effects(env: Scenario) -> list[str]:
    """What was done to the world, in order."""
    intents, made = {}, []
    for entry in env.journal.entries:
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, EffectIntended):
            intents[entry.seq] = event.effect
        if isinstance(event, EffectDone):
            made.append(describe_effect(intents[event.intent]))
    return made


def test_configuration_goes_first_on_the_way_up_and_last_on_the_way_back() -> None:
    """The file is written before any request goes to the candidate, and restored after traffic and registry."""
    env = Scenario(policy=dict(WITH_CONFIG))
    promote(env)
    up = effects(env)
    assert up[1] == "configuration thresholds holds sha256:2: thresholds.json"
    assert env.config_files.files == {FILE: "sha256:2"}
    roll_back(env)
    back = effects(env)[len(up) :]
    assert back[0] == "version 1 answers everything"
    assert back[-1] == "configuration thresholds holds sha256:1: thresholds.json"
    assert env.config_files.files == {FILE: "sha256:1"}


def test_a_rollback_over_several_versions_restores_what_the_target_served_with() -> None:
    """From version 3 back to version 1 the file holds what it held while version 1 served, and to version 2 its own."""
    for target, content in (("1", "sha256:1"), ("2", "sha256:2")):
        env = Scenario(policy=dict(WITH_CONFIG))
        promote(env, "2")
        promote(env, "3")
        ledger = roll_back(env, number=target)
        assert ledger.champion is not None
        assert ledger.champion.number == target
        assert env.config_files.files == {FILE: content}
        assert journal_model_drift(env.ports(), "m") == []


def test_a_file_that_was_not_there_is_removed_again() -> None:
    """Where no file was before the promotion, there is none after the rollback."""
    env = Scenario(policy=dict(WITH_CONFIG))
    env.config_files.files.clear()
    promote(env)
    assert env.config_files.files == {FILE: "sha256:2"}
    roll_back(env)
    assert env.config_files.files == {}


def test_a_newer_write_is_left_alone_and_told() -> None:
    """A file that was edited meanwhile stays as it is: going up the rollout is aborted, going back it is a drift."""
    env = Scenario(policy=dict(WITH_CONFIG))
    open_promotion(env.ports(), env.request())
    env.config_files.files[FILE] = "sha256:edited"
    ledger = drive_rollout(env.ports(), "m", until=lambda seen: not seen.open)
    assert list(ledger.rollouts.values())[-1].stage is Stage.ABORTED
    assert "changed by hand" in ledger.drifts["configuration thresholds"].seen
    assert not any(split.candidate for split in env.traffic.changes)
    assert env.config_files.files == {FILE: "sha256:edited"}

    env = Scenario(policy=dict(WITH_CONFIG))
    promote(env)
    env.config_files.files[FILE] = "sha256:edited"
    (line,) = journal_model_drift(env.ports(), "m")
    assert line == "m: configuration thresholds should be sha256:2, thresholds.json holds sha256:edited"
    ledger = roll_back(env)
    assert (served(env), ledger.champion and ledger.champion.number) == ("1", "1")
    assert env.config_files.files == {FILE: "sha256:edited"}
    assert ledger.drifts["configuration thresholds"].expected == "sha256:1"
    env.config_files.files[FILE] = "sha256:1"
    assert journal_model_drift(env.ports(), "m") == []


def test_an_alias_of_another_hand_keeps_no_file_from_going_back() -> None:
    """A person who moves alias `champion` during the ramp ends the rollout; the file goes back with the traffic."""
    env = Scenario(policy=dict(WITH_CONFIG))
    open_promotion(env.ports(), env.request())
    drive_rollout(env.ports(), "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.stage is Stage.RAMPING))
    env.registry.aliases["champion"] = "3"
    ledger = drive_rollout(env.ports(), "m", until=lambda seen: not seen.open)
    assert list(ledger.rollouts.values())[-1].stage is Stage.ABORTED
    assert env.registry.aliases["champion"] == "3"
    assert env.config_files.files == {FILE: "sha256:1"}


def test_a_disk_that_cannot_be_written_holds_up_no_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a file that cannot be written a rollback moves traffic and aliases, and writes the file when it can be."""
    env = Scenario(policy=dict(WITH_CONFIG))
    promote(env)
    with monkeypatch.context() as shell:

        def full(file: str, content: str) -> None:
            raise ConfigUnavailable(f"{file} cannot be written: no space")

        shell.setattr(env.config_files, "write", full)
        with pytest.raises(ConfigUnavailable):
            roll_back(env)
        assert served(env) == "1"
        assert env.registry.aliases["champion"] == "1"
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert env.config_files.files == {FILE: "sha256:1"}


def test_a_version_without_the_file_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate whose artifact lacks a file of the bundle opens no rollout."""
    env = Scenario(policy=dict(WITH_CONFIG))

    def missing(*_: object) -> str:
        raise Rejected("the artifact of m version 2 has no file thresholds.json")

    monkeypatch.setattr(env.config_files, "keep_bundled", missing)
    with pytest.raises(Rejected, match="no file thresholds"):
        promote(env)
    assert not env.ports().ledger("m").rollouts


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"from": "../secret"}, "inside the version's artifact"),
        ({"from": "/etc/passwd"}, "inside the version's artifact"),
        ({"to": 7}, "to"),
        ({"mode": 644}, "mode"),
    ],
)
def test_a_wrong_bundle_is_one_line(change: dict[str, object], said: str) -> None:
    """A bundle that cannot be is refused with its place."""
    one = {"name": "t", "from": "t.json", "to": "t.json", **change}
    (broken,) = examine_policy({**POLICY, "bundle": [one]}).broken
    assert said in str(broken)


def test_two_files_of_one_name_or_place_are_refused() -> None:
    """Names and places of files are used once."""
    one = {"name": "t", "from": "t.json", "to": "t.json"}
    for other in ({**one, "to": "u.json"}, {**one, "name": "u"}):
        (broken,) = examine_policy({**POLICY, "bundle": [one, other]}).broken
        assert "used once" in str(broken)


def test_an_effect_on_a_file_is_told() -> None:
    """A file that is removed is said so."""
    effect = SetConfig("t", "t.json", "", "sha256:" + "0" * 64)
    assert describe_effect(effect) == "configuration t is removed: t.json"
    assert "holds sha256:000000000000" in describe_effect(replace(effect, content="sha256:" + "0" * 64))
