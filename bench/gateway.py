"""`python -m bench.gateway [--seconds S] [--rounds N] [--json FILE]`: the gateway beside `mlflow models serve`.

The same pipeline, the same bodies, the same load generator (wrk), in rounds that alternate; medians and ratios. The
gateway routes, logs every answer and keeps the model in processes of its own, as it does in production.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import psutil
from rich.console import Console
from rich.table import Table

from surefoot.adapters.artifacts import tree_digest
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.core.errors import Rejected
from surefoot.core.model import Split, Version

TOKEN = "bench"  # noqa: S105 - of a gateway that lives for a minute
COLUMNS = tuple(f"x{number}" for number in range(20))
NOTES = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Load:
    """One way of asking.

    Attributes:
        name: What it is called.
        callers: Connections that ask without a pause [count].
        rows: Rows of each request [count].
        demand: Least ratio of medians to `mlflow models serve`; 0 for a line that is there to look at.
    """

    name: str
    callers: int
    rows: int
    demand: float


@dataclass(frozen=True, slots=True)
class Case:
    """One model with the loads that it is put under."""

    name: str
    model: str
    loads: tuple[Load, ...]


CASES = (
    Case(
        "numbers, bare",
        "numeric",
        (
            Load("1 caller", 1, 1, 8.0),
            Load("16 callers", 16, 1, 45.0),
            Load("64 callers", 64, 1, 100.0),
            Load("8 callers, 100 rows", 8, 100, 8.0),
        ),
    ),
    Case(
        "numbers, through pyfunc",
        "checked",
        (Load("1 caller", 1, 1, 1.7), Load("16 callers", 16, 1, 15.0), Load("64 callers", 64, 1, 45.0)),
    ),
    Case("forest of 100 trees", "forest", (Load("16 callers", 16, 1, 15.0),)),
)


def save_models(root: Path) -> None:
    """The pipelines: numbers, the same with one optional column (which keeps MLflow's checks), and a forest."""
    import mlflow.sklearn  # noqa: PLC0415 - the parent of the servers needs it once
    from mlflow.models import infer_signature  # noqa: PLC0415 - same
    from mlflow.types import ColSpec, Schema  # noqa: PLC0415 - same
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415 - same
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - same
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - same
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - same

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(2000, len(COLUMNS))), columns=list(COLUMNS))
    late = (frame.sum(axis=1) > 0.0).astype(int)
    signature = infer_signature(frame)
    loose = infer_signature(frame)
    loose.inputs = Schema([ColSpec("double", name, required=name != COLUMNS[-1]) for name in COLUMNS])
    made = {
        "numeric": (make_pipeline(StandardScaler(), LogisticRegression()), signature),
        "checked": (make_pipeline(StandardScaler(), LogisticRegression()), loose),
        "forest": (RandomForestClassifier(100, random_state=0, n_jobs=1), signature),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, (model, known) in made.items():
            mlflow.sklearn.save_model(
                model.fit(frame, late), str(root / name), signature=known, serialization_format="cloudpickle",
                pip_requirements=["scikit-learn"],
            )  # fmt: skip


def body(rows: int) -> str:
    """A request."""
    rng = np.random.default_rng(1)
    data = rng.normal(size=(rows, len(COLUMNS))).round(4).tolist()
    return json.dumps({"dataframe_split": {"columns": list(COLUMNS), "data": data}})


def script(folder: Path, rows: int) -> Path:
    """What wrk sends."""
    path = folder / f"{rows}.lua"
    path.write_text(
        f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [=[{body(rows)}]=]\n"
    )
    return path


def free_port() -> int:
    """A port that nobody has."""
    import socket  # noqa: PLC0415 - only here

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def process(command: Sequence[str], environment: Mapping[str, str], url: str, log: Path) -> Iterator[psutil.Process]:
    """A server that answers; it and its children are ended."""
    with log.open("w") as out:
        started = subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=out)
        found = psutil.Process(started.pid)
        try:
            deadline = time.monotonic() + 180
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(url, timeout=2).status_code < 500:
                        break
                if started.poll() is not None:
                    raise RuntimeError(f"{command[0]} ended: {log.read_text()[-2000:]}")
                time.sleep(0.2)
            yield found
        finally:
            family = [*found.children(recursive=True), found] if found.is_running() else []
            started.terminate()
            _, alive = psutil.wait_procs(family, 10)
            for one in alive:
                one.kill()
            started.wait()


