"""From the mapping of a policy file to a Policy; every cross-field rule lives here."""

import math
from collections.abc import Mapping
from functools import partial
from typing import cast

from surefoot.core.domain import LogPolicy, Outcome
from surefoot.core.policy.fields import (
    Path,
    Problem,
    Section,
    Violation,
    bounded,
    choice,
    count,
    describe,
    duration,
    guarded,
    name,
    positive,
    standing,
    tell,
    text,
    texts,
)
from surefoot.core.policy.model import (
    DATA_GATE_NAME,
    EVERY_REPLAY,
    LEAST_INTERVAL,
    LIVE_ONLY,
    NOT_MIRRORED,
    SHAPE_GATE_NAME,
    Bake,
    FailureAction,
    Gate,
    LiveShadow,
    Metric,
    Policy,
    Reaction,
    Shadow,
    Step,
    Weight,
    usual_interval,
)
from surefoot.core.policy.parse_gate import gate

REACTIONS = {
    Outcome.FAIL: Reaction(0.0, FailureAction.ROLLBACK),
    Outcome.INCONCLUSIVE: Reaction(7200.0, FailureAction.PAUSE),
    Outcome.NO_DATA: Reaction(7200.0, FailureAction.ROLLBACK),
    Outcome.STALE: Reaction(7200.0, FailureAction.PAUSE),
    Outcome.ERROR: Reaction(1800.0, FailureAction.PAUSE),
    Outcome.BASELINE_UNHEALTHY: Reaction(0.0, FailureAction.PAUSE),
}
OLD_UNHEALTHY = "both_sick"
"""Name of the key `on.baseline_unhealthy` in policies of release 0.1.0."""
NAMED = {Metric.LATENCY: "live latency"}
QUIET_GAPS = 100
"""Expected gaps between two requests after which silence is no accident any more [count]."""
MOST_TRAFFIC = 1e9
"""Largest planned traffic [requests per minute]."""
LEAST_TRAFFIC = 1e-300
"""Planned traffic that less is counted as, so that a division by it stays finite [requests per minute]."""
LONGEST_QUIET = 10.0 * 365.25 * 86400.0
"""Longest silence that is no accident by default, however rare requests are [seconds]."""
LEAST_QUIET = 900.0
"""Shortest silence that makes evidence stale by default [seconds]."""


def reaction(path: Path, value: object) -> Reaction:
    """An action word, or {hold: duration, then: action}."""
    words = tuple(FailureAction)
    if isinstance(value, str):
        do = choice(FailureAction, words)(path, value)
        return Reaction(
            math.inf if do is FailureAction.HOLD else 0.0, FailureAction.PAUSE if do is FailureAction.HOLD else do
        )
    section = Section(value, path)
    found = Reaction(section.get("hold", duration), section.get("then", choice(FailureAction, ("rollback", "pause"))))
    section.done()
    return found


standing(reaction, Reaction(0.0, FailureAction.PAUSE))


def step(path: Path, value: object, told: Problem | None = None) -> Step:
    """A shadow step or a weight step."""
    section = Section(value, path, told)
    if section.has("shadow"):
        inner = section.section("shadow")
        source = inner.get("source", choice(str, ("replay", "live")), "replay")
        made: Step = _live_shadow(inner) if source == "live" else _replay(inner)
    elif section.has("weight"):
        share = section.get("weight", bounded(0.1, 99.0))
        inner = section.section("hold")
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


def _replay(section: Section) -> Shadow:
    """A shadow that replays logged requests."""
    return Shadow(
        section.get("window", duration),
        section.get("min_requests", count, 1),
        section.get("gates", texts),
        section.get("every", _interval, EVERY_REPLAY),
    )


def _live_shadow(section: Section) -> LiveShadow:
    """A shadow that is asked callers' requests."""
    share, hold = section.get("share", bounded(0.1, 100.0)), section.get("for", duration)
    fewest, every = section.get("min_requests", count, 1), section.get("every", _interval, usual_interval(hold))
    return LiveShadow(share, hold, fewest, section.get("gates", texts), every)


