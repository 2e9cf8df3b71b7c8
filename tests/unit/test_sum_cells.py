"""Sums by slice and block: exact, in any order and any cut."""

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from surefoot.adapters.evidence.paired.exact_sums import SumArrays, SumsBySliceAndBlock

_NUMBERS = st.one_of(st.integers(-(10**6), 10**6), st.integers(-(2**62), 2**62), st.integers(-(2**80), 2**80))
_ROW = st.tuples(
    st.sampled_from(["", "origin=LGA", "origin=JFK", "carrier=UA"]),
    st.integers(-3, 3),
    st.integers(1, 2**40),
    st.tuples(_NUMBERS, _NUMBERS),
    st.tuples(_NUMBERS, _NUMBERS),
)
_Row = tuple[str, int, int, tuple[int, int], tuple[int, int]]
_Cells = dict[tuple[str, int], tuple[int, list[int], list[int]]]


def _table(rows: list[_Row]) -> tuple[list[str], SumArrays]:
    names = sorted({row[0] for row in rows}, reverse=True)
    sides = []
    for numbers in ([row[3] for row in rows], [row[4] for row in rows]):
        small = all(abs(number) < 2**63 for pair in numbers for number in pair)
        sides.append(np.array(numbers, dtype=np.int64 if small else object).reshape(len(rows), 2))
    places = np.array([names.index(row[0]) for row in rows], dtype=np.int64)
    blocks, counts = (np.array([row[place] for row in rows], dtype=np.int64) for place in (1, 2))
    return names, SumArrays(places, blocks, counts, *sides)


def _filled(parts: list[list[_Row]]) -> SumsBySliceAndBlock:
    cells = SumsBySliceAndBlock()
    for part in parts:
        cells.add(*_table(part))
    return cells


def _read(cells: SumsBySliceAndBlock) -> _Cells:
    found: _Cells = {}
    for name, rows in cells.by_slice():
        for place, block in enumerate(rows.blocks.tolist()):
            old, new = rows.champion[place].tolist(), rows.candidate[place].tolist()
            found[name, block] = (int(rows.counts[place]), old, new)
    return found


def _by_hand(rows: list[_Row]) -> _Cells:
    found: _Cells = defaultdict(lambda: (0, [0, 0], [0, 0]))
    for name, block, count, old, new in rows:
        known = found[name, block]
        sums = [[a + b for a, b in zip(*pair, strict=True)] for pair in ((known[1], old), (known[2], new))]
        found[name, block] = (known[0] + count, sums[0], sums[1])
    return dict(found)


@given(parts=st.lists(st.lists(_ROW, max_size=12), max_size=6), apart=st.integers(0, 6))
def test_sums_by_slice_and_block_are_exact_in_any_cut(parts: list[list[_Row]], apart: int) -> None:
    """Rows of any size, added in any parts and merged from several tables, give the sums of Python's whole numbers."""
    rows = [row for part in parts for row in part]
    cells = _filled(parts[:apart])
    cells.merge(_filled(parts[apart:]))
    found = _read(cells)
    assert found == _by_hand(rows)
    assert list(found) == sorted(found)
    sums = [number for _, *sides in found.values() for side in sides for number in side]
    assert cells.largest_sum() == max(map(abs, sums), default=0)
