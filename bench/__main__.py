"""`python -m bench [--json FILE]`: measures what a journal entry, a verdict and an arm assignment cost."""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.core.assignment import compute_assignment_bucket
from surefoot.core.journal.chain import check_chain
from surefoot.core.judging.evidence import BadEventCounts, BadEventStratum
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.parse import parse_gate


def _median_ms(work: Callable[[], object], rounds: int) -> float:
    """Median wall time of one call [ms]."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000.0)
    return statistics.median(times)


def rows() -> list[dict[str, object]]:
    """Measure everything once; each row names what it demands."""
    found: list[tuple[str, float, str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        journal = SqlJournal(f"sqlite:///{Path(folder) / 'journal.db'}", SystemClock())
        count = 500

        head = 0

        def append() -> None:
            nonlocal head
            head += len(journal.read("m", after=head))
            journal.append("m", head, 0.0, "bench", "Paused", {"rollout": "r", "reason": "x" * 200})

        found.append(("journal: durable append with its read, SQLite", _median_ms(append, count), "ms", 25.0))
        entries = journal.read("m")
        found.append(
            ("journal: re-derive an entry's hash", _median_ms(lambda: check_chain(entries), 5) / count, "ms", 1.0)
        )
        journal.close()
    gate = parse_gate("errors", {"metric": "error_rate", "margin": 0.01})
    strata = tuple(BadEventStratum(share, 3, 997, 60, 19_940) for share in (0.05, 0.25, 0.5))
    verdict = _median_ms(lambda: judge(gate, BadEventCounts(strata, 0.003), DecisionThresholds()), 20)
    found.append(("judge: one error-rate verdict with its band", verdict, "ms", 100.0))
    thousand = _median_ms(lambda: [compute_assignment_bucket("salt", f"unit-{n}") for n in range(1000)], 20)
    found.append(("gateway: assign a unit to an arm", thousand, "us", 20.0))
    return [
        {"name": name, "value": round(value, 4), "unit": unit, "demand": f"<= {most:g}", "ok": value <= most}
        for name, value, unit, most in found
    ]


def main() -> int:
    """Print a table, write JSON on request; 1 when a row misses its demand."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    measured = rows()
    for row in measured:
        mark = "ok" if row["ok"] else "MISSED"
        print(f"{row['name']:<50} {row['value']:>10} {row['unit']:<3} {row['demand']:<8} {mark}")
    if options.json:
        options.json.write_text(json.dumps({"rows": measured}, indent=2), encoding="utf-8")
    return 0 if all(row["ok"] for row in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
