"""List small policy changes that might have detected an incident sooner."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from surefoot.core.domain import Role, Stage
from surefoot.core.policy.gates.metrics import NOT_MIRRORED_METRIC_REASONS
from surefoot.core.policy.policy_types import LIVE_ONLY_METRICS, PAIRED_METRICS, Gate, Metric, Policy
from surefoot.core.policy.steps import ApproveStep, LiveShadowStep, ShadowStep, Weight
from surefoot.core.policy.violations import KeyPath

_DURATIONS = tuple(
    (amount * length, f"{amount}{unit}")
    for length, unit, amounts in (
        (86400.0, "d", (7, 5, 3, 2, 1)),
        (3600.0, "h", (12, 6, 2, 1)),
        (60.0, "m", (30, 10, 5, 2, 1)),
        (1.0, "s", (30, 10, 5)),
    )
    for amount in amounts
)
"""Lengths of time as people write them, longest first: ([seconds], text)."""
_OFTENER = 6.0
"""How much more often a changed policy looks, at least [factor]."""
_MIRRORED = (4.0, 1.0)
"""What part of the first weight's time a live shadow before it takes [divisors]."""
_SHORTEST_WINDOW_S = 7 * 86400.0
"""A watch compares whole weeks: no window is made shorter [seconds]."""


@dataclass(frozen=True, slots=True)
class SetValue:
    """A key of the policy file gets a value, whether it has one or not.

    Attributes:
        path: Keys that lead to it.
        value: The value, as JSON.
    """

    path: KeyPath
    value: object


@dataclass(frozen=True, slots=True)
class AddItem:
    """A list of the policy file gets one more item.

    Attributes:
        path: Keys that lead to the list.
        value: The item, as JSON.
        before: Place that it gets [index]; None for the last.
    """

    path: KeyPath
    value: object
    before: int | None = None


PolicyEdit = SetValue | AddItem


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """A change of a policy that a person can explain in one sentence.

    Attributes:
        words: What it changes.
        edits: How the file is edited.
        asks_more: Share of the callers' requests that the candidate is asked in addition [percent].
    """

    words: str
    edits: tuple[PolicyEdit, ...]
    asks_more: float = 0.0


@dataclass(frozen=True, slots=True)
class Detection:
    """What stopped the version in the incident.

    Attributes:
        gate: Name of the gate; empty where a person or a program did.
        stage: Stage of the rollout; Promoted for a champion that was watched.
        step: Zero-based step of the ramp.
    """

    gate: str
    stage: Stage
    step: int = 0


def list_policy_changes(policy: Policy, value: Mapping[str, object], found: Detection) -> tuple[PolicyChange, ...]:
    """The changes that are tried after an incident, the smallest first.

    Args:
        policy: The policy as it is now.
        value: The same as JSON values, as they stand in the file.
        found: What stopped the version.
    """
    of_watch = found.stage is Stage.PROMOTED
    return tuple(_watch_changes(policy, value, found) if of_watch else _trial_changes(policy, value, found))


def combine_changes(one: PolicyChange, other: PolicyChange) -> PolicyChange:
    """Both changes at once; what is put between the items of a list comes last, since it moves the places behind it."""
    edits = sorted((*one.edits, *other.edits), key=lambda edit: isinstance(edit, AddItem) and edit.before is not None)
    return PolicyChange(f"{one.words}, and {other.words}", tuple(edits), max(one.asks_more, other.asks_more))


def _trial_changes(policy: Policy, value: Mapping[str, object], found: Detection) -> Iterator[PolicyChange]:
    """Changes of a rollout: look more often, accept less, and judge earlier."""
    steps = policy.written_steps
    first_weight = next((n for n, step in enumerate(steps) if isinstance(step, Weight)), len(steps))
    if found.stage is Stage.BAKING:
        reached = len(steps)
        yield from _looks(("bake",), policy.bake.every, "in the bake")
    elif found.stage is Stage.RAMPING and policy.ramp:
        step = min(found.step, len(policy.ramp) - 1)  # the policy may have been edited since
        weight = policy.ramp[step]
        reached = steps.index(weight)
        yield from _looks(("steps", reached, "hold"), weight.every, f"at weight {weight.weight:g} %")
    else:
        return
    known = found.gate in policy.gates
    for gate in _gates_to_change(policy, found, tuple(policy.gates)):
        yield from _smaller_margin(gate, value)
        for place in range(min(reached + (not known), len(steps))):
            yield from _judged_too(policy, gate, place)
        mirrors = policy.traffic.engine_choice.abilities.mirrors
        if mirrors and policy.live_shadow is None and gate.metric not in NOT_MIRRORED_METRIC_REASONS and policy.ramp:
            yield from _live_shadows(policy, gate, first_weight)


def list_added_gate_changes(policy: Policy, found: Detection) -> tuple[PolicyChange, ...]:
    """Guardrails that did not stop the version, each judged at the first weight too.

    Args:
        policy: The policy as it is now.
        found: What stopped the version.
    """
    first = next((n for n, step in enumerate(policy.written_steps) if isinstance(step, Weight)), None)
    if first is None or found.stage is Stage.PROMOTED or found.gate not in policy.gates:
        return ()
    others = (gate for name, gate in policy.gates.items() if name != found.gate and gate.role is Role.GUARDRAIL)
    return tuple(change for gate in others for change in _judged_too(policy, gate, first))


