"""Estimate how fast a gate on live traffic gains evidence per request."""

import math
from statistics import NormalDist
from typing import Protocol

from surefoot.core.gates.bad_event_rate import ASSUMED_CHAMPION_RATE
from surefoot.core.policy.policy_types import BadEventGate, Gate, MeasurementGate, ValueGate, narrow_gate_type
from surefoot.core.stats import power
from surefoot.core.stats.rate_eprocess import MIN_PROBABILITY

_LOG_LATENCY_DEVIATION = 0.6
"""Standard deviation of the logarithm of a latency, unless the policy expects another one."""
_UNBOUNDED_FACTOR = 1000.0
"""How many times as bad a candidate is that could not be worse."""
_MEAN_VALUE_SHARE = 0.5
"""Mean of a bounded value as a share of its cap, unless the policy expects another one: the hardest case."""
_STANDARD_NORMAL = NormalDist()


class EvidenceGrowth(Protocol):
    """How the evidence of one kind of gate grows.

    Attributes:
        assumes: What the numbers rest on that the policy does not say.
        largest: How many times as bad as the champion a candidate can be at worst.
        accepted: How many times as bad the estimate may be before anything fails.
    """

    assumes: str
    largest: float
    accepted: float

    def harm(self, share: float, times: float) -> float:
        """Growth of the evidence of harm where a candidate is so many times as bad [nats per trial of both arms]."""
        ...

    def safe(self, share: float, allowance: float) -> float:
        """Growth of the evidence of safety where a candidate is as good [nats per trial of both arms]."""
        ...

    def describe_harm(self, times: float) -> str:
        """A harm in words."""
        ...


class _BadEventGrowth:
    """A rate of bad events."""

    def __init__(self, gate: BadEventGate) -> None:
        """Take the rate from the policy, or guess."""
        rate = gate.expected if gate.expected is not None else ASSUMED_CHAMPION_RATE
        self._rate = min(max(rate, MIN_PROBABILITY), 1.0 - MIN_PROBABILITY)
        self.assumes = "" if gate.expected is not None else f"assuming {rate:.1%} of bad events (expect: {{rate: ...}})"
        margin = gate.margin or 0.0
        self._own = gate.margin is None and gate.limit is not None
        # Where only the limit counts the null line is flat, and the champion does not matter.
        self._growth, self._points = (margin, 0.0) if gate.relative else (0.0, margin)
        self._limit = gate.limit or 0.0
        self.largest = 1.0 / self._rate
        line = self._limit if self._own else self._rate * (1.0 + self._growth) + self._points
        self.accepted = max(line / self._rate, 1.0)

    def harm(self, share: float, times: float) -> float:
        """Growth of the evidence of harm; alone the candidate is held against the margin itself."""
        rate = min(times * self._rate, 1.0)
        if self._own:
            return share * power.evidence_growth(1.0, rate, self._rate, 0.0, self._limit)
        single = 1.0 if share >= 1.0 else 0.0
        return power.evidence_growth(share, rate, self._rate, 1.0 + single * self._growth, single * self._points)

    def safe(self, share: float, allowance: float) -> float:
        """Growth of the evidence of safety."""
        if self._own:
            return share * power.evidence_growth(1.0, self._rate, self._rate, 0.0, self._limit, harm=False)
        slope, offset = 1.0 + allowance * self._growth, allowance * self._points
        return power.evidence_growth(share, self._rate, self._rate, slope, offset, harm=False)

    def describe_harm(self, times: float) -> str:
        """A rate beside the champion's."""
        return f"{min(times * self._rate, 1.0):.2%} instead of {self._rate:.2%}"


