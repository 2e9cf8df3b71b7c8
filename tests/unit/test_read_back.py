"""A change of traffic is read back from the gateway before it counts as done."""

import pytest

from surefoot.core.domain import Split
from surefoot.core.errors import OutcomeUnknown
from surefoot.rollout import adopt_champion
from tests.fakes import FakeTraffic, Faults, Scenario


class Loading(FakeTraffic):
    """A gateway one worker of which still loads the version for so many reads after each change."""

    def __init__(self, reads: int) -> None:
        super().__init__(Faults())
        self.reads, self.left = reads, 0

    def shift(self, model: str, split: Split) -> None:
        super().shift(model, split)
        self.left = self.reads

    def live(self, model: str) -> Split | None:
        self.left -= 1
        return None if self.left >= 0 else super().live(model)


def test_a_worker_that_still_loads_is_waited_for() -> None:
    """A gateway that names no version right after a change, and names it soon, has done the change."""
    env = Scenario()
    env.traffic = Loading(20)
    ledger = adopt_champion(env.ports(), "m")
    assert ledger.split is not None
    assert ledger.split == env.traffic.split
    assert ledger.intent is None


def test_a_gateway_that_serves_nothing_has_done_nothing_that_is_known() -> None:
    """Where no version is named for a quarter of a minute the outcome is unknown, and the intent stays open."""
    env = Scenario()
    env.traffic = Loading(10_000)
    with pytest.raises(OutcomeUnknown, match="serves no version of m"):
        adopt_champion(env.ports(), "m")
    assert env.ports().ledger("m").intent is not None
