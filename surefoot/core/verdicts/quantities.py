"""Format the numbers of a verdict with their units, for every page, table and plot."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from surefoot.core.domain import FigureKind, Verdict, VerdictFigure
from surefoot.core.policy.gates.metrics import Metric

RATE_METRICS: Final = frozenset(
    {Metric.ZERO_ONE, Metric.DISAGREEMENT, Metric.TPR_GAP, Metric.FPR_GAP, Metric.SELECTION_GAP}
)
"""Metrics that compare both versions on the same requests by a rate from 0 to 1."""
_RATE_UNITS: Final = RATE_METRICS | {"share"}
"""Units of numbers that are rates, or differences of rates."""
_UNIT_TEXTS = {
    "count": "",
    "distance": "of 1",
    "request": "requests",
    "unit": "units",
    Metric.ABSOLUTE_ERROR: "absolute error",
    Metric.AUC: "1 - AUC",
    Metric.BRIER: "Brier",
    Metric.COST: "cost per request",
    Metric.ECE: "calibration error",
    Metric.LOG_LOSS: "log loss",
    Metric.LOSS_GAP: "gap of the loss",
    Metric.PINBALL: "pinball loss",
    Metric.RMSE: "RMSE",
    Metric.SQUARED_ERROR: "squared error",
}
"""Units of verdicts and figures that people read in other words."""
_SINGULARS = {"points": "point", "requests": "request", "units": "unit"}
_LEVEL_METRICS = frozenset({Metric.GAUGE, Metric.EXPECTED_LOSS, Metric.INPUT_SHIFT, Metric.PREDICTION_SHIFT})
"""Metrics whose estimate is a value of the candidate, never a difference from the champion."""
_OWN_UNIT_METRICS = frozenset({Metric.VALUE, Metric.RESOURCE, Metric.LATENCY})
_OWN_UNIT_FIGURES = frozenset(
    {
        *(FigureKind.CANDIDATE_MEAN, FigureKind.CHAMPION_MEAN, FigureKind.CANDIDATE_HIGHEST),
        *(FigureKind.CHAMPION_HIGHEST, FigureKind.CANDIDATE_QUANTILE, FigureKind.CHAMPION_QUANTILE),
    }
)
"""Metrics and figures whose unit is the name of a column, which may be any word."""
_LOSSES = frozenset({FigureKind.CANDIDATE_LOSS, FigureKind.CHAMPION_LOSS})
_DIFFERENCE_FIELDS = frozenset({"difference", "lower", "upper", "margin"})
_COMPARED_FIELDS = _DIFFERENCE_FIELDS | {"champion", "candidate", "limit", "distance"}
"""Fields of a verdict's details that have the unit of the verdict, if they are numbers."""
_ROW_NAMES = frozenset({"slice", "group", "feature", "expectation"})
"""Fields that say what a row is about."""
_POINTS, _PERCENT = "points", "%"


@dataclass(frozen=True, slots=True)
class QuantityFormat:
    """How a kind of number is written.

    Attributes:
        unit: Its unit in words; empty for a bare number.
        factor: What the journal's number is multiplied by; 100 for a rate, which people read in percent.
        signed: Whether a plus is written: the number is a difference.
    """

    unit: str
    factor: float = 1.0
    signed: bool = False

    @property
    def axis_unit(self) -> str:
        """The unit as the axis of a plot names it."""
        return "percentage points" if self.unit == _POINTS else self.unit

    def number(self, value: float) -> str:
        """The number alone, with the digits that count."""
        shown = self.factor * value
        sign = "+" if self.signed else ""
        if self.factor != 1.0:
            text = _strip_zeros(format(shown, f"{sign}.{self._decimals(shown)}f"))
        elif 1000.0 <= abs(shown) < 1e15:  # noqa: PLR2004 - longer numbers get an exponent
            text = format(shown, f"{sign},.0f")
        else:
            text = format(shown, f"{sign}.4g")
        return "0" if text in {"+0", "-0"} else text

    def text(self, value: float) -> str:
        """The number with its unit."""
        number = self.number(value)
        unit = _SINGULARS.get(self.unit, self.unit) if number.lstrip("+-") == "1" else self.unit
        return f"{number} {unit}".strip()

    def _decimals(self, percent: float) -> int:
        """Decimals of a percentage: two, and more where they would show a small one as 0, or nearly all as 100."""
        rest = abs(percent) if self.signed else min(abs(percent), abs(100.0 - percent))
        return 2 if rest == 0.0 or rest >= 0.05 else min(1 - math.floor(math.log10(rest)), 12)  # noqa: PLR2004 - see above


