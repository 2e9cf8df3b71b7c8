"""Choose the plan of a drill's fault, for example when the fault begins and what it changes."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

import pandas as pd

from surefoot.core.drills.drill_faults import DrillFault
from surefoot.core.errors import Rejected
from surefoot.drills.misbehaviour import Misbehaviour, TypicalInputs
from surefoot.drills.twin_callers import ChangeRow

_TIMES_OUT_S = (1.3, 2.5)
"""How long a slow version takes: longer than the gateway waits for a candidate [seconds]."""
_LEAKED_MB = (100.0, 400.0)
_UNITS = (100.0, 1000.0, 0.01, 60.0, 25.4, 3.2808, 0.3048)
"""Factors between units that are mistaken for each other, such as hPa and Pa, km and m, or hours and minutes."""
_FAR = 1.0
"""A value this far outside of what is usual harms enough to be seen [widths of the usual values]."""
_DRIFTING = 6
"""A drift is one of columns that matter to the good version too: those that matter most [count]."""
_DRIFTS_FOR = 200
"""Requests until a drift has reached its size [count]."""
DATA_FAULTS = frozenset(
    {DrillFault.WRONG_UNITS, DrillFault.FROZEN_FEATURE, DrillFault.SWAPPED_ENCODING, DrillFault.DRIFT}
)
"""Faults of what callers send."""
HARM_FAULTS = DATA_FAULTS | {DrillFault.ONE_GROUP}
"""Faults that show in the losses of answers, once labels have come."""


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The plan of one drill: its fault, when it begins, and how the version and its requests change.

    Attributes:
        fault: The fault.
        stage: Index of the stage of the promotion in which it begins.
        onset: Requests in that stage before it begins [count].
        what: What happens, as a sentence.
        version: How the version misbehaves.
        change: How the requests change; None where they do not.
    """

    fault: DrillFault
    stage: int
    onset: int
    what: str
    version: Misbehaviour = field(default_factory=Misbehaviour)
    change: ChangeRow | None = None


@dataclass(frozen=True, slots=True)
class TrafficFacts:
    """Facts about the twin's requests and stages from which a plan is chosen.

    Attributes:
        usual: What is usual among the requests.
        sample: Some of the requests.
        groups: Columns by which the policy looks at groups.
        stages: Stages of the promotion, the bake last [count].
    """

    usual: TypicalInputs
    sample: pd.DataFrame
    groups: Sequence[str]
    stages: int


def choose_fault_plan(fault: DrillFault, facts: TrafficFacts, seed: str) -> FaultPlan:
    """The plan of a drill; the same for the same seed.

    Raises:
        Rejected: The model has no column that such a fault can hit.
    """
    chance = random.Random(f"{seed} {fault}")  # noqa: S311 - a plan, no secret
    stage = facts.stages - 1 if fault in HARM_FAULTS else chance.randrange(facts.stages)
    onset = chance.randrange(40, 160)
    if fault in _DOWN or fault in _FAILING:
        if fault in _BLIND:
            # No gate can see it: the version fails all requests, and the gateway sees that while both versions serve.
            stage = chance.randrange(max(facts.stages - 1, 1))
        share = 1.0 if fault in _BLIND else chance.uniform(0.05, 0.5)
        version, change, what = _unknown_pair(_FAILING.get(fault, "raise"), share, facts, chance)
        what = f"{_DOWN[fault]}, while {what}" if fault in _DOWN else what
        return FaultPlan(fault, stage, onset, what, version, change)
    if fault is DrillFault.SLOWNESS:
        # A candidate that is too slow fails; callers wait for a version that bakes, and only a gate of latency sees it.
        stage = chance.randrange(max(facts.stages - 1, 1))
    if fault is DrillFault.ONE_GROUP:
        stage, onset = 0, 0  # the version has this fault from its first answer on, and losses are judged in the bake
    if fault in _VERSION_PLANS:
        version, what = _VERSION_PLANS[fault](facts, chance)
        return FaultPlan(fault, stage, onset, f"the version {what}", version)
    change, what = _DATA_PLANS[fault](facts, chance)
    return FaultPlan(fault, stage, onset, what, change=change)


