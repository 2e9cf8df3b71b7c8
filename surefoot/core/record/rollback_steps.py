"""Define the resolved steps by which a rollback moves traffic back to an earlier version."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RollbackSteps:
    """How traffic goes back step by step, as it was resolved when the rollback was opened.

    Attributes:
        weights: Share of the units that the proven-good version answers in each step, growing [percent].
        hold: Time at each weight [seconds].
        gates: Names of the gates that must not fail; the policy of the rollback defines them.
    """

    weights: tuple[float, ...]
    hold: float
    gates: tuple[str, ...] = ()
