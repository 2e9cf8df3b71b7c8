"""Define the schedule of a rollback in steps, as the journal stores it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RollbackSchedule:
    """How traffic goes back step by step, as it was resolved when the rollback was opened.

    Attributes:
        weights: Share of the units that the proven-good version answers in each step, growing [percent].
        hold: Time at each weight [seconds].
        first_hold: Time at the first weight, where that is a cohort [seconds]; None for the time of the others.
        units: Canonical texts of units that go back first, whatever their hash, and stay.
        gates: Names of the gates that must not fail; the policy of the rollback defines them.
    """

    weights: tuple[float, ...]
    hold: float
    gates: tuple[str, ...] = ()
    first_hold: float | None = None
    units: tuple[str, ...] = ()

    def hold_seconds(self, step: int) -> float:
        """Time at the weight of a step [seconds]."""
        return self.hold if self.first_hold is None or step else self.first_hold

    @property
    def total_seconds(self) -> float:
        """Time of all steps [seconds]."""
        return sum(map(self.hold_seconds, range(len(self.weights))))