_DOWN = {
    DrillFault.REGISTRY_DOWN: "the registry does not answer",
    DrillFault.PREFECT_DOWN: "Prefect starts no flow",
    DrillFault.LABELS_DOWN: "no label arrives",
    DrillFault.DISK_FULL: "the disk of the prediction log is full",
}
"""What is down while the version raises errors, and is to be taken back all the same."""
_BLIND = frozenset({DrillFault.PREFECT_DOWN, DrillFault.DISK_FULL})
"""With these no gate is judged, or none has evidence."""


_FAILING = {DrillFault.ERRORS: "raise", DrillFault.NAN: "nan"}
"""Faults of a version that cannot take some values."""


def _unknown_pair(
    mode: str, share: float, facts: TrafficFacts, chance: random.Random
) -> tuple[Misbehaviour, ChangeRow | None, str]:
    """The version fails two values that never came together; from the onset on, some requests have both.

    The good version knows both values. Where no such pair exists, the version fails rows by their content.
    """
    verb = {"raise": "raises an error", "nan": "answers NaN"}[mode]
    pair = _strangers(facts, chance)
    if not pair:
        return Misbehaviour(mode, share=share), None, f"the version {verb} for {share:.0%} of the requests"

    def change(row: dict[str, object], number: int) -> dict[str, object]:
        # Every so many requests, evenly: the same ones for the same size.
        return {**row, **pair} if int((number + 1) * share) > int(number * share) else row

    told = " and ".join(f"{name} {value}" for name, value in pair.items())
    return Misbehaviour(mode, pair), change, f"the version {verb} at {told}, which {share:.0%} of the requests now have"


def _strangers(facts: TrafficFacts, chance: random.Random) -> dict[str, str]:
    """Values of two columns of text that never came together, by column; empty where there are none."""
    names = sorted(facts.usual.texts)
    found = []
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            known = set(zip(facts.sample[one].astype(str), facts.sample[other].astype(str), strict=True))
            values = product(sorted({left for left, _ in known}), sorted({right for _, right in known}))
            found += [{one: left, other: right} for left, right in values if (left, right) not in known]
    return chance.choice(found) if found else {}


def _slow(_facts: TrafficFacts, chance: random.Random) -> tuple[Misbehaviour, str]:
    share, seconds = chance.uniform(0.2, 1.0), chance.uniform(*_TIMES_OUT_S)
    return Misbehaviour("hang", share=share, size=seconds), f"takes {seconds:.1f} s for {share:.0%} of the requests"


def _crash(_facts: TrafficFacts, chance: random.Random) -> tuple[Misbehaviour, str]:
    share = chance.uniform(0.1, 1.0)
    return Misbehaviour("exit", share=share), f"ends its process at {share:.0%} of the requests"


def _leak(_facts: TrafficFacts, chance: random.Random) -> tuple[Misbehaviour, str]:
    size = chance.uniform(*_LEAKED_MB)
    return Misbehaviour("leak", size=size), f"leaks {size:.0f} MB with each request"


def _group(facts: TrafficFacts, chance: random.Random) -> tuple[Misbehaviour, str]:
    found = []
    for name in facts.groups or facts.usual.texts:
        shares = facts.sample[name].astype(str).value_counts(normalize=True)
        found += [(name, str(value), share) for value, share in shares.items() if share <= 0.6]  # noqa: PLR2004 - no group
    if not found:
        raise Rejected("no column of text of this model names groups: the fault one-group cannot be played")
    largest = sorted(found, key=lambda one: -one[2])[:3]
    name, value, share = chance.choice(largest)
    return Misbehaviour("invert", {name: value}), f"answers the opposite where {name} is {value}: {share:.0%}"


