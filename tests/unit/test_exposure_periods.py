"""When a version answered callers, as what, and which version would have answered in its place, is in the journal."""

import itertools
import math

import pytest

from surefoot.core.domain import Stage, Version
from surefoot.core.journal.ledger import fold_entries
from surefoot.core.served_versions.exposure_periods import ServingRole, exposure_periods, last_rolled_back_version
from surefoot.rollout import drive_rollout, end_rollout, open_promotion, open_rollback
from tests.fakes import MIRRORED, Scenario
from tests.scripted import POINTS, at


def promote(env: Scenario, number: str = "2") -> None:
    """Promote a version to the end."""
    open_promotion(env.ports(), env.request(number))
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)


def test_canary_bake_and_service_are_told_apart() -> None:
    """A promoted version is a canary at each weight, bakes until its end, and is the champion from then on."""
    env = Scenario()
    promote(env)
    two, one = env.registry.versions["2"], env.registry.versions["1"]
    found = exposure_periods("m", env.journal.entries, two)
    assert [period.phase for period in found] == [
        ServingRole.CANARY,
        ServingRole.CANARY,
        ServingRole.BAKING,
        ServingRole.CHAMPION,
    ]
    assert {period.good for period in found} == {one}
    ended = next(entry.at for entry in env.journal.entries if entry.kind == "RolloutEnded")
    assert (found[2].generation, found[2].until, found[3].since, found[3].until) == (
        found[3].generation,
        ended,
        ended,
        math.inf,
    )


def test_a_champion_with_a_candidate_beside_it_is_still_the_champion() -> None:
    """While a later candidate ramps, the version answers the rest; the last proven-good one would have in its place."""
    env = Scenario()
    promote(env)
    promote(env, "3")
    two = env.registry.versions["2"]
    found = exposure_periods("m", env.journal.entries, two)
    assert [period.phase for period in found[4:]] == [ServingRole.CHAMPION] * len(found[4:])
    assert len(found[4:]) == 2, "two weights of version 3"
    assert {period.good for period in found} == {env.registry.versions["1"]}


def test_a_mirrored_version_answers_no_caller() -> None:
    """A live shadow exposes nobody."""
    env = Scenario(policy=dict(MIRRORED))
    open_promotion(env.ports(), env.request())
    drive_rollout(env.ports(), "m", until=at(Stage.LIVE_SHADOWING, 0, 1))
    assert exposure_periods("m", env.journal.entries, env.registry.versions["2"]) == ()


def test_the_first_champion_has_no_good_version() -> None:
    """Before anything was promoted no version could have answered in the champion's place."""
    env = Scenario()
    open_promotion(env.ports(), env.request())
    (only, *_) = exposure_periods("m", env.journal.entries, env.registry.versions["1"])
    assert (only.phase, only.good) == (ServingRole.CHAMPION, None)


@pytest.mark.parametrize("point", [name for name in POINTS if name not in {"submitted", "validating", "shadowing"}])
def test_the_version_taken_back_last_had_callers(point: str) -> None:
    """A rollout that ends before its first weight took nothing back; from then on it did."""
    env = Scenario()
    open_promotion(env.ports(), env.request())
    drive_rollout(env.ports(), "m", until=POINTS[point])
    end_rollout(env.ports(), "m", Stage.ABORTED, "an operator said so")
    ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    found = last_rolled_back_version(ledger)
    shown = point != "entered the ramp"
    assert (found.version if found else None) == (env.registry.versions["2"] if shown else None)
    assert bool(ledger.unlisted) == shown
    periods = exposure_periods("m", env.journal.entries, env.registry.versions["2"])
    assert bool(periods) == shown


def test_a_promoted_version_that_is_taken_back_is_the_last_one_taken_back() -> None:
    """Also while the registry still has to follow: its traffic is back already."""
    env = Scenario()
    promote(env)
    assert last_rolled_back_version(env.ports().ledger("m")) is None
    ledger = open_rollback(env.ports(), "m", "alerts doubled")
    assert last_rolled_back_version(ledger) is None
    ledger = drive_rollout(env.ports(), "m", until=lambda now: bool(now.rollout and now.rollout.done))
    assert ledger.open
    found = last_rolled_back_version(ledger)
    assert found is not None
    assert found.version == env.registry.versions["2"]
    assert last_rolled_back_version(fold_entries("m", env.journal.entries)) == found


def test_times_of_one_generation_do_not_overlap() -> None:
    """Whatever happens to a version, each moment of a generation is in one period at most."""
    env = Scenario()
    promote(env)
    env.registry.versions["4"] = Version("4", "sha256:" + "4" * 64)
    promote(env, "3")
    promote(env, "4")
    for version in env.registry.versions.values():
        spans: dict[int, list[tuple[float, float]]] = {}
        for period in exposure_periods("m", env.journal.entries, version):
            spans.setdefault(period.generation, []).append((period.since, period.until))
        for some in spans.values():
            assert all(one[1] <= other[0] for one, other in itertools.pairwise(some))
