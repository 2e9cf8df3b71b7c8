"""Draft a policy for a model from a sample of its requests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surefoot.core.drafting.sample_summary import ColumnKind, SampleSummary, Task
from surefoot.core.drafting.step_lengths import fit_lengths, round_up_length
from surefoot.core.durations import DAY_S, HOUR_S, MINUTE_S

_LOSS_METRICS = {Task.PROBABILITY: "brier", Task.CLASS: "zero_one", Task.NUMBER: "absolute_error"}
"""The loss that a gate of quality measures, by task."""
_ASSUMED_DELAY_S = DAY_S
"""Time until labels are known where nothing tells it [s]."""
_SOON_S = 6 * HOUR_S
"""Labels that are known by then come soon [s]."""
_BLOCK_REQUESTS = 20
"""Fewest requests that a block of time should hold [count]."""
_ERROR_MARGINS = ("2pp", "5pp", "10pp")
"""Margins of the gate of errors that are tried one after the other: little traffic proves a wide one only."""
_MAX_SLICES, _LEAST_SLICE, _SLICE_ROWS = 8, 0.02, 300
"""Most groups of a column that is judged by group, the least share of one, and the fewest requests that judge it."""


@dataclass(frozen=True, slots=True)
class DraftOptions:
    """What a person has said of the policy that is drafted.

    Attributes:
        model: Registered model.
        suite: Name of the expectation suite.
        unit: Request column that sticks to one version; empty where each request is for itself.
        requests_per_minute: Planned traffic; None to take that of the sample.
        label_delay: Time until labels are known [s]; None to take that of the sample.
        expect: Measured values for `expect:`, by gate.
    """

    model: str
    suite: str
    unit: str = ""
    requests_per_minute: float | None = None
    label_delay: float | None = None
    expect: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DraftedPolicy:
    """A drafted policy.

    Attributes:
        policy: The policy as JSON values.
        comments: What each part is for, by dotted path, such as "gates.quality".
        doubts: What a person should look at, one sentence each.
    """

    policy: dict[str, Any]
    comments: Mapping[str, str]
    doubts: tuple[str, ...]


_GUESSED_TRAFFIC = 60.0
"""Requests per minute where nothing tells it."""


def draft_policy(order: DraftOptions, sample: SampleSummary) -> DraftedPolicy:
    """Draft a policy whose steps an equal candidate passes at the planned traffic, as far as 14 days allow.

    Args:
        order: What a person has said.
        sample: What is known of the requests.
    """
    doubts: list[str] = []
    traffic = order.requests_per_minute or sample.requests_per_minute
    if traffic is None:
        traffic = _GUESSED_TRAFFIC
        doubts.append(f"traffic of {traffic:g} requests a minute is a guess: say it with --requests-per-minute")
    traffic = float(f"{traffic:.3g}")
    gates, comments, said = _gates(order, sample, traffic)
    doubts += said
    paired = [name for name in gates if name not in {"errors", "latency", "regress"}]
    window = "30d" if traffic * DAY_S / MINUTE_S >= _BLOCK_REQUESTS else "180d"
    graded = "regress" in gates
    policy: dict[str, Any] = {
        "model": order.model,
        **({"unit": order.unit} if order.unit else {}),
        "traffic": {"requests_per_minute": traffic, **_units(order, sample)},
        "data": {"suite": order.suite, "window": window},
        "gates": gates,
        "on": {"inconclusive": {"hold": "2h", "then": "pause"}},
        "steps": [
            {"shadow": {"source": "replay", "window": window, "gates": ["errors", *paired]}},
            {"weight": 5, "hold": {"for": "30m", "gates": ["errors"]}},
            {"weight": 25, "hold": {"for": "30m", "gates": ["errors", "latency"]}},
            {"weight": 50, "hold": {"for": "30m", "gates": ["errors", "latency"]}},
        ],
        "bake": {"for": "14d" if graded else "7d", "gates": ["errors", *(["regress"] if graded else [])]},
    }
    policy = _with_provable_errors(policy)
    if policy["gates"]["errors"]["margin"] != _ERROR_MARGINS[0]:
        comments["gates.errors"] += "; this traffic proves no narrower one within days"
    if not order.unit:
        doubts.append("no unit: a caller may get both versions in turn; name a column, such as a customer, with --unit")
    return DraftedPolicy(policy, comments, tuple(doubts))


def _units(order: DraftOptions, sample: SampleSummary) -> dict[str, int]:
    """How many units come back, as far as the sample shows; nothing where each row is another one."""
    distinct = next((column.distinct for column in sample.columns if column.name == order.unit), 0)
    return {"units": distinct} if 0 < distinct < sample.rows else {}


def _with_provable_errors(policy: dict[str, Any]) -> dict[str, Any]:
    """Take the narrowest margin of errors at which no step needs the longest time there is, and fit the steps."""
    fitted = policy
    for margin in _ERROR_MARGINS:
        gates = {**policy["gates"], "errors": {**policy["gates"]["errors"], "margin": margin}}
        fitted = fit_lengths({**policy, "gates": gates})
        if all(step["hold"]["for"] not in {"10d", "14d"} for step in fitted["steps"] if "hold" in step):
            break
    return fitted


def _gates(
    order: DraftOptions, sample: SampleSummary, traffic: float
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Gates, what each is for, and what is doubtful about them."""
    gates: dict[str, Any] = {
        "errors": {"metric": "error_rate", "role": "guardrail", "margin": _ERROR_MARGINS[0]},
        "latency": {"metric": "latency", "quantile": 0.9, "role": "signal", "margin": "50%"},
    }
    comments = {
        "traffic": "planned traffic: lint and plan count on it, no verdict does",
        "data": "requests must pass this suite before anything else is looked at",
        "gates.errors": "points by which failed requests may grow: it rolls back",
        "gates.latency": "nine of ten requests are faster; that time may grow by half: it pauses, for a person to look",
        "on": "what follows when a step cannot be decided in time",
        "steps": "both versions on logged requests first; then a share of the units that grows",
        "bake": "how long a promoted version is watched, and rolled back when a gate fails",
    }
    doubts: list[str] = []
    if sample.task is Task.UNKNOWN:
        gates["answers"] = {"metric": "prediction_shift", "role": "guardrail", "max": 0.2, "against": "champion"}
        comments["gates.answers"] = "how far the distribution of answers may be from the champion's, 0 to 1"
        doubts.append(
            "without labels nothing says which version is right: send labels, and draft again with --label COLUMN"
        )
    else:
        _add_quality(gates, comments, doubts, order, sample, traffic)
    for name, expected in order.expect.items():
        if name in gates:
            gates[name]["expect"] = dict(expected)
    return gates, comments, doubts


