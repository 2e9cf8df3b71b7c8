"""Define the base classes of gates, and settings that gates share, such as slices and label maturity."""

from collections.abc import Iterator
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from surefoot.core.canonical_text import canonical_slice_name
from surefoot.core.domain import Role
from surefoot.core.errors import InvariantBroken
from surefoot.core.policy.gates.metrics import Metric
from surefoot.core.policy.scalars import (
    AnyMargin,
    Count,
    Duration,
    Number,
    OptionalKey,
    Probability,
    Share,
    Texts,
)
from surefoot.core.policy.violations import Violation, combined_rule_error


class PolicyModel(BaseModel):
    """A mapping of the policy file: it never changes, and holds only keys that are known."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def broken_rules(self) -> Iterator[Violation]:
        """Rules between several keys that are broken; their paths begin here."""
        return iter(())

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        if broken := tuple(self.broken_rules()):
            raise combined_rule_error(broken)
        return self


class ExpectedRate(PolicyModel):
    """What plans count on for a rate; no verdict looks at it."""

    rate: Probability = Field(description="Champion's rate [probability].")


class ExpectedSpread(PolicyModel):
    """What plans count on for a value that varies; no verdict looks at it."""

    spread: Annotated[float, Field(ge=1e-9, le=1e12, allow_inf_nan=False)] = Field(
        description="Standard deviation of a block's difference [unit of the metric], or of the logarithm of a latency."
    )


class Maturity(PolicyModel):
    """When a label counts."""

    maturity: Duration = Field(description="Age of a request at which its label counts, such as 12h.")


class Labels(Maturity):
    """When labels count, and how many there must be."""

    coverage: Share = Field(0.0, description="Least share of the mature requests that must have a label [0 to 1].")


RoleField = Annotated[Role, Field(strict=False)]


class Gate(PolicyModel):
    """One rule that must pass.

    Attributes:
        metric: What is measured.
        role: Guardrail (rolls back) or signal (pauses).
    """

    metric: Metric
    role: RoleField = Field(default=Role.GUARDRAIL, description="A guardrail rolls back, a signal pauses.")
    _name: str = PrivateAttr("")

    @property
    def name(self) -> str:
        """Key of the gate in the policy file."""
        return self._name

    def with_name(self, name: str) -> Self:
        """The same gate, which now knows its key in the policy file."""
        self._name = name
        return self

    @property
    def maturity(self) -> float:
        """Age at which a label counts [seconds]; 0 where none is waited for."""
        return 0.0

    @property
    def expected(self) -> float | None:
        """Rate or mean that plans count on [probability, or unit of the value]; None when unknown."""
        return None

    @property
    def spread(self) -> float | None:
        """Standard deviation that plans count on, of a block's difference or of a logarithm; None when unknown."""
        return None


_G = TypeVar("_G", bound=Gate)


def narrow_gate_type(gate: Gate, kind: type[_G]) -> _G:
    """The gate as one of a kind.

    Raises:
        InvariantBroken: It is of another kind.
    """
    if not isinstance(gate, kind):
        raise InvariantBroken(f"gate '{gate.name}' measures {gate.metric}, which is no {kind.__name__}")
    return gate


class SpreadGate(Gate):
    """A gate whose plans count on a spread."""

    expect: OptionalKey[ExpectedSpread] = Field(None, description="What plans count on; no verdict looks at it.")

    @property
    def spread(self) -> float | None:
        """Standard deviation that plans count on; None when unknown."""
        return self.expect.spread if self.expect else None


class LimitedGate(Gate):
    """A gate with a margin (growth over the champion), a limit of the candidate's own value, or both."""

    allowed: OptionalKey[AnyMargin] = Field(
        None,
        alias="margin",
        description="Largest degradation that is accepted: 0.5pp (points), 20% (of the champion's value), or a number"
        " in the metric's own unit.",
    )
    limit: OptionalKey[Number] = Field(
        None,
        alias="max",
        description="Largest value of the candidate itself, whatever the champion does [unit of the metric].",
    )

    @property
    def margin(self) -> float | None:
        """Largest growth that is accepted [unit of the metric, or share of the champion's]; None with `limit` alone."""
        if self.allowed is None:
            return 0.0 if self.limit is None else None
        return self.allowed.amount

    @property
    def relative(self) -> bool:
        """Whether `margin` is a share of the champion's value."""
        return self.allowed is not None and self.allowed.relative


Slices = Annotated[Texts, AfterValidator(lambda items: tuple(canonical_slice_name(item) for item in items))]
"""Slices such as "origin=LGA", in the one spelling that evidence has, however the person wrote them."""


class SlicedGate(Gate):
    """A gate that may judge the values of some columns one by one."""

    by: Texts = Field((), description="Columns whose values are judged one by one; without any all requests together.")
    min_per_slice: Count = Field(300, description="Fewest requests of a slice that is judged [count].")
    protected: Slices = Field(
        (), description="Slices that must have enough data, such as origin=LGA; without it the gate cannot pass."
    )

    def broken_rules(self) -> Iterator[Violation]:
        """Protected slices are slices of the columns."""
        yield from super().broken_rules()
        if self.protected and not self.by:
            yield Violation(("protected",), "names slices, so 'by' must say of which columns")
            return
        for index, item in enumerate(self.protected):
            if item.partition("=")[0] not in self.by:
                yield Violation(("protected", index), f"expected a slice such as {self.by[0]}=LGA")
