"""Inject one of twelve causes of incidents into recorded flights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bench.triaging.flight_versions import LEAKED, FlightVersions
from surefoot.core.triage.triage import Cause
from surefoot.core.triage.triage_facts import CauseDetail
from surefoot.demo.flight_requests import FEATURES, fill_gaps

_Frame = pd.DataFrame
_Change = Callable[[_Frame], _Frame]
_Draw = np.random.Generator

_HARMFUL = 0.02
"""Smallest rise of the mean Brier loss that makes an incident: beyond the margin of the demo's gates."""
_DRAWS = 60
"""How often a size is drawn until it does harm [count]."""


@dataclass
class InjectedIncident:
    """One incident, and what caused it.

    Attributes:
        number: The version that was taken back.
        trial: Whether it was on trial.
        causes: Causes that are right to name.
        details: Details that are right to name; any where empty.
        column: The column that is right to name; any where empty.
        requests: What becomes of the requests after the onset.
        labels: What becomes of the labels after the onset, of requests and labels.
        answers: What becomes of the logged answers after the onset.
        latency: By what the latency is multiplied after the onset.
        memory_mb: Memory of the process after the onset [MB].
        error: What the version fails with; empty where it fails only what it cannot take.
        failing: Share of the requests that it fails so [fraction].
        damaged: Whether the host's copy of its files is damaged.
        too_slow: Whether a gate of latency has decided.
        too_large: Whether a gate of memory has decided.
        said: What was injected, in words.
    """

    number: str = "2"
    trial: bool = False
    causes: tuple[Cause, ...] = ()
    details: tuple[CauseDetail, ...] = ()
    column: str = ""
    requests: _Change = lambda rows: rows
    labels: Callable[[_Frame, "np.ndarray"], "np.ndarray"] = lambda _rows, labels: labels
    answers: Callable[["np.ndarray"], "np.ndarray"] = lambda answers: answers
    latency: float = 1.0
    memory_mb: float = 320.0
    error: str = ""
    failing: float = 0.0
    damaged: bool = False
    too_slow: bool = False
    too_large: bool = False
    said: str = ""


@dataclass
class IncidentScene:
    """The requests around the onset, and the versions.

    Attributes:
        versions: The versions.
        after: Requests after the onset, as they were.
        draw: Draws sizes and columns.
    """

    versions: FlightVersions
    after: _Frame
    draw: _Draw
    _base: float = field(default=-1.0)

    def harm(self, change: _Change) -> float:
        """By how much the mean Brier loss of version 2 rises when the requests after the onset change so."""
        if self._base < 0.0:
            self._base = self._loss(self.after)
        return self._loss(change(self.after)) - self._base

    def _loss(self, rows: _Frame) -> float:
        scores = self.versions.answers("2", rows[list(FEATURES)])[:, 1]
        return float(np.mean((scores - rows["late"].to_numpy(float)) ** 2))

    def harmful(self, draws: Iterator[tuple[str, str, _Change]]) -> tuple[str, str, _Change]:
        """The first of several changes that does harm, or the one that does most."""
        tried = []
        for _, (said, column, change) in zip(range(_DRAWS), draws, strict=False):
            harm = self.harm(change)
            if harm >= _HARMFUL:
                return said, column, change
            tried.append((harm, said, column, change))
        return max(tried, key=lambda one: one[0])[1:]


def _in_requests_or_version(
    scene: IncidentScene,
    place: int,
    found: tuple[str, str, _Change],
    detail: CauseDetail,
    trial: tuple[CauseDetail, ...],
) -> InjectedIncident:
    """The same mistake in the requests of a champion, or in the preprocessing of a version on trial."""
    said, column, change = found
    if place % 2 == 0:
        made = InjectedIncident(causes=(Cause.FEATURE,), details=(detail,), column=column, requests=change)
    else:
        number = scene.versions.keep_faulty(change)
        made = InjectedIncident(number=number, trial=True, causes=(Cause.ENCODING,), details=trial, column=column)
    made.said = f"{said} ({'in the requests' if place % 2 == 0 else 'in the version'})"
    return made


def _converted(name: str, factor: float, offset: float) -> _Change:
    return lambda rows: rows.assign(**{name: rows[name] * factor + offset})


def _fixed(name: str, value: float) -> _Change:
    return lambda rows: rows.assign(**{name: value})


def _replaced(name: str, pairs: dict[str, str]) -> _Change:
    return lambda rows: rows.assign(**{name: rows[name].replace(pairs)})


def _shifted(step: float) -> _Change:
    return lambda rows: rows.assign(hour=(rows["hour"] + step) % 24.0)


