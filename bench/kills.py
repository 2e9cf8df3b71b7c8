"""`python -m bench.kills [--times N] [--json FILE]`: kills each process of the gateway under load, many times.

Callers ask without a pause while the candidate has half of the traffic. Lost is a request without an answer: refused,
cut off, or answered by an error. Only what a killed front worker was at may be lost; at most one request a connection.
Every request that was acknowledged must be in the log afterwards, whatever was killed.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import orjson
import psutil
from rich.console import Console
from rich.table import Table

from bench.gateway import free_port
from bench.rollback import save_models
from bench.rolling.callers import FAILED
from bench.rolling.engines import CANDIDATE, CHAMPION, TOKEN
from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.core.domain import Split, Version

_CALLERS = 16
_PAUSE_S = 0.3
_VICTIMS = ("model of the champion", "model of the candidate", "forkserver", "supervisor", "front worker")


class _Stack:
    """A gateway with two front workers, whose processes are known by what they do."""

    def __init__(self, models: Path, folder: Path) -> None:
        """Start it and route half of the traffic to the candidate."""
        self.port = free_port()
        self._log = (folder / "gateway.log").open("wb")
        self._command = [
            sys.executable, "-m", "bench.gateway_process", str(folder / "state"), str(models), str(self.port), "2",
        ]  # fmt: skip
        self._supervisors: list[subprocess.Popen[bytes]] = []
        self.begin()
        number = {name: Version(name, directory_digest(models / name)) for name in (CHAMPION, CANDIDATE)}
        split = Split(number[CHAMPION], number[CANDIDATE], 50.0, "salt", "r", 1)
        GatewayTraffic(f"http://127.0.0.1:{self.port}", TOKEN).shift("m", split)

    def begin(self) -> None:
        """Start a supervisor, and wait until it has its own workers."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._supervisors.append(subprocess.Popen(self._command, env=environment, stdout=self._log, stderr=self._log))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if len(self.workers()) == 2:
                    httpx.get(f"http://127.0.0.1:{self.port}/version", timeout=5)
                    return
            time.sleep(0.05)
        raise RuntimeError("the gateway does not start")

    def workers(self) -> list[psutil.Process]:
        """Front workers of the newest supervisor."""
        return [p for p in psutil.Process(self._supervisors[-1].pid).children() if p.status() != psutil.STATUS_ZOMBIE]

    def victims(self, kind: str) -> list[psutil.Process]:
        """Processes of a kind, as they are now."""
        if kind == "supervisor":
            return [psutil.Process(self._supervisors[-1].pid)]
        if kind == "front worker":
            return self.workers()
        found = []
        for worker in self.workers():
            children = sorted(worker.children(), key=lambda p: p.create_time())
            place = {"forkserver": 0, "model of the champion": 1, "model of the candidate": 2}[kind]
            found += children[place : place + 1]
        return found

    def kill(self, kind: str, number: int) -> None:
        """Kill one of a kind, and bring back what nobody else does."""
        found = self.victims(kind)
        found[number % len(found)].kill()
        if kind == "supervisor":
            time.sleep(_PAUSE_S)
            self._supervisors[-1].wait()
            self.begin()
        if kind == "forkserver":  # none is needed before the next model: a reloaded worker starts a new one
            time.sleep(_PAUSE_S)
            self._supervisors[-1].send_signal(signal.SIGHUP)
            time.sleep(2.0)

    def settled(self) -> bool:
        """Whether every process is there again."""
        with contextlib.suppress(psutil.Error):
            workers = self.workers()
            return len(workers) == 2 and all(len(worker.children()) >= 3 for worker in workers)
        return False

    def end(self) -> None:
        """Stop everything."""
        self._supervisors[-1].terminate()
        self._supervisors[-1].wait(60)
        self._log.close()


def _logged(folder: Path) -> set[int]:
    """Beginnings of the ids of every request in the log."""
    found = set()
    for segment in (folder / "state" / "log" / "m").glob("predictions-*.jsonl"):
        for line in segment.read_bytes().splitlines():
            with contextlib.suppress(orjson.JSONDecodeError):
                found.add(int(orjson.loads(line)["request"][:16], 16))
    return found


@contextlib.contextmanager
def _calling(port: int, file: Path) -> Iterator[None]:
    """Callers under way."""
    command = [sys.executable, "-m", "bench.rolling.callers", "127.0.0.1", str(port)]
    with subprocess.Popen([*command, "/models/m/invocations", str(_CALLERS), str(file)]) as callers:
        time.sleep(1.0)
        yield
        time.sleep(1.0)
        callers.send_signal(signal.SIGTERM)


def _kill_each(models: Path, folder: Path, times: int) -> list[dict[str, object]]:
    """Kill every kind of process under load."""
    stack = _Stack(models, folder)
    rows: list[dict[str, object]] = []
    acknowledged: set[int] = set()
    try:
        for kind in _VICTIMS:
            Console(stderr=True).print(f"{kind}: {times} kills")
            file = folder / f"{kind.replace(' ', '-')}.npz"
            with _calling(stack.port, file):
                for number in range(times):
                    stack.kill(kind, number)
                    time.sleep(_PAUSE_S)
                    deadline = time.monotonic() + 30
                    while not stack.settled() and time.monotonic() < deadline:
                        time.sleep(0.05)
            found = np.load(file)
            lost = int((found["seen"][:, 1] == FAILED).sum())
            acknowledged |= set(map(int, found["requests"]))
            most = times * _CALLERS if kind == "front worker" else 0
            rows.append(
                {
                    "name": f"{kind}: lost",
                    "value": lost,
                    "unit": f"of {len(found['seen']):,} requests in {times} kills",
                    "demand": f"<= {most}",
                    "ok": lost <= most,
                }
            )
        missing = len(acknowledged - _logged(folder))
    finally:
        stack.end()
    rows.append(
        {
            "name": "acknowledged and not in the log",
            "value": missing,
            "unit": f"of {len(acknowledged):,} requests",
            "demand": "<= 0",
            "ok": not missing and len(acknowledged) > 0,
        }
    )
    return rows


def main() -> int:
    """Print the table; 1 when a row misses its demand."""
    parser = argparse.ArgumentParser(prog="python -m bench.kills", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="kills of each kind of process")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        save_models(Path(place) / "models")
        rows = _kill_each(Path(place) / "models", Path(place), options.times)
    table = Table("what", "count", "of", "demand", "")
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("name", "value", "unit", "demand")), "ok" if row["ok"] else "MISSED")
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
