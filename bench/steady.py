"""`python -m bench.steady [--times N] [--json FILE] [FILE...]`: tests that kill, wait or count, many times under load.

A test that fails one time in twenty is red: it waits for something that may have happened already, or may happen
otherwise. Each of these tests runs N times beside two processes that keep both processors busy.
"""

import argparse
import ast
import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.pressure import busy

TESTS = Path("tests")
TELLTALE = re.compile(
    r"\bkill|SIGKILL|SIGSTOP|SIGTERM|\bterminate\(|wait_for\(|wait_until\(|\.wait\(|time\.sleep\(|deadline|deaths\("
)
"""Words of a test, or of a fixture or helper in its file that it calls, that kills or waits."""
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


def waiting(file: Path) -> list[str]:
    """Ids of the tests in a file that kill or wait, by themselves or through a function of the same file."""
    source = file.read_text(encoding="utf-8")
    functions = {
        node.name: ast.get_source_segment(source, node) or ""
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    telling = {name for name, body in functions.items() if TELLTALE.search(body)}
    grown = True
    while grown:
        calling = {
            name for name, body in functions.items() if any(re.search(rf"\b{other}\b", body) for other in telling)
        }
        grown = not calling <= telling
        telling |= calling
    return [f"{file}::{name}" for name in functions if name.startswith("test_") and name in telling]


def chosen(files: list[Path]) -> list[str]:
    """Ids of every test that kills or waits, in the files or below the folders given."""
    found: list[str] = []
    for place in files or [TESTS]:
        for file in sorted(place.rglob("test_*.py")) if place.is_dir() else [place]:
            found += waiting(file)
    return found


def main() -> int:
    """Print how often each test has failed; 1 when one has."""
    parser = argparse.ArgumentParser(prog="python -m bench.steady", description=__doc__)
    parser.add_argument("files", type=Path, nargs="*", help="test files or folders; all without")
    parser.add_argument("--times", type=int, default=30, help="how often each test runs")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--list", action="store_true", help="only name the tests")
    options = parser.parse_args()
    tests = chosen(options.files)
    if options.list:
        print("\n".join(tests))
        return 0
    if not tests:
        print("no test there kills or waits")
        return 2
    failures: Counter[str] = Counter()
    ran = 0
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=0", "--tb=short", *tests]
    with busy(2):
        for number in range(1, options.times + 1):
            began = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            failed = _FAILED.findall(done.stdout)
            failures.update(failed)
            ran += 1
            if done.returncode and not failed:
                failures[f"pytest itself (exit code {done.returncode})"] += 1
            if done.returncode:
                print(done.stdout[-6000:], flush=True)
            last = (done.stdout.strip().splitlines() or ["no output"])[-1]
            print(f"round {number} of {options.times}, {time.monotonic() - began:.0f} s: {last}", flush=True)
    rows = [
        {
            "name": "failures of tests that kill or wait, beside two busy processes",
            "value": sum(failures.values()),
            "unit": f"of {len(tests) * ran}",
            "demand": "<= 0",
            "ok": not failures,
        }
    ]
    table = Table("test", "failures", "rounds")
    for name, count in failures.most_common():
        table.add_row(name, str(count), str(ran))
    if failures:
        Console(width=160).print(table)
    print(f"{len(tests)} tests, {ran} rounds: {sum(failures.values())} failures")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "failures": failures}, indent=2), encoding="utf-8")
    return 0 if not failures else 1


if __name__ == "__main__":
    sys.exit(main())
