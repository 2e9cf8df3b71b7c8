"""Install the wheel into an empty virtual environment, and run a first rollout from there.

`python -m bench.from_wheel [--demo] [--json FILE]`: builds the wheel, installs it with its demo into an empty
environment, then `surefoot init`, `lint`, `up`, two versions of an own model, a promotion by alias under requests, and
`down`; with --demo also `surefoot demo`. No file of this clone is used after the wheel is built. Exits with 1 when a
row misses its demand.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from bench.connecting.rollout import (
    MODEL,
    ROOT,
    Caller,
    Installation,
    train_in_subprocess,
    wait_for_rollout_end,
    wait_until_served,
    write_policy,
)

_DEMAND_S = 600.0
"""Longest time of installation and first rollout together [seconds]."""
_COMMAND_TIMEOUT_S = 3600.0
_Row = dict[str, object]


def make_result_row(name: str, value: object, unit: str, demand: str, *, ok: bool) -> _Row:
    """One measured value beside what is demanded of it."""
    made: _Row = {"name": name, "value": value, "unit": unit, "demand": demand, "ok": ok}
    print(f"{'ok    ' if ok else 'WRONG '} {name}: {value} {unit} {f'({demand})' if demand else ''}", flush=True)
    return made


def _install(folder: Path) -> tuple[Path, list[_Row]]:
    """Build the wheel and install it; the interpreter of the new environment, and the rows."""
    began = time.monotonic()
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"]
    _run([*pip, "--wheel-dir", str(folder), str(ROOT)])
    (wheel,) = folder.glob("*.whl")
    built = make_result_row("the wheel was built in", round(time.monotonic() - began, 1), "s", "", ok=True)
    began = time.monotonic()
    _run([sys.executable, "-m", "venv", str(folder / "empty")])
    python = folder / "empty" / "bin" / "python"
    _run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", f"{wheel}[demo]"])
    return python, [built, make_result_row("it was installed in", round(time.monotonic() - began, 1), "s", "", ok=True)]


def run_first_rollout(folder: Path, python: Path) -> list[_Row]:
    """From `init` to the first promotion; the rows."""
    began = time.monotonic()
    folder.mkdir()
    installation = Installation(folder / "home", folder, {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}, python=str(python))
    init = installation.run("init", str(folder / "ours"))
    installation.project = folder / "ours"
    rows = [make_result_row("init", _said(init), "", "exit 0", ok=init.returncode == 0)]
    write_policy(installation.project)
    lint = installation.run("lint")
    rows.append(make_result_row("lint", _said(lint), "", "exit 0", ok=lint.returncode == 0))
    up = installation.run("up", "--tick", "10")
    rows.append(make_result_row("up", _said(up), "", "exit 0", ok=up.returncode == 0))
    if up.returncode:
        return rows
    try:
        mlflow = installation.settings.mlflow
        train_in_subprocess(str(python), {"MLFLOW_TRACKING_URI": mlflow, "PYTHONPATH": ""})
        wait_until_served(installation)
        with Caller(installation.settings.gateway).asking() as caller:
            time.sleep(5.0)
            body = {"name": MODEL, "alias": "candidate", "version": "2"}
            url = f"{mlflow}/api/2.0/mlflow/registered-models/alias"
            httpx.post(url, json=body, timeout=30.0, trust_env=False).raise_for_status()
            stage = wait_for_rollout_end(installation)
        rows.append(make_result_row("the first rollout ends as", stage, "", "Promoted", ok=stage == "Promoted"))
        failed = sum(count for (status, _), count in caller.seen.items() if status != httpx.codes.OK)
        rows.append(make_result_row("requests that callers saw fail", failed, "requests", "0", ok=failed == 0))
        verify = installation.run("verify", MODEL)
        rows.append(make_result_row("verify", _said(verify), "", "exit 0", ok=verify.returncode == 0))
    finally:
        down = installation.run("down")
        rows.append(make_result_row("down", _said(down), "", "exit 0", ok=down.returncode == 0))
    rows.append(make_result_row("from init to the end", round(time.monotonic() - began, 1), "s", "", ok=True))
    return rows


def _play_demo(folder: Path, python: Path) -> _Row:
    """`surefoot demo` in an empty folder."""
    folder.mkdir()
    began = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), "-m", "surefoot", "demo"], cwd=folder, env=environment, check=False, timeout=_COMMAND_TIMEOUT_S
    )
    took = round(time.monotonic() - began, 1)
    return make_result_row("surefoot demo took", took, "s", "exit 0", ok=done.returncode == 0)


def _run(command: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, env=environment, cwd="/", timeout=_COMMAND_TIMEOUT_S)


def _said(done: "subprocess.CompletedProcess[str]") -> str:
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines() or ["nothing"]
    return lines[-1]


def main() -> int:
    """Print every row, write JSON on request; 1 when a row is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.from_wheel", description=__doc__)
    parser.add_argument("--demo", action="store_true", help="play the demo of the wheel too")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="surefoot-wheel-", ignore_cleanup_errors=True) as name:
        began = time.monotonic()
        python, rows = _install(Path(name))
        rows += run_first_rollout(Path(name) / "first", python)
        took = round(time.monotonic() - began, 1)
        rows.append(make_result_row("all of it", took, "s", f"<= {_DEMAND_S:.0f}", ok=took <= _DEMAND_S))
        if options.demo:
            rows.append(_play_demo(Path(name) / "demo", python))
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(one["ok"] for one in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