class _MeasurementGrowth:
    """Quantiles of a positive measurement, as if its logarithm were normal.

    Law: exact where the measurement is lognormal; elsewhere the spread stands for how steep its tail is.
    """

    def __init__(self, gate: MeasurementGate) -> None:
        """Take the spread from the policy, or guess."""
        self._gate = gate
        self._spread = gate.spread or _LOG_LATENCY_DEVIATION
        self.assumes = (
            ""
            if gate.spread
            else f"assuming a spread of {_LOG_LATENCY_DEVIATION} of its logarithm (expect: {{spread: ...}})"
        )
        self.largest = _UNBOUNDED_FACTOR
        self.accepted = 1.0 + (gate.margin or 0.0)

    def _above(self, quantile: float, times: float) -> float:
        """Share of a slower candidate's answers above the champion's quantile."""
        return 1.0 - _STANDARD_NORMAL.cdf(_STANDARD_NORMAL.inv_cdf(quantile) - math.log(times) / self._spread)

    def harm(self, share: float, times: float) -> float:
        """Growth of the evidence of harm; of several quantiles the best one leads."""
        margin = 1.0 + (self._gate.margin or 0.0) if share >= 1.0 else 1.0
        each = [
            power.evidence_growth(share, self._above(quantile, times / margin), 1.0 - quantile, 1.0, 0.0)
            for quantile in self._gate.quantiles
        ]
        return max(each)

    def safe(self, share: float, allowance: float) -> float:
        """Growth of the evidence of safety; every quantile must pass."""
        wide = 1.0 + allowance * (self._gate.margin or 0.0)
        return min(
            power.evidence_growth(share, self._above(quantile, 1.0 / wide), 1.0 - quantile, 1.0, 0.0, harm=False)
            for quantile in self._gate.quantiles
        )

    def describe_harm(self, times: float) -> str:
        """A factor."""
        return f"{times:.2f} times the champion's p{max(self._gate.quantiles) * 100:g}"


class _ValueGrowth:
    """A mean of a bounded value; its variance is the largest that its mean allows."""

    def __init__(self, gate: ValueGate) -> None:
        """Take the mean from the policy, or assume the hardest one."""
        self._gate = gate
        width = gate.cap - gate.floor
        self._mean = (gate.expected - gate.floor) / width if gate.expected is not None else _MEAN_VALUE_SHARE
        self.assumes = (
            ""
            if gate.expected is not None
            else f"assuming a mean of {gate.floor + _MEAN_VALUE_SHARE * width:g} (expect: {{mean: ...}})"
        )
        margin = gate.margin or 0.0
        self._margin = margin * self._mean if gate.relative else margin / width
        if gate.higher_is_better:
            self.largest, self.accepted = (
                _UNBOUNDED_FACTOR,
                self._mean / max(self._mean - self._margin, self._mean / _UNBOUNDED_FACTOR),
            )
        else:
            self.largest, self.accepted = 1.0 / self._mean, (self._mean + self._margin) / self._mean

    def _grows(self, share: float, apart: float) -> float:
        """Growth of bets on a difference of means, while it is small beside the spread."""
        if not 0.0 < share < 1.0:
            return 0.0
        variance = self._mean * (1.0 - self._mean) * (1.0 / share + 1.0 / (1.0 - share))
        return apart * apart / (2.0 * variance) if apart > 0.0 else 0.0

    def harm(self, share: float, times: float) -> float:
        """Growth of the evidence of harm."""
        return self._grows(share, self._mean * (1.0 - 1.0 / times if self._gate.higher_is_better else times - 1.0))

    def safe(self, share: float, allowance: float) -> float:
        """Growth of the evidence of safety."""
        return self._grows(share, allowance * self._margin)

    def describe_harm(self, times: float) -> str:
        """A mean beside the champion's."""
        found = self._mean / times if self._gate.higher_is_better else self._mean * times
        floor, width = self._gate.floor, self._gate.cap - self._gate.floor
        return f"{floor + found * width:.4g} instead of {floor + self._mean * width:.4g}"


def estimate_evidence_growth(gate: Gate) -> EvidenceGrowth:
    """How evidence grows for a gate on bad events, on measurements such as latency, or on bounded values."""
    if isinstance(gate, BadEventGate):
        return _BadEventGrowth(gate)
    return (
        _ValueGrowth(gate)
        if isinstance(gate, ValueGate)
        else _MeasurementGrowth(narrow_gate_type(gate, MeasurementGate))
    )
