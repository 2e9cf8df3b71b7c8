"""`python -m bench.steady [--times N] [--json FILE [--resume]] [FILE...]`: repeats tests that kill or wait.

A test that fails one time in twenty is red: it waits for something that may have happened already, or may happen
otherwise. Each of these tests runs N times beside two processes that keep both processors busy. All of them take a
night: `--resume` goes on where an earlier run was stopped.
"""

import argparse
import ast
import json
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.pressure import keep_processors_busy

_TESTS = Path("tests")
_TELLTALE = re.compile(
    r"\bkill|SIGKILL|SIGSTOP|SIGTERM|\bterminate\(|wait_for\(|wait_until\(|\.wait\(|time\.sleep\(|deadline|deaths\("
)
"""Words of a test, or of a fixture or helper in its file that it calls, that kills or waits."""
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


def _waiting(file: Path) -> list[str]:
    """Ids of the tests in a file that kill or wait, by themselves or through a function of the same file."""
    source = file.read_text(encoding="utf-8")
    functions = {
        node.name: ast.get_source_segment(source, node) or ""
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    telling = {name for name, body in functions.items() if _TELLTALE.search(body)}
    grown = True
    while grown:
        calling = {
            name for name, body in functions.items() if any(re.search(rf"\b{other}\b", body) for other in telling)
        }
        grown = not calling <= telling
        telling |= calling
    return [f"{file}::{name}" for name in functions if name.startswith("test_") and name in telling]


def _chosen(files: list[Path]) -> dict[str, list[str]]:
    """Ids of the tests that kill or wait, by file, in the files or below the folders given."""
    found = {}
    for place in files or [_TESTS]:
        for file in sorted(place.rglob("test_*.py")) if place.is_dir() else [place]:
            tests = _waiting(file)
            if tests:
                found[str(file)] = tests
    return found


@dataclass(slots=True)
class _Tally:
    """What was run until now.

    Attributes:
        rounds: How often the tests of a file have run, by file [count].
        failures: How often a test has failed, by its id [count].
    """

    rounds: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, file: Path) -> "_Tally":
        """Read what an earlier run has written."""
        kept = json.loads(file.read_text(encoding="utf-8"))
        return cls(Counter(kept["rounds"]), Counter(kept["failures"]))

    def rows(self, tests: dict[str, list[str]], times: int) -> list[dict[str, object]]:
        """Rows of the report."""
        ran = sum(len(named) * min(self.rounds[file], times) for file, named in tests.items())
        wanted = times * sum(map(len, tests.values()))
        failed = sum(self.failures.values())
        return [
            {
                "name": "failures of tests that kill or wait, beside two busy processes",
                "value": failed,
                "unit": f"of {ran}",
                "demand": "<= 0",
                "ok": not failed,
            },
            {"name": "runs of such tests", "value": ran, "unit": "", "demand": f">= {wanted}", "ok": ran >= wanted},
        ]

    def write(self, file: Path, tests: dict[str, list[str]], times: int) -> None:
        """Write the report, from which a later run can go on."""
        report = {"rows": self.rows(tests, times), "rounds": self.rounds, "failures": self.failures}
        file.write_text(json.dumps(report, indent=2), encoding="utf-8")


def _run(tests: list[str]) -> tuple[Counter[str], str]:
    """Run tests once; how often each of them has failed, and the last line of pytest's output."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=0", "--tb=short", *tests]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    failed = Counter(_FAILED.findall(done.stdout))
    if done.returncode:
        print(done.stdout[-6000:], flush=True)
        failed = failed or Counter({f"pytest itself (exit code {done.returncode})": 1})
    return failed, (done.stdout.strip().splitlines() or ["no output"])[-1]


def main() -> int:
    """Print how often each test has failed; 1 when one has, or when some have not run often enough."""
    parser = argparse.ArgumentParser(prog="python -m bench.steady", description=__doc__)
    parser.add_argument("files", type=Path, nargs="*", help="test files or folders; all without")
    parser.add_argument("--times", type=int, default=30, help="how often each test runs")
    parser.add_argument("--json", type=Path, help="write the rows to this file, after each round")
    parser.add_argument("--resume", action="store_true", help="go on from what the file of --json says")
    parser.add_argument("--list", action="store_true", help="only name the tests")
    options = parser.parse_args()
    tests = _chosen(options.files)
    if options.list:
        print("\n".join(name for named in tests.values() for name in named))
        return 0
    if not tests:
        print("no test there kills or waits")
        return 2
    if options.resume and not options.json:
        parser.error("--resume needs --json FILE")
    tally = _Tally.read(options.json) if options.resume and options.json.exists() else _Tally()
    with keep_processors_busy(2):
        for file, named in tests.items():
            while tally.rounds[file] < options.times:
                began = time.monotonic()
                failed, last = _run(named)
                tally.failures.update(failed)
                tally.rounds[file] += 1
                took = time.monotonic() - began
                print(f"{file}: round {tally.rounds[file]} of {options.times}, {took:.0f} s: {last}", flush=True)
                if options.json:
                    tally.write(options.json, tests, options.times)
    table = Table("test", "failures")
    for name, count in tally.failures.most_common():
        table.add_row(name, str(count))
    if tally.failures:
        Console(width=160).print(table)
    rows = tally.rows(tests, options.times)
    for row in rows:
        print(f"{row['name']}: {row['value']} {row['unit']} ({row['demand']})")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
