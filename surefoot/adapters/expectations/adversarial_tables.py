"""Generate tables of extreme values that try to violate every expectation in a suite."""

import ast
import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from surefoot.adapters.expectations import result_wording as words

_TABLE_ROWS = 400
"""Rows of each table [count]: enough for shares of 1 % and for scores of some standard deviations."""
_HUGE_NUMBER = 1e300
"""A number beyond every bound that means something; its square is infinite, its sum over a table is not."""
_OTHER = "a column that no expectation names"
_COLUMN = re.compile(r"""col\(\s*["']([^"']+)["']\s*\)""")


def adversarial_tables(declared: Sequence[Mapping[str, Any]]) -> Iterator[pd.DataFrame]:
    """Tables with the columns that the expectations name, filled with extreme, constant, sorted or missing values.

    Values beside the bounds and the sets of the expectations are among them, so that some table passes each check that
    can pass, and some breaks each that can fail.
    """
    names = sorted({name for item in declared for name in _named(item) if _is_text(name)}) or [_OTHER]
    told = [value for item in declared for value in _values(item.get("kwargs") or {})]
    rising = [float(row) for row in range(_TABLE_ROWS)]
    # First the few that the most kinds of expectations fail on: no column, and columns in the wrong order.
    yield pd.DataFrame({_OTHER: rising})
    for sign in (1.0, -1.0):  # each column lies above, and then below, the one before it
        yield pd.DataFrame({n: [sign * (v + _TABLE_ROWS * place) for v in rising] for place, n in enumerate(names)})
    for cells in (*_numbers(told), *_texts(told), *_moments(told), *_truths()):
        yield pd.DataFrame(dict.fromkeys(names, cells))


def _named(item: Mapping[str, Any]) -> Iterator[str]:
    """Columns that an expectation or its condition speaks of."""
    kwargs = item.get("kwargs") or {}
    yield from words.column_names(kwargs)
    for key in ("column_set", "column_list"):
        yield from (str(name) for name in kwargs.get(key) or () if isinstance(name, str))
    condition = kwargs.get("row_condition")
    if not isinstance(condition, str):
        return
    yield from _COLUMN.findall(condition)
    if kwargs.get("condition_parser") == "pandas":
        yield from re.findall(r"`([^`]+)`", condition)
        try:
            tree = ast.parse(re.sub(r"`[^`]*`", "0", condition), mode="eval")
        except (SyntaxError, ValueError):
            return
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        yield from (n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called)


def _values(value: object) -> Iterator[object]:
    """Every number and text in the settings of an expectation."""
    if isinstance(value, Mapping):
        for inside in value.values():
            yield from _values(inside)
    elif isinstance(value, list | tuple):
        for inside in value:
            yield from _values(inside)
    elif isinstance(value, int | float) or (isinstance(value, str) and _is_text(value)):
        yield value


def _is_text(text: str) -> bool:
    """Whether UTF-8 can hold it; suites may have lone surrogates."""
    return words.replace_unencodable_text(text) == text


def _filled(some: Sequence[Any]) -> list[Any]:
    return [some[row % len(some)] for row in range(_TABLE_ROWS)]


def _numbers(told: Sequence[object]) -> Iterator[list[Any]]:
    known = sorted({float(value) for value in told if isinstance(value, int | float) and abs(value) < _HUGE_NUMBER})
    middles = [(one + other) / 2.0 for one, other in pairwise(known)]
    near = [around for value in known for around in (value - 1.0, value, value + 1.0)]
    yield [-_HUGE_NUMBER + row for row in range(_TABLE_ROWS)]
    yield _filled([-_HUGE_NUMBER])
    yield _filled([_HUGE_NUMBER])
    yield _filled([-_HUGE_NUMBER, _HUGE_NUMBER, 0.5, -0.5, 3.25])
    yield [0.0] * (_TABLE_ROWS - 1) + [1e6]
    yield _filled([0.25])
    yield [None] * (_TABLE_ROWS - 2) + [1.0, 2.0]
    yield [1.0, 2.0, *[float(row) for row in range(_TABLE_ROWS - 2)]]
    yield list(range(_TABLE_ROWS))
    for value in middles[:10]:
        yield _filled([value])
    if near:
        yield _filled(near)


def _texts(told: Sequence[object]) -> Iterator[list[Any]]:
    known = [value for value in told if isinstance(value, str)]
    yield _filled([""])
    yield _filled(["~~~~ ~"])
    yield _filled(["", "zz", "9", " ", "é☃", "~~~~", "-1", "A" * 1000, "{", "00:00"])
    yield [None] * (_TABLE_ROWS - 2) + ["a", "b"]
    yield [f"text {row}" for row in range(_TABLE_ROWS)]
    if known:
        yield _filled(known)
        yield _filled([value + "?" for value in known])


def _moments(told: Sequence[object]) -> Iterator[list[Any]]:
    first, last = dt.datetime(1700, 1, 1), dt.datetime(2250, 1, 1)  # noqa: DTZ001 - columns of moments have no zone
    yield _filled([first])
    yield _filled([last])
    known = []
    for value in told:
        try:
            known.append(dt.datetime.fromisoformat(str(value)).replace(tzinfo=None))
        except ValueError:
            continue
    for value in known[:4]:
        yield _filled([value])


def _truths() -> Iterator[list[Any]]:
    yield _filled([True, False])
    yield _filled([True])
    yield _filled([False])
