"""Count logged requests, labels and column values per day, to detect a declining champion."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import orjson

from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.champion_watch.day_counts import DAY_S, FIXED_POINT_SCALE, BoundedLabelValue, DayCounts
from surefoot.core.champion_watch.early_signals import PAST_DAYS, RECENT_DAYS

_DAYS = PAST_DAYS + max(RECENT_DAYS)
_SAMPLED_ROWS = 1_000
"""Rows of a day whose columns are looked at, drawn by request id [count]."""
_TEXTS = 9
"""Most frequent texts of a column that have a place of their own [count]."""
_CUTS = 9
_LARGEST_SHARE = 0.05
"""Share of values that are no numbers up to which a column is one of numbers."""
_CALENDAR_COLUMNS = frozenset(
    {
        *("year", "month", "day", "hour", "minute", "second", "week", "weekday", "quarter", "season", "date", "time"),
        *("timestamp", "datetime", "dayofweek", "dayofyear", "dayofmonth", "dow", "doy", "weekofyear", "is_weekend"),
    }
)
"""Columns that follow the calendar by their name; their drift says nothing."""
_NUMBER = """
  coalesce(TRY_CAST({of} AS DOUBLE), CASE {of}::VARCHAR WHEN 'true' THEN 1.0 WHEN 'false' THEN 0.0 END,
           CASE WHEN json_type({of}) = 'ARRAY' AND json_array_length({of}) = 2 THEN TRY_CAST({of}->>'$[1]' AS DOUBLE)
                WHEN json_type({of}) = 'ARRAY' AND json_array_length({of}) = 1 THEN TRY_CAST({of}->>'$[0]' AS DOUBLE)
           END)
"""
"""An answer or a label as one number: of two class probabilities the second."""
_RATES_SQL = f"""
  WITH once AS (
    SELECT request, "row", "at", answered_by, version, latency_ms, error, prediction FROM log
    WHERE "at" >= $1 AND "at" < $2 AND version IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY request, "row" ORDER BY "at") = 1
  ), told AS (
    SELECT o.request, o."row", arg_max(l.label, struct_pack(a := l."at", r := coalesce(l.received, 0))) AS label
    FROM once o JOIN labels l ON l.request = o.request AND l."row" = o."row"
    WHERE $3 = 0 OR l."at" <= o."at" + $3 GROUP BY ALL
  ), joined AS (
    SELECT o.*, {_NUMBER.format(of="t.label")} AS label, {_NUMBER.format(of="o.prediction")} AS answer,
           o.version = $4 AS own, <value> AS value
    FROM once o LEFT JOIN told t ON o.request = t.request AND o."row" = t."row"
  ), usual AS (SELECT quantile_cont(latency_ms, 0.9) AS slow FROM joined WHERE own AND "at" < $5)
  SELECT CAST(floor("at" / {DAY_S!r}) AS INTEGER) AS day, count(*), count(*) FILTER (own),
         count(*) FILTER (own AND (error IS NOT NULL OR answered_by IS DISTINCT FROM version)),
         count(*) FILTER (own AND latency_ms > (SELECT slow FROM usual)), count(latency_ms) FILTER (own),
         count(label), coalesce(CAST(round(sum(label) * {FIXED_POINT_SCALE}) AS HUGEINT), 0),
         count(*) FILTER (own AND label IS NOT NULL AND answer IS NOT NULL),
         coalesce(CAST(round(sum(label) FILTER (own AND answer IS NOT NULL) * {FIXED_POINT_SCALE}) AS HUGEINT), 0),
         coalesce(CAST(round(sum(answer) FILTER (own AND label IS NOT NULL) * {FIXED_POINT_SCALE}) AS HUGEINT), 0),
         count(value) FILTER (own), coalesce(CAST(round(sum(value) FILTER (own) * {FIXED_POINT_SCALE}) AS HUGEINT), 0)
  FROM joined GROUP BY day
"""  # noqa: S608 - constants
_SAMPLE_SQL = f"""
  SELECT CAST(floor("at" / {DAY_S!r}) AS INTEGER) AS day, version = $3 AS own, features, prediction FROM log
  WHERE "at" >= $1 AND "at" < $2 AND features IS NOT NULL
  QUALIFY row_number() OVER (PARTITION BY floor("at" / {DAY_S!r}) ORDER BY hash(request), "row") <= {_SAMPLED_ROWS}