@contextlib.contextmanager
def ours(root: Path, name: str, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Our gateway with one model at 100 %, beside a route that could be changed."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "bench.gateway_process", str(folder / f"state-{name}"), str(root), str(port)]
    with process(command, {"OMP_NUM_THREADS": "1"}, f"{url}/version", folder / f"ours-{name}.log") as found:
        version = Version(name, tree_digest(root / name))
        GatewayTraffic(url, TOKEN).shift("m", Split(version, None, 0.0, "salt", "", 1))
        deadline = time.monotonic() + 60
        while len(found.children()) < 1 and time.monotonic() < deadline:  # the process of the champion
            time.sleep(0.2)
        time.sleep(2.0)
        yield f"{url}/models/m/invocations", found


@contextlib.contextmanager
def mlflow(root: Path, name: str, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """`mlflow models serve` with one worker."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        str(Path(sys.executable).with_name("mlflow")), "models", "serve", "-m", str(root / name), "-p", str(port),
        "--env-manager", "local", "-w", "1",
    ]  # fmt: skip
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with process(
        command, {"OMP_NUM_THREADS": "1", "PATH": programs}, f"{url}/ping", folder / f"mlflow-{name}.log"
    ) as found:
        yield f"{url}/invocations", found


@dataclass(frozen=True, slots=True)
class Measured:
    """One burst of load.

    Attributes:
        rps: Answers [count per second].
        p50: Median latency [ms].
        p99: Latency of the slowest hundredth [ms].
        cpu: Processor time of the server and its children [us per answer].
        failed: Answers that were none [count].
    """

    rps: float
    p50: float
    p99: float
    cpu: float
    failed: int


_UNIT = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def _spent(server: psutil.Process) -> float:
    total = 0.0
    for one in (server, *server.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            total += sum(one.cpu_times()[:2])
    return total


def burst(url: str, server: psutil.Process, lua: Path, callers: int, seconds: float) -> Measured:
    """Put a server under load for some seconds."""
    before = _spent(server)
    command = ["wrk", "-t1", f"-c{callers}", f"-d{seconds:g}s", "--latency", "--timeout", "60s", "-s", str(lua), url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    answers = int(re.search(r"(\d+) requests in", said)[1])  # type: ignore[index]
    rps = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])  # type: ignore[index]
    quantiles = {
        percent: float(value) * _UNIT[unit]
        for percent, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", said)
    }
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    failed = (int(bad[1]) if bad else 0) + (sum(map(int, errors.groups())) if errors else 0)
    cpu = (_spent(server) - before) / max(answers, 1) * 1e6
    return Measured(rps, quantiles["50"], quantiles["99"], cpu, failed)


def compare(case: Case, root: Path, folder: Path, seconds: float, rounds: int) -> list[dict[str, object]]:
    """Both servers with one model, in rounds that alternate."""
    rows = []
    with ours(root, case.model, folder) as mine, mlflow(root, case.model, folder) as theirs:
        for load in case.loads:
            NOTES.print(f"{case.name}: {load.name}")
            lua = script(folder, load.rows)
            found: dict[str, list[Measured]] = {"ours": [], "mlflow": []}
            for _ in range(rounds):
                for name, (url, server) in (("ours", mine), ("mlflow", theirs)):
                    found[name].append(burst(url, server, lua, load.callers, seconds))
            middle = {
                name: {
                    key: statistics.median(getattr(one, key) for one in many) for key in ("rps", "p50", "p99", "cpu")
                }
                for name, many in found.items()
            }
            ratio = middle["ours"]["rps"] / middle["mlflow"]["rps"]
            failed = sum(one.failed for one in found["ours"])
            rows.append(
                {
                    "name": f"{case.name}: {load.name}",
                    "value": round(ratio, 2),
                    "unit": "times the answers of mlflow models serve",
                    "demand": f">= {load.demand:g}" if load.demand else "",
                    "ok": ratio >= load.demand and not failed,
                    "failed": failed,
                    **{f"{name} {key}": round(value, 2) for name, one in middle.items() for key, value in one.items()},
                }
            )
    return rows


def main() -> int:
    """Print the table; 1 when a row misses its demand."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one burst")
    parser.add_argument("--rounds", type=int, default=3, help="bursts of each")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise Rejected("this bench needs wrk: apt-get install wrk")
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_models(folder / "models")
        for case in CASES:
            rows += compare(case, folder / "models", folder, options.seconds, options.rounds)
    table = Table(
        "what", "times", "demand", "", "rps", "p50 ms", "p99 ms", "CPU us", "mlflow rps", "p50", "p99", "CPU us"
    )
    for row in rows:
        numbers = [f"{row[f'{name} {key}']:,}" for name in ("ours", "mlflow") for key in ("rps", "p50", "p99", "cpu")]
        table.add_row(
            str(row["name"]), f"{row['value']}", str(row["demand"]), "ok" if row["ok"] else "MISSED", *numbers
        )
    Console(width=170).print(table)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
