"""`python -m bench.rollback [--times N] [--only ENGINE ...] [--json FILE]`: measures what callers see of rollbacks.

Surefoot's own engines come first: its gateway, and its adapters for HAProxy and for an application that reads alias
champion before each batch; then others for the same job, without Surefoot.

Callers ask without a pause while the candidate has half of the traffic; then it is taken back, many times. Late is a
prediction that the candidate began after the command had returned; the last old answer is measured from the moment
before the command began, for it includes the command. All clocks are the machine's one monotonic clock.
"""

import argparse
import contextlib
import gc
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.rolling.callers import FAILED, OLD
from bench.rolling.engines import (
    CANDIDATE,
    CHAMPION,
    RunningEngine,
    envoy,
    haproxy,
    nginx,
    restarted_mlflow_server,
    surefoot_gateway,
)
from bench.rolling.own_engines import surefoot_alias, surefoot_haproxy
from bench.serving.install import find_program

_ENGINES = {
    "surefoot": surefoot_gateway,
    "surefoot haproxy": surefoot_haproxy,
    "surefoot alias": surefoot_alias,
    "haproxy": haproxy,
    "nginx": nginx,
    "envoy": envoy,
    "mlflow restart": restarted_mlflow_server,
}
"""Surefoot's engines by what its policies name (the first is the gateway), then others for the same job."""
_PROGRAMS = {"surefoot haproxy": "haproxy", "haproxy": "haproxy", "nginx": "nginx", "envoy": "envoy"}
"""What an engine needs to have installed."""
_CALLERS = 16
_SETTLE_S = 0.25
_NOTES = Console(stderr=True)


