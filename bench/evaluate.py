"""`python -m bench.evaluate [--rows N ...] [--times N] [--json FILE]`: compares evaluation and prediction times.

Both versions of the flights model are asked about every request of a log and judged by five gates. Beside it, in turns,
both are asked alone at the same time: two processes that predict the same rows from frames in memory, in chunks of the
same size, and do nothing else. Loading the libraries and the models is counted on both sides.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.table import Table

from bench.evaluating.evaluation_data import MODEL, EvaluationData, prepare_data, write_result_rows
from bench.evaluating.process_cost import Cost, measure
from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.incremental_replay import IncrementalReplay
from surefoot.adapters.replay.replay_window import BATCH_ROWS
from surefoot.adapters.replay.version_processes import VersionProcesses
from surefoot.core.domain import EvidenceKind, Outcome, Verdict, Version
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.parse import parse_gate
from surefoot.demo.flight_requests import FEATURES

BENCH_FOLDER = Path(__file__).parent
LABEL_SETTINGS = {"maturity": "12h", "coverage": 0.5}
_GATES = tuple(
    parse_gate(name, keys)
    for name, keys in {
        "errors": {"metric": "error_rate", "margin": "2pp"},
        "quality": {"metric": "brier", "margin": 0.01, "labels": LABEL_SETTINGS, "block": "1d"},
        "cost": {
            "metric": "cost_per_request",
            "costs": {"tp": 60, "fp": 20, "fn": 100, "tn": 0},
            "threshold": 0.3,
            "margin": 0.5,
            "labels": LABEL_SETTINGS,
        },
        "slices": {
            "metric": "brier",
            "by": ["origin", "carrier"],
            "margin": 0.02,
            "min_per_slice": 1000,
            "labels": LABEL_SETTINGS,
        },
        "calibration": {"metric": "ece", "max": 0.1, "labels": LABEL_SETTINGS},
    }.items()
)
_FIRST_LOOK = 1e11
"""End of the window of a first look [Unix seconds]: after every request."""
_SECOND_LOOK = 0.03
"""Longest second look after 1 % new rows, as a share of the first."""
_MLFLOW_ROWS = 300_000
"""Largest size at which `mlflow.models.evaluate` is run beside [rows]."""
_MEMORY_GROWTH = 1.3
"""Most memory for the largest log, as a multiple of that for the smallest."""
FROM_PARQUET, FROM_LINES = 0.8, 0.5
"""Least speed, as a share of that of the models alone."""
MEMORY_MB = 8000


class VersionFolders:
    """Versions that are folders of their number."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def verified(self, version: Version, _model: str) -> Path:
        """The folder of a number."""
        return self._root / version.number


@dataclass(frozen=True, slots=True)
class _Run:
    """One evaluation.

    Attributes:
        cost: What it cost.
        verdicts: What each gate said.
        asked: Requests that a version was asked, for both versions together [count].
    """

    cost: Cost
    verdicts: dict[str, Verdict]
    asked: int


def _open_replay(prepared: EvaluationData, root: Path, kept: Path) -> IncrementalReplay:
    """A replay of a log, with what it keeps in a folder."""
    models = VersionProcesses(VersionFolders(prepared.folder), MEMORY_MB)  # type: ignore[arg-type]
    return IncrementalReplay(PredictionLog(root), models.start_scorer, kept)


def _ask_gates(prepared: EvaluationData, root: Path, replay: IncrementalReplay, until: float) -> dict[str, Verdict]:
    """Ask five gates about the log up to some time [Unix seconds]."""
    evidence = PredictionLogEvidence(PredictionLog(root), replay, lambda *_: raise_no_suite())
    made = {}
    for gate in _GATES:
        question = EvidenceRequest(
            MODEL,
            gate,
            EvidenceKind.SHADOW,
            "",
            "r",
            *prepared.versions,
            since=0.0,
            until=until,
            opened=until,
            look_gates=_GATES,
        )
        made[gate.name] = judge(gate, evidence.gather(question), DecisionThresholds())
    return made


def _evaluate(prepared: EvaluationData, root: Path) -> _Run:
    """Ask five gates about the whole log, with nothing kept of it."""
    verdicts: dict[str, Verdict] = {}
    asked = [0]

    def work() -> None:
        with tempfile.TemporaryDirectory() as kept:
            replay = _open_replay(prepared, root, Path(kept))
            verdicts.update(_ask_gates(prepared, root, replay, _FIRST_LOOK))
            asked[0] = replay.rows_scored
            replay.close()

    return _Run(measure(work), verdicts, asked[0])


