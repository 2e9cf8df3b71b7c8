"""`python -m bench.routes [--requests N] [--changes N] [--json FILE]`: changes routes under load, checks answers.

Two front workers; callers ask for units without a pause while the candidate's weight grows step by step. Every answer
says under which generation of the route it was given, so each is compared with the version that this very route
assigns to its unit.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.gateway import free_port, running_process
from bench.rollback import save_models
from bench.rolling.callers import FAILED
from bench.rolling.engines import CANDIDATE, CHAMPION, TOKEN
from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.core.assignment import assign_arm
from surefoot.core.domain import Arm, Split, Version

CALLERS, UNITS = 16, 5000


def _routes(models: Path, changes: int) -> list[Split]:
    """A champion alone, then a candidate whose weight grows to everything."""
    old, new = (Version(number, directory_digest(models / number)) for number in (CHAMPION, CANDIDATE))
    return [
        Split(old, new if step else None, 100.0 * step / changes, "salt", "r", step + 1) for step in range(changes + 1)
    ]


def _change(models: Path, folder: Path, requests: int, changes: int) -> list[dict[str, object]]:
    """Change the route under load, and look at every answer."""
    port, file = free_port(), folder / "seen.npz"
    url = f"http://127.0.0.1:{port}"
    splits = _routes(models, changes)
    command = [sys.executable, "-m", "bench.gateway_process", str(folder / "state"), str(models), str(port), "2"]
    with running_process(command, {"OMP_NUM_THREADS": "1"}, f"{url}/version", folder / "gateway.log"):
        traffic = GatewayTraffic(url, TOKEN)
        traffic.shift("u", splits[0])
        caller = [sys.executable, "-m", "bench.rolling.callers", "127.0.0.1", str(port), "/models/u/invocations"]
        with subprocess.Popen([*caller, str(CALLERS), str(file), str(UNITS)]) as callers:
            time.sleep(0.5)
            for number, split in enumerate(splits[1:], 1):
                traffic.shift("u", split)
                due = requests * number / changes
                while _answered(traffic) < due:
                    time.sleep(0.02)
            callers.send_signal(signal.SIGTERM)
    found = np.load(file)
    by_generation = {split.generation: split for split in splits}
    wrong = 0
    first_with_candidate: dict[int, int] = {}
    for unit, version, generation in found["routed"].tolist():
        arm = assign_arm(by_generation[generation], f"{unit:07d}")
        wrong += str(version) != (CANDIDATE if arm is Arm.CANDIDATE else CHAMPION)
        if str(version) == CANDIDATE:
            first_with_candidate[unit] = min(generation, first_with_candidate.get(unit, generation))
    back = sum(
        str(version) == CHAMPION and generation > first_with_candidate.get(unit, generation)
        for unit, version, generation in found["routed"].tolist()
    )
    answered, failed = len(found["routed"]), int((found["seen"][:, 1] == FAILED).sum())
    seen = {generation for _, _, generation in found["routed"].tolist()}
    return [
        _row("requests answered", answered, "requests", f">= {requests}", ok=answered >= requests),
        _row("route changes that callers saw", len(seen) - 1, "changes", f">= {changes}", ok=len(seen) > changes),
        _row("failed", failed, "requests", "<= 0", ok=not failed),
        _row("answered by another version than their route's", wrong, "requests", "<= 0", ok=not wrong),
        _row("units back at the champion", back, "requests", "<= 0", ok=not back),
    ]


def _answered(traffic: GatewayTraffic) -> int:
    versions = cast("dict[str, dict[str, int]]", traffic.stats("u")["versions"])
    return sum(counts["requests"] for counts in versions.values())


def _row(name: str, value: int, unit: str, demand: str, *, ok: bool) -> dict[str, object]:
    return {"name": name, "value": value, "unit": unit, "demand": demand, "ok": ok}


def main() -> int:
    """Print the table; 1 when a row misses its demand."""
    parser = argparse.ArgumentParser(prog="python -m bench.routes", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="requests, at least")
    parser.add_argument("--changes", type=int, default=50, help="route changes")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        models = Path(place) / "models"
        save_models(models)
        rows = _change(models, Path(place), options.requests, options.changes)
    table = Table("what", "value", "unit", "demand", "")
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("name", "value", "unit", "demand")), "ok" if row["ok"] else "MISSED")
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