"""  # noqa: S608 - constants


class LoggedDayCounts:
    """Counts requests, failures, labels and column values for each of the latest days of the prediction log."""

    def __init__(self, log: PredictionLog) -> None:
        """Remember the log."""
        self._log = log

    def count_days(
        self,
        model: str,
        champion: str,
        maturity: float,
        ignored: Sequence[str],
        until: int,
        value: BoundedLabelValue | None = None,
    ) -> tuple[DayCounts, ...]:
        """Count each of the latest days.

        Args:
            model: Registered model.
            champion: Number of the version that serves.
            maturity: Age at which a label counts [seconds]; 0 takes whatever is known.
            ignored: Columns that are left out, beside those of the calendar.
            until: The last day, in days since 1970-01-01 UTC; the days before it reach back as far as signals need.
            value: The value that comes with the labels; None for none.

        Raises:
            EvidenceUnavailable: The log cannot be read.
        """
        first = until - _DAYS - int(maturity // DAY_S) - 1
        window = (first * DAY_S, (until + 1) * DAY_S)
        past = (until + 1 - max(RECENT_DAYS)) * DAY_S
        sql = _RATES_SQL.replace("<value>", _value_sql(value))
        rates = self._log.query_rows(model, sql, (*window, maturity, champion, past))
        columns = self._columns(model, champion, window, ignored, until - max(RECENT_DAYS))
        names = [field.name for field in fields(DayCounts) if field.name != "columns"]
        made = []
        for row in rates:
            counts: dict[str, Any] = {name: int(str(cell)) for name, cell in zip(names, row, strict=True)}
            made.append(DayCounts(**counts, columns=columns.get(counts["day"], {})))
        return tuple(made)

    def _columns(
        self, model: str, champion: str, window: tuple[float, float], ignored: Sequence[str], past: int
    ) -> dict[int, dict[str, tuple[int, ...]]]:
        """Places of the sampled rows by day and column; cuts are those of the days up to `past`."""
        rows = self._log.query_rows(model, _SAMPLE_SQL, (*window, champion))
        values: dict[str, list[tuple[int, object]]] = defaultdict(list)
        for day, own, features, prediction in rows:
            number = int(str(day))
            if own and (answer := _answer(prediction)) is not None:
                values["prediction"].append((number, answer))
            found = _parsed(features)
            for name, value in found.items() if isinstance(found, dict) else ():
                if name not in ignored and not is_calendar_column(name) and name != "prediction":
                    values[name].append((number, value))
        made: dict[int, dict[str, tuple[int, ...]]] = defaultdict(dict)
        for name, pairs in values.items():
            for day, counts in _place(pairs, past).items():
                made[day][name] = counts
        return made


def _value_sql(value: BoundedLabelValue | None) -> str:
    """Where a request's value lies between its bounds, 0 to 1; one without a label has brought nothing."""
    if value is None:
        return "NULL::DOUBLE"
    path = "t.label" if value.column == "label" else f"json_extract(t.label, '$.\"{value.column}\"')"
    number = f"TRY_CAST({path} AS DOUBLE)"
    share = f"least(greatest(({number} - {value.floor!r}) / {value.cap - value.floor!r}, 0), 1)"
    nothing = min(max(-value.floor / (value.cap - value.floor), 0.0), 1.0)
    return f"CASE WHEN t.label IS NULL THEN {nothing!r} WHEN isfinite({number}) THEN {share} END"


def is_calendar_column(name: str) -> bool:
    """Whether a column's name says that it holds a date or time, so that its drift is expected."""
    return name.lower().replace("-", "_") in _CALENDAR_COLUMNS


def _parsed(text: object) -> object:
    try:
        return orjson.loads(str(text))
    except orjson.JSONDecodeError:
        return None


def _answer(text: object) -> float | str | None:
    """An answer as one value: of two class probabilities the second."""
    found = _parsed(text) if text is not None else None
    if isinstance(found, list) and 1 <= len(found) <= 2:  # noqa: PLR2004 - one value, or the probabilities of no and yes
        found = found[-1]
    return found if isinstance(found, int | float | str) else None


def _place(pairs: Sequence[tuple[int, object]], past: int) -> Mapping[int, tuple[int, ...]]:
    """Count the values of a column by day and place; the last place has no value."""
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    days = np.array([day for day, _ in pairs])
    values = pd.Series([value for _, value in pairs], dtype=object)
    empty = values.isna().to_numpy()
    numbers = pd.to_numeric(values.where(values.map(lambda one: isinstance(one, int | float))), errors="coerce")
    known = ~numbers.isna().to_numpy()
    before = days <= past
    if (~known & ~empty).sum() <= _LARGEST_SHARE * max((~empty).sum(), 1):
        some = numbers[known & before].to_numpy(dtype=float)
        if not len(some):
            return {}
        # Beyond the smallest and the largest value of the past are places of their own: another unit is no cold week.
        cuts = np.unique(np.quantile(some, np.linspace(0.0, 1.0, _CUTS + 2)))
        # A value that many rows share is a place of its own: it neither hides in a wider one nor moves to the next.
        places = 2 * np.searchsorted(cuts, numbers.to_numpy(dtype=float, na_value=0.0))
        exact = np.isin(numbers.to_numpy(dtype=float, na_value=np.nan), cuts)
        places, count = np.where(exact, places + 1, places), 2 * len(cuts) + 1
        empty = ~known
    else:
        texts = values.map(lambda one: None if one is None else str(one))
        common = [text for text, _ in Counter(texts[before & ~empty]).most_common(_TEXTS)]
        index = {text: place for place, text in enumerate(common)}
        places, count = np.array([index.get(text, len(common)) for text in texts]), len(common) + 1
    places = np.where(empty, count, places).astype(int)
    made = {}
    for day in np.unique(days):
        made[int(day)] = tuple(int(n) for n in np.bincount(places[days == day], minlength=count + 1))
    return made