def save_models(root: Path) -> None:
    """Two versions that answer with the moment when they were asked, the candidate's negative, after a regression."""
    import mlflow.sklearn  # noqa: PLC0415 - only this process needs it
    import pandas as pd  # noqa: PLC0415 - same
    from mlflow.models import infer_signature  # noqa: PLC0415 - same
    from sklearn.base import BaseEstimator  # noqa: PLC0415 - same
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - same

    class Stamp(BaseEstimator):
        """Predicts, and answers with the monotonic clock [s]."""

        def __init__(self, sign: float = 1.0) -> None:
            self.sign = sign

        def fit(self, rows, labels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - scikit-learn's own shape
            self.inner_ = LogisticRegression().fit(rows, labels)
            return self

        def predict(self, rows):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - same
            began = time.monotonic()
            self.inner_.predict(rows)
            return np.full(len(rows), began * self.sign)

    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in (CHAMPION, CANDIDATE):
            model = Stamp(-1.0 if number == CANDIDATE else 1.0).fit(frame, [0, 0, 1, 1])
            mlflow.sklearn.save_model(
                model, str(root / number), signature=infer_signature(frame),
                serialization_format="cloudpickle", pip_requirements=["scikit-learn"],
            )  # fmt: skip


def _watch(engine: RunningEngine, times: int, folder: Path) -> dict[str, float]:
    """Roll back some times under load, and read what the callers saw."""
    file = folder / "seen.npz"
    command = [
        sys.executable, "-m", "bench.rolling.callers", "127.0.0.1", str(engine.port), engine.path, str(_CALLERS),
        str(file),
    ]  # fmt: skip
    engine.start()
    commands = []
    began = time.monotonic()
    with subprocess.Popen(command) as callers:
        time.sleep(1.0)
        for number in range(times):
            if number:
                engine.start()
            time.sleep(_SETTLE_S)
            before = time.monotonic()
            engine.rollback()
            commands.append((before, time.monotonic()))
            time.sleep(_SETTLE_S)
        time.sleep(0.5)
        lasted = time.monotonic() - began
        callers.send_signal(signal.SIGTERM)
    seen = np.load(file)["seen"]
    late, last = 0, []
    for number, (before, after) in enumerate(commands):
        until = commands[number + 1][0] - _SETTLE_S if number + 1 < len(commands) else np.inf
        window = seen[(seen[:, 0] > before - _SETTLE_S) & (seen[:, 0] < after + _SETTLE_S) & (seen[:, 0] < until)]
        old = window[window[:, 1] == OLD]
        late += int((old[:, 2] > after).sum())
        last.append((float(old[:, 0].max()) - before) * 1000.0 if len(old) else float("nan"))
    return {
        "rollbacks": times,
        "requests": len(seen),
        "rps": len(seen) / lasted,
        "late": late,
        "failed": int((seen[:, 1] == FAILED).sum()),
        "last median": statistics.median(last),
        "last max": max(last),
        "command": statistics.median((after - before) * 1000.0 for before, after in commands),
    }


def _most_allowed(engine: str, rollbacks: int) -> dict[str, int]:
    """What an engine may show at most: our gateway late and failing nothing, our others what was under way.

    Without the gateway, a request that HAProxy or the application took before the command returned goes to its end: at
    most one of each caller in each rollback.
    """
    if engine == "surefoot":
        return {"late": 0, "failed": 0, "last max": 50}
    if engine.startswith("surefoot "):
        return {"late": _CALLERS * rollbacks, "failed": _CALLERS * rollbacks}
    return {}


def _min_load(found: dict[str, dict[str, float]]) -> float:
    """How many requests a second our gateway must carry while it rolls back: half of the fastest proxy's in this run.

    A number of its own would be a demand on the machine. 0 where no other proxy took part.
    """
    return max((found[name]["rps"] for name in ("haproxy", "nginx", "envoy") if name in found), default=0.0) / 2.0


def _rows_of(found: dict[str, dict[str, float]]) -> list[dict[str, object]]:
    """What each engine has shown; only ours have demands."""
    rows: list[dict[str, object]] = []
    for name, seen in found.items():
        ours, most_of = name == "surefoot", _most_allowed(name, int(seen["rollbacks"]))
        for key, unit in (
            ("late", "predictions begun after the command"),
            ("failed", "requests"),
            ("last max", "ms from the beginning of the command"),
            ("last median", "ms from the beginning of the command"),
            ("command", "ms"),
        ):
            most = most_of.get(key)
            demand = "" if most is None else f"<= {most}"
            ok = most is None or seen[key] <= most
            rows.append(
                {"name": f"{name}: {key}", "value": round(seen[key], 2), "unit": unit, "demand": demand, "ok": ok}
            )
        least = _min_load(found) if ours else 0.0
        demand = f">= {least:.0f}" if least else ""
        fast = seen["rps"] >= least
        rows.append(
            {"name": f"{name}: load", "value": round(seen["rps"]), "unit": "req/s", "demand": demand, "ok": fast}
        )
    return rows


def main() -> int:
    """Print the table; 1 when a row misses its demand."""
    parser = argparse.ArgumentParser(prog="python -m bench.rollback", description=__doc__)
    parser.add_argument("--times", type=int, default=200, help="rollbacks of ours; the others do a tenth")
    parser.add_argument("--only", nargs="+", choices=list(_ENGINES), default=list(_ENGINES), help="engines to look at")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    for name in options.only:
        if name in _PROGRAMS:
            find_program(_PROGRAMS[name])  # what is missing is known before the first engine runs
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        models = Path(place) / "models"
        save_models(models)
        gc.freeze()  # MLflow is imported here: a collection that walks over it takes longer than what is measured
        for name in options.only:
            times = {"surefoot": options.times, "mlflow restart": 1}.get(name, max(3, options.times // 10))
            folder = Path(place) / name.replace(" ", "-")
            folder.mkdir()
            _NOTES.print(f"{name}: {times} rollback{'s' if times > 1 else ''}")
            with contextlib.ExitStack() as stack:
                found[name] = _watch(stack.enter_context(_ENGINES[name](models, folder)), times, folder)
    table = Table(
        "engine", "rollbacks", "requests", "req/s", "late", "failed", "last old answer ms", "at most", "command ms"
    )
    for name, seen in found.items():
        table.add_row(
            name, f"{seen['rollbacks']}", f"{seen['requests']:,}", f"{seen['rps']:,.0f}", f"{seen['late']}",
            f"{seen['failed']}", f"{seen['last median']:.1f}", f"{seen['last max']:.1f}", f"{seen['command']:.1f}",
        )  # fmt: skip
    Console(width=120).print(table)
    rows = _rows_of(found)
    for row in rows:
        if not row["ok"]:
            Console().print(f"MISSED {row['name']}: {row['value']} {row['unit']}, demanded {row['demand']}")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
