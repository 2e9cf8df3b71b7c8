"""Define the gates on served traffic, for example on bad events, latency or a bounded value."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from surefoot.core.policy.gates.base import (
    ExpectedRate,
    LimitedGate,
    Maturity,
    PolicyModel,
    SlicedGate,
    SpreadGate,
)
from surefoot.core.policy.gates.metrics import Metric
from surefoot.core.policy.scalars import (
    MarginAboveZero,
    Name,
    Number,
    OptionalKey,
    PositiveDuration,
    Quantiles,
    RelativeGaugeMargin,
    RelativeLatencyMargin,
    RelativeResourceMargin,
    optional_duration,
)
from surefoot.core.policy.violations import Violation, missing_key_violation

_MARGIN = "Largest degradation that is accepted, as a share of the champion's value, such as 20%."
_LEAST_WIDTH = 1e-9
"""Least distance between the bounds of a value [unit of the value]."""
_BOUND = 1e12
"""Largest bound of a value [unit of the value]."""


class BadEventGate(LimitedGate, SlicedGate):
    """A bad event that each trial has or has not: a margin, a limit, or both."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["margin"]}, {"required": ["max"]}]})

    metric: Literal[Metric.ERROR_RATE, Metric.MISSING_LABEL]
    allowed: OptionalKey[MarginAboveZero] = Field(
        None,
        alias="margin",
        description="Largest growth of the rate that is accepted: 0.5pp (points) or 20% (of the champion's rate).",
    )
    limit: OptionalKey[Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False)]] = Field(
        None, alias="max", description="Largest rate of the candidate itself, an error budget [probability]."
    )
    expect: OptionalKey[ExpectedRate] = Field(None, description="What plans count on; no verdict looks at it.")

    def broken_rules(self) -> Iterator[Violation]:
        """Something is demanded."""
        yield from super().broken_rules()
        if self.allowed is None and self.limit is None:
            yield missing_key_violation((), "margin", ": say how much worse the candidate may be, or give 'max'")

    @property
    def expected(self) -> float | None:
        """Champion's rate that plans count on [probability]; None when unknown."""
        return self.expect.rate if self.expect else None


class ErrorRateGate(BadEventGate):
    """Requests, or units, that fail."""

    metric: Literal[Metric.ERROR_RATE]


class MissingLabelGate(BadEventGate):
    """Requests without a label when it is due."""

    metric: Literal[Metric.MISSING_LABEL]
    labels: Maturity = Field(description="When a label is due.")

    @property
    def maturity(self) -> float:
        """Age at which a label is due [seconds]."""
        return self.labels.maturity


class MeasurementGate(SlicedGate, SpreadGate):
    """Quantiles of a positive measurement of each request."""

    metric: Literal[Metric.LATENCY, Metric.RESOURCE]
    allowed: RelativeResourceMargin = Field(alias="margin", description=_MARGIN)
    quantiles: Quantiles = Field(
        (0.9,), alias="quantile", description="Quantiles that are compared, one or several [0.01 to 0.999]."
    )

    @property
    def margin(self) -> float:
        """Largest growth that is accepted [share of the champion's]."""
        return self.allowed.amount

    @property
    def measured(self) -> str:
        """Column of the log that is measured."""
        return "latency_ms"


class LatencyGate(MeasurementGate):
    """Quantiles of the latency [ms]."""

    metric: Literal[Metric.LATENCY]
    allowed: RelativeLatencyMargin = Field(alias="margin", description=_MARGIN)


class ResourceGate(MeasurementGate):
    """Quantiles of a cost of each request."""

    metric: Literal[Metric.RESOURCE]
    column: Name = Field(description="Column of the log that is measured, such as cpu_ms.")

    @property
    def measured(self) -> str:
        """Column of the log that is measured."""
        return self.column


class GaugeGate(SpreadGate):
    """A process's own measure, block by block of time."""

    metric: Literal[Metric.GAUGE]
    allowed: RelativeGaugeMargin = Field(alias="margin", description=_MARGIN)
    column: Name = Field(description="Column of the log that is measured, such as rss_mb.")
    block: PositiveDuration = optional_duration("10m", "Length of a block of time in which the two are compared once.")

    @property
    def margin(self) -> float:
        """Largest growth that is accepted [share of the champion's]."""
        return self.allowed.amount


class ExpectedMean(PolicyModel):
    """What plans count on for a bounded value; no verdict looks at it."""

    mean: Number = Field(description="Champion's mean [unit of the value].")


class ValueGate(SlicedGate):
    """A bounded value that comes with the label, such as revenue up to a cap."""

    metric: Literal[Metric.VALUE]
    allowed: MarginAboveZero = Field(
        alias="margin",
        description="Largest degradation that is accepted: 5% (of the champion's mean), or a number in its unit.",
    )
    column: Name = Field("label", description="Field of the label that holds the value; the label itself by default.")
    cap: Annotated[float, Field(ge=-_BOUND, le=_BOUND, allow_inf_nan=False)] = Field(
        description="Value above which more does not count [unit of the value]."
    )
    floor: Annotated[float, Field(ge=-_BOUND, le=_BOUND, allow_inf_nan=False)] = Field(
        0.0,
        description="Value below which less does not count [unit of the value]; without it one below 0 is an ERROR.",
    )
    direction: Literal["decrease", "increase"] = Field("decrease", description="Which change of the mean is harm.")
    labels: Maturity = Field(description="When a label counts.")
    expect: OptionalKey[ExpectedMean] = Field(None, description="What plans count on; no verdict looks at it.")

    def broken_rules(self) -> Iterator[Violation]:
        """The bounds hold something, and the margin has a meaning between them."""
        yield from super().broken_rules()
        if self.cap - self.floor < _LEAST_WIDTH:
            yield Violation(("cap",), f"must be above the floor, which is {self.floor:g}")
        elif self.expect is not None:
            tiny = (self.cap - self.floor) * 1e-9
            low, high = self.floor + tiny, self.cap - tiny
            if not low <= self.expect.mean <= high:
                where = ("expect", "mean")
                yield Violation(where, f"must be between {low:g} and {high:g}, found {self.expect.mean:g}")
        if self.floor and self.relative:
            rule = "a share of a mean says little where values have a floor: give a number in the value's own unit"
            yield Violation(("margin",), rule)

    @property
    def margin(self) -> float:
        """Largest degradation that is accepted [unit of the value, or a share of the champion's mean]."""
        return self.allowed.amount

    @property
    def relative(self) -> bool:
        """Whether `margin` is a share of the champion's mean."""
        return self.allowed.relative

    @property
    def has_floor(self) -> bool:
        """Whether the policy names the floor; values below one that it does not name are an error."""
        return "floor" in self.model_fields_set

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better."""
        return self.direction == "decrease"

    @property
    def maturity(self) -> float:
        """Age at which a label counts [seconds]."""
        return self.labels.maturity

    @property
    def expected(self) -> float | None:
        """Champion's mean that plans count on [unit of the value]; None when unknown."""
        return self.expect.mean if self.expect else None