def _judged_too(policy: Policy, gate: Gate, place: int) -> Iterator[PolicyChange]:
    """Judge a gate in one more step, where that can be."""
    step = policy.written_steps[place]
    if isinstance(step, ApproveStep):
        return
    if gate.name not in _step_gates(step) and _is_possible(gate, step):
        path = ("steps", place, "hold" if isinstance(step, Weight) else "shadow", "gates")
        yield PolicyChange(f"judge {gate.name} {_step_words(step)} too", (AddItem(path, gate.name),))


def _gates_to_change(policy: Policy, found: Detection, names: Sequence[str]) -> list[Gate]:
    """The gate that stopped the version; where none of the policy did, each of some gates."""
    wanted = [found.gate] if found.gate in policy.gates else names
    return [policy.gates[name] for name in wanted]


def _live_shadows(policy: Policy, gate: Gate, place: int) -> Iterator[PolicyChange]:
    """Mirror callers' requests to the candidate before the first caller gets its answer."""
    first = policy.ramp[0]
    lengths = (_shorter(max(first.hold / part, 2.0 * gate.maturity)) for part in _MIRRORED)
    for hold in dict.fromkeys(text for text in lengths if text):
        shadow = {
            "source": "live",
            "share": 100,
            "for": hold,
            "min_requests": max(first.min_requests, 1),
            "gates": [gate.name],
        }
        words = f"judge {gate.name} in a live shadow of {hold} before weight {first.weight:g} %"
        yield PolicyChange(words, (AddItem(("steps",), {"shadow": shadow}, place),), 100.0)


def _watch_changes(policy: Policy, value: Mapping[str, object], found: Detection) -> Iterator[PolicyChange]:
    """Changes of a standing watch: look more often, accept less, forget the past sooner, and judge more."""
    watch = policy.watch
    losses = [name for name, gate in policy.gates.items() if gate.metric in PAIRED_METRICS - {Metric.DISAGREEMENT}]
    if watch is None:
        for name in losses:
            yield PolicyChange(
                f"watch the champion by {name}", (SetValue(("watch",), {"every": "1d", "gates": [name]}),)
            )
        return
    yield from _looks(("watch",), watch.every, "in the standing watch")
    window = watch.window / 2.0
    while window >= _SHORTEST_WINDOW_S:
        days = f"{window / 86400.0:g}d"
        yield PolicyChange(f"compare the last {days} in the standing watch", (SetValue(("watch", "window"), days),))
        window /= 2.0
    for gate in _gates_to_change(policy, found, watch.gates):
        yield from _smaller_margin(gate, value)
    for name in losses:
        if name not in watch.gates:
            edit = AddItem(("watch", "gates"), name) if watch.gates else SetValue(("watch", "gates"), [name])
            yield PolicyChange(f"judge {name} in the standing watch too", (edit,))


def _looks(path: KeyPath, every: float, where: str) -> Iterator[PolicyChange]:
    """Look more often."""
    written = _shorter(every / _OFTENER)
    if written:
        yield PolicyChange(f"look every {written} {where}", (SetValue((*path, "every"), written),))


def _shorter(seconds: float) -> str:
    """The longest length of time that people write and that is no longer than this; empty where there is none."""
    return next((text for length, text in _DURATIONS if length <= seconds), "")


def _smaller_margin(gate: Gate, value: Mapping[str, object]) -> Iterator[PolicyChange]:
    """Accept half of what the gate accepts."""
    gates = value.get("gates")
    own = gates.get(gate.name) if isinstance(gates, Mapping) else None
    written = own.get("margin") if isinstance(own, Mapping) else None
    half = _half(written)
    if half is not None:
        yield PolicyChange(f"accept {half} in gate {gate.name}", (SetValue(("gates", gate.name, "margin"), half),))


def _half(margin: object) -> object:
    """Half of a margin as it is written; None where it has no half."""
    if isinstance(margin, bool):
        return None
    if isinstance(margin, int | float):
        return margin / 2.0 if margin > 0.0 else None
    if isinstance(margin, str):
        unit = "pp" if margin.endswith("pp") else "%"
        amount = float(margin.removesuffix(unit))
        return f"{amount / 2.0:g}{unit}" if amount > 0.0 else None
    return None


def _step_gates(step: ShadowStep | LiveShadowStep | Weight) -> Sequence[str]:
    return step.gates if isinstance(step, Weight) else step.shadow.gates


def _step_words(step: ShadowStep | LiveShadowStep | Weight) -> str:
    if isinstance(step, Weight):
        return f"at weight {step.weight:g} %"
    return "in the replayed shadow" if isinstance(step, ShadowStep) else "in the live shadow"


def _is_possible(gate: Gate, step: ShadowStep | LiveShadowStep | Weight) -> bool:
    """Whether a step can judge a gate at all."""
    if isinstance(step, ShadowStep):
        return gate.metric not in LIVE_ONLY_METRICS
    return gate.metric not in ({Metric.GOLDEN} if isinstance(step, Weight) else NOT_MIRRORED_METRIC_REASONS)