def parse(value: object, told: Problem | None = None) -> Policy:
    """Read a whole policy.

    Args:
        value: What the YAML file holds; JSON values only.
        told: Where broken rules go, all that can be found at once; what is returned then means nothing. Without it
            the first one is raised.

    Raises:
        Violation: Names the first key that breaks a rule.
    """
    top = Section(value, (), told)
    model = top.get("model", name)
    traffic, data, baking = (top.section(key) for key in ("traffic", "data", "bake"))
    traffic.get("engine", choice(str, ("gateway",)), "gateway")
    planned = max(traffic.get("requests_per_minute", positive(MOST_TRAFFIC)), LEAST_TRAFFIC)
    made = _gates(top.section("gates"), told)
    steps = top.get("steps", standing(lambda where, found: _steps(where, found, made, told), ()))
    lasts = baking.get("for", duration)
    quiet = min(max(QUIET_GAPS * 60.0 / planned, LEAST_QUIET), LONGEST_QUIET)
    policy = Policy(
        model=model,
        owners=top.get("owners", texts, ()),
        unit=top.get("unit", text, "") or None,
        requests_per_minute=planned,
        units=traffic.get("units", bounded(1, 1e12), 0.0),
        stale_after=traffic.get("stale_after", duration, quiet),
        on_new_candidate=top.get("on_new_candidate", choice(str, ("replace", "queue", "reject")), "replace"),
        false_rollback_budget=top.get("false_rollback_budget", bounded(1e-6, 0.5), 0.01),
        suite=data.get("suite", name),
        suite_window=data.get("window", duration, 30 * 86400.0),
        gates=made,
        on=_reactions(top),
        steps=steps,
        bake=Bake(lasts, baking.get("gates", texts), baking.get("every", _interval, usual_interval(lasts))),
        suite_every=data.get("every", _interval, EVERY_REPLAY),
        kept=top.get("log", lambda where, found: _kept(where, found, told), LogPolicy()),
        reshaped=data.get("answers", choice(str, ("same", "any")), "same") == "any",
    )
    _slices_are_kept(policy, told)
    for section in (traffic, data, baking, top):
        section.done()
    if not _told_above(told, ("bake", "gates")):
        _known(("bake", "gates"), policy.bake.gates, made, told, live=True, baking=True)
    if not _told_at(told, ("bake",)) and not _told_at(told, ("steps",)):
        used = {key for item in steps for key in item.gates} | set(policy.bake.gates)
        for key in made:
            if key not in used:
                tell(told, ("gates", key), f"gate '{key}' is never judged: name it in a step or in bake")
    return policy


def _gates(section: Section, told: Problem | None) -> dict[str, Gate]:
    """Every gate by name."""
    made = {}
    written = cast("Mapping[str, object]", section.value)
    for key, item in written.items():
        path = (*section.path, key)
        guarded(told, partial(name, path, key), key)
        for reserved, of in ((DATA_GATE_NAME, "suite"), (SHAPE_GATE_NAME, "comparison of answers")):
            if key == reserved:
                tell(told, path, f"'{reserved}' is the name of the {of}'s own gate: choose another")
        made[key] = gate(path, key, item, told)
    return made


def _interval(path: Path, value: object) -> float:
    """A time between two looks [seconds]."""
    found = duration(path, value)
    if found < LEAST_INTERVAL:
        raise Violation(path, f"a look every {value} asks more often than it can answer: {LEAST_INTERVAL:g}s or longer")
    return found


standing(_interval, EVERY_REPLAY)


def _told_at(told: Problem | None, where: Path) -> bool:
    """Whether something is broken at a place or below it."""
    return any(violation.path[: len(where)] == where for violation in told or ())


def _told_above(told: Problem | None, where: Path) -> bool:
    """Whether something is broken at a place or at one that holds it."""
    return any(violation.path == where[: len(violation.path)] for violation in told or () if violation.path)


