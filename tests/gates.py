"""Gates as the judge sees them, without the rules of a policy file: tests look beyond those too."""

from collections.abc import Mapping
from typing import Any

from surefoot.core.domain import Role
from surefoot.core.policy.gates.any_gate import GATE_CLASSES
from surefoot.core.policy.gates.base import ExpectedRate, ExpectedSpread, Labels, PolicyModel
from surefoot.core.policy.gates.implicit import ImplicitGate
from surefoot.core.policy.gates.paired import ExpectedErrors
from surefoot.core.policy.gates.served_traffic import ExpectedMean
from surefoot.core.policy.policy_types import (
    Costs,
    Gate,
    InputShiftGate,
    Metric,
    PinballGate,
    Policy,
    ShiftGate,
    ValueGate,
)
from surefoot.core.policy.scalars import Margin

EXPECTED: dict[str, type[PolicyModel]] = {"rate": ExpectedRate, "spread": ExpectedSpread, "mean": ExpectedMean}


REQUIRED: dict[str, Any] = {"cap": 1.0, "by": (), "costs": Costs(tp=0.0, fp=0.0, fn=0.0, tn=0.0)}
"""Values that a policy must say, and a test may leave out."""


def make_gate(
    name: str,
    metric: Metric,
    role: Role = Role.GUARDRAIL,
    *,
    where_known: Mapping[str, Any] | None = None,
    **values: Any,
) -> Any:
    """A gate on a metric, with values under the names by which the judge reads them.

    Args:
        name: Its key in the policy.
        metric: What it measures.
        role: What its FAIL leads to.
        where_known: Values for those metrics alone that have them.
        values: Values that the metric has.
    """
    kind = GATE_CLASSES.get(metric, ImplicitGate)
    needed: dict[str, Any] = {}
    if "allowed" in kind.model_fields and kind.model_fields["allowed"].is_required():
        needed["allowed"] = Margin(0.0, relative=kind is not ValueGate)
    if "labels" in kind.model_fields:
        needed["labels"] = Labels.model_construct(maturity=0.0)
    needed |= {key: value for key, value in REQUIRED.items() if key in kind.model_fields}
    made = kind.model_construct(metric=metric, role=role, **needed)
    some = {
        key: value
        for key, value in (where_known or {}).items()
        if _translated(made, key, value, {})[0] in kind.model_fields
    }
    return changed(made, **values, **some).with_name(name)


def gate_of(policy: Policy, name: str) -> Any:
    """A gate of a policy, whatever it measures."""
    return policy.gates[name]


def changed(gate: Any, **values: Any) -> Any:
    """The same gate with other values, under the names by which the judge reads them."""
    update = dict(_translated(gate, key, value, values) for key, value in values.items() if key != "relative")
    if values.get("relative") is not None and "margin" not in values:
        update["allowed"] = Margin(gate.margin, values["relative"])
    if unknown := set(update) - set(type(gate).model_fields):
        raise TypeError(f"a gate on {gate.metric} has no {', '.join(sorted(unknown))}")
    made: Gate = gate.model_copy(update=update)
    return made.with_name(gate.name)


def _translated(gate: Gate, key: str, value: Any, values: dict[str, Any]) -> tuple[str, Any]:
    """The field of the model that holds a value, and what it holds."""
    match key:
        case "margin":
            relative = values.get("relative", getattr(gate, "relative", False))
            return "allowed", None if value is None else Margin(value, relative)
        case "limit" if isinstance(gate, ShiftGate):
            return "most", value
        case "maturity" | "coverage":
            known = {"maturity": gate.maturity, "coverage": getattr(gate, "coverage", 0.0), **values}
            return "labels", Labels.model_construct(maturity=known["maturity"], coverage=known["coverage"])
        case "quantiles" if isinstance(gate, PinballGate):
            return "quantile", value[0]
        case "ignored" if isinstance(gate, InputShiftGate):
            return "ignored_columns", value
        case "higher":
            return "direction", "decrease" if value else "increase"
        case "expected" | "spread":
            word = "spread" if key == "spread" else "mean" if isinstance(gate, ValueGate) else "rate"
            model: type[PolicyModel] = ExpectedErrors if gate.metric is Metric.ZERO_ONE else EXPECTED[word]
            return "expect", model.model_construct(**{word: value})
        case _:
            return key, value
