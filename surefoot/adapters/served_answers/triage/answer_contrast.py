"""Compare a suspect version's answers with a good version's, to find category codes that it confuses."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from surefoot.adapters.served_answers.triage.code_swaps import describe_pairs, find_swaps_in_answers
from surefoot.adapters.served_answers.triage.column_reactions import (
    AnswerDistance,
    Row,
    ScoreRows,
    answer_numbers,
)
from surefoot.core.triage.triage_facts import ConfusedCodes

if TYPE_CHECKING:
    import numpy as np


def make_answer_distance(own: ScoreRows, good: ScoreRows) -> AnswerDistance:
    """Give a function that measures how far a version's answers to changed rows are from the good version's answers.

    Args:
        own: Asks the version on trial.
        good: Asks the good version.
    """
    reference: dict[int, np.ndarray | None] = {}

    def distance(changed: Sequence[Row], rows: Sequence[Row]) -> "np.ndarray | None":
        if (key := id(rows)) not in reference:  # the same two lists of rows are asked again with each change
            reference[key] = answer_numbers(good, rows)
        answers, other = answer_numbers(own, changed), reference[key]
        return None if answers is None or other is None else (answers - other) ** 2

    return distance


def find_swapped_codes_by_column(own: ScoreRows, good: ScoreRows, rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """Find, for each column of texts, the codes that one version answers as the other one answers each other's.

    Args:
        own: Asks the version on trial.
        good: Asks the good version.
        rows: Rows of requests.
    """
    names = dict.fromkeys(name for row in rows for name in row if isinstance(row.get(name), str))
    ask_own, ask_good = (partial(answer_numbers, ask) for ask in (own, good))
    return {name: find_swaps_in_answers(name, rows, ask_own, ask_good) for name in names}


def find_confused_codes(swaps: Mapping[str, Mapping[str, str]], rows: Sequence[Row]) -> ConfusedCodes | None:
    """The column whose swapped codes most rows have; None where no codes are taken for each other.

    Args:
        swaps: Swapped codes of each column.
        rows: Rows of requests.
    """
    found = [
        (sum(row.get(name) in pairs for row in rows) / len(rows), name, describe_pairs(pairs))
        for name, pairs in swaps.items()
        if pairs
    ]
    if not found:
        return None
    share, name, what = max(found)
    return ConfusedCodes(name, what, share)
