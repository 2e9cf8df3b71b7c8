"""Define the gates on distribution shifts of features and predictions."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field
from pydantic.config import JsonDict

from surefoot.core.domain import Role
from surefoot.core.policy.gates.base import SpreadGate
from surefoot.core.policy.gates.metrics import Metric
from surefoot.core.policy.scalars import Duration, OptionalKey, Share, Texts, optional_duration
from surefoot.core.policy.violations import Violation, missing_key_violation, rule_error

_SAME_INPUTS = 0.01
"""Share of the requests on which two versions may see different values unless the policy says otherwise."""
_AGAINST = "With what is compared: the champion on the same requests, or the window before."


class ShiftGate(SpreadGate):
    """Distance of two distributions, from 0 (alike) to 1."""

    metric: Literal[Metric.INPUT_SHIFT, Metric.PREDICTION_SHIFT]
    against: Literal["champion", "before"] = Field("before", description=_AGAINST)
    block: Duration = optional_duration("1d", "Length of a block of requests that move together.")
    most: OptionalKey[Share] = Field(None, alias="max", description="Largest distance that is accepted [0 to 1].")

    @property
    def limit(self) -> float:
        """Largest distance that is accepted [0 to 1]."""
        return _SAME_INPUTS if self.most is None else self.most

    @property
    def ignored(self) -> tuple[str, ...]:
        """Columns that are not compared: they may differ, or follow the calendar."""
        return ()


class InputShiftGate(ShiftGate):
    """What the two versions are fed, or features against the window before."""

    metric: Literal[Metric.INPUT_SHIFT]
    most: OptionalKey[Share] = Field(
        None,
        alias="max",
        description="Largest distance that is accepted [0 to 1]; against the champion, a share of the requests: 0.01.",
    )
    ignored_columns: Texts = Field((), alias="except", description="Columns that are not compared.")
    calendar: Texts = Field((), description="Columns that follow the calendar, and are not compared.")

    def broken_rules(self) -> Iterator[Violation]:
        """A limit is demanded; against the champion there is one by default."""
        yield from super().broken_rules()
        if self.most is None and self.against != "champion":
            yield missing_key_violation((), "max")

    @property
    def ignored(self) -> tuple[str, ...]:
        """Columns that are not compared: they may differ, or follow the calendar."""
        return (*self.ignored_columns, *self.calendar)


class PredictionShiftGate(ShiftGate):
    """The distribution of the answers."""

    metric: Literal[Metric.PREDICTION_SHIFT]
    most: Share = Field(alias="max", description="Largest distance that is accepted [0 to 1].")


def _without_default(schema: JsonDict) -> None:
    """The default is what the rule refuses: it makes the error say why."""
    schema.pop("default")


def _signal(role: Role) -> Role:
    if role is not Role.SIGNAL:
        raise rule_error("an expectation is no proof: it can only be a signal")
    return role