_UNITS = {
    "temp": (1.0 / 1.8, -32.0 / 1.8, "Celsius for Fahrenheit"),
    "dewp": (1.0 / 1.8, -32.0 / 1.8, "Celsius for Fahrenheit"),
    "pressure": (100.0, 0.0, "pascal for hectopascal"),
    "visib": (1.609344, 0.0, "kilometres for miles"),
    "distance": (1.609344, 0.0, "kilometres for miles"),
    "humid": (0.01, 0.0, "a fraction for percent"),
    "delay_airport": (60.0, 0.0, "seconds for minutes"),
    "delay_carrier": (60.0, 0.0, "seconds for minutes"),
}


def _unit_change(scene: IncidentScene, place: int) -> InjectedIncident:
    """One column comes in another unit."""
    names = [name for name in _UNITS if name in FEATURES]

    def draws() -> Iterator[tuple[str, str, _Change]]:
        while True:
            name = str(scene.draw.choice(names))
            factor, offset, what = _UNITS[name]
            yield (
                f"{name} in {what}",
                name,
                _converted(name, factor, offset),
            )

    return _in_requests_or_version(scene, place, scene.harmful(draws()), CauseDetail.UNIT, (CauseDetail.UNIT,))


def _frozen_feed(scene: IncidentScene, place: int) -> InjectedIncident:
    """One column keeps the value that it had at the onset."""
    names = ["hour", "delay_airport", "delay_carrier", "pressure", "dewp", "temp", "humid"]

    def draws() -> Iterator[tuple[str, str, _Change]]:
        while True:
            name = str(scene.draw.choice(names))
            value = float(scene.after[name].dropna().iloc[int(scene.draw.integers(200))])
            yield f"{name} stays {value:g}", name, _fixed(name, value)

    return _in_requests_or_version(scene, place, scene.harmful(draws()), CauseDetail.FROZEN, (CauseDetail.IGNORED,))


def _swapped_codes(scene: IncidentScene, place: int) -> InjectedIncident:
    """The codes of one column are given to each other."""

    def draws() -> Iterator[tuple[str, str, _Change]]:
        while True:
            name = str(scene.draw.choice(["carrier", "origin", "dest"]))
            frequent = list(scene.after[name].value_counts().index[:8])
            drawn = list(scene.draw.permutation(frequent))
            pairs = {
                a: b
                for one, other in zip(drawn[::2], drawn[1::2], strict=False)
                for a, b in ((one, other), (other, one))
            }
            said = ", ".join(f"{a} and {b}" for a, b in pairs.items() if a < b)
            yield f"{name}: {said}", name, _replaced(name, pairs)

    return _in_requests_or_version(scene, place, scene.harmful(draws()), CauseDetail.CODES, (CauseDetail.CODES,))


def _missing_imputer(scene: IncidentScene, _place: int) -> InjectedIncident:
    """The version cannot take a gap, and gaps come."""
    name = str(scene.draw.choice(["pressure", "seats", "plane_age", "visib", "humid"]))
    share = float(scene.draw.uniform(0.03, 0.3))
    gaps = scene.draw.random(len(scene.after)) < share

    def change(rows: _Frame) -> _Frame:
        return fill_gaps(rows).assign(**{name: fill_gaps(rows)[name].where(~gaps[: len(rows)])})

    return InjectedIncident(
        number="3", trial=bool(scene.draw.random() < 0.5), causes=(Cause.CONTRACT,), details=(CauseDetail.MISSING,),
        column=name, requests=change, said=f"{name} is missing in {share:.0%}",
    )  # fmt: skip


def _time_zone(scene: IncidentScene, place: int) -> InjectedIncident:
    """The hour is that of another time zone."""

    def draws() -> Iterator[tuple[str, str, _Change]]:
        while True:
            step = float(scene.draw.choice([-8, -6, -5, -4, -3, 3, 4, 5, 6, 8]))
            yield f"hour {step:+g}", "hour", _shifted(step)

    return _in_requests_or_version(scene, place, scene.harmful(draws()), CauseDetail.HOURS, (CauseDetail.HOURS,))


def _leak(_scene: IncidentScene, _place: int) -> InjectedIncident:
    """The version was trained with a column that is not known when the request comes."""
    return InjectedIncident(
        number="4", trial=True, causes=(Cause.TIMING,), column=LEAKED,
        requests=lambda rows: rows.assign(**{LEAKED: np.nan}), said=f"trained with {LEAKED}, which is never known",
    )  # fmt: skip


