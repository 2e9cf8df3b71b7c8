"""Every event survives the journal, and what this release cannot read is refused."""

import json
from collections.abc import Mapping
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.adapters.journal.sql_journal import parse_canonical_json
from surefoot.core.domain import FigureKind, Outcome, Role, Verdict, VerdictFigure, Version
from surefoot.core.drills.drill_events import DrillResult
from surefoot.core.drills.drill_faults import DrillFault
from surefoot.core.drills.live_drill_events import LiveDrillResult
from surefoot.core.errors import InvariantBroken
from surefoot.core.journal.chain import canonical_bytes
from surefoot.core.journal.codec import JsonCodec
from surefoot.core.journal.events import (
    EVENT_TYPES,
    Effect,
    Event,
    SetAlias,
    SetSplit,
    as_json,
    decode_event,
    encode_event,
)
from surefoot.core.journal.rollback_schedule import RollbackSchedule
from surefoot.core.journal.served_version_events import VersionCounts
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.tables.table_checkpoint import TableCheckpoint, TableDigest

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
WHOLE = st.integers(0, 2**53 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | TEXT | FLOATS | WHOLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=3,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
VERSION = st.builds(Version, TEXT, TEXT, TEXT)
FLOAT = st.none() | FLOATS
VERDICT = st.builds(
    Verdict,
    TEXT,
    TEXT,
    st.sampled_from(Outcome),
    st.sampled_from(Role),
    TEXT,
    WHOLE,
    FLOAT,
    FLOAT,
    FLOAT,
    FLOAT,
    TEXT,
    TEXT,
    st.lists(st.builds(VerdictFigure, st.sampled_from(FigureKind), FLOATS, TEXT, TEXT), max_size=2).map(tuple),
    st.lists(OBJECT, max_size=2).map(tuple),
)
SPLITS = st.builds(SetSplit, VERSION, st.none() | VERSION, FLOATS)
ALIASES = st.builds(SetAlias, TEXT, st.none() | TEXT, st.none() | TEXT)
LEVEL = st.builds(
    DecisionThresholds, FLOATS, FLOATS, FLOATS, WHOLE, WHOLE, WHOLE, FLOAT, FLOATS, FLOATS, WHOLE, st.booleans()
)
STEPS = st.builds(
    RollbackSchedule, st.lists(FLOATS, max_size=3).map(tuple), FLOATS, st.lists(TEXT, max_size=2).map(tuple)
)
COUNTS = st.builds(VersionCounts, TEXT, WHOLE, WHOLE, WHOLE, FLOAT, TEXT)
DRILLS = st.builds(
    DrillResult,
    st.sampled_from(DrillFault),
    st.booleans(),
    TEXT,
    st.none() | WHOLE,
    FLOAT,
    FLOAT,
    TEXT,
    st.none() | st.booleans(),
    WHOLE,
    TEXT,
)
BUILT: Mapping[type, st.SearchStrategy[object]] = {
    Version: VERSION,
    Verdict: VERDICT,
    DecisionThresholds | None: st.none() | LEVEL,  # type: ignore[dict-item]
    str: TEXT,
    float: FLOATS,
    int: WHOLE,
    Mapping[str, object]: OBJECT,
    Mapping[str, int]: st.dictionaries(TEXT, WHOLE, max_size=3),
    Mapping[str, str]: st.dictionaries(TEXT, TEXT, max_size=3),
    int | None: st.none() | WHOLE,  # type: ignore[dict-item]
    float | None: FLOAT,  # type: ignore[dict-item]
    Version | None: st.none() | VERSION,  # type: ignore[dict-item]
    tuple[int, ...]: st.lists(WHOLE, max_size=3).map(tuple),
    tuple[str, ...]: st.lists(TEXT, max_size=3).map(tuple),
    tuple[VersionCounts, ...]: st.lists(COUNTS, max_size=3).map(tuple),
    Effect: SPLITS | ALIASES,  # type: ignore[dict-item]
    RollbackSchedule: STEPS,
    RollbackSchedule | None: st.none() | STEPS,  # type: ignore[dict-item]
    LiveDrillResult | None: st.none()  # type: ignore[dict-item]
    | st.builds(LiveDrillResult, WHOLE, WHOLE, FLOAT, FLOAT, WHOLE, WHOLE, TEXT),
    tuple[DrillResult, ...]: st.lists(DRILLS, max_size=2).map(tuple),
    TableCheckpoint: st.builds(TableCheckpoint, TEXT, st.builds(TableDigest, WHOLE, TEXT, TEXT), TEXT),
}


def events(kind: type) -> st.SearchStrategy[Event]:
    """Any event of one kind, with every field drawn."""
    hints = {name: hint for name, hint in kind.__annotations__.items() if name != "return"}
    return st.builds(kind, **{name: BUILT.get(hint, st.from_type(hint)) for name, hint in hints.items()})


@settings(deadline=None, max_examples=40)
@pytest.mark.parametrize("kind", EVENT_TYPES.values(), ids=EVENT_TYPES)
@given(data=st.data())
def test_event_survives_the_journal(kind: type, data: st.DataObject) -> None:
    """Encoded, written as canonical JSON, read and decoded, an event is what it was."""
    event = data.draw(events(kind))
    name, written = encode_event(event)
    assert name == kind.__name__
    assert decode_event(name, parse_canonical_json(canonical_bytes(written).decode())) == event


@given(SPLITS | ALIASES)
def test_effects_are_told_apart(effect: Effect) -> None:
    """The journal says of each effect what it is."""
    _, data = encode_event(EVENT_TYPES["EffectIntended"]("r", effect))
    inner = data["effect"]
    assert isinstance(inner, dict)
    assert inner["effect"] == type(effect).__name__


def test_all_kinds_are_known() -> None:
    """The union of events and the table of names are one list."""
    assert set(EVENT_TYPES.values()) == set(get_args(Event))
    assert len(EVENT_TYPES) == 57


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("RolloutTeleported", {}),
        ("object", {}),
        ("", {}),
        ("Paused", {"rollout": "r"}),
        ("Paused", {"rollout": "r", "outcome": "MAYBE", "gate": "g", "reason": ""}),
        ("StageEntered", {"rollout": "r", "stage": "Levitating", "step": 0, "reason": ""}),
        ("EffectIntended", {"rollout": "r", "effect": {"effect": "SetFire"}}),
        ("EffectIntended", {"rollout": "r", "effect": {"alias": "champion"}}),
        ("EffectIntended", {"rollout": "r", "effect": None}),
        ("EffectDone", {"rollout": "r", "intent": 1, "reconciled": False, "took_ms": "fast"}),
        ("ChampionAdopted", {"champion": "1"}),
        ("GateJudged", {"rollout": "r", "stage": "Ramping", "step": 0, "look": 1, "verdict": {"figures": 7}}),
    ],
)
def test_what_this_release_cannot_read_is_refused(kind: str, data: dict[str, object]) -> None:
    """An unknown event, stage, outcome or effect is an error of ours by name, never half an event."""
    with pytest.raises(InvariantBroken, match="this release of surefoot"):
        decode_event(kind, data)


