"""What a critical reading of the first release found, and stays mended."""

import pytest

from surefoot.core.errors import Rejected, RolloutInProgress
from surefoot.core.model import Split, Stage
from surefoot.rollout import adopt, drive, open_promotion, open_rollback
from tests.fakes import World


def promoted() -> World:
    """A world in which version 2 was promoted and has baked."""
    world = World()
    open_promotion(world.ports(), world.request())
    drive(world.ports(), "m", until=lambda ledger: not ledger.open)
    return world


def test_second_rollback_needs_a_name() -> None:
    """Asking twice takes back one version, not two."""
    world = promoted()
    open_promotion(world.ports(), world.request("3"))
    drive(world.ports(), "m", until=lambda ledger: not ledger.open)
    open_rollback(world.ports(), "m", "first")
    drive(world.ports(), "m", until=lambda ledger: not ledger.open)
    with pytest.raises(Rejected, match=r"traffic is back at version 2 already .* name a proven-good version with --to"):
        open_rollback(world.ports(), "m", "second")
    open_rollback(world.ports(), "m", "on purpose", "1")
    drive(world.ports(), "m", until=lambda ledger: not ledger.open)
    assert world.traffic.split
    assert world.traffic.split.champion.number == "1"


def test_unservable_target_ends_the_rollback() -> None:
    """A rollback whose target cannot be served ends as aborted, and another target can be named."""
    world = promoted()
    shift = world.traffic.shift

    def refuse(model: str, split: Split) -> None:
        if split.champion.number == "1":
            raise Rejected("version 1 cannot be loaded")
        shift(model, split)

    world.traffic.shift = refuse
    opened = open_rollback(world.ports(), "m", "operator")
    ended = drive(world.ports(), "m", until=lambda ledger: not ledger.open).rollouts[opened.open]
    assert ended.stage is Stage.ABORTED
    assert "--to" in ended.reason
    assert world.registry.aliases["champion"] == "2"


def test_newcomer_waits_for_a_bake() -> None:
    """A new candidate never takes back a champion that bakes."""
    world = World()
    open_promotion(world.ports(), world.request())
    baking = drive(
        world.ports(), "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.stage is Stage.BAKING)
    )
    assert baking.open
    with pytest.raises(RolloutInProgress, match="version 3 waits"):
        open_promotion(world.ports(), world.request("3"))
    assert world.registry.aliases["champion"] == "2"


def test_lost_gateway_gets_its_route_again() -> None:
    """A gateway that has lost its state is given the champion again."""
    world = promoted()
    world.traffic.split = None
    adopt(world.ports(), "m")
    assert world.traffic.split is not None
    assert world.traffic.split.champion.number == "2"


def test_broken_policy_does_not_stop_the_way_back() -> None:
    """An ending rollout ends although its journalled policy can no longer be read."""
    world = World()
    open_promotion(world.ports(), world.request())
    drive(world.ports(), "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.done))
    open_rollback(world.ports(), "m", "operator")
    opened = next(entry for entry in world.journal.entries if entry.kind == "RolloutOpened")
    dict(opened.data)["policy"]["gates"] = {}
    assert not drive(world.ports(), "m", until=lambda ledger: not ledger.open).open
