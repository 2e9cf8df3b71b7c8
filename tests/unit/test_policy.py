"""Whatever a policy file holds is either a policy that can be kept, or one violation with a place."""

import copy
import math
import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.domain import Outcome, Role
from surefoot.core.journal.chain import canonical_digest
from surefoot.core.policy.parse import examine_policy, parse_policy
from surefoot.core.policy.policy_types import FailureAction, Metric, Policy, Reaction
from surefoot.core.policy.violations import Violation
from tests.fakes import POLICY
from tests.gates import gate_of

LOSS = {"metric": "brier", "margin": "5%", "by": ["origin", "carrier"], "labels": {"maturity": "12h"}, "block": "7d"}
PAUSE, ROLLBACK = FailureAction.PAUSE, FailureAction.ROLLBACK
REACTIONS = {
    Outcome.FAIL: Reaction(0.0, ROLLBACK),
    Outcome.INCONCLUSIVE: Reaction(7200.0, PAUSE),
    Outcome.NO_DATA: Reaction(7200.0, ROLLBACK),
    Outcome.STALE: Reaction(7200.0, PAUSE),
    Outcome.ERROR: Reaction(1800.0, PAUSE),
    Outcome.BASELINE_UNHEALTHY: Reaction(0.0, PAUSE),
}
"""What each outcome leads to where the policy says nothing."""
FULL = {
    **POLICY,
    "gates": {
        "errors": {"metric": "error_rate", "margin": "1pp"},
        "latency": {"metric": "latency", "quantile": 0.99, "margin": "20%"},
        "slices": LOSS,
        "inputs": {"metric": "input_shift", "role": "signal", "against": "champion", "max": 0.2},
    },
    "steps": [
        {"shadow": {"window": "7d", "min_requests": 10, "gates": ["errors", "slices"]}},
        {"weight": 5, "hold": {"for": "10m", "gates": ["errors", "latency", "inputs"]}},
    ],
    "data_layer": [
        {"name": "files", "kind": "parquet", "path": "files", "on_rollback": "leave"},
        {"name": "stream", "kind": "delta", "path": "stream", "consumers": ["billing"]},
        {
            "name": "rows",
            "kind": "sql",
            "url_variable": "ROWS_URL",
            "table": "public.rows",
            "valid_from": "at",
            "version_column": "version",
            "key": "request",
        },
    ],
    "fallback": {"constant": [0.8, 0.2]},
    "evidence": {
        "labels": {
            "source": "sql",
            "url_variable": "WAREHOUSE_URL",
            "query": "SELECT id, late, known FROM landings WHERE known > :since AND known <= :until",
            "columns": {"request": "id", "label": "late", "at": "known"},
        },
        "late": "2h",
    },
    "corners": {
        "rows": 30,
        "empty": "carrier",
        "missing": ["temp"],
        "extremes": ["distance"],
        "unseen": ["origin"],
        "drawn": ["distance", "carrier"],
        "values": {"pressure": [101325, "n/a"]},
        "rare_groups": {"reach": "90d"},
        "max_difference": 0.5,
        "answers": {"min": 0, "max": 1},
        "seed": 7,
    },
}
PLACES = [
    (),
    ("fallback",),
    ("fallback", "constant"),
    ("evidence",),
    ("evidence", "late"),
    ("evidence", "labels"),
    ("evidence", "labels", "query"),
    ("evidence", "labels", "columns", "at"),
    ("model",),
    ("owners",),
    ("unit",),
    ("traffic",),
    ("traffic", "requests_per_minute"),
    ("data", "window"),
    ("gates",),
    ("gates", "errors"),
    ("gates", "errors", "margin"),
    ("gates", "latency", "quantile"),
    ("gates", "slices", "by"),
    ("gates", "slices", "labels"),
    ("gates", "slices", "min_per_slice"),
    ("gates", "inputs", "max"),
    ("on",),
    ("on", "fail"),
    ("data_layer",),
    ("data_layer", 0, "path"),
    ("data_layer", 1),
    ("data_layer", 2, "table"),
    ("steps",),
    ("steps", 0),
    ("steps", 0, "shadow", "gates"),
    ("steps", 1, "weight"),
    ("steps", 1, "hold", "min_requests"),
    ("bake", "for"),
    ("false_rollback_budget",),
    ("corners",),
    ("corners", "rows"),
    ("corners", "empty"),
    ("corners", "values"),
    ("corners", "values", "pressure"),
    ("corners", "rare_groups", "reach"),
    ("corners", "answers", "min"),
]
WORDS = ["model", "gates", "errors", "hold", "rollback", "5%", "1pp", "10m", "9" * 400 + "d", "data", "\ud800", "٣d"]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([10**400, -(2**53), 1e308, math.nan, -0.0])
    | st.text(max_size=5)
    | st.sampled_from(WORDS)
)
KEYS = st.text(max_size=3) | st.sampled_from([str(key) for place in PLACES for key in place])
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def kept(value: object) -> Policy | None:
    """The policy, which can then be journalled, or None after a violation."""
    try:
        policy = parse_policy(value)
    except Violation as violation:
        str(violation).encode()
        return None
    canonical_digest(value)
    return policy


