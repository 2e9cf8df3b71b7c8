"""Format the parts of the sentence that explains a gate's verdict."""

from dataclasses import dataclass

from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.verdicts.quantities import in_points, percentage_points


def format_value(value: float, near: float = 0.0, *, signed: bool = False) -> str:
    """A value in its own unit; four decimals where they show it, else four digits that count.

    Args:
        value: The value.
        near: Another value of the same sentence; the larger of the two decides how many decimals are shown.
        signed: Whether a plus is written.
    """
    size = max(abs(value), abs(near))
    sign = "+" if signed else ""
    if size == 0.0 or 0.01 <= size < 1000.0:  # noqa: PLR2004 - where four decimals show it
        return format(value + 0.0, f"{sign}.4f")
    return format(value + 0.0, f"{sign},.1f" if 1000.0 <= size < 1e9 else f"{sign}.4g")  # noqa: PLR2004 - longer than people read


def interval_text(low: str | None, high: str | None, unit: str = "") -> str:
    """An interval in words; an end that is None is not known yet.

    Args:
        low: Lower end.
        high: Upper end.
        unit: Unit with a leading blank, or empty.
    """
    if low is not None and high is not None:
        return f"between {low} and {high}{unit}"
    if high is not None:
        return f"at most {high}{unit}"
    return "not known within limits yet" if low is None else f"at least {low}{unit}"


@dataclass(frozen=True, slots=True)
class RateDifference:
    """How far two rates are apart, in words.

    Attributes:
        relative: Whether in multiples of the champion's rate, as the policy's margin is; else in points.
        margin: The accepted growth [share of the champion's rate, or probability].
    """

    relative: bool
    margin: float

    def difference(self, champion: float, candidate: float) -> str:
        """What was measured; in points where the champion's rate is zero, which has no multiples."""
        if not self.relative or not champion:
            return in_points(candidate - champion)
        return f"{candidate / champion:.2f} times as many"

    def interval(self, champion: float, ends: tuple[float | None, float | None]) -> str:
        """What the counts do not exclude.

        Args:
            champion: The champion's rate [probability]; nothing below 0 or above 1 is named.
            ends: Lower and upper end [multiples of the margin]; None where the counts reach none.
        """
        if self.relative:
            low, high = (None if end is None else f"{max(1.0 + end * self.margin, 0.0):.2f}" for end in ends)
            return interval_text(low, high, " times")
        low, high = (
            None if end is None else percentage_points(min(max(end * self.margin, -champion), 1.0 - champion))
            for end in ends
        )
        return interval_text(low, high, " points")

    def accepted(self, times: float = 1.0) -> str:
        """What is accepted at so many times the margin."""
        if self.relative:
            return f"{1.0 + times * self.margin:.3g} times the champion's rate"
        return in_points(min(times * self.margin, 1.0))


def margin_clause(level: DecisionThresholds, what: str) -> str:
    """A clause on the difference that a step accepts: a multiple of the margin in a small step, which proves less."""
    if level.allowance <= 1.0:
        return f"up to {what} is accepted"
    where = f"at weight {level.weight:g}" if level.weight else "at this weight"
    return f"{where} up to {what} is accepted ({level.allowance:g} times the margin)"


def worse_since_clause(start: int, parts: int, level: DecisionThresholds) -> str:
    """A clause that says since when a candidate seems to be worse."""
    return f" since part {start + 1} of {parts} of the {'bake' if level.forever else 'ramp'}"