def _kept(path: Path, value: object, told: Problem | None) -> LogPolicy:
    """What of the requests' features stays in the log."""
    section = Section(value, path, told)
    kept = LogPolicy(
        section.get("hash", texts, ()), section.get("drop", texts, ()), section.get("share", bounded(0.1, 100.0), 100.0)
    )
    section.done()
    for column in kept.hashed:
        if column in kept.dropped:
            tell(told, (*path, "hash"), f"column '{column}' is dropped as well: one of the two")
    return kept


def _slices_are_kept(policy: Policy, told: Problem | None) -> None:
    for key, item in policy.gates.items():
        for column in item.by:
            if column in policy.kept.dropped:
                tell(told, ("log", "drop"), f"gate '{key}' makes slices of '{column}': hash it, or keep it")


def _reactions(top: Section) -> dict[Outcome, Reaction]:
    if not top.has("on"):
        return dict(REACTIONS)
    section = top.section("on")
    found = {outcome: section.get(outcome.value.lower(), reaction, default) for outcome, default in REACTIONS.items()}
    if section.has(OLD_UNHEALTHY):
        if section.has(Outcome.BASELINE_UNHEALTHY.value.lower()):
            raise Violation((*section.path, OLD_UNHEALTHY), "this is the old name of 'baseline_unhealthy': write one")
        found[Outcome.BASELINE_UNHEALTHY] = section.get(OLD_UNHEALTHY, reaction)
    section.done()
    return found


def _steps(path: Path, value: object, gates: dict[str, Gate], told: Problem | None) -> tuple[Step, ...]:
    if not isinstance(value, list) or not value:
        raise Violation(path, f"expected a list of steps, found {describe(value)}")
    steps = []
    highest, weights = 0.0, 0
    for index, item in enumerate(value):
        where = (*path, index)
        weights += isinstance(item, Mapping) and "weight" in item
        made = guarded(told, partial(step, where, item, told), None)
        if made is None:
            continue
        steps.append(made)
        named = (*where, "hold" if isinstance(made, Weight) else "shadow", "gates")
        if not _told_above(told, named):
            _known(named, made.gates, gates, told, live=isinstance(made, Weight), mirrored=isinstance(made, LiveShadow))
        if _told_at(told, where) and not _told_at(told, named):
            continue
        if isinstance(made, Shadow):
            if index:
                tell(told, where, "the shadow step comes first, once")
        elif isinstance(made, LiveShadow):
            if weights or any(isinstance(item, LiveShadow) for item in steps[:-1]):
                tell(told, where, "a shadow step with 'source: live' comes before the weights, once")
        elif made.weight <= highest:
            tell(told, (*where, "weight"), f"weights must grow; {made.weight:g} follows {highest:g}")
        else:
            highest = made.weight
    if not weights:
        tell(told, path, "at least one weight step is needed between shadow and promotion")
    return tuple(steps)


def _known(
    path: Path,
    names: tuple[str, ...],
    gates: dict[str, Gate],
    told: Problem | None,
    *,
    live: bool,
    baking: bool = False,
    mirrored: bool = False,
) -> None:
    if not names:
        tell(told, path, "at least one gate is needed: a step without a gate proves nothing")
    for key in names:
        if key not in gates:
            tell(told, path, f"there is no gate '{key}'; gates: {', '.join(gates)}")
            continue
        metric = gates[key].metric
        if mirrored:
            if metric in NOT_MIRRORED:
                tell(
                    told,
                    path,
                    f"gate '{key}' measures {metric}, which mirrored requests do not show: {NOT_MIRRORED[metric]}",
                )
            continue
        if not live and metric in LIVE_ONLY:
            tell(told, path, f"gate '{key}' measures {NAMED.get(metric, metric)}, which a replay cannot show")
        if baking and metric in {Metric.VALUE, Metric.GAUGE}:
            tell(told, path, f"gate '{key}' compares both arms of live traffic; in a bake only one serves")
        if live and metric is Metric.GOLDEN:
            tell(told, path, f"gate '{key}' asks golden rows: their answers do not change, name it in the shadow")
