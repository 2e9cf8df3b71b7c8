"""One gate of a policy file, with the keys that its metric understands."""

from collections.abc import Callable
from typing import Any

from surefoot.core.canonical_text import canonical_slice
from surefoot.core.domain import Role
from surefoot.core.policy.fields import (
    Path,
    Problem,
    Section,
    Violation,
    bounded,
    choice,
    count,
    duration,
    guarded,
    margin,
    name,
    number,
    standing,
    texts,
)
from surefoot.core.policy.model import (
    BINNED,
    CONFUSIONS,
    EVENTS,
    GAPS,
    LOSSES,
    PAIRED,
    SHIFTS,
    SPEEDS,
    Costs,
    Gate,
    Metric,
)

PROBABILITY = bounded(1e-6, 1.0 - 1e-6)
QUANTILE = bounded(0.01, 0.999)
NAMED = tuple(metric for metric in Metric if metric not in {Metric.VALIDATION, Metric.ANSWER_SHAPE})
BY_CLASS = frozenset({Metric.BRIER, Metric.LOG_LOSS, Metric.ZERO_ONE})
"""Losses that are defined for more than two classes."""
TWO_CLASSES = frozenset({Metric.COST, *BINNED, *CONFUSIONS})
"""Metrics of a yes or no; `classes` says which label is which."""
NARROWEST = 1e-9
"""Least distance between the bounds of a value [unit of the value]."""
SAME_INPUTS = 0.01
"""Share of the requests on which two versions may see different values unless the policy says otherwise."""


def gate(path: Path, key: str, value: object, told: Problem | None = None) -> Gate:
    """Read one gate.

    Args:
        path: Keys that lead to it.
        key: Its name.
        value: What stands there.
        told: Where broken rules go; without it the first one is raised.

    Raises:
        Violation: Names the first key that breaks a rule.
    """
    # What stands in for a gate that cannot be read may be named in every step.
    return guarded(told, lambda: _gate(Section(value, path, told), key), Gate(key, Metric.ERROR_RATE, margin=0.1))


def _gate(section: Section, key: str) -> Gate:
    before = len(section.told or ())
    metric = section.get("metric", choice(Metric, NAMED))
    if len(section.told or ()) > before:  # which keys there may be is not known
        return Gate(key, Metric.ERROR_RATE, margin=0.1)
    role = section.get("role", choice(Role, tuple(Role)), Role.GUARDRAIL)
    found = _reader(metric)(section, metric)
    found |= _expected_of(section, metric, rate=metric in EVENTS or found.get("block") == 0.0)
    section.done()
    return Gate(key, metric, role, **found)


def _reader(metric: Metric) -> Callable[[Section, Metric], dict[str, Any]]:
    if metric in PAIRED:
        return _paired
    if metric in SHIFTS:
        return _shift
    if metric in SPEEDS:
        return _speed
    if metric in EVENTS:
        return _events
    return {Metric.VALUE: _value, Metric.GAUGE: _gauge, Metric.GOLDEN: _golden, Metric.EXPECTED_LOSS: _expected}[metric]


def _expected_of(section: Section, metric: Metric, *, rate: bool) -> dict[str, Any]:
    """What plans count on; no verdict looks at it."""
    section.read.add("expect")
    if not section.has("expect"):
        return {}
    expect = section.section("expect")
    made: dict[str, Any] = {}
    if rate:
        made["expected"] = expect.get("rate", PROBABILITY)
    elif metric is Metric.VALUE:
        low, high = section.get("floor", number, 0.0), section.get("cap", number)
        tiny = (high - low) * 1e-9
        made["expected"] = expect.get("mean", bounded(low + tiny, high - tiny))
    else:
        made["spread"] = expect.get("spread", bounded(1e-9, 1e12))
    expect.done()
    return made


def _quantiles(path: Path, value: object) -> tuple[float, ...]:
    """One quantile or a list of them."""
    if isinstance(value, list) and value:
        return tuple(QUANTILE((*path, index), item) for index, item in enumerate(value))
    return (QUANTILE(path, value),)


standing(_quantiles, (0.9,))


def _allowed(section: Section, *, needed: bool = False) -> dict[str, Any]:
    """Growth (`margin`) and absolute limit (`max`); with only a limit the champion does not matter."""
    limit = section.get("max", number) if section.has("max") else None
    if section.has("margin") or limit is None:
        grown, relative = section.get("margin", margin) if needed else section.get("margin", margin, (0.0, False))
        if needed and grown <= 0:
            raise Violation((*section.path, "margin"), "must be above 0: no amount of traffic proves equality")
        return {"margin": grown, "relative": relative, "limit": limit}
    return {"margin": None, "limit": limit}


def _labels(section: Section) -> dict[str, Any]:
    labels = section.section("labels")
    made = {
        "maturity": labels.get("maturity", duration),
        "coverage": labels.get("coverage", bounded(0, 1), 0.0),
        "block": section.get("block", _block, 86400.0),
    }
    labels.done()
    return made


def _block(path: Path, value: object) -> float:
    """A length, or "none" where each request is for itself."""
    return 0.0 if value == "none" else duration(path, value)


standing(_block, 86400.0)


def _events(section: Section, metric: Metric) -> dict[str, Any]:
    made = _allowed(section, needed=True)
    if made["limit"] is not None and not 0.0 < made["limit"] < 1.0:
        raise Violation((*section.path, "max"), "must be a rate above 0 and below 1")
    if metric is Metric.MISSING_LABEL:
        labels = section.section("labels")
        made["maturity"] = labels.get("maturity", duration)
        labels.done()
    return made | _slices(section)


