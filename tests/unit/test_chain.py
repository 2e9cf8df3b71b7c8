"""Laws of the canonical bytes and of the hash chain."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from surefoot.adapters.journal.sql_journal import parse_canonical_json
from surefoot.core.errors import InvariantBroken, JournalTampered
from surefoot.core.journal.chain import GENESIS_HASH, Entry, canonical_bytes, check_chain, seal_entry

WHOLE = st.integers(-(2**53) + 1, 2**53 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def _json(numbers: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    leaves = st.none() | st.booleans() | TEXT | numbers
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=8
    )


JSON = _json(WHOLE | FLOATS)
OBJECT = st.dictionaries(TEXT, JSON, max_size=4)
FIELDS = {
    "model": TEXT,
    "seq": st.integers(0, 9),
    "at": FLOATS,
    "wall": FLOATS,
    "actor": TEXT,
    "kind": TEXT,
    "data": OBJECT,
    "previous": st.text("0123456789abcdef", min_size=64, max_size=64),
    "hash": st.text("0123456789abcdef", min_size=64, max_size=64),
}
ENTRY = st.tuples(FLOATS, FLOATS, TEXT, TEXT, OBJECT)


def _chain(bodies: Sequence[tuple[float, float, str, str, dict[str, object]]]) -> list[Entry]:
    entries: list[Entry] = []
    for seq, (at, wall, actor, kind, data) in enumerate(bodies, start=1):
        entries.append(seal_entry("m", seq, at, wall, actor, kind, data, entries[-1].hash if entries else GENESIS_HASH))
    return entries


CHAIN = st.lists(ENTRY, min_size=1, max_size=5).map(_chain)


@given(_json(WHOLE | FLOATS.filter(lambda x: abs(x) < 2**53 or abs(x) >= 1e21)))
def test_canonical_is_stable_under_json(value: object) -> None:
    """Canonical bytes read by any JSON reader canonicalise to the same bytes."""
    assert canonical_bytes(json.loads(canonical_bytes(value))) == canonical_bytes(value)


@given(JSON)
def test_canonical_is_stable_under_the_journals_reader(value: object) -> None:
    """The journal's own reader keeps every float, also those written with all their digits."""
    assert canonical_bytes(parse_canonical_json(canonical_bytes(value).decode())) == canonical_bytes(value)


@given(JSON)
def test_canonical_ignores_the_order_of_keys(value: object) -> None:
    """Two dictionaries that are equal have the same bytes."""
    assert canonical_bytes({"a": 1, "b": value}) == canonical_bytes({"b": value, "a": 1})


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), 2**53, {1: "a"}, {"a": object()}, "\ud800"]
)
def test_what_is_not_json_is_refused(value: object) -> None:
    """NaN, infinities, integers that are no doubles, and foreign objects never reach the journal."""
    with pytest.raises(InvariantBroken, match="journalled"):
        canonical_bytes({"x": [value]})


@given(CHAIN)
def test_an_untouched_chain_checks(entries: list[Entry]) -> None:
    """A chain as it was sealed is accepted and counted."""
    assert check_chain(entries) == len(entries)


@pytest.mark.parametrize("field", FIELDS)
@given(entries=CHAIN, data=st.data())
def test_any_change_of_one_field_is_found(field: str, entries: list[Entry], data: st.DataObject) -> None:
    """Changing any single field of any entry is found, and the entry is named."""
    place = data.draw(st.integers(0, len(entries) - 1), label="place")
    value = data.draw(FIELDS[field], label="value")
    assume(canonical_bytes(value) != canonical_bytes(getattr(entries[place], field)))
    changed: dict[str, Any] = {field: value}
    entries[place] = replace(entries[place], **changed)
    with pytest.raises(JournalTampered, match=rf"entry {place + 1}\b"):
        check_chain(entries)


@given(entries=st.lists(ENTRY, min_size=2, max_size=5).map(_chain), data=st.data())
def test_a_missing_or_moved_entry_is_found(entries: list[Entry], data: st.DataObject) -> None:
    """Taking an entry out, or swapping two, is found at the first place that is wrong; a cut tail is not."""
    place = data.draw(st.integers(0, len(entries) - 2), label="place")
    cut = entries[:place] + entries[place + 1 :]
    swapped = [*entries[:place], entries[place + 1], entries[place], *entries[place + 2 :]]
    for wrong in (cut, swapped):
        with pytest.raises(JournalTampered, match=rf"entry {place + 1} is missing"):
            check_chain(wrong)
    assert check_chain(entries[:-1]) == len(entries) - 1
