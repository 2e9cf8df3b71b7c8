"""`python bench/judge.py [--quick] [--share F] [--rows N ...] [--seed N] [--json FILE]`: compares judging methods.

A rollout is simulated once and every method sees the same requests. Ours is looked at after every single request, by
running sums of the increments that the judge itself adds up; where it stops, its own functions are asked about the
counters of that moment, and the bench ends with an error should they say anything else.
"""

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console

if __package__ in {None, ""}:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.judging import costs, detection, measurements, wrong_verdicts
from bench.judging.table import Row, SimulationPlan, print_judge_table, start_process_pool, write_json

_PARTS = (
    (wrong_verdicts, {1, 2, 3, 4, 5, 13}),
    (detection, {6, 7, 8, 9, 10, 11, 12, 18}),
    (measurements, {14, 15, 16, 17}),
    (costs, {19, 20}),
)


def _measured(plan: SimulationPlan, wanted: set[int]) -> list[Row]:
    """Every row that is wanted, by number; parts of which no row is wanted do not run."""
    made = [row for part, numbers in _PARTS if not wanted or wanted & numbers for row in part.rows(plan)]
    return sorted((row for row in made if not wanted or row.number in wanted), key=lambda row: row.number)


def main() -> int:
    """Print the table; 1 when a row misses its demand."""
    parser = argparse.ArgumentParser(prog="python bench/judge.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rollouts; a miss must then be beyond bad luck")
    parser.add_argument("--share", type=float, default=1.0, help="simulate only so much of the rollouts [fraction]")
    parser.add_argument("--rows", type=int, nargs="+", default=[], help="only these of the twenty")
    parser.add_argument("--seed", type=int, default=20130616, help="start of the chance")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    notes, began = Console(stderr=True), time.monotonic()
    with start_process_pool() as executor:
        plan = SimulationPlan(
            options.quick,
            options.seed,
            executor,
            lambda what: notes.print(f"{time.monotonic() - began:6.0f} s  {what}"),
            options.share,
        )
        rows = _measured(plan, set(options.rows))
    print_judge_table(rows, Console(width=230))
    missed = [row for row in rows if not row.ok]
    verdict = (
        f"{len(missed)} of {len(rows)} rows miss their demand"
        if missed
        else f"all {len(rows)} rows within their demands"
    )
    Console().print(f"{verdict}, in {time.monotonic() - began:.0f} s")
    if options.json:
        write_json(rows, options.json)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