def _unit(facts: TrafficFacts, chance: random.Random) -> tuple[ChangeRow, str]:
    found = []
    for name, (low, high) in facts.usual.numbers.items():
        values = facts.sample[name].dropna()
        for factor in _UNITS:
            moved = values * factor
            beyond = pd.concat([moved - high, low - moved], axis=1).max(axis=1) / (high - low)
            if float((beyond >= _FAR).mean()) >= 0.5:  # noqa: PLR2004 - most of the requests
                found.append((name, factor))
    if not found:
        raise Rejected("no column of numbers of this model would be harmed by another unit")
    name, factor = chance.choice(found)
    return _numbers_changed({name: lambda value, _: value * factor}), f"{name} comes in another unit: times {factor:g}"


def _frozen(facts: TrafficFacts, chance: random.Random) -> tuple[ChangeRow, str]:
    found = []
    for name, (low, high) in facts.usual.numbers.items():
        values = facts.sample[name].dropna()
        ends = (float(values.max()), float(values.min()))
        found += [(max(value - high, low - value) / (high - low), name, value) for value in ends]
    if not found:
        raise Rejected("this model has no column of numbers that could stand still")
    found.sort(reverse=True)
    far = [one for one in found if one[0] >= _FAR] or found[:1]
    _, name, value = chance.choice(far)
    return _numbers_changed({name: lambda _, __: value}), f"{name} stands still at {value:g}"


def _codes(facts: TrafficFacts, chance: random.Random) -> tuple[ChangeRow, str]:
    names = [name for name, values in facts.usual.texts.items() if len(values) > 1]
    if not names:
        raise Rejected("this model has no column of codes")
    name = chance.choice(sorted(names))
    values = sorted(facts.usual.texts[name])
    codes = {value: str(number) for number, value in enumerate(values, 101)}

    def change(row: dict[str, object], _number: int) -> dict[str, object]:
        return {**row, name: codes.get(str(row[name]), row[name])}

    return change, f"{name} comes in other codes: {codes[values[0]]} for {values[0]}"


def _drift(facts: TrafficFacts, chance: random.Random) -> tuple[ChangeRow, str]:
    names = sorted(facts.usual.numbers, key=lambda name: -facts.usual.harm.get(name, 0.0))[:_DRIFTING]
    if len(names) < 2:  # noqa: PLR2004 - one column is no drift of the data
        raise Rejected("this model has too few columns of numbers for a drift of several")
    chosen = sorted({*names[:2], *chance.sample(names, min(len(names), chance.randint(3, 5)))})
    sizes = {name: chance.uniform(1.2, 2.0) * (high - low) for name, (low, high) in facts.usual.numbers.items()}
    moved = {name: _drifting(sizes[name]) for name in chosen}
    return _numbers_changed(moved), f"{', '.join(chosen)} grow together"


_Change = Callable[[float, int], float]


def _drifting(size: float) -> _Change:
    return lambda value, number: value + size * min((number + 1) / _DRIFTS_FOR, 1.0)


def _numbers_changed(changes: dict[str, _Change]) -> ChangeRow:
    """Changes columns of numbers; a gap stays one."""

    def change(row: dict[str, object], number: int) -> dict[str, object]:
        found = {name: one for name, one in changes.items() if isinstance(row.get(name), int | float)}
        return {**row, **{name: one(float(str(row[name])), number) for name, one in found.items()}}

    return change


_VersionPlan = Callable[[TrafficFacts, random.Random], tuple[Misbehaviour, str]]
_DataPlan = Callable[[TrafficFacts, random.Random], tuple[ChangeRow, str]]
_VERSION_PLANS: dict[DrillFault, _VersionPlan] = {
    DrillFault.SLOWNESS: _slow,
    DrillFault.CRASH: _crash,
    DrillFault.MEMORY_LEAK: _leak,
    DrillFault.ONE_GROUP: _group,
    DrillFault.CORRUPTED_ARTIFACT: lambda _facts, _chance: (
        Misbehaviour("exit"),
        "ends its process once, and its files are damaged on the disk and in the registry",
    ),
}
_DATA_PLANS: dict[DrillFault, _DataPlan] = {
    DrillFault.WRONG_UNITS: _unit,
    DrillFault.FROZEN_FEATURE: _frozen,
    DrillFault.SWAPPED_ENCODING: _codes,
    DrillFault.DRIFT: _drift,
}
