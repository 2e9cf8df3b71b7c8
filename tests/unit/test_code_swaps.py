"""Codes that stand for each other are told by the requests they come with, and by the answers of two versions."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.adapters.served_answers.triage.code_swaps import (
    describe_pairs,
    find_swaps_in_answers,
    find_swaps_in_requests,
    swap_codes,
)

Row = dict[str, Any]
CODES = ["AA", "B6", "DL", "EV", "MQ", "UA"]
ORIGINS = ["EWR", "JFK", "LGA"]


def rows(seed: int, count: int = 1500, *, hotter: float = 0.0) -> list[Row]:
    """Flights whose carriers have their own airports and distances; the weather is its own, and may be hotter."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        place = int(draw.choice(len(CODES), p=[0.2, 0.2, 0.2, 0.2, 0.1, 0.1]))
        made.append(
            {
                "carrier": CODES[place],
                "origin": str(draw.choice(ORIGINS, p=np.roll([0.7, 0.2, 0.1], place))),
                "distance": float(draw.normal(400.0 + 250.0 * place, 150.0)),
                "temp": float(draw.normal(60.0 + hotter, 10.0)) if draw.random() < 0.95 else None,
            }
        )
    return made


def swapped(given_rows: Sequence[Row], pairs: dict[str, str]) -> list[Row]:
    """The rows with codes of the carrier given to each other."""
    return [{**row, "carrier": pairs.get(row["carrier"], row["carrier"])} for row in given_rows]


def both_ways(*pairs: tuple[str, str]) -> dict[str, str]:
    """Pairs of codes in both directions."""
    return {a: b for one, other in pairs for a, b in ((one, other), (other, one))}


@settings(max_examples=15, deadline=None)
@given(st.permutations(CODES), st.integers(0, 3), st.integers(0, 9), st.sampled_from([0.0, 15.0]))
def test_exactly_the_swapped_codes_are_named(order: list[str], count: int, seed: int, hotter: float) -> None:
    """Codes of equal frequency that come with each other's requests are named, no others, also in other weather."""
    pairs = both_ways(*[(order[2 * place], order[2 * place + 1]) for place in range(count)])
    found = find_swaps_in_requests("carrier", rows(seed), swapped(rows(seed + 100, hotter=hotter), pairs))
    assert found == pairs


def test_a_swap_is_undone_by_its_pairs() -> None:
    """The pairs that are found give every request its own code back, and are named once each."""
    pairs = both_ways(("UA", "AA"), ("B6", "DL"))
    plain = rows(1)
    change = swap_codes(pairs)
    assert [{**row, "carrier": change(row["carrier"])} for row in swapped(plain, pairs)] == plain
    assert change(None) is None
    assert describe_pairs(pairs) == "AA and UA, B6 and DL"


def test_few_requests_and_few_codes_name_nothing() -> None:
    """A code with a handful of requests is not compared, and one code alone has none to be swapped with."""
    assert find_swaps_in_requests("carrier", rows(1, 40), swapped(rows(2, 40), both_ways(("AA", "UA")))) == {}
    alone = [{**row, "carrier": "AA"} for row in rows(1)]
    assert find_swaps_in_requests("carrier", alone, alone) == {}
    assert find_swaps_in_requests("carrier", [], rows(2)) == {}


def answers(change: Callable[[Any], Any], scale: float = 1.0) -> Callable[[Sequence[Row]], "np.ndarray | None"]:
    """A version that changes the carrier before it predicts; with another scale it is a somewhat other model."""
    weight = {code: (place * 5) % 6 / 6.0 for place, code in enumerate(CODES)}

    def ask(given_rows: Sequence[Row]) -> "np.ndarray":
        return np.array([scale * weight.get(change(row["carrier"]), 0.0) + row["distance"] / 1e3 for row in given_rows])

    return ask


@pytest.mark.parametrize("pairs", [both_ways(("AA", "B6")), both_ways(("AA", "UA"), ("DL", "MQ")), {}])
def test_codes_that_a_version_takes_for_each_other_are_named(pairs: dict[str, str]) -> None:
    """A version that answers one code as a similar model answers another, and the other way round, is found out."""
    own, good = answers(swap_codes(pairs), 0.9), answers(lambda code: code)
    assert find_swaps_in_answers("carrier", rows(3), own, good) == pairs


def test_a_version_that_cannot_answer_and_free_text_name_nothing() -> None:
    """Without answers, with one code, or with texts that hardly repeat, nothing is named and little is asked."""
    good = answers(lambda code: code)
    assert find_swaps_in_answers("carrier", rows(3), lambda _rows: None, good) == {}
    alone = [{**row, "carrier": "AA"} for row in rows(1)]
    assert find_swaps_in_answers("carrier", alone, good, good) == {}
    texts = [{**row, "carrier": f"text {place}"} for place, row in enumerate(rows(1))]
    assert find_swaps_in_answers("carrier", texts, good, good) == {}