def _speed(section: Section, metric: Metric) -> dict[str, Any]:
    allowed, relative = section.get("margin", margin)
    if not relative:
        what = "latency" if metric is Metric.LATENCY else "resource"
        raise Violation((*section.path, "margin"), f"a {what} margin is a share of the champion's, such as 20%")
    if allowed <= 0:
        raise Violation((*section.path, "margin"), "must be above 0: no amount of traffic proves equality")
    column = "latency_ms" if metric is Metric.LATENCY else section.get("column", name)
    default: tuple[float, ...] = (0.9,)
    quantiles = section.get("quantile", _quantiles, default)
    return {"margin": allowed, "relative": True, "quantiles": quantiles, "column": column, **_slices(section)}


def _value(section: Section, _metric: Metric) -> dict[str, Any]:
    made = _allowed(section, needed=True)
    labels = section.section("labels")
    made |= {
        "column": section.get("column", name, "label"),
        "cap": section.get("cap", bounded(-1e12, 1e12)),
        "floor": section.get("floor", bounded(-1e12, 1e12), 0.0),
        "floored": section.has("floor"),
        "higher": section.get("direction", choice(str, ("decrease", "increase")), "decrease") == "decrease",
        "maturity": labels.get("maturity", duration),
    }
    labels.done()
    if made["cap"] - made["floor"] < NARROWEST:
        raise Violation((*section.path, "cap"), f"must be above the floor, which is {made['floor']:g}")
    if made["floor"] and made["relative"]:
        rule = "a share of a mean says little where values have a floor: give a number in the value's own unit"
        raise Violation((*section.path, "margin"), rule)
    if made["limit"] is not None:
        raise Violation((*section.path, "max"), "a value is compared with the champion's: give a margin")
    return made | _slices(section)


def _gauge(section: Section, _metric: Metric) -> dict[str, Any]:
    grown, relative = section.get("margin", margin)
    if not relative:
        raise Violation((*section.path, "margin"), "a gauge margin is a share of the champion's, such as 20%")
    return {
        "margin": grown,
        "relative": True,
        "column": section.get("column", name),
        "block": section.get("block", duration, 600.0),
    }


def _golden(section: Section, _metric: Metric) -> dict[str, Any]:
    return {"tolerance": section.get("tolerance", bounded(0.0, 1e6), 1e-6)}


def _expected(section: Section, _metric: Metric) -> dict[str, Any]:
    if section.get("role", choice(Role, tuple(Role)), Role.GUARDRAIL) is not Role.SIGNAL:
        raise Violation((*section.path, "role"), "an expectation is no proof: it can only be a signal")
    return {**_allowed(section), **_labels(section)}


def _shift(section: Section, metric: Metric) -> dict[str, Any]:
    against = section.get("against", choice(str, ("champion", "before")), "before")
    exact = against == "champion" and metric is Metric.INPUT_SHIFT
    limit = section.get("max", bounded(0, 1), SAME_INPUTS) if exact else section.get("max", bounded(0, 1))
    none: tuple[str, ...] = ()
    ignored = none
    if metric is Metric.INPUT_SHIFT:
        ignored = (*section.get("except", texts, none), *section.get("calendar", texts, none))
    return {
        "against": against,
        "limit": limit,
        "block": section.get("block", duration, 86400.0),
        "ignored": ignored,
    }


def _paired(section: Section, metric: Metric) -> dict[str, Any]:
    made = _allowed(section)
    if metric is Metric.DISAGREEMENT:
        if made["limit"] is None:
            raise Violation((*section.path, "max"), "say how much the two may disagree, such as 0.1")
        made |= {"margin": None, "block": section.get("block", duration, 86400.0)}
    else:
        made |= _labels(section)
    made |= _slices(section)
    if not made["block"] and (metric is not Metric.ZERO_ONE or made["limit"] is not None or made["relative"]):
        rule = "requests can be each for itself only with metric zero_one and a margin in points"
        raise Violation((*section.path, "block"), rule)
    if metric in GAPS and len(made["by"]) != 1:
        raise Violation((*section.path, "by"), "a gap is between the groups of one column")
    return made | _details(section, metric)


def _slices(section: Section) -> dict[str, Any]:
    """What is judged one by one, and which of it must be there."""
    none: tuple[str, ...] = ()
    by, protected = section.get("by", texts, none), section.get("protected", texts, none)
    if protected and not by:
        raise Violation((*section.path, "protected"), "names slices, so 'by' must say of which columns")
    for index, item in enumerate(protected):
        if item.partition("=")[0] not in by:
            where = (*section.path, "protected", index)
            raise Violation(where, f"expected a slice such as {(by or ('origin',))[0]}=LGA")
    # In the one spelling that evidence has, however the person wrote it.
    kept = tuple(canonical_slice(item) for item in protected)
    return {"by": by, "min_per_slice": section.get("min_per_slice", count, 300), "protected": kept}


def _details(section: Section, metric: Metric) -> dict[str, Any]:
    """Keys that a single family of losses understands."""
    made: dict[str, Any] = {}
    if metric is Metric.COST or metric in CONFUSIONS or metric in {Metric.ZERO_ONE, Metric.DISAGREEMENT}:
        made["threshold"] = section.get("threshold", PROBABILITY, 0.5)
    if metric is Metric.COST:
        costs = section.section("costs")
        made["costs"] = Costs(*(costs.get(word, number) for word in ("tp", "fp", "fn", "tn")))
        costs.done()
    if metric is Metric.PINBALL:
        made["quantiles"] = (section.get("quantile", QUANTILE),)
    if metric is Metric.LOSS_GAP:
        made["of"] = section.get("of", choice(Metric, tuple(LOSSES - {Metric.RMSE, Metric.PINBALL, Metric.COST})))
    if metric in BY_CLASS | TWO_CLASSES:
        none: tuple[str, ...] = ()
        made["classes"] = section.get("classes", texts, none)
    return made
