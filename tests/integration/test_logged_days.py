"""Days of the standing watch are counted from the prediction log exactly, as segments and as tables."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from surefoot.adapters.champion_watch.logged_day_counts import LoggedDayCounts
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.champion_watch.day_counts import DAY_S, FIXED_POINT_SCALE, BoundedLabelValue, DayCounts
from surefoot.core.champion_watch.early_signals import SignalKind, compute_champion_signals
from surefoot.core.domain import Outcome

FIRST = 20_000
"""The first day of the log, in days since 1970-01-01."""
LAST = FIRST + 83
PER_DAY = 24
MATURITY = 6 * 3600.0


def request(number: int, day: int, **more: object) -> dict[str, object]:
    """One line of the log: an hour after the one before."""
    at = (FIRST + day) * DAY_S + (number % PER_DAY) * 3600.0
    made: dict[str, object] = {"v": 1, "request": f"r{number}", "row": 0, "model": "m", "at": at, "unit": None}
    made |= {"arm": "champion", "version": "2", "answered_by": "2", "weight": 0.0, "generation": 1, "rollout": ""}
    made |= {"latency_ms": 5.0 + number % 7, "error": None, "prediction": [0.75, 0.25]}
    features = {"hour": number % PER_DAY, "price": float(number % 10), "shop": "ab"[number % 2], "gone": None}
    return {**made, "features": features, **more}


def label(number: int, day: int, value: object, after: float = 3600.0) -> dict[str, object]:
    """What came true of a request."""
    at = (FIRST + day) * DAY_S + (number % PER_DAY) * 3600.0 + after
    return {"v": 1, "request": f"r{number}", "row": 0, "label": value, "at": at, "received": at}


def written(root: Path, requests: list[dict[str, object]], labels: list[dict[str, object]]) -> PredictionLog:
    """A log of these records."""
    (root / "m").mkdir(parents=True)
    for kind, records in (("predictions", requests), ("labels", labels)):
        (root / "m" / f"{kind}-1-1.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    return PredictionLog(root)


def usual() -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Twelve weeks of 24 requests a day, of which a quarter comes true."""
    numbers = [(day * PER_DAY + hour, day) for day in range(LAST - FIRST + 1) for hour in range(PER_DAY)]
    return [request(n, day) for n, day in numbers], [label(n, day, int(n % 4 == 0)) for n, day in numbers]


def counted(log: PredictionLog, **more: Any) -> dict[int, DayCounts]:
    """Days by their number."""
    asked = {"champion": "2", "maturity": MATURITY, "ignored": (), "until": LAST, **more}
    return {one.day: one for one in LoggedDayCounts(log).count_days("m", **asked)}


