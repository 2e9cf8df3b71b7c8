"""Define the gates that compare both versions' answers to the same requests."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from surefoot.core.policy.gates.base import Gate, Labels, LimitedGate, PolicyModel, SlicedGate, SpreadGate
from surefoot.core.policy.gates.metrics import Metric
from surefoot.core.policy.scalars import (
    AnyMargin,
    BlockLength,
    Duration,
    Number,
    OptionalKey,
    Probability,
    Quantile,
    Texts,
    one_or_more_schema,
    optional_duration,
)
from surefoot.core.policy.violations import Violation, missing_key_violation, rule_error

_BLOCK = "Length of a block: outcomes of one block move together and count once."
_THRESHOLD = "Score from which the answer is yes [probability]."
_CLASSES = "Names of the classes in the order of the model's probabilities; with two the second is the positive one."
_GapLossMetric = Literal[Metric.BRIER, Metric.LOG_LOSS, Metric.ABSOLUTE_ERROR, Metric.SQUARED_ERROR, Metric.ZERO_ONE]
"""Losses of which a gap between groups can be judged."""


class PairedGate(LimitedGate, SlicedGate):
    """Both versions answer the same requests, which are compared by block."""

    block: Duration = optional_duration("1d", _BLOCK)

    @property
    def coverage(self) -> float:
        """Least share of the mature requests that must have a label [0 to 1]."""
        return 0.0

    def broken_rules(self) -> Iterator[Violation]:
        """Only right and wrong answers can be compared one by one."""
        yield from super().broken_rules()
        if not self.block and not self.judged_per_request:
            rule = "requests can be each for itself only with metric zero_one and a margin in points"
            yield Violation(("block",), rule)

    @property
    def judged_per_request(self) -> bool:
        """Whether requests may be compared each for itself."""
        return False


class _LabelledGate(PairedGate):
    """Answers are held against labels."""

    labels: Labels = Field(description="When labels count, and how many there must be.")
    block: BlockLength = optional_duration("1d", _BLOCK)

    @property
    def maturity(self) -> float:
        """Age at which a label counts [seconds]."""
        return self.labels.maturity

    @property
    def coverage(self) -> float:
        """Least share of the mature requests that must have a label [0 to 1]."""
        return self.labels.coverage


class ClassGate(PairedGate):
    """Answers are probabilities or classes, which may have names."""

    classes: Texts = Field((), description=_CLASSES)


class _ThresholdGate(PairedGate):
    """Answers become decisions at a threshold."""

    threshold: Probability = Field(0.5, description=_THRESHOLD)


class ProbabilityLossGate(_LabelledGate, ClassGate, SpreadGate):
    """Loss of a probability, or of a distribution over several classes."""

    metric: Literal[Metric.BRIER, Metric.LOG_LOSS]


class NumberLossGate(_LabelledGate, SpreadGate):
    """Loss of a number, or of as many as the label has."""

    metric: Literal[Metric.ABSOLUTE_ERROR, Metric.SQUARED_ERROR, Metric.RMSE]


class PinballGate(_LabelledGate, SpreadGate):
    """Pinball loss of a forecast of one quantile."""

    metric: Literal[Metric.PINBALL]
    quantile: Quantile = Field(description="Quantile that the model forecasts [0.01 to 0.999].")


class ExpectedErrors(PolicyModel):
    """What plans count on for right and wrong answers; no verdict looks at it."""

    rate: OptionalKey[Probability] = Field(
        None, description="With block: none, how often the two versions disagree [probability]."
    )
    spread: OptionalKey[Annotated[float, Field(ge=1e-9, le=1e12, allow_inf_nan=False)]] = Field(
        None, description="By block, standard deviation of a block's difference [share of the answers]."
    )


class ZeroOneGate(_LabelledGate, ClassGate, _ThresholdGate):
    """Wrong answers, by block, or one by one with `block: none`."""

    metric: Literal[Metric.ZERO_ONE]
    expect: OptionalKey[ExpectedErrors] = Field(None, description="What plans count on; no verdict looks at it.")

    def broken_rules(self) -> Iterator[Violation]:
        """What plans count on is what they need."""
        yield from super().broken_rules()
        if self.expect is None:
            return
        needed, other = ("spread", "rate") if self.block else ("rate", "spread")
        if getattr(self.expect, other) is not None:
            yield Violation(("expect", other), f"plans count on '{needed}' here: 'rate' is for block: none alone")
        elif getattr(self.expect, needed) is None:
            yield missing_key_violation(("expect",), needed)

    @property
    def judged_per_request(self) -> bool:
        """Whether requests may be compared each for itself: with a margin in points alone."""
        return self.limit is None and not self.relative

    @property
    def expected(self) -> float | None:
        """How often the two versions disagree where each request is for itself [probability]; None when unknown."""
        return self.expect.rate if self.expect else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of a block's difference that plans count on; None when unknown."""
        return self.expect.spread if self.expect else None