def _strip_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".")


_RATE, _RATE_DIFFERENCE = QuantityFormat(_PERCENT, 100.0), QuantityFormat(_POINTS, 100.0, signed=True)


def as_percent(rate: float) -> str:
    """A rate in percent, such as "2 %" or "0.05 %"."""
    return _RATE.text(rate)


def percentage_points(difference: float) -> str:
    """A difference of two rates in percentage points, without that unit, such as "+0.52"."""
    return _RATE_DIFFERENCE.number(difference)


def in_points(difference: float) -> str:
    """A difference of two rates, such as "+0.52 points"."""
    return _RATE_DIFFERENCE.text(difference)


def quantity_format(verdict: Verdict) -> QuantityFormat:
    """How estimate, interval and margin of a verdict are written.

    A difference of two rates is in points, as in the verdict's sentence; a rate is in percent.
    """
    difference = _is_difference(verdict)
    if verdict.metric in _OWN_UNIT_METRICS:
        return QuantityFormat(verdict.unit, signed=difference)
    if verdict.metric == Metric.GAUGE:
        return QuantityFormat("% of the blocks", 100.0)
    return _format_unit(verdict.unit, difference=difference)


def _is_difference(verdict: Verdict) -> bool:
    """Whether the estimate is candidate minus champion, and not a value of the candidate against a fixed limit."""
    if verdict.metric in _LEVEL_METRICS:
        return False
    values = {figure.kind: figure.value for figure in verdict.figures}
    if FigureKind.BURN_RATE in values:
        return False
    own = values.get(FigureKind.CANDIDATE_LOSS)
    return own is None or own != verdict.estimate or values.get(FigureKind.CHAMPION_LOSS) == 0.0


def _format_unit(unit: str, *, difference: bool) -> QuantityFormat:
    if unit in _RATE_UNITS:
        return _RATE_DIFFERENCE if difference else _RATE
    return QuantityFormat(_UNIT_TEXTS.get(unit, unit), signed=difference)


def describe_measured(verdict: Verdict) -> str:
    """Estimate and interval of a verdict, such as "+0.52 points (-1.48 to +2.52)"; empty where it gave no number."""
    estimate, low, high = verdict.estimate, verdict.lower, verdict.upper
    if estimate is None or not math.isfinite(estimate):
        return ""
    written = quantity_format(verdict)
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return written.text(estimate)
    return f"{written.text(estimate)} ({written.number(low)} to {written.number(high)})"


def describe_accepted(verdict: Verdict) -> str:
    """What the owner accepts, such as "at most +2 points"; empty where that is no number."""
    if verdict.margin is None or not math.isfinite(verdict.margin):
        return ""
    return f"at most {quantity_format(verdict).text(verdict.margin)}"


def figure_format(figure: VerdictFigure, verdict: Verdict) -> QuantityFormat:
    """How a figure of a verdict is written; a loss without a unit has that of the verdict."""
    if figure.kind in _OWN_UNIT_FIGURES:
        return QuantityFormat(figure.unit)
    return _format_unit(verdict.unit if figure.kind in _LOSSES and not figure.unit else figure.unit, difference=False)


def describe_figure(figure: VerdictFigure, verdict: Verdict) -> str:
    """A figure of a verdict with its unit, such as "2 %", "1,200 requests" or "3.4 nats"."""
    return figure_format(figure, verdict).text(figure.value)


def slice_difference_format(verdict: Verdict) -> QuantityFormat:
    """How the differences between the two versions in a verdict's slices are written."""
    return _format_unit(verdict.unit, difference=True)


def describe_details(row: Mapping[str, object], verdict: Verdict) -> str:
    """A row of a verdict's details, such as the losses of one slice, as people read it; its name comes first."""
    names = sorted(row, key=lambda name: name not in _ROW_NAMES)
    return "; ".join(f"{name}: {_describe_detail(name, row, verdict)}" for name in names)


def _describe_detail(name: str, row: Mapping[str, object], verdict: Verdict) -> str:
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return str(value)
    if name not in _COMPARED_FIELDS:
        return QuantityFormat("").number(value)
    if "slice" in row and name in _DIFFERENCE_FIELDS:
        return slice_difference_format(verdict).text(value)
    return _format_unit(verdict.unit, difference=False).text(value)