@pytest.mark.parametrize("compacted", [False, True], ids=["lines", "tables"])
def test_a_day_is_counted_as_by_hand(tmp_path: Path, *, compacted: bool) -> None:
    """Requests, failures, slow answers, labels of age, answers and columns of one odd day are those counted by hand."""
    requests, labels = usual()
    odd = LAST - 3 - FIRST
    mine = [one for one in requests if FIRST + odd == int(float(str(one["at"])) // DAY_S)]
    mine[0] |= {"error": "ValueError: x", "answered_by": "1", "prediction": [0.5, 0.5]}
    mine[1] |= {"version": "3", "answered_by": "3"}
    mine[2] |= {"latency_ms": 50.0}
    mine[3] |= {"prediction": 0.5}
    mine[4] |= {"prediction": "yes"}
    mine[5]["features"] = {"price": "many", "shop": "new"}
    requests.append({**mine[6]})  # asked twice under one id
    first = int(str(mine[0]["request"])[1:])
    labels += [label(first + 7, odd, 1, after=2 * 3600.0), label(first + 8, odd, 1, after=MATURITY + 60.0)]
    log = written(tmp_path, requests, labels)
    if compacted:
        compact_log(tmp_path, "m")
    found = counted(log)
    assert set(found) >= set(range(LAST - 70, LAST + 1))
    day = found[FIRST + odd]
    assert (day.requests, day.tried, day.failed) == (24, 23, 1)
    assert (day.timed, day.slow) == (23, 1)
    assert (day.labelled, day.labels) == (24, 7 * FIXED_POINT_SCALE)  # six of them, and one that was corrected in time
    assert day.scored == 22  # of the champion's 23 one has an answer that is no number
    assert day.expected == round((0.5 + 0.5 + 20 * 0.25) * FIXED_POINT_SCALE)
    assert sum(day.columns["price"]) == sum(day.columns["shop"]) == 25  # columns are those of all records
    assert "hour" not in day.columns
    assert day.columns["shop"][-2:] == (1, 0)  # a text that was not seen before, and none without one
    assert day.columns["price"][-1] == 1


def test_columns_that_are_named_are_left_out(tmp_path: Path) -> None:
    """`except` leaves columns out; one that has never had a value says nothing."""
    found = counted(written(tmp_path, *usual()), ignored=("price",))
    assert set(found[LAST].columns) == {"shop", "prediction"}


def _relabel(labels: list[dict[str, object]], _requests: list[dict[str, object]]) -> None:
    for one in labels:
        if float(str(one["at"])) >= (LAST - 8) * DAY_S:
            one["label"] = 1


def _blank(_labels: list[dict[str, object]], requests: list[dict[str, object]]) -> None:
    for one in requests:
        if float(str(one["at"])) >= (LAST - 8) * DAY_S:
            one["features"] = {**one["features"], "price": None}  # type: ignore[dict-item] # a mapping


@pytest.mark.parametrize(
    ("change", "kind"), [(_relabel, SignalKind.BASE_RATE), (_blank, SignalKind.INPUT)], ids=["labels", "column"]
)
def test_a_fault_in_the_log_is_an_alarm(
    tmp_path: Path, change: Callable[[list[dict[str, object]], list[dict[str, object]]], None], kind: SignalKind
) -> None:
    """Labels that all come true, and a column that is empty, are alarms; the days before them are none."""
    requests, labels = usual()
    log = written(tmp_path / "before", requests, labels)
    quiet = compute_champion_signals(list(counted(log).values()), LAST, LAST - 1, 0.1)
    assert {one.outcome for one in quiet} == {Outcome.PASS}
    change(labels, requests)
    log = written(tmp_path / "after", requests, labels)
    found = compute_champion_signals(list(counted(log).values()), LAST, LAST - 1, 0.1)
    assert kind in {one.kind for one in found if one.outcome is Outcome.FAIL}


def test_an_empty_log_has_no_days(tmp_path: Path) -> None:
    """Without a log nothing is counted, and nothing raises."""
    assert counted(PredictionLog(tmp_path)) == {}


@pytest.mark.parametrize("compacted", [False, True], ids=["lines", "tables"])
@pytest.mark.parametrize("column", ["label", "revenue"])
def test_the_value_of_a_day_is_the_sum_by_hand(tmp_path: Path, column: str, *, compacted: bool) -> None:
    """Values count between their bounds, one that came late or not at all has brought nothing, text is not counted."""
    brought: list[object] = [5.0, 500.0, -50.0, "much", 30, None]
    requests = [request(n, 0) for n in range(len(brought))]
    told = [value if column == "label" else {"revenue": value} for value in brought]
    labels = [label(n, 0, one, after=MATURITY + 60.0 if n == 4 else 60.0) for n, one in enumerate(told) if n != 5]
    log = written(tmp_path, [*requests, request(7, 0, version="1", answered_by="1")], labels)
    if compacted:
        compact_log(tmp_path, "m")
    day = counted(log, until=FIRST, value=BoundedLabelValue(column, -10.0, 90.0))[FIRST]
    # Of six requests one has a text for a value; 5, the cap, the floor, and twice nothing are 0.15, 1, 0 and 0.1 each.
    assert (day.valued, day.value) == (5, round((0.15 + 1.0 + 0.0 + 2 * 0.1) * FIXED_POINT_SCALE))
