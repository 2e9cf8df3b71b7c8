"""The split: shares, the monotone ramp, independence of salts."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.assignment import assign_arm, compute_assignment_bucket
from surefoot.core.canonical_text import canonical_text
from surefoot.core.domain import Arm, Split, Version
from surefoot.core.traffic_split_json import decode_traffic_split, encode_traffic_split

CHAMPION = Version("1", "sha256:" + "1" * 64)
CANDIDATE = Version("2", "sha256:" + "2" * 64)
weights = st.floats(0, 100)


def split(weight: float, salt: str = "s") -> Split:
    """Give a split of this weight."""
    return Split(CHAMPION, CANDIDATE, weight, salt)


@given(st.text(), st.text())
def test_bucket_is_on_the_ruler(salt: str, key: str) -> None:
    """Every key has a place from 0 to below 100, always the same one."""
    assert 0 <= compute_assignment_bucket(salt, key) < 100
    assert compute_assignment_bucket(salt, key) == compute_assignment_bucket(salt, key)


@given(st.text(), st.text(), weights, weights)
def test_ramp_is_monotone(salt: str, key: str, one: float, other: float) -> None:
    """A unit of the candidate at a weight stays with it at every higher weight."""
    lower, higher = sorted((one, other))
    if assign_arm(split(lower, salt), key) is Arm.CANDIDATE:
        assert assign_arm(split(higher, salt), key) is Arm.CANDIDATE


@given(st.text(), st.text())
def test_ends_of_the_ramp(salt: str, key: str) -> None:
    """Weight 0 gives the candidate nobody, weight 100 everybody, and no candidate means the champion."""
    assert assign_arm(split(0, salt), key) is Arm.CHAMPION
    assert assign_arm(split(100, salt), key) is Arm.CANDIDATE
    assert assign_arm(Split(CHAMPION, None, 100, salt), key) is Arm.CHAMPION


@given(st.sets(st.text(min_size=1)), st.text(min_size=1), st.text(), weights)
def test_a_listed_unit_is_with_the_candidate(listed: set[str], unit: str, salt: str, weight: float) -> None:
    """At each weight above 0 a listed unit is the candidate's, and every other key is where its hash puts it."""
    one = replace(split(weight, salt), units=tuple(listed))
    expected = Arm.CANDIDATE if unit in listed and weight else assign_arm(split(weight, salt), unit)
    assert assign_arm(one, unit, unit) is expected
    assert assign_arm(one, unit) is assign_arm(split(weight, salt), unit)  # a request that has no unit
    assert assign_arm(replace(one, candidate=None), unit, unit) is Arm.CHAMPION
    assert one.weight_of(unit) == (100.0 if unit in listed and weight else weight)


@given(st.sets(st.text()), weights)
def test_units_are_read_as_they_are_written(units: set[str], weight: float) -> None:
    """A split with listed units is itself after JSON; without any it is written as earlier releases read it."""
    texts = sorted({text for unit in units if (text := canonical_text(unit)) is not None})
    one = replace(split(weight), units=tuple(texts))
    written = json.loads(json.dumps(encode_traffic_split(one)))
    assert ("units" in written) == bool(texts)
    assert decode_traffic_split(written) == one
    assert not texts or not one.routes_same_as(split(weight))


@pytest.mark.parametrize("units", ["ACME", ["a", "a"], [7], ["7.0"], [""], [None], {"a": 1}, None])
def test_units_that_are_no_list_of_canonical_texts_are_refused(units: object) -> None:
    """The gateway compares canonical texts: another one would match no unit, and nobody would notice."""
    with pytest.raises(ValueError, match="units"):
        decode_traffic_split({**encode_traffic_split(split(10.0)), "units": units})


def test_share_is_the_weight() -> None:
    """Of 20,000 units the share with the candidate is within 0.8 points of the weight."""
    units = [f"unit-{n}" for n in range(20_000)]
    for weight in (1, 5, 25, 50):
        share = sum(assign_arm(split(weight), unit) is Arm.CANDIDATE for unit in units) / len(units) * 100
        assert abs(share - weight) < 0.8


def test_salts_draw_independent_groups() -> None:
    """The 20 % groups of two salts of equal length overlap in about 4 % of the units."""
    units = [f"unit-{n}" for n in range(20_000)]
    both = sum(
        compute_assignment_bucket("salt-a", unit) < 20 and compute_assignment_bucket("salt-b", unit) < 20
        for unit in units
    ) / len(units)
    assert 0.035 < both < 0.045


def test_salt_and_key_do_not_run_together() -> None:
    """Moving a character from the key to the salt gives another place."""
    assert compute_assignment_bucket("ab", "c") != compute_assignment_bucket("a", "bc")


def test_known_places() -> None:
    """The places of three keys never change, because running rollouts rest on them."""
    assert [round(compute_assignment_bucket("salt", key), 6) for key in ("a", "b", "N14228")] == [
        73.733713,
        51.479702,
        32.560527,
    ]
