"""Define the policy section `retention`: how long records are kept, also those of high-risk models."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import OptionalKey
from surefoot.core.policy.violations import Violation, describe_type, rule_error

_DAY_S = 86400.0
LOG_RETENTION_DAYS = 90
"""How long the prediction log reaches back unless told otherwise [days]."""
HIGH_RISK_RETENTION_DAYS = 183
"""Shortest time that records of a high-risk system are kept: six months [days]. Source: Regulation (EU) 2024/1689,
articles 19(1) and 26(6)."""
_PATTERN = r"^([1-9][0-9]{0,5})([dy])$"
_UNIT_DAYS = {"d": 1.0, "y": 365.0}


RiskTier = Literal["standard", "high-risk"]
"""How much harm a model's answers can do, as its owner has classified it."""
HIGH_RISK: RiskTier = "high-risk"


def _period(value: object) -> float:
    match = re.fullmatch(_PATTERN, value) if isinstance(value, str) else None
    if match is None:
        raise rule_error(f"expected a number of days or years such as 90d or 1y, found {describe_type(value)}")
    return int(match[1]) * _UNIT_DAYS[match[2]] * _DAY_S


RetentionPeriod = Annotated[
    float,
    PlainValidator(_period),
    WithJsonSchema({"type": "string", "pattern": _PATTERN, "examples": ["90d", "1y"]}),
]
"""A time for which records are kept, in whole days or years of 365 days [seconds once it is read]."""


class RetentionSection(PolicyModel):
    """How long records are kept at least; what an incident holds is kept longer."""

    log: RetentionPeriod = Field(
        LOG_RETENTION_DAYS * _DAY_S,
        description="How long the prediction log, labels and kept answers reach back.",
        json_schema_extra={"default": f"{LOG_RETENTION_DAYS}d"},
    )
    reports: OptionalKey[RetentionPeriod] = Field(
        None, description="How long validation pages, exposure lists and corrections are kept; for ever by default."
    )

    @property
    def log_days(self) -> float:
        """How long the log reaches back [days]."""
        return self.log / _DAY_S

    def unmet_demands(self, tier: RiskTier) -> Iterator[Violation]:
        """What the risk tier demands and the section does not say."""
        if tier != HIGH_RISK:
            return
        for key in ("log", "reports"):
            kept = getattr(self, key)
            if kept is None or kept >= HIGH_RISK_RETENTION_DAYS * _DAY_S:
                continue
            found = f"found {kept / _DAY_S:g}d" if key in self.model_fields_set else f"without it {kept / _DAY_S:g}d"
            rule = f"must be at least {HIGH_RISK_RETENTION_DAYS}d, six months, for tier high-risk: {found}"
            yield Violation(
                ("retention", key) if key in self.model_fields_set else ("tier",), f"retention.{key} {rule}"
            )
