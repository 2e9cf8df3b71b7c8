"""Parts of a log become tables of a bounded size, each part once."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from surefoot.adapters.predictions.log_files import choose_mergeable_parts

MOST = 1_000


@given(counts=st.lists(st.integers(0, 2 * MOST), max_size=40), together=st.integers(2, 8))
def test_merged_tables_are_bounded(counts: list[int], together: int) -> None:
    """No table gets more rows than the most, none is made of one part, and no part goes into two."""
    rows = {Path(f"part-{number}"): count for number, count in enumerate(counts)}
    found = choose_mergeable_parts(rows, together, MOST)
    chosen = [part for parts in found for part in parts]
    assert all(len(parts) > 1 and sum(rows[part] for part in parts) <= MOST for parts in found)
    assert len(set(chosen)) == len(chosen)
    assert chosen == sorted(chosen, key=list(rows).index)
    small = [part for part in rows if 2 * rows[part] <= MOST]
    left = [part for part in small if part not in chosen]
    # Of each so many small parts at most the last can be left alone; the rest waits until there are as many again.
    assert len(left) <= len(small) % together + len(small) // together
