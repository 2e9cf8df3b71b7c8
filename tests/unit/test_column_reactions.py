"""What a version has wrong about a column is found by asking it again; versions here are plain functions."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from surefoot.adapters.predictions.prediction_log import LoggedRequest
from surefoot.adapters.served_answers.triage.answer_contrast import make_answer_distance
from surefoot.adapters.served_answers.triage.column_reactions import (
    find_column_correction,
    find_harmed_group,
    measure_reactions,
)
from surefoot.adapters.served_answers.triage.column_shifts import column_shifts, undo_column_shift
from surefoot.core.triage.triage_facts import CauseDetail

Row = dict[str, Any]
HOUR = 3600.0
WEIGHT = {"AA": 1.0, "UA": 4.0, "DL": 9.0}


def rows(count: int = 400) -> list[Row]:
    """Requests with a number, an hour, a code and a number that is never known."""
    draw = np.random.default_rng(3)
    return [
        {
            "visib": float(draw.gamma(3.0, 2.0)),
            "hour": float(draw.integers(0, 24)),
            "carrier": str(draw.choice(list(WEIGHT))),
            "delay": None,
        }
        for _ in range(count)
    ]


def truth(row: Row) -> float:
    """What comes true, and what a right version answers."""
    return 2.0 * float(row["visib"]) + abs(float(row["hour"]) - 12.0) + WEIGHT[row["carrier"]]


def wrong(**change: Callable[[Any], Any]) -> Callable[[Row], float]:
    """A version that makes something else of a column before it predicts."""
    return lambda row: truth({**row, **{name: made(row[name]) for name, made in change.items()}})


def losses_of(version: Callable[[Row], float]) -> Callable[[Sequence[Row], Sequence[Any]], "np.ndarray"]:
    """Absolute errors of a version."""
    return lambda given, labels: np.array([abs(version(row) - label) for row, label in zip(given, labels, strict=True)])


@pytest.mark.parametrize(
    ("version", "column", "detail"),
    [
        (wrong(visib=lambda v: v * 1.609344), "visib", CauseDetail.UNIT),
        (wrong(visib=lambda v: v * 100.0), "visib", CauseDetail.UNIT),
        (wrong(hour=lambda v: (v + 4.0) % 24.0), "hour", CauseDetail.HOURS),
        (wrong(carrier=lambda v: {"AA": "DL", "DL": "AA"}.get(v, v)), "carrier", CauseDetail.CODES),
    ],
    ids=["unit", "power of ten", "hours", "codes"],
)
def test_the_change_that_undoes_a_mistake_is_found(
    version: Callable[[Row], float], column: str, detail: CauseDetail
) -> None:
    """A version that takes a column in another unit, hour or code is right again after the opposite change."""
    given = rows()
    labels = [truth(row) for row in given]
    found = find_column_correction(
        losses_of(version), given, labels, losses_of(version)(given, labels), losses_of(truth)
    )
    assert found is not None
    assert (found.column, found.detail) == (column, detail)
    assert found.restored > 0.95


def test_a_mistake_that_labels_hardly_show_is_found_by_the_answers() -> None:
    """Where outcomes vary so much that no loss shows a mistake, the good version's answers tell the change."""
    given, draw = rows(), np.random.default_rng(5)
    labels = [truth(row) + 40.0 * float(draw.normal()) for row in given]
    version = wrong(hour=lambda v: (v + 4.0) % 24.0)

    def ask(version: Callable[[Row], float]) -> Callable[[Sequence[Row]], list[object]]:
        return lambda asked: [version(row) for row in asked]

    distance = make_answer_distance(ask(version), ask(truth))
    worse = losses_of(version)(given, labels) - losses_of(truth)(given, labels) + 1.0
    found = find_column_correction(losses_of(version), given, labels, worse, losses_of(truth), {}, distance)
    assert found is not None
    assert (found.column, found.detail, found.what, found.agrees) == ("hour", CauseDetail.HOURS, "-4 hours", True)
    same = find_column_correction(
        losses_of(truth), given, labels, worse, losses_of(truth), {}, make_answer_distance(ask(truth), ask(truth))
    )
    assert same is None


def test_columns_that_came_well_before_are_not_rescaled() -> None:
    """Of a champion, which took its columns well before, no other unit is tried, though one would lower the loss."""
    given = rows()
    labels = [truth(row) for row in given]
    version = wrong(visib=lambda v: v * 100.0)
    found = find_column_correction(losses_of(version), given, labels, losses_of(version)(given, labels))
    assert found is None or found.column != "visib"
    assert find_column_correction(losses_of(truth), given, labels, np.zeros(len(given)), losses_of(truth)) is None


def test_a_column_that_varies_later_is_no_constant() -> None:
    """A column that has one value in the first requests and others later is asked with its own values only."""
    given: list[Row] = [{**row, "visib": 10.0 if place < 400 else 9.0} for place, row in enumerate(rows(800))]

    def own(asked: Sequence[Row]) -> list[object]:
        return [1e6 if not 9.0 <= row["visib"] <= 10.0 else row["visib"] for row in asked]

    found = measure_reactions(own, own, given)["visib"]
    assert found.commonest == 0.5
    assert found.own < 2.0


