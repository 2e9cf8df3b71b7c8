"""From the mapping of a policy file to a Policy; every cross-field rule lives here."""

import math

from surefoot.core.fields import (
    Path,
    Section,
    Violation,
    bounded,
    choice,
    count,
    describe,
    duration,
    name,
    text,
    texts,
)
from surefoot.core.model import Kept, Outcome
from surefoot.core.parse_gate import gate
from surefoot.core.policy import (
    DATA_GATE_NAME,
    EVERY_REPLAY,
    LEAST_INTERVAL,
    LIVE_ONLY,
    SHAPE_GATE_NAME,
    Bake,
    Do,
    Gate,
    Metric,
    Policy,
    Reaction,
    Shadow,
    Step,
    Weight,
    usual_interval,
)

REACTIONS = {
    Outcome.FAIL: Reaction(0.0, Do.ROLLBACK),
    Outcome.INCONCLUSIVE: Reaction(7200.0, Do.PAUSE),
    Outcome.NO_DATA: Reaction(7200.0, Do.ROLLBACK),
    Outcome.STALE: Reaction(7200.0, Do.PAUSE),
    Outcome.ERROR: Reaction(1800.0, Do.PAUSE),
    Outcome.BOTH_SICK: Reaction(0.0, Do.PAUSE),
}


NAMED = {Metric.LATENCY: "live latency"}
QUIET_GAPS = 100
"""Expected gaps between two requests after which silence is no accident any more [count]."""
LEAST_QUIET = 900.0
"""Shortest silence that makes evidence stale by default [seconds]."""


def reaction(path: Path, value: object) -> Reaction:
    """An action word, or {hold: duration, then: action}."""
    words = tuple(Do)
    if isinstance(value, str):
        do = choice(Do, words)(path, value)
        return Reaction(math.inf if do is Do.HOLD else 0.0, Do.PAUSE if do is Do.HOLD else do)
    section = Section(value, path)
    found = Reaction(section.get("hold", duration), section.get("then", choice(Do, ("rollback", "pause"))))
    section.done()
    return found


def step(path: Path, value: object) -> Step:
    """A shadow step or a weight step."""
    section = Section(value, path)
    if section.has("shadow"):
        inner = section.get("shadow", lambda where, found: Section(found, where))
        inner.get("source", choice(str, ("replay",)), "replay")
        made: Step = Shadow(
            inner.get("window", duration),
            inner.get("min_requests", count, 1),
            inner.get("gates", texts),
            inner.get("every", _interval, EVERY_REPLAY),
        )
    elif section.has("weight"):
        share = section.get("weight", bounded(0.1, 99.0))
        inner = section.get("hold", lambda where, found: Section(found, where))
        hold, fewest = inner.get("for", duration), inner.get("min_requests", count, 0)
        every = inner.get("every", _interval, usual_interval(hold))
        made = Weight(share, hold, fewest, inner.get("gates", texts), every)
    elif section.has("approve"):
        raise Violation(path, "approve steps need signed approvals, which this version does not have yet")
    else:
        raise Violation(path, "a step is 'shadow: {...}' or 'weight: N' with 'hold: {...}'")
    inner.done()
    section.done()
    return made


