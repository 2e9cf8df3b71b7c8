"""A kill, a refusal or a lost reply at any port call ends where the undisturbed run ends."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.core.events import EffectDone, EffectIntended, decode
from surefoot.core.model import Stage
from surefoot.core.state import fold
from surefoot.rollout import Ports, drive, end, open_promotion, open_rollback
from tests.fakes import Faults, Killed, World


def promote(world: World) -> None:
    """Promote version 2, or take it back as its story demands."""
    if not any(e.kind == "RolloutEnded" for e in world.journal.entries):
        drive_to_end(world, lambda ports: open_promotion(ports, world.request()))


def promote_and_roll_back(world: World) -> None:
    """Promote version 2, then an operator takes it back."""
    promote(world)
    ended = [e for e in world.journal.entries if e.kind == "RolloutEnded"]
    if len(ended) == 1:
        drive_to_end(world, lambda ports: open_rollback(ports, "m", "operator"))


def abort_while_ramping(world: World) -> None:
    """Abort while the first weight is live."""
    ports = world.ports()
    if not any(e.kind == "RolloutEnded" for e in world.journal.entries):
        open_promotion(ports, world.request())
        drive(ports, "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.stage is Stage.RAMPING))
        drive(ports, "m", until=lambda ledger: bool(ledger.rollout and ledger.rollout.done))
        end(ports, "m", Stage.ABORTED, "operator")
        drive(ports, "m", until=lambda ledger: not ledger.open)


def drive_to_end(world: World, opening: Callable[[Ports], object]) -> None:
    """Open unless already ended, then drive to the sink."""
    ports = world.ports()
    if not fold("m", world.journal.entries).open:
        opening(ports)
    drive(ports, "m", until=lambda ledger: not ledger.open)


STORIES: dict[str, tuple[str, Callable[[World], None]]] = {
    "promoted": ("good", promote),
    "rejected in shadow": ("bad-shadow", promote),
    "rolled back in canary": ("bad-live", promote),
    "operator rolls back": ("good", promote_and_roll_back),
    "operator aborts": ("good", abort_while_ramping),
}
ENDS = {
    "promoted": (("Promoted",), {"champion": "2", "previous": "1"}, ("2", None, 0.0)),
    "rejected in shadow": (("Rejected",), {"champion": "1", "candidate": "2"}, ("1", None, 0.0)),
    "rolled back in canary": (("RolledBack",), {"champion": "1", "candidate": "2"}, ("1", None, 0.0)),
    "operator rolls back": (("Promoted", "FastRolledBack"), {"champion": "1"}, ("1", None, 0.0)),
    "operator aborts": (("Aborted",), {"champion": "1", "candidate": "2"}, ("1", None, 0.0)),
}


def run(story: str, faults: dict[int, str]) -> World:
    """Run a story; after each kill a new process starts it again."""
    seed, play = STORIES[story]
    world = World(seed, Faults(dict(faults)))
    for _ in range(len(faults) + 3):
        try:
            play(world)
        except Killed:
            continue
        except Exception as error:
            if not getattr(error, "retryable", False):
                raise
            continue
        return world
    raise AssertionError("the story never came to an end")


def laws(world: World) -> None:
    """Every intent has at most one end, and no effect is done twice."""
    intents: dict[int, object] = {}
    for entry in world.journal.entries:
        event = decode(entry.kind, entry.data)
        if isinstance(event, EffectIntended):
            intents[entry.seq] = event.effect
        if isinstance(event, EffectDone):
            assert intents.pop(event.intent)
    generations = [split.generation for split in world.traffic.changes]
    assert generations == sorted(set(generations))


@pytest.mark.parametrize("story", STORIES)
def test_undisturbed(story: str) -> None:
    """Without faults each story ends as it should."""
    world = run(story, {})
    assert world.picture() == ENDS[story]
    laws(world)


@pytest.mark.parametrize("fault", ["before", "after", "refused", "unknown"])
@pytest.mark.parametrize("story", STORIES)
def test_single_fault_at_every_call(story: str, fault: str) -> None:
    """One fault at each port call in turn changes nothing about the end."""
    calls = run(story, {}).faults.calls
    assert calls > 10
    for number in range(1, calls + 1):
        world = run(story, {number: fault})
        assert world.picture() == ENDS[story], (story, fault, number)
        laws(world)


@settings(max_examples=400, deadline=None)
@given(data=st.data(), story=st.sampled_from(sorted(STORIES)))
def test_several_faults(data: st.DataObject, story: str) -> None:
    """Up to four faults of any kind at any calls change nothing about the end."""
    numbers = st.integers(1, 80)
    faults = data.draw(st.dictionaries(numbers, st.sampled_from(["before", "after", "refused", "unknown"]), max_size=4))
    world = run(story, faults)
    assert world.picture() == ENDS[story]
    laws(world)
