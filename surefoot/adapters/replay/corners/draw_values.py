"""Run as the child process that draws column values with Hypothesis.

Hypothesis mixes constants of loaded modules into what it draws: in a process that loads nothing else the same seed
gives the same values, wherever Surefoot is installed and whatever its own process has loaded.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

_LONGEST_TEXT = 40


def _strategy(kind: str, low: float, high: float) -> "st.SearchStrategy[Any]":
    """Values of a column of one kind.

    Args:
        kind: "number", "whole", "text" or "truth".
        low: Smallest number.
        high: Largest number.
    """
    if kind == "number":
        return st.floats(low, high, allow_nan=False, allow_infinity=False)
    if kind == "whole":
        return st.integers(int(low), int(high))
    return st.booleans() if kind == "truth" else st.text(max_size=_LONGEST_TEXT)


def _draw(columns: Sequence[dict[str, Any]], count: int, number: int, *, several: bool) -> list[dict[str, object]]:
    """Draw changes of columns.

    Args:
        columns: Of each its `name`, `kind`, `low` and `high`.
        count: Changes that are drawn at most [count]; fewer where there are no more.
        number: The seed.
        several: Whether several columns are changed at once.
    """
    found: list[dict[str, object]] = []
    whole = {str(one["name"]): _strategy(one["kind"], one["low"], one["high"]) for one in columns}
    names = st.lists(st.sampled_from(sorted(whole)), min_size=2 if several else 1, unique=True)
    changes = names.flatmap(lambda some: st.fixed_dictionaries({name: whole[name] for name in some}))

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(changes)
    def collect(change: dict[str, object]) -> None:
        if change not in found:
            found.append(change)

    collect()
    return found


def main() -> None:
    """Read what is wanted as JSON from the standard input, and write the values as JSON."""
    made = [
        _draw(one["columns"], one["count"], one["seed"], several=one["several"]) for one in json.loads(sys.stdin.read())
    ]
    sys.stdout.write(json.dumps(made))


if __name__ == "__main__":
    main()