def parse(value: object) -> Policy:
    """Read a whole policy.

    Args:
        value: What the YAML file holds; JSON values only.

    Raises:
        Violation: Names the first key that breaks a rule.
    """
    top = Section(value)
    model = top.get("model", name)
    traffic = top.get("traffic", lambda where, found: Section(found, where))
    traffic.get("engine", choice(str, ("gateway",)), "gateway")
    planned = traffic.get("requests_per_minute", bounded(0.01, 1e9))
    data = top.get("data", lambda where, found: Section(found, where))
    gates = top.get("gates", lambda where, found: Section(found, where))
    made = {key: gate(("gates", key), name(("gates", key), key), item) for key, item in gates.value.items()}  # type: ignore[attr-defined]
    for reserved, of in ((DATA_GATE_NAME, "suite"), (SHAPE_GATE_NAME, "comparison of answers")):
        if reserved in made:
            raise Violation(("gates", reserved), f"'{reserved}' is the name of the {of}'s own gate: choose another")
    steps = top.get("steps", lambda where, found: _steps(where, found, made))
    baking = top.get("bake", lambda where, found: Section(found, where))
    lasts = baking.get("for", duration)
    policy = Policy(
        model=model,
        owners=top.get("owners", texts, ()),
        unit=top.get("unit", text, "") or None,
        requests_per_minute=planned,
        units=traffic.get("units", bounded(1, 1e12), 0.0),
        stale_after=traffic.get("stale_after", duration, max(QUIET_GAPS * 60.0 / planned, LEAST_QUIET)),
        on_new_candidate=top.get("on_new_candidate", choice(str, ("replace", "queue", "reject")), "replace"),
        false_rollback_budget=top.get("false_rollback_budget", bounded(1e-6, 0.5), 0.01),
        suite=data.get("suite", name),
        suite_window=data.get("window", duration, 30 * 86400.0),
        gates=made,
        on=_reactions(top),
        steps=steps,
        bake=Bake(lasts, baking.get("gates", texts), baking.get("every", _interval, usual_interval(lasts))),
        suite_every=data.get("every", _interval, EVERY_REPLAY),
        kept=top.get("log", _kept, Kept()),
        reshaped=data.get("answers", choice(str, ("same", "any")), "same") == "any",
    )
    _slices_are_kept(policy)
    for section in (traffic, data, baking, top):
        section.done()
    _known(("bake", "gates"), policy.bake.gates, made, live=True, baking=True)
    used = {key for item in steps for key in item.gates} | set(policy.bake.gates)
    for key in made:
        if key not in used:
            raise Violation(("gates", key), f"gate '{key}' is never judged: name it in a step or in bake")
    return policy


def _interval(path: Path, value: object) -> float:
    """A time between two looks [seconds]."""
    found = duration(path, value)
    if found < LEAST_INTERVAL:
        raise Violation(path, f"a look every {value} asks more often than it can answer: {LEAST_INTERVAL:g}s or longer")
    return found


def _kept(path: Path, value: object) -> Kept:
    """What of the requests' features stays in the log."""
    section = Section(value, path)
    kept = Kept(
        section.get("hash", texts, ()), section.get("drop", texts, ()), section.get("share", bounded(0.1, 100.0), 100.0)
    )
    section.done()
    for column in kept.hashed:
        if column in kept.dropped:
            raise Violation((*path, "hash"), f"column '{column}' is dropped as well: one of the two")
    return kept


def _slices_are_kept(policy: Policy) -> None:
    for key, item in policy.gates.items():
        for column in item.by:
            if column in policy.kept.dropped:
                raise Violation(("log", "drop"), f"gate '{key}' makes slices of '{column}': hash it, or keep it")


def _reactions(top: Section) -> dict[Outcome, Reaction]:
    if not top.has("on"):
        return dict(REACTIONS)
    section = top.get("on", lambda where, found: Section(found, where))
    found = {outcome: section.get(outcome.value.lower(), reaction, default) for outcome, default in REACTIONS.items()}
    section.done()
    return found


def _steps(path: Path, value: object, gates: dict[str, Gate]) -> tuple[Step, ...]:
    if not isinstance(value, list) or not value:
        raise Violation(path, f"expected a list of steps, found {describe(value)}")
    steps = tuple(step((*path, index), item) for index, item in enumerate(value))
    highest = 0.0
    for index, item in enumerate(steps):
        if isinstance(item, Shadow):
            if index:
                raise Violation((*path, index), "the shadow step comes first, once")
        elif item.weight <= highest:
            raise Violation((*path, index, "weight"), f"weights must grow; {item.weight:g} follows {highest:g}")
        else:
            highest = item.weight
        inside = ("shadow",) if isinstance(item, Shadow) else ("hold",)
        _known((*path, index, *inside, "gates"), item.gates, gates, live=isinstance(item, Weight))
    if not highest:
        raise Violation(path, "at least one weight step is needed between shadow and promotion")
    return steps


def _known(path: Path, names: tuple[str, ...], gates: dict[str, Gate], *, live: bool, baking: bool = False) -> None:
    if not names:
        raise Violation(path, "at least one gate is needed: a step without a gate proves nothing")
    for key in names:
        if key not in gates:
            raise Violation(path, f"there is no gate '{key}'; gates: {', '.join(gates)}")
        metric = gates[key].metric
        if not live and metric in LIVE_ONLY:
            raise Violation(path, f"gate '{key}' measures {NAMED.get(metric, metric)}, which a replay cannot show")
        if baking and metric in {Metric.VALUE, Metric.GAUGE}:
            raise Violation(path, f"gate '{key}' compares both arms of live traffic; in a bake only one serves")
        if live and metric is Metric.GOLDEN:
            raise Violation(path, f"gate '{key}' asks golden rows: their answers do not change, name it in the shadow")