class Costs(PolicyModel):
    """What each kind of decision costs, in the owner's money."""

    tp: Number = Field(description="Alerted and it came true [money].")
    fp: Number = Field(description="Alerted for nothing [money].")
    fn: Number = Field(description="Not alerted, and it came true [money].")
    tn: Number = Field(description="Not alerted, and nothing happened [money].")


class CostGate(_LabelledGate, ClassGate, _ThresholdGate, SpreadGate):
    """What the decisions cost, by a table of prices."""

    metric: Literal[Metric.COST]
    costs: Costs = Field(description="Prices of the four kinds of decisions.")


class ScoreDistributionGate(_LabelledGate, ClassGate, SpreadGate):
    """Calibration or ranking of the scores."""

    metric: Literal[Metric.ECE, Metric.AUC]


def _one_column(columns: tuple[str, ...]) -> tuple[str, ...]:
    if len(columns) != 1:
        raise rule_error("a gap is between the groups of one column")
    return columns


_SingleColumn = Annotated[Texts, AfterValidator(_one_column), one_or_more_schema({"type": "string", "minLength": 1}, 1)]


class _GapGate(_LabelledGate):
    """Largest difference between the groups of one column."""

    by: _SingleColumn = Field(description="Column whose values are the groups.")


class DecisionGapGate(_GapGate, ClassGate, _ThresholdGate, SpreadGate):
    """Largest difference between groups in a rate of the decisions."""

    metric: Literal[Metric.TPR_GAP, Metric.FPR_GAP, Metric.SELECTION_GAP]


class LossGapGate(_GapGate, SpreadGate):
    """Largest difference between groups in a loss."""

    metric: Literal[Metric.LOSS_GAP]
    of: _GapLossMetric = Field(description="Loss whose gap is judged.")


class DisagreementGate(_ThresholdGate, SpreadGate):
    """Requests on which the two versions decide differently."""

    metric: Literal[Metric.DISAGREEMENT]
    limit: Number = Field(
        alias="max", description="Largest share of the requests on which the two may differ [0 to 1]."
    )
    allowed: OptionalKey[AnyMargin] = Field(
        None, alias="margin", description="Has no effect on this metric.", json_schema_extra={"deprecated": True}
    )

    @property
    def margin(self) -> float | None:
        """None: only `limit` counts."""
        return None


def get_gate_class_names(gate: Gate) -> tuple[str, ...]:
    """Names of the classes in the order of the model's probabilities; empty where the policy names none."""
    return gate.classes if isinstance(gate, ClassGate) else ()


def get_gate_threshold(gate: Gate) -> float:
    """Score from which the answer is yes [probability]."""
    return gate.threshold if isinstance(gate, _ThresholdGate) else _DEFAULT_THRESHOLD


def get_gate_loss(gate: Gate) -> Metric:
    """The loss that a gate looks at: its own, or the one whose gap between groups it judges."""
    return gate.of if isinstance(gate, LossGapGate) else gate.metric


_DEFAULT_THRESHOLD = 0.5
"""Score from which the answer is yes, unless a policy says otherwise [probability]."""
