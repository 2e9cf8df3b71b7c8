"""Sum integers exactly for each slice and time block."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntegerArray = NDArray[Any]
"""Whole numbers: 64 bits where they surely fit, otherwise Python's own."""
MAX_EXACT_FLOAT = 2**53
"""Whole numbers below are floats without a loss."""
_SURELY_FITS = 2.0**62
"""Sums whose size stays below fit 64 bits, also after the rounding of this estimate."""
_FEW = 4096
"""Rows that are collected before they are added up, at least [count]."""


@dataclass(frozen=True, slots=True)
class SumArrays:
    """Sums of some (slice, time block) cells, one row for each cell.

    Attributes:
        slices: Place of each cell's slice among the names, shape (n,).
        blocks: Number of each cell's block of time, shape (n,).
        counts: Requests of each cell [count], shape (n,).
        champion: Sums over the champion's answers, shape (n, width).
        candidate: The same over the candidate's.
    """

    slices: NDArray[np.int64]
    blocks: NDArray[np.int64]
    counts: NDArray[np.int64]
    champion: IntegerArray
    candidate: IntegerArray

    def __len__(self) -> int:
        """How many cells there are."""
        return len(self.slices)

    def take(self, chosen: Any) -> "SumArrays":
        """Some of the cells, in the order asked for."""
        return SumArrays(
            self.slices[chosen],
            self.blocks[chosen],
            self.counts[chosen],
            self.champion[chosen],
            self.candidate[chosen],
        )


class SumsBySliceAndBlock:
    """Sums by slice and block, to which more can be added.

    Law: the sums are the same in whatever order and cut rows are added.
    """

    def __init__(self) -> None:
        """Start without any cell."""
        self._places: dict[str, int] = {}
        self._added_up: SumArrays | None = None
        self._more: list[SumArrays] = []
        self._waiting = 0

    def add(self, names: Sequence[str], rows: SumArrays) -> None:
        """Add cells.

        Args:
            names: Name of each slice that the rows refer to by its place.
            rows: The cells; several may be of one slice and block.
        """
        if not len(rows):
            return
        places = np.array([self._places.setdefault(name, len(self._places)) for name in names], dtype=np.int64)
        self._more.append(SumArrays(places[rows.slices], rows.blocks, rows.counts, rows.champion, rows.candidate))
        self._waiting += len(rows)
        if self._waiting > max(_FEW, len(self._added_up or ())):
            self._add_up()

    def merge(self, other: "SumsBySliceAndBlock") -> None:
        """Add the cells of other requests."""
        rows = other._add_up()  # noqa: SLF001 - of the same class
        if rows is not None:
            self.add(list(other._places), rows)  # noqa: SLF001 - of the same class

    def by_slice(self) -> Iterator[tuple[str, SumArrays]]:
        """Each slice's name and cells, in the order of names and blocks."""
        rows = self._add_up()
        if rows is None:
            return
        for name in sorted(self._places):
            place = self._places[name]
            first, last = np.searchsorted(rows.slices, [place, place + 1])
            if first < last:
                yield name, rows.take(slice(first, last))

    def largest_sum(self) -> int:
        """Size of the largest sum; 0 without any."""
        rows = self._add_up()
        return 0 if rows is None else max(_size(rows.champion), _size(rows.candidate))

    def _add_up(self) -> SumArrays | None:
        """Give each slice and block one row, in the order of places and blocks; None without any cell."""
        if self._more:
            parts = [*([self._added_up] if self._added_up is not None else []), *self._more]
            self._added_up, self._more, self._waiting = _one_row_a_cell(parts), [], 0
        return self._added_up


def _one_row_a_cell(parts: Sequence[SumArrays]) -> SumArrays:
    """Sum the rows of each slice and block."""
    slices, blocks, counts = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("slices", "blocks", "counts")
    )
    order = np.lexsort((blocks, slices))
    slices, blocks = slices[order], blocks[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (slices[1:] != slices[:-1]) | (blocks[1:] != blocks[:-1])
    first = np.flatnonzero(new)
    sides = []
    for name in ("champion", "candidate"):
        rows = np.concatenate([getattr(part, name) for part in parts])
        if rows.dtype != object and float(np.abs(rows.astype(np.float64)).sum(axis=0).max(initial=0)) >= _SURELY_FITS:
            rows = rows.astype(object)
        sides.append(np.add.reduceat(rows[order], first, axis=0))
    return SumArrays(slices[first], blocks[first], np.add.reduceat(counts[order], first), *sides)


def _size(sums: IntegerArray) -> int:
    """Size of the largest sum."""
    return max(int(sums.max(initial=0)), -int(sums.min(initial=0)))


def group_sums(rows: IntegerArray, group: NDArray[np.int64], groups: int) -> IntegerArray:
    """Sum rows by group, exactly.

    Args:
        rows: Whole numbers, shape (n, width).
        group: Group of each row, shape (n,).
        groups: How many groups there are [count].

    Returns:
        The sums, shape (groups, width).
    """
    if rows.dtype == object or float(np.abs(rows).max(initial=0)) * len(rows) >= MAX_EXACT_FLOAT:
        made = np.zeros((groups, rows.shape[1]), dtype=object)
        np.add.at(made, group, rows)
        return made
    columns = [np.bincount(group, weights=rows[:, column], minlength=groups) for column in range(rows.shape[1])]
    return np.stack(columns, axis=1).astype(np.int64)