def put(place: tuple[str | int, ...], value: object, whole: Mapping[str, object] = FULL) -> object:
    """A policy, the full one by default, with one thing in it replaced."""
    if not place:
        return value
    made = dict(copy.deepcopy(whole))
    inner: object = made
    for key in place[:-1]:
        inner = inner.setdefault(key, {}) if isinstance(inner, dict) else inner[key]  # type: ignore[index]
    inner[place[-1]] = value  # type: ignore[index]
    return made


def test_full_policy() -> None:
    """Each key of a gate arrives in the field that the judge reads."""
    policy = parse_policy(FULL)
    slices, inputs, latency = (gate_of(policy, name) for name in ("slices", "inputs", "latency"))
    assert (slices.metric, slices.margin, slices.relative) == (Metric.BRIER, 0.05, True)
    assert (slices.by, slices.maturity, slices.block) == (("origin", "carrier"), 43200.0, 7 * 86400.0)
    assert (inputs.role, inputs.against, inputs.limit) == (Role.SIGNAL, "champion", 0.2)
    assert (latency.quantiles, latency.margin) == ((0.99,), 0.2)
    assert policy.shadow is not None
    assert policy.shadow.min_requests == 10
    assert policy.on == REACTIONS


@pytest.mark.parametrize("outcome", [item for item in Outcome if item is not Outcome.PASS])
@pytest.mark.parametrize(
    ("words", "reaction"),
    [
        ("rollback", Reaction(0.0, FailureAction.ROLLBACK)),
        ("pause", Reaction(0.0, FailureAction.PAUSE)),
        ("hold", Reaction(math.inf, FailureAction.PAUSE)),
        ({"hold": "30s", "then": "rollback"}, Reaction(30.0, FailureAction.ROLLBACK)),
    ],
)
def test_reactions(outcome: Outcome, words: object, reaction: Reaction) -> None:
    """Each outcome other than PASS takes each action, and leaves the others at their defaults."""
    policy = parse_policy({**FULL, "on": {outcome.value.lower(): words}})
    assert policy.on == {**REACTIONS, outcome: reaction}


@given(ANYTHING)
def test_anything_is_a_policy_or_a_violation(value: object) -> None:
    """No mapping of JSON values raises anything but Violation."""
    kept(value)


@given(st.sampled_from(PLACES), ANYTHING)
def test_anything_anywhere_in_a_policy(place: tuple[str | int, ...], value: object) -> None:
    """A good policy with anything at all in one place is a policy with finite numbers, or a violation."""
    policy = kept(put(place, value))
    if policy:
        numbers = [policy.requests_per_minute, policy.suite_window, policy.bake.hold, policy.false_rollback_budget]
        names = ("margin", "maturity", "block", "limit")
        numbers += [abs(getattr(gate, name, 0.0) or 0.0) for gate in policy.gates.values() for name in names]
        numbers += [n for step in policy.ramp for n in (step.weight, step.hold, step.min_requests)]
        assert all(math.isfinite(number) and number >= 0.0 for number in numbers)


@given(st.sampled_from(PLACES[1:]), ANYTHING)
def test_violation_names_its_place(place: tuple[str | int, ...], value: object) -> None:
    """A violation stands at the place that was changed, above it, below it, or where it is referred to."""
    try:
        parse_policy(put(place, value))
    except Violation as caught:
        violation = caught
    else:
        return
    related = violation.path[: len(place)] == place or place[: len(violation.path)] == violation.path
    assert related or violation.path[0] in {"steps", "bake", "gates", "corners"}
    assert violation.rule


@given(st.sampled_from(PLACES), ANYTHING)
def test_a_violation_speaks_the_words_of_the_policy(place: tuple[str | int, ...], value: object) -> None:
    """Each broken rule is one line in plain words, with a path into the file; the library's own words never show."""
    for violation in examine_policy(put(place, value)).broken:
        line = str(violation)
        assert line.isprintable(), line
        assert not re.search(r"[Ii]nput should|valid (string|number|integer|list)|[Ff]ield required|Extra inputs", line)
        assert not {"[key]", "function-plain", "tuple"} & set(map(str, violation.path))


def test_a_rule_behind_an_unknown_key_is_told_too() -> None:
    """An unknown key hides no other mistake of its mapping, and a misspelt key is not missing as well."""
    slices = {**LOSS, "protected": ["tail=N1"], "colour": "red"}
    value = {**FULL, "gates": {**FULL["gates"], "slices": slices}, "traffic": {"request_per_minute": 1, "unit": 2}}
    assert [violation.path for violation in examine_policy(value).broken] == [
        ("traffic", "request_per_minute"),
        ("traffic", "unit"),
        ("gates", "slices", "colour"),
        ("gates", "slices", "protected", 0),
    ]


def test_number_that_cannot_be_printed() -> None:
    """A number with more digits than Python prints is refused like any other."""
    for place in PLACES:
        with pytest.raises(Violation, match="too large to show"):
            parse_policy(put(place, [10**5000] if place == ("gates", "slices", "by") else 10**5000))
