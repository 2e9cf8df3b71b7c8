"""`python -m bench.shadow [--seconds S] [--rounds N] [--json FILE]`: measures how a bad shadow affects callers.

Every request is mirrored. Bursts of load without a shadow and with one alternate; each burst with a shadow is compared
with the mean of its two neighbours without one, and the median of these ratios is what is demanded. Whatever the shadow
had no room for is counted: the parts must add up to what was mirrored, and that to what callers were answered.

Sixteen callers take all of two processors, and a shadow is asked next to nothing then: that this is so is what keeps
the demand. One caller leaves time, and the shadow is asked; those rows tell what that costs, and only its throughput
has a demand there.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pandas as pd
import psutil
from rich.console import Console
from rich.table import Table

from bench.gateway import (
    COLUMNS,
    TOKEN,
    BurstResult,
    free_port,
    run_burst,
    running_process,
    save_models,
    write_wrk_script,
)
from bench.serving.install import find_program
from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.core.domain import Split, Version

_CALLERS = 16
LEAST_THROUGHPUT, MOST_P99 = 0.95, 1.1
_LEAST_BESIDE = 0.8  # while the shadow really computes beside the champion
_NOTES = Console(stderr=True)


def _slow(frame: pd.DataFrame) -> object:
    """Burn 30 ms of processor time a row."""
    until = time.process_time() + 0.030 * len(frame)
    while time.process_time() < until:
        pass
    return frame["x0"]


def _hanging(frame: pd.DataFrame) -> object:
    """Never come back."""
    time.sleep(3600)
    return frame["x0"]


def _crashing(_frame: pd.DataFrame) -> object:
    """End the process."""
    os._exit(7)


HELD: list[bytearray] = []


def _leaking(frame: pd.DataFrame) -> object:
    """Keep 20 MB more at every call."""
    HELD.append(bytearray(20 << 20))
    return frame["x0"]


SHADOWS: dict[str, Callable[[pd.DataFrame], object]] = {
    "slow": _slow,
    "hanging": _hanging,
    "crashing": _crashing,
    "leaking": _leaking,
}


def _save_shadow(path: Path, answer: Callable[[pd.DataFrame], object]) -> None:
    """A pyfunc that is bad at anything but the row that it is warmed with."""
    import mlflow.pyfunc  # noqa: PLC0415 - only this process needs it
    from mlflow.models import infer_signature  # noqa: PLC0415 - same
    from mlflow.pyfunc.model import PythonModel  # noqa: PLC0415 - same

    class Model(PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG002 - MLflow's shape
            return model_input["x0"] if (model_input == 0.0).all(axis=None) else answer(model_input)

    frame = pd.DataFrame({name: [0.5, 1.5] for name in COLUMNS})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            str(path), python_model=Model(), signature=infer_signature(frame), pip_requirements=["pandas"]
        )


class _Stage:
    """A gateway whose shadow can be changed."""

    def __init__(self, models: Path, url: str) -> None:
        """Route the champion."""
        self._traffic = GatewayTraffic(url, TOKEN)
        self._models = models
        self._generation = 0
        self._champion = Version("numeric", directory_digest(models / "numeric"))

    def shift(self, shadow: str | None) -> None:
        """Mirror everything to a version, or nothing."""
        self._generation += 1
        version = None if shadow is None else Version(shadow, directory_digest(self._models / shadow))
        mirror = 0.0 if shadow is None else 100.0
        self._traffic.shift("m", Split(self._champion, version, 0.0, "salt", "r", self._generation, mirror))

    def tally(self) -> dict[str, int]:
        """What became of what was mirrored."""
        return cast("dict[str, int]", self._traffic.stats("m")["shadow"])

    def champion_requests(self) -> int:
        """Requests that were routed."""
        return int(self._traffic.stats("m")["versions"]["numeric"]["requests"])  # type: ignore[index]


@dataclass(frozen=True, slots=True)
class _Bursts:
    """How the gateway is put under load.

    Attributes:
        callers: Connections that ask without a pause [count].
        seconds: Length of a burst [s].
        rounds: Bursts with each shadow [count].
        least: Demanded throughput, of that without a shadow.
        most: Demanded p99, of that without a shadow; infinite for a line that is there to look at.
        asks: Whether there is time for the shadow, so that it must have been asked.
    """

    callers: int
    seconds: float
    rounds: int
    least: float
    most: float = math.inf
    asks: bool = True


@dataclass(slots=True)
class _Seen:
    """What bursts with one shadow were, beside their neighbours without one."""

    speeds: list[float] = field(default_factory=list)
    tails: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def rows(self, what: str, bursts: _Bursts) -> list[dict[str, object]]:
        """What is demanded of them."""
        speed, tail = statistics.median(self.speeds), statistics.median(self.tails)
        unit, count = "of that without a shadow", "requests"
        felt = [
            ("throughput", speed, unit, f">= {bursts.least}", speed >= bursts.least),
            ("p99", tail, unit, f"<= {bursts.most}" if math.isfinite(bursts.most) else "", tail <= bursts.most),
        ]
        counted = [(name, self.counts[name], count, "<= 0", not self.counts[name]) for name in ("failed", "miscounted")]
        asked = self.counts["asked"]
        least = ">= 1" if bursts.asks and not what.startswith("hanging") else ""
        counted.append(("answered, or failed, by the shadow", asked, count, least, not least or asked > 0))
        told = [("dropped", self.counts["dropped"], count, "", True)]
        return [
            {"name": f"{what}: {name}", "value": round(value, 3), "unit": unit, "demand": demand, "ok": ok}
            for name, value, unit, demand, ok in (*felt, *counted, *told)
        ]


class _Load:
    """A gateway under load, with one front worker.

    On two, callers' connections fall by chance, now eight and eight, now sixteen and none, and that changes ten times
    as much as what is measured here.
    """

    def __init__(self, stage: _Stage, server: psutil.Process, url: str, lua: Path) -> None:
        """Ask there."""
        self._stage, self._server, self._url, self._lua = stage, server, url, lua

    def measure(self, shadow: str | None, bursts: _Bursts) -> tuple[BurstResult, dict[str, int], int]:
        """One burst; what became of its mirrored requests, and how many were answered."""
        self._stage.shift(shadow)
        time.sleep(0.3)
        before = self._stage.champion_requests()
        found = run_burst(self._url, self._server, self._lua, bursts.callers, bursts.seconds)
        time.sleep(0.3)
        tally = self._stage.tally() if shadow is not None else {}
        return found, tally, self._stage.champion_requests() - before

    def compare(self, bursts: _Bursts) -> list[dict[str, object]]:
        """Bursts with and without each shadow, in turn."""
        self.measure(None, bursts)  # the first burst is of a cold server
        alone = self.measure(None, bursts)[0]
        rows: list[dict[str, object]] = []
        for name in SHADOWS:
            callers = f"{bursts.callers} caller{'s' if bursts.callers > 1 else ''}"
            _NOTES.print(f"{name}, {callers}: {bursts.rounds} rounds")
            seen = _Seen()
            for _ in range(bursts.rounds):
                found, tally, answered = self.measure(name, bursts)
                before, alone = alone, self.measure(None, bursts)[0]
                _NOTES.print(f"  {_told(found)}; without: {_told(before)}, {_told(alone)}; {tally}", soft_wrap=True)
                seen.speeds.append(found.rps / statistics.mean((before.rps, alone.rps)))
                seen.tails.append(found.p99 / statistics.mean((before.p99, alone.p99)))
                parts = sum(tally[key] for key in ("answered", "failed", "dropped", "waiting"))
                wrong = abs(tally["mirrored"] - answered) + abs(parts - tally["mirrored"])
                asked = tally["answered"] + tally["failed"]
                seen.counts.update(asked=asked, dropped=tally["dropped"], failed=found.failed, miscounted=wrong)
            rows += seen.rows(f"{name}, {callers}", bursts)
        return rows


def _told(one: BurstResult) -> str:
    return f"{one.rps:,.0f}/s, p99 {one.p99:.2f} ms"


def main() -> int:
    """Print the table; 1 when a row misses its demand."""
    parser = argparse.ArgumentParser(prog="python -m bench.shadow", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one burst")
    parser.add_argument("--rounds", type=int, default=17, help="bursts with each shadow")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    find_program("wrk")
    with tempfile.TemporaryDirectory() as place:
        models, port = Path(place) / "models", free_port()
        save_models(models)
        for name, answer in SHADOWS.items():
            _save_shadow(models / name, answer)
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "bench.gateway_process", f"{place}/state", str(models), str(port), "1"]
        with running_process(command, {"OMP_NUM_THREADS": "1"}, f"{url}/version", Path(place, "gateway.log")) as server:
            load = _Load(_Stage(models, url), server, f"{url}/models/m/invocations", write_wrk_script(Path(place), 1))
            rows = load.compare(
                _Bursts(_CALLERS, options.seconds, options.rounds, LEAST_THROUGHPUT, MOST_P99, asks=False)
            )
            rows += load.compare(_Bursts(1, options.seconds, max(options.rounds // 5, 1), _LEAST_BESIDE))
    table = Table("what", "value", "unit", "demand", "")
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("name", "value", "unit", "demand")), "ok" if row["ok"] else "MISSED")
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
