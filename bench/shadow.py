"""`python -m bench.shadow [--seconds S] [--rounds N] [--json FILE]`: what a bad shadow costs the champion's callers.

Every request is mirrored. Bursts of load without a shadow and with one alternate; each burst with a shadow is compared
with the mean of its two neighbours without one, and the median of these ratios is what is demanded. Whatever the shadow
had no room for is counted: the parts must add up to what was mirrored, and that to what callers were answered.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from bench.gateway import COLUMNS, TOKEN, Measured, burst, free_port, process, save_models, script
from surefoot.adapters.artifacts import tree_digest
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.core.model import Split, Version

CALLERS = 16
LEAST_THROUGHPUT, MOST_P99 = 0.95, 1.1
NOTES = Console(stderr=True)


def slow(frame: pd.DataFrame) -> object:
    """Burn 30 ms of processor time a row."""
    until = time.process_time() + 0.030 * len(frame)
    while time.process_time() < until:
        pass
    return frame["x0"]


def hanging(frame: pd.DataFrame) -> object:
    """Never come back."""
    time.sleep(3600)
    return frame["x0"]


def crashing(_frame: pd.DataFrame) -> object:
    """End the process."""
    os._exit(7)


HELD: list[bytearray] = []


def leaking(frame: pd.DataFrame) -> object:
    """Keep 20 MB more at every call."""
    HELD.append(bytearray(20 << 20))
    return frame["x0"]


SHADOWS: dict[str, Callable[[pd.DataFrame], object]] = {
    "slow": slow,
    "hanging": hanging,
    "crashing": crashing,
    "leaking": leaking,
}


def save_shadow(path: Path, answer: Callable[[pd.DataFrame], object]) -> None:
    """A pyfunc that is bad at anything but the row that it is warmed with."""
    import mlflow.pyfunc  # noqa: PLC0415 - only this process needs it
    from mlflow.models import infer_signature  # noqa: PLC0415 - same

    class Model(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG002 - MLflow's shape
            return model_input["x0"] if (model_input == 0.0).all(axis=None) else answer(model_input)

    frame = pd.DataFrame({name: [0.5, 1.5] for name in COLUMNS})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            str(path), python_model=Model(), signature=infer_signature(frame), pip_requirements=["pandas"]
        )


class Stage:
    """A gateway whose shadow can be changed."""

    def __init__(self, models: Path, url: str) -> None:
        """Route the champion."""
        self._traffic = GatewayTraffic(url, TOKEN)
        self._models = models
        self._generation = 0
        self._champion = Version("numeric", tree_digest(models / "numeric"))

    def shift(self, shadow: str | None) -> None:
        """Mirror everything to a version, or nothing."""
        self._generation += 1
        version = None if shadow is None else Version(shadow, tree_digest(self._models / shadow))
        mirror = 0.0 if shadow is None else 100.0
        self._traffic.shift("m", Split(self._champion, version, 0.0, "salt", "r", self._generation, mirror))

    def tally(self) -> dict[str, int]:
        """What became of what was mirrored."""
        return dict(self._traffic.stats("m")["shadow"])  # type: ignore[call-overload]

    def champion_requests(self) -> int:
        """Requests that were routed."""
        return int(self._traffic.stats("m")["versions"]["numeric"]["requests"])  # type: ignore[index]


def compare(models: Path, folder: Path, seconds: float, rounds: int) -> list[dict[str, object]]:
    """Bursts with and without each shadow, in turn."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "bench.gateway_process", str(folder / "state"), str(models), str(port), "2"]
    rows: list[dict[str, object]] = []
    lua = script(folder, 1)
    with process(command, {"OMP_NUM_THREADS": "1"}, f"{url}/version", folder / "gateway.log") as server:
        stage = Stage(models, url)
        asked = f"{url}/models/m/invocations"

        def measure(shadow: str | None) -> tuple[Measured, dict[str, int], int]:
            stage.shift(shadow)
            time.sleep(0.3)
            before = stage.champion_requests()
            found = burst(asked, server, lua, CALLERS, seconds)
            time.sleep(0.3)
            tally = stage.tally() if shadow is not None else {}
            return found, tally, stage.champion_requests() - before

        measure(None)  # the first burst is of a cold server
        alone = [measure(None)[0]]
        for name in SHADOWS:
            NOTES.print(f"{name}: {rounds} rounds")
            speeds, tails, drops, wrong, failed = [], [], 0, 0, 0
            for _ in range(rounds):
                found, tally, answered = measure(name)
                alone.append(measure(None)[0])
                near = alone[-2:]
                speeds.append(found.rps / statistics.mean(one.rps for one in near))
                tails.append(found.p99 / statistics.mean(one.p99 for one in near))
                drops += tally["dropped"]
                parts = sum(tally[key] for key in ("answered", "failed", "dropped", "waiting"))
                wrong += abs(tally["mirrored"] - answered) + abs(parts - tally["mirrored"])
                failed += found.failed
            for what, value, unit, demand, ok in (
                ("throughput", statistics.median(speeds), "of that without a shadow", f">= {LEAST_THROUGHPUT}",
                 statistics.median(speeds) >= LEAST_THROUGHPUT),
                ("p99", statistics.median(tails), "of that without a shadow", f"<= {MOST_P99}",
                 statistics.median(tails) <= MOST_P99),
                ("failed", failed, "requests", "<= 0", not failed),
                ("dropped", drops, "requests", "", True),
                ("miscounted", wrong, "requests", "<= 0", not wrong),
            ):  # fmt: skip
                rows.append(
                    {"name": f"{name}: {what}", "value": round(value, 3), "unit": unit, "demand": demand, "ok": ok}
                )
    return rows


def main() -> int:
    """Print the table; 1 when a row misses its demand."""
    parser = argparse.ArgumentParser(prog="python -m bench.shadow", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one burst")
    parser.add_argument("--rounds", type=int, default=5, help="bursts with each shadow")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        models = Path(place) / "models"
        save_models(models)
        for name, answer in SHADOWS.items():
            save_shadow(models / name, answer)
        rows = compare(models, Path(place), options.seconds, options.rounds)
    table = Table("what", "value", "unit", "demand", "")
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("name", "value", "unit", "demand")), "ok" if row["ok"] else "MISSED")
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
