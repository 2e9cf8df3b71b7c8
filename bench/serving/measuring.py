"""Measure the answers, latency, processor time and memory of a server under a burst of load."""

import contextlib
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.serving.model_server import process_tree


@dataclass(frozen=True, slots=True)
class BurstResult:
    """One burst of load.

    Attributes:
        rps: Answers [count per second].
        p50: Median latency [ms].
        p99: Latency of the slowest hundredth [ms].
        cpu: Processor time of the server and its children [us per answer].
        failed: Answers that were none [count].
        memory: Memory of the server and its children, shared pages counted once [MB].
    """

    rps: float
    p50: float
    p99: float
    cpu: float
    failed: int
    memory: float = 0.0


_UNIT = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}


def run_burst(url: str, server: psutil.Process, lua: Path, callers: int, seconds: float) -> BurstResult:
    """Put a server under load for some seconds."""
    before = _spent(server)
    command = ["wrk", "-t1", f"-c{callers}", f"-d{seconds:g}s", "--latency", "--timeout", "60s", "-s", str(lua), url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    spent = _spent(server) - before
    answers = int(re.search(r"(\d+) requests in", said)[1])  # type: ignore[index]
    rps = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])  # type: ignore[index]
    quantiles = {
        percent: float(value) * _UNIT[unit]
        for percent, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s|m)", said)
    }
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    failed = (int(bad[1]) if bad else 0) + (sum(map(int, errors.groups())) if errors else 0)
    cpu = spent / max(answers, 1) * 1e6
    return BurstResult(rps, quantiles["50"], quantiles["99"], cpu, failed, _held(server))


def _spent(server: psutil.Process) -> float:
    total = 0.0
    for one in process_tree(server):
        with contextlib.suppress(psutil.Error):
            total += sum(one.cpu_times()[:2])
    return total


def _held(server: psutil.Process) -> float:
    total = 0.0
    for one in process_tree(server):
        with contextlib.suppress(psutil.Error):
            total += one.memory_full_info().pss / 1e6
    return total
