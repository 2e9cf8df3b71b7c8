"""`python -m bench.rollback_kills [--times N] [--json FILE [--resume]]`: kills each process during rollbacks.

A real stack serves under load. Version 2 is promoted and rolled back, at once, step by step, or with a table; at a
random moment of the rollback one process is killed, and `surefoot up` restarts what nothing else does. Right is a
rollback after which route, aliases, table and MLflow runs are what the journal says, without a person's help.
"""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.rollback_killing.rounds import PROCESSES_TO_KILL, RollbackResult, run_rollback_and_kill
from bench.rollback_killing.stack import ROLLBACK_MODES, running_stack

_CUT = {"gateway worker": 16, "gateway supervisor": 16}
"""Requests in flight that a kill may cut off, and that are answered at the second attempt [count a kill]."""
_NOTES = Console(stderr=True)


def _rows_of(rounds: Sequence[RollbackResult], times: int) -> list[dict[str, object]]:
    """What was shown, with its demands."""
    rows: list[dict[str, object]] = []
    for process in PROCESSES_TO_KILL:
        mine = [one for one in rounds if one.process == process]
        right, cut = sum(not one.wrong for one in mine), sum(one.cut for one in mine)
        most, requests = _CUT.get(process, 0) * len(mine), sum(one.requests for one in mine)
        for name, value, unit, demand, ok in (
            ("rollbacks that ended right", right, f"of {len(mine)}", f">= {times * len(ROLLBACK_MODES)}",
             right == len(mine) >= times * len(ROLLBACK_MODES)),
            ("requests cut off at the first attempt", cut, f"of {requests:,}", f"<= {most}", cut <= most),
            ("requests without an answer", sum(one.lost for one in mine), f"of {requests:,}", "<= 0",
             not any(one.lost for one in mine)),
        ):  # fmt: skip
            rows.append({"name": f"{process}: {name}", "value": value, "unit": unit, "demand": demand, "ok": ok})
    return rows


def _show(rounds: Iterable[RollbackResult]) -> None:
    """Print a table of processes and modes: right ends, and the slowest."""
    cells: dict[tuple[str, str], list[RollbackResult]] = defaultdict(list)
    for one in rounds:
        cells[one.process, one.mode].append(one)
    table = Table("killed", *ROLLBACK_MODES, title="rollbacks that ended right, and the slowest after its kill")
    for process in PROCESSES_TO_KILL:
        told = []
        for mode in ROLLBACK_MODES:
            mine = cells[process, mode]
            slowest = max((one.took for one in mine), default=0.0)
            told.append(f"{sum(not one.wrong for one in mine)} of {len(mine)}, {slowest:.1f} s")
        table.add_row(process, *told)
    Console(width=120).print(table)


def main() -> int:
    """Print the table; 1 when a rollback ended wrong or a row misses its demand."""
    parser = argparse.ArgumentParser(prog="python -m bench.rollback_kills", description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="rollbacks for each process and mode")
    parser.add_argument("--json", type=Path, help="write rows and rounds to this file, after each round")
    parser.add_argument("--resume", action="store_true", help="go on from what the file of --json says")
    parser.add_argument(
        "--only", nargs="+", choices=PROCESSES_TO_KILL, default=PROCESSES_TO_KILL, help="processes to kill"
    )
    options = parser.parse_args()
    if options.resume and not options.json:
        parser.error("--resume needs --json FILE")
    rounds: list[RollbackResult] = []
    if options.resume and options.json.exists():
        rounds = [RollbackResult(**one) for one in json.loads(options.json.read_text(encoding="utf-8"))["rounds"]]
    known = {(one.process, one.mode, one.number) for one in rounds}
    wanted = [(process, mode, n) for n in range(options.times) for process in options.only for mode in ROLLBACK_MODES]
    todo = [each for each in wanted if each not in known]
    while todo:
        todo = _play_all(todo, rounds, options.json, options.times)
    _show(rounds)
    rows = _rows_of(rounds, options.times)
    for row in rows:
        mark = "ok" if row["ok"] else "MISSED"
        print(f"{row['name']:<62} {row['value']!s:>7} {row['unit']:<12} {row['demand']:<8} {mark}")
    return 0 if all(row["ok"] for row in rows) else 1


def _play_all(
    todo: list[tuple[str, str, int]], rounds: list[RollbackResult], file: Path | None, times: int
) -> list[tuple[str, str, int]]:
    """Play rounds on one stack until one ends wrong; those that are left: they need a stack that is whole."""
    with tempfile.TemporaryDirectory() as place, running_stack(Path(place)) as stack:
        for done, (process, mode, number) in enumerate(todo, 1):
            found = run_rollback_and_kill(stack, process, mode, number)
            rounds.append(found)
            said = "; ".join(found.wrong) or f"right after {found.took:.1f} s"
            _NOTES.print(f"{len(rounds)}: {process}, {mode}, {found.moment}: {said}", markup=False)
            if file:
                report = {"rows": _rows_of(rounds, times), "rounds": [asdict(one) for one in rounds]}
                file.write_text(json.dumps(report, indent=2), encoding="utf-8")
            if found.wrong:
                return todo[done:]
    return []


if __name__ == "__main__":
    sys.exit(main())
