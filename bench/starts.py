"""`python -m bench.starts [--times N] [--json FILE]`: starts the demo on a busy machine up to its first answer.

Before each start the file cache is dropped (as root), and two processes keep both processors busy. Imports take so long
then that threads which import the same library meet in the middle of it.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from bench.pressure import drop_file_cache, keep_processors_busy

_LIMIT_S = 600.0
"""Longest start [s]; the command itself gives up earlier."""


def _start(folder: Path, number: int) -> tuple[str, float]:
    """Run one start; returns what went wrong, empty when nothing did, and how long it took [s]."""
    home = folder / f"start-{number}"
    command = [sys.executable, "-m", "surefoot", "demo", "--start-only", "--home", str(home)]
    began = time.monotonic()
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = demo.communicate(timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {_LIMIT_S:.0f} s", _LIMIT_S
    finally:
        if demo.poll() is None:  # also when this bench is interrupted: the demo stops its servers itself
            demo.terminate()
            demo.wait(_LIMIT_S)
    took = time.monotonic() - began
    left = _left_running(home)
    if left:
        return f"left running: {', '.join(left)}", took
    if demo.returncode:
        lines = [line for line in output.splitlines() if line.strip()]
        said = lines[-1] if lines else "no output"
        return "\n  ".join([f"exit code {demo.returncode}: {said}", *_gateway_warnings(home)]), took
    if not re.search(r"first answer came from version", output):
        return "exit code 0, but no answer", took
    return "", took


def _gateway_warnings(home: Path) -> list[str]:
    """Last warnings and errors in the log of the gateway that was started for a home below this folder."""
    found = []
    for log in sorted(home.glob("*/logs/gateway.log")):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        found += [line for line in lines if re.search(r"WARNING|ERROR|CRITICAL", line)]
    return found[-10:]


def _left_running(home: Path) -> list[str]:
    """Processes that were started for a home below this folder and still run."""
    found = []
    for each in psutil.process_iter():
        try:
            if each.environ().get("SUREFOOT_HOME", "").startswith(str(home)):
                found.append(f"{each.pid} {each.name()}")
        except psutil.Error:
            continue
    return found


def main() -> int:
    """Print the table; 1 when a start failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.starts", description=__doc__)
    parser.add_argument("--times", type=int, default=30, help="how many starts")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    failures, times = [], []
    dropped = 0
    with tempfile.TemporaryDirectory() as place, keep_processors_busy(2):
        for number in range(1, options.times + 1):
            dropped += drop_file_cache()
            problem, took = _start(Path(place), number)
            times.append(took)
            print(f"start {number} of {options.times}: {problem or 'ok'}, {took:.0f} s", flush=True)
            if problem:
                failures.append(problem)
    good = options.times - len(failures)
    rows: list[dict[str, object]] = [
        {
            "name": "starts of the demo up to its first answer",
            "value": good,
            "unit": f"of {options.times}",
            "demand": f">= {options.times}",
            "ok": good == options.times,
        },
        {
            "name": "starts with a dropped file cache",
            "value": dropped,
            "unit": f"of {options.times}",
            "demand": "printed (needs root)",
            "ok": True,
        },
        {
            "name": "longest start",
            "value": round(max(times, default=0.0), 1),
            "unit": "s",
            "demand": "printed",
            "ok": True,
        },
    ]
    table = Table("what", "value", "unit", "demand", "")
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("name", "value", "unit", "demand")), "ok" if row["ok"] else "MISSED")
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "failures": failures}, indent=2), encoding="utf-8")
    return 0 if not failures else 1


if __name__ == "__main__":
    sys.exit(main())
