"""Parse a policy from a mapping, and list the rules that it breaks."""

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from surefoot.core.policy.cross_section_rules import (
    JudgingPhase,
    PhaseGates,
    PolicyRuleInputs,
    broken_rules,
    never_judged_gates,
)
from surefoot.core.policy.gates.any_gate import GATE_ADAPTER
from surefoot.core.policy.gates.base import Gate
from surefoot.core.policy.policy import Policy
from surefoot.core.policy.pydantic_errors import convert_pydantic_error, find_unknown_keys
from surefoot.core.policy.scalars import Name
from surefoot.core.policy.sections import Log, Reaction, ReactionSetting
from surefoot.core.policy.steps import GateNames, WeightShare, step_kind
from surefoot.core.policy.violations import KeyPath, Violation, ViolationKind
from surefoot.core.serving_engines.engine_abilities import ENGINES, EngineName

_GATE_NAMES: TypeAdapter[tuple[str, ...]] = TypeAdapter(GateNames)
_WEIGHT: TypeAdapter[float] = TypeAdapter(WeightShare)
_REACTION: TypeAdapter[Reaction] = TypeAdapter(ReactionSetting)
_SUITE: TypeAdapter[str] = TypeAdapter(Name)
_LOG: TypeAdapter[Log] = TypeAdapter(Log)
_ENGINE: TypeAdapter[EngineName] = TypeAdapter(EngineName)
_PHASES = {
    "shadow": JudgingPhase.SHADOW,
    "live shadow": JudgingPhase.LIVE_SHADOW,
    "approve": JudgingPhase.APPROVAL,
}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ExaminedPolicy:
    """What became of reading a policy, and those parts of it that can be read by themselves.

    Attributes:
        policy: The policy; None when something in it is broken.
        broken: Everything that is broken.
        gates: Gates by name; None for one that cannot be read.
        fail: What a FAIL leads to; None when it cannot be read.
        suite: Name of the expectation suite; empty when it cannot be read.
    """

    policy: Policy | None
    broken: tuple[Violation, ...]
    gates: Mapping[str, Gate | None]
    fail: Reaction | None
    suite: str


def parse_policy(value: object) -> Policy:
    """Read a whole policy.

    Args:
        value: What the YAML file or the journal holds; JSON values only.

    Raises:
        Violation: Names the first key that breaks a rule.
    """
    try:
        return Policy.model_validate(value)
    except ValidationError as error:
        raise convert_pydantic_error(error, value)[0] from None


def parse_gate(name: str, value: object) -> Gate:
    """Read one gate.

    Raises:
        Violation: Names the first key that breaks a rule.
    """
    try:
        return GATE_ADAPTER.validate_python(value).with_name(name)
    except ValidationError as error:
        raise convert_pydantic_error(error, {"gates": {name: value}}, ("gates", name))[0] from None


def examine_policy(value: object) -> ExaminedPolicy:
    """Read a whole policy, and find everything that is broken in it at once."""
    fail = _read(_REACTION, _at(value, "on", "fail", default="rollback"))
    suite = _read(_SUITE, _at(value, "data", "suite")) or ""
    try:
        policy = Policy.model_validate(value)
    except ValidationError as error:
        outline = _outline(value)
        broken = convert_pydantic_error(error, value) + _behind_unknown_keys(error, value) + list(broken_rules(outline))
        # A name that is misspelt in a step is told there, and not as a gate that no step names.
        misnamed = any(violation.path[:1] in {("steps",), ("bake",)} for violation in broken)
        if not misnamed and _at(value, "steps") is not None and _at(value, "bake") is not None:
            broken += never_judged_gates(outline)
        once = {(violation.path, violation.rule): violation for violation in broken}
        return ExaminedPolicy(None, _without_misspelt(list(once.values())), outline.gates or {}, fail, suite)
    return ExaminedPolicy(policy, (), policy.gates, fail, suite)


def _without_misspelt(broken: Sequence[Violation]) -> tuple[Violation, ...]:
    """Leave out a key that is missing only because it is misspelt beside: the unknown key says what is known."""
    unknown: dict[KeyPath, list[str]] = defaultdict(list)
    for violation in broken:
        if violation.mistake is ViolationKind.UNKNOWN_KEY:
            unknown[violation.path[:-1]].append(violation.key)
    return tuple(
        violation
        for violation in broken
        if violation.mistake is not ViolationKind.MISSING_KEY
        or not get_close_matches(violation.key, unknown[violation.path])
    )


def _behind_unknown_keys(error: ValidationError, value: object) -> list[Violation]:
    """Rules that pydantic does not check where a mapping holds a key that is unknown: no rule speaks of that key."""
    unknown = find_unknown_keys(error)
    if not unknown:
        return []
    pruned = copy.deepcopy(value)
    for *path, key in unknown:
        inner: Any = pruned
        for step in path:
            inner = inner[step]
        inner.pop(key, None)
    try:
        Policy.model_validate(pruned)
    except ValidationError as more:
        return convert_pydantic_error(more, pruned)
    return []


def _at(value: object, *keys: str, default: object = None) -> object:
    """What stands under keys; the default where nothing does."""
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            return default
        value = value[key]
    return value


def _read(adapter: TypeAdapter[_T], value: object) -> _T | None:
    """A part of a policy that may be broken elsewhere; None when the part itself cannot be read."""
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return None


def _named(name: str, value: object) -> Gate | None:
    """A gate with its name; None when it cannot be read."""
    gate = _read(GATE_ADAPTER, value)
    return gate.with_name(name) if gate else None


def _outline(value: object) -> PolicyRuleInputs:
    """What the rules between several parts can look at in a policy that is broken somewhere."""
    gates, written, log = _at(value, "gates"), _at(value, "steps"), _read(_LOG, _at(value, "log", default={}))
    named: list[PhaseGates] = []
    steps: list[tuple[KeyPath, JudgingPhase, float | None]] = []

    def name(path: KeyPath, phase: JudgingPhase, found: object) -> None:
        names = _read(_GATE_NAMES, found)
        if names is not None:
            named.append(PhaseGates(path, phase, names))

    for index, item in enumerate(written if isinstance(written, list) else ()):
        path: KeyPath = ("steps", index)
        phase = _PHASES.get(step_kind(item) or "", JudgingPhase.RAMP)
        key = "hold" if phase is JudgingPhase.RAMP else "shadow"
        if phase is not JudgingPhase.APPROVAL:
            name((*path, key, "gates"), phase, _at(item, key, "gates"))
        steps.append((path, phase, _read(_WEIGHT, _at(item, "weight")) if phase is JudgingPhase.RAMP else None))
    name(("bake", "gates"), JudgingPhase.BAKE, _at(value, "bake", "gates"))
    name(("watch", "gates"), JudgingPhase.WATCH, _at(value, "watch", "gates"))
    name(("rollback", "gates"), JudgingPhase.ROLLBACK, _at(value, "rollback", "gates"))
    readable = {key: _named(key, item) for key, item in gates.items()} if isinstance(gates, Mapping) else None
    engine = _read(_ENGINE, _at(value, "traffic", "engine", default=EngineName.GATEWAY))
    ramps = engine is not None and ENGINES[engine].ramps  # of an engine that is not known nothing is demanded
    return PolicyRuleInputs(
        readable, named, steps, log.dropped if log else (), ramps, encrypted=log.encrypted if log else ()
    )