def _add_quality(
    gates: dict[str, Any],
    comments: dict[str, str],
    doubts: list[str],
    order: DraftOptions,
    sample: SampleSummary,
    traffic: float,
) -> None:
    """Add gates of the loss: of all requests, of groups, and of the bake."""
    delay = order.label_delay or sample.label_delay
    if delay is None:
        delay = _ASSUMED_DELAY_S
        doubts.append("labels are taken to be known a day after the request: say it with --maturity")
    labels: dict[str, Any] = {"maturity": round_up_length(delay)}
    if sample.labelled < 0.95:  # noqa: PLR2004 - the default of a policy's coverage
        labels["coverage"] = max(0.05, int(sample.labelled * 90.0) / 100.0)
    block = _block(traffic, delay)
    base: dict[str, Any] = {"metric": _LOSS_METRICS[sample.task], "role": "guardrail"}
    if sample.classes:
        base["classes"] = list(sample.classes)
        doubts.append(f"classes are {', '.join(sample.classes)}: the model's probabilities must be in this order")
    gates["quality"] = {**base, "margin": "10%", "labels": labels, "block": block}
    comments["gates.quality"] = (
        f"the model answers {sample.task}: its loss may be a tenth above the champion's; a block of time counts once"
    )
    gates["regress"] = {**base, "margin": "20%", "labels": labels, "block": block}
    comments["gates.regress"] = "the same after the promotion, for as long as the bake lasts"
    if group := _group_column(sample):
        gates["groups"] = {
            **base, "margin": "20%", "by": [group], "min_per_slice": _SLICE_ROWS, "labels": labels, "block": block,
        }  # fmt: skip
        comments["gates.groups"] = "no group may lose more than this, however the others gain"
        doubts.append(f"groups are judged by '{group}', because it has few values: choose the column that matters")


def _block(traffic: float, delay: float) -> str:
    """Length of a block: an hour where labels come soon and requests often, else a day, a week with few requests."""
    if delay <= _SOON_S and traffic * HOUR_S / MINUTE_S >= _BLOCK_REQUESTS * 10:
        return "1h"
    return "1d" if traffic * DAY_S / MINUTE_S >= _BLOCK_REQUESTS else "7d"


def _group_column(sample: SampleSummary) -> str:
    """The column with the fewest groups of which none is rare; empty where there is none."""
    found = [
        (column.distinct, column.name)
        for column in sample.columns
        if column.kind is ColumnKind.TEXT
        and 1 < column.distinct <= _MAX_SLICES
        and column.values
        and min(share for _, share in column.values) >= _LEAST_SLICE
    ]
    return min(found)[1] if found else ""
