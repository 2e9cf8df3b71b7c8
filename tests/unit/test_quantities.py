"""The numbers of a verdict as pages, tables, plots and sentences write them."""

import math
import re
from dataclasses import replace

import pytest

from surefoot.core.domain import FigureKind, Outcome, Role, Verdict, VerdictFigure
from surefoot.core.judging.judge import judge
from surefoot.core.verdicts.quantities import (
    as_percent,
    describe_accepted,
    describe_details,
    describe_figure,
    describe_measured,
    percentage_points,
    quantity_format,
)
from surefoot.status_page.views.rollout_view import build_gate_row
from tests.unit.test_words import SAID

RATES = Verdict(
    "errors", "error_rate", Outcome.PASS, Role.GUARDRAIL, "", 1_200, 0.0052, -0.0148, 0.0252, 0.02, unit="share"
)


def figure(kind: FigureKind, value: float, unit: str = "") -> VerdictFigure:
    """A number of a verdict."""
    return VerdictFigure(kind, value, unit)


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (0.02, "2 %"),
        (0.0005, "0.05 %"),
        (0.0000123, "0.0012 %"),
        (0.12345, "12.35 %"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.99987, "99.987 %"),
        (0.2, "20 %"),
        (1e-14, "0.000000000001 %"),
    ],
)
def test_a_rate_has_the_digits_that_count(rate: float, said: str) -> None:
    """A rate is in percent with two decimals at most; a small one is not shown as 0, nor nearly all as 100."""
    assert as_percent(rate) == said


def test_a_difference_of_rates_is_in_points_with_its_sign() -> None:
    """What differs is said in points and with its sign, and one point is a point."""
    assert describe_measured(RATES) == "+0.52 points (-1.48 to +2.52)"
    assert describe_accepted(RATES) == "at most +2 points"
    assert describe_accepted(replace(RATES, margin=0.01)) == "at most +1 point"
    assert describe_measured(replace(RATES, estimate=0.0, lower=None)) == "0 points"
    assert percentage_points(-1e-12) == "-0.0000000001"


def test_a_rate_against_a_fixed_limit_is_in_percent() -> None:
    """A candidate's own rate is no difference, so it has no sign and is no number of points."""
    own = replace(
        RATES, estimate=0.05, lower=None, upper=None, figures=(figure(FigureKind.BURN_RATE, 2.5, "times the budget"),)
    )
    assert (describe_measured(own), describe_accepted(own)) == ("5 %", "at most 2 %")
    assert describe_figure(own.figures[0], own) == "2.5 times the budget"
    wrong = replace(own, metric="zero_one", unit="zero_one", figures=(figure(FigureKind.CANDIDATE_LOSS, 0.05),))
    assert describe_measured(wrong) == "5 %"
    assert describe_figure(wrong.figures[0], wrong) == "5 %"
    memory = replace(RATES, metric="gauge", estimate=0.6, lower=None, margin=0.5)
    assert (describe_measured(memory), describe_accepted(memory)) == (
        "60 % of the blocks",
        "at most 50 % of the blocks",
    )


def test_other_numbers_keep_their_own_unit() -> None:
    """Milliseconds, losses and amounts stay what they are; a column named like a unit is no rate."""
    slow = replace(RATES, metric="latency", unit="ms", estimate=-18.18, lower=None, margin=12345.6)
    assert (describe_measured(slow), describe_accepted(slow)) == ("-18.18 ms", "at most +12,346 ms")
    loss = replace(RATES, metric="brier", unit="brier", estimate=-0.01194, lower=-0.02429, upper=-0.001971)
    assert describe_measured(loss) == "-0.01194 Brier (-0.02429 to -0.001971)"
    paid = replace(RATES, metric="value", unit="share", estimate=2.5, lower=None, margin=None)
    assert (describe_measured(paid), describe_accepted(paid)) == ("+2.5 share", "")
    assert describe_figure(figure(FigureKind.CANDIDATE_MEAN, 0.5, "share"), paid) == "0.5 share"
    moved = replace(RATES, metric="input_shift", unit="distance", estimate=0.12, lower=None, margin=0.2)
    assert (describe_measured(moved), describe_accepted(moved)) == ("0.12 of 1", "at most 0.2 of 1")


def test_counts_are_whole_and_say_what_is_counted() -> None:
    """A count has thousands separators and the plural of what it counts."""
    said = [
        describe_figure(figure(FigureKind.CANDIDATE_TRIALS, value, unit), RATES)
        for value, unit in ((3417.0, "request"), (1.0, "request"), (140.0, "unit"), (12.0, "count"))
    ]
    assert said == ["3,417 requests", "1 request", "140 units", "12"]


def test_a_slice_is_shown_in_the_unit_of_its_verdict() -> None:
    """The row of a slice has rates in percent, their difference in points, and counts as they are."""
    row = {"slice": "origin=LGA", "n": 4700, "champion": 0.1866, "candidate": 0.2116, "difference": 0.025, "x": None}
    said = describe_details(row, replace(RATES, metric="zero_one"))
    assert said == (
        "slice: origin=LGA; n: 4,700; champion: 18.66 %; candidate: 21.16 %; difference: +2.5 points; x: None"
    )


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_a_number_that_is_missing_is_not_shown(missing: float | None) -> None:
    """An estimate, an end of an interval or a margin that is no number leaves the rest readable."""
    assert describe_measured(replace(RATES, estimate=missing)) == ""
    assert describe_measured(replace(RATES, upper=missing)) == "+0.52 points"
    assert describe_accepted(replace(RATES, margin=missing)) == ""


def test_no_verdict_of_any_gate_is_shown_in_shares() -> None:
    """What a page shows of a real verdict names no share, and is the journal's number to the digits that it shows."""
    for gate, evidence, level in SAID:
        verdict = judge(gate, evidence, level)
        row = build_gate_row(verdict)
        shown = " ".join([row.measured, row.accepted, *(value for _, value in row.figures), *row.details])
        assert not re.search(r"\d share\b|\d count\b|\d request\b(?<!1 request)|e[+]\d\d", shown), shown
        if verdict.estimate is not None:
            number = float(re.match(r"[+-]?[\d.,]+", row.measured)[0].replace(",", ""))  # type: ignore[index]
            wanted = verdict.estimate * quantity_format(verdict).factor
            assert number == pytest.approx(wanted, rel=0.02, abs=0.006)