def _look_again(prepared: EvaluationData, rows: int) -> dict[str, _Run]:
    """Ask about a compacted log, and again after 1 % more rows have come: in the same process, and in a fresh one."""
    made: dict[str, _Run] = {}
    with tempfile.TemporaryDirectory(dir=prepared.folder) as folder:
        root, kept = Path(folder) / "log", Path(folder) / "evidence"
        shutil.copytree(prepared.log(rows, lines=False), root)
        replay = _open_replay(prepared, root, kept)

        def run(name: str, replay: IncrementalReplay, until: float) -> None:
            verdicts: dict[str, Verdict] = {}
            before = replay.rows_scored
            cost = measure(lambda: verdicts.update(_ask_gates(prepared, root, replay, until)))
            made[name] = _Run(cost, verdicts, replay.rows_scored - before)

        run("first look", replay, _FIRST_LOOK)
        prepared.add_segment(root, rows, rows + rows // 100)
        run("second look", replay, _FIRST_LOOK + 1.0)
        replay.close()
        fresh = _open_replay(prepared, root, kept)
        run("second look, fresh process", fresh, _FIRST_LOOK + 2.0)
        fresh.close()
        whole = _open_replay(prepared, root, Path(folder) / "nothing")
        run("one pass over all of it", whole, _FIRST_LOOK + 2.0)
        whole.close()
    return made


def _look_again_rows(console: Console, prepared: EvaluationData, rows: int) -> list[dict[str, object]]:
    """What a second look costs."""
    with console.status(f"{rows:,} rows: a second look after 1 % new rows"):
        found = _look_again(prepared, rows)
    new = 2 * (rows // 100)
    first, second = found["first look"], found["second look"]
    made = [_row(f"{rows:,} rows: {name}, wall time", run.cost.wall, "s") for name, run in found.items()]
    share = second.cost.wall / first.cost.wall
    made.append({**_row(f"{rows:,} rows: second look as a share of the first", share, "x")})
    made[-1] |= {"demand": f"<= {_SECOND_LOOK:g}", "ok": share <= _SECOND_LOOK}
    made.append(_row(f"{rows:,} rows: requests asked of both versions at the second look", second.asked, "requests"))
    made[-1] |= {"demand": f"{new:,}", "ok": second.asked == new}
    same = found["second look, fresh process"].verdicts == found["one pass over all of it"].verdicts
    made.append(_row(f"{rows:,} rows: verdicts of kept sums and of one pass", float(same), "equal"))
    made[-1] |= {"demand": "equal", "ok": same}
    return made


def raise_no_suite() -> NoReturn:
    """Say that no suite is there."""
    raise AssertionError("no gate asks for a suite")


@contextlib.contextmanager
def _frames_of(prepared: EvaluationData, rows: int) -> Iterator[Path]:
    """The requests of the log as frames, in chunks of the same size."""
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, rows, BATCH_ROWS):
            frame = prepared.frame(first, min(rows, first + BATCH_ROWS))[list(FEATURES)]
            frame.to_parquet(Path(folder) / f"{first:010d}.parquet")
        yield Path(folder)


def _bare(prepared: EvaluationData, frames: Path) -> Cost:
    """Ask both versions alone, at the same time."""
    command = [sys.executable, "-m", "bench.evaluating.bare"]
    pair = [
        subprocess.Popen(
            [*command, str(prepared.folder / version.number), str(frames)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for version in prepared.versions
    ]
    for process in pair:
        if process.stdout is not None:
            process.stdout.readline()
    told = [process.communicate("go\n")[0].split() for process in pair if process.stdin]
    return Cost(max(float(cells[2]) for cells in told), sum(float(cells[3]) for cells in told), 0.0)


def _through_mlflow(prepared: EvaluationData, frames: Path, rows: int) -> Cost:
    """Evaluate one version, the champion, with `mlflow.models.evaluate` and nothing of this project."""
    with tempfile.TemporaryDirectory() as folder:
        labels = Path(folder) / "labels"
        prepared.frame(0, rows)[["late"]].to_parquet(labels)
        model = prepared.folder / prepared.versions[0].number
        command = [sys.executable, "-m", "bench.evaluating.mlflow_evaluate", str(model), str(frames), str(labels)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder, env=_paths()
        ) as process:
            if process.stdout is not None:
                process.stdout.readline()
            wall, cpu = process.communicate("go\n")[0].split()[-2:]
    return Cost(float(wall), float(cpu), 0.0)


def _paths() -> dict[str, str]:
    """The environment of a process that works in another folder."""
    return {**os.environ, "PYTHONPATH": str(BENCH_FOLDER.parent)}


def _memory_rows(console: Console, prepared: EvaluationData, sizes: Sequence[int]) -> list[dict[str, object]]:
    """Memory of all processes for logs of several sizes, from Parquet, with models that take 1 us a row."""
    peaks, made = [], []
    for rows in sizes:
        with console.status(f"{rows:,} rows with models of 1 us a row"):
            run = _evaluate(prepared, prepared.log(rows, lines=False))
        peaks.append(run.cost.peak)
        made.append(_row(f"{rows:,} rows, models of 1 us a row: memory of all processes", run.cost.peak, "MB"))
        made.append(_row(f"{rows:,} rows, models of 1 us a row: wall time", run.cost.wall, "s"))
    ratio = peaks[-1] / peaks[0]
    made.append(_row(f"memory for {sizes[-1]:,} rows beside that for {sizes[0]:,}", ratio, "x"))
    made[-1] |= {"demand": f"<= {_MEMORY_GROWTH:g}", "ok": ratio <= _MEMORY_GROWTH}
    return made


def _rows_of(console: Console, prepared: EvaluationData, rows: int, times: int) -> list[dict[str, object]]:
    """Evaluations of one size, in turns."""
    found: dict[str, list[Cost]] = {"bare": [], "parquet": [], "lines": []}
    verdicts: list[dict[str, Verdict]] = []
    with _frames_of(prepared, rows) as frames, console.status(f"{rows:,} rows") as status:
        for source in ("parquet", "lines"):
            prepared.log(rows, lines=source == "lines")
        for turn in range(times):
            status.update(f"{rows:,} rows, turn {turn + 1} of {times}: the models alone")
            found["bare"].append(_bare(prepared, frames))
            for source in ("parquet", "lines"):
                status.update(f"{rows:,} rows, turn {turn + 1} of {times}: evaluation from {source}")
                run = _evaluate(prepared, prepared.log(rows, lines=source == "lines"))
                found[source].append(run.cost)
                verdicts.append(run.verdicts)
        if rows <= _MLFLOW_ROWS:
            status.update(f"{rows:,} rows: mlflow.models.evaluate, one version")
            found["mlflow"] = [_through_mlflow(prepared, frames, rows)]
    alone = {what: statistics.median(getattr(cost, what) for cost in found["bare"]) for what in ("wall", "cpu")}
    made: list[dict[str, object]] = [
        _row(f"{rows:,} rows: both models alone, {what} time", value, "s") for what, value in alone.items()
    ]
    for source, least in (("parquet", FROM_PARQUET), ("lines", FROM_LINES)):
        for what, value in alone.items():
            mine = statistics.median(getattr(cost, what) for cost in found[source])
            made.append(_row(f"{rows:,} rows from {source}: {what} time", mine, "s"))
            made.append(_row(f"{rows:,} rows from {source}: speed by {what} time", value / mine, "x alone", least))
        peak = max(cost.peak for cost in found[source])
        made.append(_row(f"{rows:,} rows from {source}: memory of all processes", peak, "MB"))
    for cost in found.get("mlflow", ()):
        made.append(_row(f"{rows:,} rows: mlflow.models.evaluate, one version, wall time", cost.wall, "s"))
        made.append(_row(f"{rows:,} rows: mlflow.models.evaluate, one version, cpu time", cost.cpu, "s"))
    same = all(one == verdicts[0] for one in verdicts)
    measured = all(verdict.outcome is not Outcome.ERROR for verdict in verdicts[0].values())
    made.append(
        {
            "name": f"{rows:,} rows: verdicts of all runs",
            "value": ", ".join(f"{name} {verdict.outcome}" for name, verdict in verdicts[0].items()),
            "unit": "",
            "demand": "the same each time, none an error",
            "ok": same and measured,
        }
    )
    return made


def _row(name: str, value: float, unit: str, least: float | None = None) -> dict[str, object]:
    demand = "printed" if least is None else f">= {least:g}"
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "demand": demand,
        "ok": least is None or value >= least,
    }


def print_rows(console: Console, rows: Sequence[dict[str, object]]) -> None:
    """Print the table."""
    table = Table("what", "value", "unit", "demand", "")
    for row in rows:
        value = row["value"]
        shown = f"{value:,.2f}" if isinstance(value, float) else str(value)
        table.add_row(
            str(row["name"]), shown, str(row["unit"]), str(row["demand"]), "ok" if row["ok"] else "[red]MISSED[/red]"
        )
    console.print(table)


def main() -> int:
    """Print the table; 1 when a demand is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.evaluate", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[300_000, 3_000_000], help="sizes of the log")
    parser.add_argument("--times", type=int, default=3, help="how often each is run, in turns")
    parser.add_argument("--memory", type=int, nargs="+", help="measure memory only, for logs of these sizes")
    parser.add_argument("--only-looks", action="store_true", help="measure second looks only")
    parser.add_argument("--folder", type=Path, help="keep models and logs here for another run")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    console = Console()
    made: list[dict[str, object]] = []
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="surefoot-bench-")))
        prepared = prepare_data(folder, BENCH_FOLDER.parent / ".bench" / "flights.parquet")
        if options.memory:
            cheap = prepare_data(folder, BENCH_FOLDER.parent / ".bench" / "flights.parquet", cheap=True)
            made += _memory_rows(console, cheap, options.memory)
        for rows in [] if options.memory else options.rows:
            made += [] if options.only_looks else _rows_of(console, prepared, rows, options.times)
            made += _look_again_rows(console, prepared, rows)
    print_rows(console, made)
    write_result_rows(options.json, made)
    return 0 if all(row["ok"] for row in made) else 1


if __name__ == "__main__":
    sys.exit(main())