def _slow_dependency(scene: IncidentScene, place: int) -> InjectedIncident:
    """What the version waits for answers late."""
    times = float(scene.draw.uniform(2.0, 20.0))
    return InjectedIncident(
        trial=place % 2 == 1, causes=(Cause.RESOURCES,), details=(CauseDetail.SLOW,), latency=times, too_slow=True,
        said=f"{times:.0f} times as slow",
    )  # fmt: skip


def _memory(scene: IncidentScene, place: int) -> InjectedIncident:
    """The version's process grows, until a gate sees it or its requests fail."""
    size = float(scene.draw.uniform(600.0, 4000.0))
    made = InjectedIncident(
        trial=place % 2 == 1, causes=(Cause.RESOURCES,), details=(CauseDetail.MEMORY,), memory_mb=size
    )
    if place % 3 == 0:
        made.too_large, made.said = True, f"{size:.0f} MB, seen by a gate"
    elif place % 3 == 1:
        made.too_slow, made.latency, made.said = True, 3.0, f"{size:.0f} MB, and slow from it"
    else:
        made.failing = float(scene.draw.uniform(0.02, 0.3))
        made.error = str(scene.draw.choice(["MemoryError: ", "ProcessDied: the model's process died (signal 9)"]))
        made.said = f"{size:.0f} MB, {made.failing:.0%} fail"
    return made


def _damaged_artifact(_scene: IncidentScene, place: int) -> InjectedIncident:
    """A byte of the version's files on this host is another one."""
    return InjectedIncident(
        trial=place % 2 == 1, causes=(Cause.ARTIFACT,), damaged=True, said="a byte of the model file"
    )


def _wrong_environment(scene: IncidentScene, place: int) -> InjectedIncident:
    """The gateway's environment computes other answers than the version's own."""
    share, by = float(scene.draw.uniform(0.1, 1.0)), float(scene.draw.uniform(0.05, 0.5))

    def online(answers: "np.ndarray") -> "np.ndarray":
        late = answers[:, 1].copy()
        hit = scene.draw.random(len(late)) < share
        late[hit] = np.clip(late[hit] + by * (0.5 - late[hit]), 0.0, 1.0)
        return np.column_stack([1.0 - late, late])

    return InjectedIncident(
        trial=place % 2 == 1, causes=(Cause.SERVING,), answers=online, said=f"{share:.0%} of the answers"
    )


def _label_feed(scene: IncidentScene, place: int) -> InjectedIncident:
    """The labels are inverted, all of one value, or those of other requests."""
    kind = ("inverted", "one value", "other requests")[place % 3]

    def labels(_rows: _Frame, known: "np.ndarray") -> "np.ndarray":
        if kind == "inverted":
            return 1.0 - known
        return np.ones_like(known) if kind == "one value" else scene.draw.permutation(known)

    detail = (CauseDetail.INVERTED, CauseDetail.CONSTANT, CauseDetail.UNRELATED)[place % 3]
    return InjectedIncident(causes=(Cause.LABELS,), details=(detail,), labels=labels, said=kind)


def _real_drift(scene: IncidentScene, place: int) -> InjectedIncident:
    """The outcome of some flights changes, or the flights themselves do."""
    evening = float(scene.draw.integers(12, 18))
    share = float(scene.draw.uniform(0.3, 0.6))
    origins = [str(one) for one in scene.draw.choice(["EWR", "JFK", "LGA"], 2, replace=False)]

    def labels(rows: _Frame, known: "np.ndarray") -> "np.ndarray":
        hit = rows["origin"].isin(origins) if place % 2 else rows["hour"] >= evening
        made = known.copy()
        made[hit.to_numpy() & (scene.draw.random(len(made)) < share)] = 1.0
        return made

    where = " and ".join(origins) if place % 2 else f"from {evening:g} o'clock on"
    said = f"{share:.0%} more late {where}"
    return InjectedIncident(causes=(Cause.RELATION, Cause.INPUTS), labels=labels, said=said)


CAUSES: dict[str, tuple[Callable[[IncidentScene, int], InjectedIncident], str]] = {
    "unit change": (_unit_change, "frozen feed"),
    "frozen feed": (_frozen_feed, "unit change"),
    "swapped codes": (_swapped_codes, "time zone"),
    "time zone": (_time_zone, "swapped codes"),
    "missing imputer": (_missing_imputer, "memory"),
    "leak": (_leak, "wrong environment"),
    "slow dependency": (_slow_dependency, "memory"),
    "memory": (_memory, "slow dependency"),
    "damaged artifact": (_damaged_artifact, "wrong environment"),
    "wrong environment": (_wrong_environment, "damaged artifact"),
    "label feed": (_label_feed, "real drift"),
    "real drift": (_real_drift, "label feed"),
}
"""Each cause, and the one that looks most like it."""