def test_a_column_that_is_never_known_and_one_that_is_left_out_are_told() -> None:
    """Answers that depend on a column without values, and answers that do not react where the good version's do."""

    def own(given: Sequence[Row]) -> list[object]:
        return [float(row["visib"]) + (0.0 if row["delay"] is None else 3.0 * row["delay"]) for row in given]

    def good(given: Sequence[Row]) -> list[object]:
        return [truth(row) for row in given]

    found = measure_reactions(own, good, rows())
    assert found["delay"].commonest == 1.0
    assert found["delay"].own > 1.0 > found["delay"].good == 0.0
    assert found["hour"].own == 0.0 < found["hour"].good
    assert found["visib"].own > 0.0


def test_answers_that_are_no_numbers_tell_nothing() -> None:
    """A version that answers words, or fails the rows, has no reactions; a constant one neither."""
    assert measure_reactions(lambda given: ["late"] * len(given), None, rows()) == {}
    assert measure_reactions(lambda _given: None, None, rows()) == {}
    assert measure_reactions(lambda given: [1.0] * len(given), None, rows()) == {}


def test_the_group_with_the_harm_is_found() -> None:
    """The value of a column in whose requests most of the additional loss is; an even loss has no group."""
    given = rows()
    more = [1.0 if row["carrier"] == "UA" else 0.01 for row in given]
    found = find_harmed_group(given, more)
    assert found is not None
    assert (found.column, found.what) == ("carrier", "is UA")
    assert found.explained > 0.9
    assert find_harmed_group(given, [1.0] * len(given)) is None


def logged(given: Sequence[Row], start: float = 0.0) -> list[LoggedRequest]:
    """Requests as the log holds them, one each hour."""
    return [
        LoggedRequest((f"q{place}", 0), start + place * HOUR, "1", "champion", 0.5, dict(row))
        for place, row in enumerate(given)
    ]


@pytest.mark.parametrize(
    ("column", "change", "detail"),
    [
        ("visib", lambda v, _n: v * 0.01, CauseDetail.UNIT),
        ("visib", lambda v, _n: v * 1.8 + 32.0, CauseDetail.UNIT),
        ("visib", lambda _v, _n: 5.5, CauseDetail.FROZEN),
        ("visib", lambda v, n: None if n % 2 else v, CauseDetail.MISSING),
        ("carrier", lambda v, _n: {"AA": "DL", "DL": "AA"}.get(v, v), CauseDetail.CODES),
        ("carrier", lambda v, _n: f"code {v}", CauseDetail.NEW_CODES),
        ("hour", lambda _v, n: (n + 5.0) % 24.0, CauseDetail.HOURS),
        ("hour", lambda _v, _n: 8.0, CauseDetail.FROZEN),
    ],
    ids=["hundredth", "fahrenheit", "frozen", "missing", "codes", "new codes", "hours", "frozen hour"],
)
def test_how_a_column_has_changed_is_told(column: str, change: Callable[[Any, int], Any], detail: CauseDetail) -> None:
    """A column in another unit, with one value, gaps, swapped or new codes, or shifted hours is told as that."""
    codes = ["AA"] * 6 + ["UA"] * 3 + ["DL"]
    given = [{**row, "hour": place % 24.0, "carrier": codes[place % 10]} for place, row in enumerate(rows(480))]
    after = [{**row, column: change(row[column], place)} for place, row in enumerate(given)]
    before, moved = logged(given), logged(after, 480 * HOUR)
    shift = column_shifts(before, moved)[column]
    assert shift.detail is detail
    assert shift.distance > shift.noise
    back = list(undo_column_shift([row.features[column] for row in before], [row[column] for row in after], shift))
    assert back
    assert shift.is_certain == (detail in {CauseDetail.CODES, CauseDetail.HOURS})
    if detail in {CauseDetail.CODES, CauseDetail.HOURS}:
        assert [row[column] for row in given] in back


def test_a_column_of_names_that_are_always_new_has_no_new_codes() -> None:
    """Names that hardly repeat, such as those of customers, are no mistake when later requests have other ones."""
    given = [{**row, "customer": f"c{place}"} for place, row in enumerate(rows(960))]
    shifts = column_shifts(logged(given[:480]), logged(given[480:], 480 * HOUR))
    assert shifts["customer"].detail is not CauseDetail.NEW_CODES


def test_a_column_that_stays_has_not_moved() -> None:
    """The same values in another order are within what chance does, and the hour of the request's own time as well."""
    given = [{**row, "hour": place % 24.0} for place, row in enumerate(rows(480))]
    shifts = column_shifts(logged(given), logged(given, 480 * HOUR))
    assert all(one.distance <= one.noise for one in shifts.values())
    assert "hour" in shifts
