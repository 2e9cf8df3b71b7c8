"""Forecast after how many requests a candidate that equals the champion passes a gate."""

import math
from dataclasses import dataclass

from surefoot.core.domain import FigureKind, VerdictFigure
from surefoot.core.durations import format_estimated_duration
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.stats import power

REQUEST_TRIAL = "request"
"""What is counted where time tells how many of them come; of units, which come again, it does not."""
_FORECAST_CHANCES = (0.1, 0.9)
"""Chances between which a forecast says that an equal candidate passes [probability]."""
_MAX_FORECAST_TRIALS = 1e12
"""More trials than any rollout has; nothing is said of what would take longer [count]."""


@dataclass(frozen=True, slots=True)
class PassForecast:
    """Trials after which eight of ten candidates that equal the champion have passed a gate.

    Attributes:
        low: Fewest trials of both versions, since the evidence began [count].
        high: Most trials of both versions [count].
        seen: Trials of both versions until now [count].
        trial: What is counted: "request" or "unit".
    """

    low: float
    high: float
    seen: int
    trial: str

    def figures(self) -> tuple[VerdictFigure, ...]:
        """The forecast as numbers of a verdict."""
        return (
            VerdictFigure(FigureKind.EQUAL_PASSES_FROM, float(math.ceil(self.low)), self.trial),
            VerdictFigure(FigureKind.EQUAL_PASSES_BY, float(math.ceil(self.high)), self.trial),
            VerdictFigure(FigureKind.EQUAL_PASSES_SEEN, float(self.seen), self.trial),
        )


def forecast_pass(nats: float, alpha: float, seen: int, trial: str) -> PassForecast | None:
    """Forecast when a candidate equal to the champion passes, whatever this candidate has shown.

    Args:
        nats: Growth of the evidence of safety for an equal candidate [nats per trial of both versions].
        alpha: Error that a pass allows [probability].
        seen: Trials of both versions until now [count].
        trial: What is counted: "request" or "unit".

    Returns:
        The forecast; None where nothing can be said.
    """
    if nats <= 0.0:
        return None
    low, high = (power.requests_needed(alpha, nats, chance) for chance in _FORECAST_CHANCES)
    return None if high > _MAX_FORECAST_TRIALS else PassForecast(low, high, seen, trial)


def forecast_clause(forecast: PassForecast | None, level: DecisionThresholds) -> str:
    """A clause that says when a candidate equal to the champion would pass.

    Args:
        forecast: The forecast, or None.
        level: Level of the gate, with the planned traffic.

    Returns:
        Words with an interval that eight of ten equal candidates fall into; empty without a forecast.
    """
    if forecast is None:
        return ""
    low, high = round_forecast(forecast.low), round_forecast(forecast.high)
    said = f"; a candidate equal to the champion passes after {low} to {high} {forecast.trial}s"
    said += " in 8 of 10 cases"
    said += f" ({forecast.seen:,} until now)"
    if level.per_minute and forecast.trial == REQUEST_TRIAL:
        soon, late = (format_estimated_duration(60.0 * n / level.per_minute) for n in (forecast.low, forecast.high))
        said += f", {soon} to {late} of planned traffic"
    return said


def round_forecast(n: float) -> str:
    """A forecast number to two digits that count."""
    digits = 1 - math.floor(math.log10(n)) if n >= 1.0 else 0
    return f"{round(n, min(digits, 0)):,.0f}"
