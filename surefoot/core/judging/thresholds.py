"""Define the thresholds of a verdict: its error probabilities, and a wider margin in steps with little traffic."""

from dataclasses import dataclass

from surefoot.core.stats.paired_difference import alpha_share_of_look


@dataclass(frozen=True, slots=True)
class DecisionThresholds:
    """How sure a verdict must be, and how much must have been seen.

    Attributes:
        alpha: Chance that a good candidate fails this gate over the whole rollout [probability].
        beta: Chance that a candidate beyond the margin passes this gate [probability].
        allowance: Multiple of the margin that this step must exclude; small steps prove less [>= 1].
        min_requests: Fewest requests before the gate can pass [count].
        look: One-based number of the look; gates that are not valid at every look spend `alpha` over looks.
        late: One-based number of the look since a pass would have counted; they spend `beta` over these.
        elapsed: Time since the stage began; gates by block have a new look a block [seconds], or None.
        overdue: Time since a pass would have counted [seconds].
        per_minute: Planned traffic, to say how long more evidence takes [requests per minute]; 0 when unknown.
        stages: Stages that share `alpha` in gates that begin anew in each of them [count].
        forever: Whether the watch has no known end: alarms are then limited in number a time, not in all.
        lasts: Planned length of the stage [seconds]; alarms are limited to `alpha` in each such time when `forever`.
        weight: Weight of the step [percent], for words only; 0 outside of the ramp.
    """

    alpha: float = 0.01
    beta: float = 0.05
    allowance: float = 1.0
    min_requests: int = 0
    look: int = 1
    late: int = 1
    elapsed: float | None = None
    overdue: float = 0.0
    per_minute: float = 0.0
    stages: int = 1
    forever: bool = False
    lasts: float = 0.0
    weight: float = 0.0

    def error_levels(self, block: float) -> tuple[float, float]:
        """Levels of one look at evidence that grows by blocks: (alpha, beta) [probability].

        Args:
            block: Length of a block [seconds].

        Law: looks between two blocks see the same evidence and cost nothing; over all blocks there will ever be the
            levels add up to `alpha` and to `beta`. A watch without an end spends the same on every block, so that the
            time between two false alarms is at least `lasts` / `alpha` on average, however long it goes on.
        """
        look = self.look if self.elapsed is None else 1 + int(self.elapsed // block)
        late = self.late if self.elapsed is None else 1 + int(self.overdue // block)
        if self.forever and self.lasts > 0.0:
            return self.alpha * min(block / self.lasts, 1.0), self.beta * alpha_share_of_look(late)
        return self.alpha / self.stages * alpha_share_of_look(look), self.beta * alpha_share_of_look(late)


def choose_margin_multiple(weight: float) -> float:
    """Multiple of the margin that a step must exclude, by its weight [percent]: little traffic proves little."""
    ladder = ((1.0, 15.0), (5.0, 5.0), (25.0, 2.0))
    return next((multiple for limit, multiple in ladder if weight <= limit), 1.0)