def test_fields_of_a_newer_release_are_left_out() -> None:
    """What a later release added to an event, a version or a verdict does not stop this one."""
    data = {"champion": {"number": "1", "digest": "d", "flavour": "sour"}, "colour": "blue"}
    event = decode_event("ChampionAdopted", data)
    assert event == EVENT_TYPES["ChampionAdopted"](Version("1", "d"))


@given(VERDICT)
def test_verdict_as_json(verdict: Verdict) -> None:
    """What --json prints is what the journal holds."""
    assert json.loads(canonical_bytes(as_json(verdict)))["outcome"] == verdict.outcome.value


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("candidate rate", FigureKind.CANDIDATE_RATE),
        ("champion p99.9", FigureKind.CHAMPION_QUANTILE),
        ("stretches above", FigureKind.BLOCKS_ABOVE),
        ("something else", FigureKind.OTHER),
    ],
)
def test_figures_of_an_earlier_release_get_a_kind(name: str, kind: FigureKind) -> None:
    """A figure that was journalled with its label alone keeps that label and is found by its kind."""
    figure = JsonCodec().decode(VerdictFigure, {"name": name, "value": 0.5, "unit": "share"})
    assert figure == VerdictFigure(kind, 0.5, "share", name)
    assert JsonCodec().decode(VerdictFigure, JsonCodec().encode(figure)) == figure


def test_outcomes_of_an_earlier_release_are_read() -> None:
    """BOTH_SICK is what release 0.1.0 journalled for a baseline that is unhealthy; other words stay unknown."""
    assert JsonCodec().decode(Outcome, "BOTH_SICK") is Outcome.BASELINE_UNHEALTHY
    with pytest.raises(ValueError, match="BOTH_SICKER"):
        JsonCodec().decode(Outcome, "BOTH_SICKER")
