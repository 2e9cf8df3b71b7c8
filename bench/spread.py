"""`python -m bench.spread [--rows N] [--parts N] [--times N] [--json FILE]`: times a replay on one and two workers.

The closed parts of a log of flights are counted by the look itself on one core; and, in turns with that, by two workers
of Dask with one core each, before a look that adds up what they have kept. Both start processes of both versions. The
workers are there already, as those of a cluster are; how long they take to start is printed beside it.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import distributed
from rich.console import Console

from bench.evaluate import BENCH_FOLDER, LABEL_SETTINGS, print_rows
from bench.evaluating.evaluation_data import MODEL, EvaluationData, prepare_data, write_result_rows
from bench.evaluating.process_cost import pin_to_core
from bench.evaluating.replay_stage import ROLLOUT, make_settings, open_replay_stage
from bench.evaluating.workers import close_version_processes, count_on_worker, pin_worker, read_processor_time
from surefoot import wiring
from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.domain import Verdict
from surefoot.core.journal.ledger import fold_entries
from surefoot.core.judging.evidence import BadEventCounts, Evidence, MissingEvidence, PairedSums
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.evidence_counting import EvidenceCounter
from surefoot.rollout import due_replay_requests
from surefoot.settings import Settings

_WORKERS = 2
_LEAST = 1.6
"""Least speed of two workers, as a multiple of that of one process on one core."""
POLICY: dict[str, object] = {
    "model": MODEL,
    "traffic": {"requests_per_minute": 1},
    "data": {"suite": "none"},
    "gates": {
        "errors": {"metric": "error_rate", "margin": "2pp"},
        "quality": {"metric": "brier", "margin": 0.01, "labels": LABEL_SETTINGS, "block": "1d"},
        "squares": {"metric": "zero_one", "threshold": 0.3, "margin": 0.05, "labels": LABEL_SETTINGS, "block": "1d"},
        "slices": {"metric": "brier", "by": ["origin", "carrier"], "margin": 0.02, "labels": LABEL_SETTINGS},
        "calibration": {"metric": "ece", "max": 0.1, "labels": LABEL_SETTINGS},
    },
    "steps": [
        {"shadow": {"window": "20000d", "gates": ["errors", "quality", "squares", "slices", "calibration"]}},
        {"weight": 50, "hold": {"for": "1h", "gates": ["errors"]}},
    ],
    "bake": {"for": "1h", "gates": ["errors"]},
}


@dataclass(frozen=True, slots=True)
class _Turn:
    """One evaluation.

    Attributes:
        wall: Time by the clock [s].
        cpu: Processor time of this process, the workers and all versions [s].
        evidence: What each gate was given.
        verdicts: What each gate said.
    """

    wall: float
    cpu: float
    evidence: dict[str, Evidence]
    verdicts: dict[str, Verdict]


def _write_log(prepared: EvaluationData, root: Path, rows: int, parts: int) -> None:
    """Write a log of closed parts of the same size."""
    (root / MODEL).mkdir(parents=True)
    for part in range(parts):
        prepared.add_segment(root, rows * part // parts, rows * (part + 1) // parts)
        compact_log(root, MODEL)


def _look(config: Settings, asked_at: float) -> tuple[dict[str, Evidence], dict[str, Verdict]]:
    """Ask all gates, as the step does; without what their evidence was made of."""
    with wiring.open_journal(config) as journal:
        questions = due_replay_requests(fold_entries(MODEL, journal.read(MODEL)), ROLLOUT, asked_at)
    replay = wiring.make_replay(config, wiring.make_version_processes(config))
    source = PredictionLogEvidence(PredictionLog(config.log), replay, lambda *_: _no_suite())
    found, verdicts = {}, {}
    for question in questions:
        given = source.gather(question)
        found[question.gate.name] = replace(given, kept="") if isinstance(given, PairedSums | BadEventCounts) else given
        verdicts[question.gate.name] = judge(question.gate, given, DecisionThresholds())
    replay.close()
    return found, verdicts


def _no_suite() -> MissingEvidence:
    raise AssertionError("no gate asks for a suite")


def _measure(client: distributed.Client, config: Settings, work: Callable[[], object], asked_at: float) -> _Turn:
    """Do some work with nothing kept before it, then look."""
    shutil.rmtree(config.home / "evidence", ignore_errors=True)
    before = read_processor_time() + sum(client.run(read_processor_time).values())
    began = time.monotonic()
    work()
    evidence, verdicts = _look(config, asked_at)
    wall = time.monotonic() - began
    client.run(close_version_processes)
    cpu = read_processor_time() + sum(client.run(read_processor_time).values()) - before
    return _Turn(wall, cpu, evidence, verdicts)


def _spread(client: distributed.Client, config: Settings, asked_at: float) -> None:
    """Count all parts that wait on the workers, one at a time on each."""
    with contextlib.closing(EvidenceCounter(config, MODEL, ROLLOUT)) as counter:
        waiting = list(counter.waiting_files(asked_at))
    client.gather(
        [
            client.submit(count_on_worker, str(config.home), MODEL, ROLLOUT, part, asked_at, pure=False)
            for part in waiting
        ]
    )


def _rows_of(console: Console, prepared: EvaluationData, rows: int, parts: int, times: int) -> list[dict[str, object]]:
    """Evaluations by one process and by two workers, in turns."""
    turns: dict[str, list[_Turn]] = {"local": [], "dask": []}
    with tempfile.TemporaryDirectory(dir=prepared.folder) as folder, console.status("a log of closed parts") as status:
        config = make_settings(Path(folder))
        _write_log(prepared, config.log, rows, parts)
        open_replay_stage(config, POLICY, prepared.versions, prepared.folder)
        asked_at = wiring.make_clock(config).now()
        began = time.monotonic()
        local = {
            "n_workers": _WORKERS,
            "threads_per_worker": 1,
            "host": "127.0.0.1",
            "dashboard_address": "127.0.0.1:0",
        }
        with distributed.LocalCluster(**local, memory_limit=0) as cluster, distributed.Client(cluster) as client:
            for core, address in enumerate(client.scheduler_info()["workers"]):
                client.run(pin_worker, core, workers=[address])
            start = time.monotonic() - began
            pin_to_core(0)
            for turn in range(times):
                status.update(f"{rows:,} rows, turn {turn + 1} of {times}: one process")
                turns["local"].append(_measure(client, config, lambda: None, asked_at))
                status.update(f"{rows:,} rows, turn {turn + 1} of {times}: two workers")
                turns["dask"].append(_measure(client, config, lambda: _spread(client, config, asked_at), asked_at))
            pin_to_core(None)
    wall = {name: statistics.median(turn.wall for turn in some) for name, some in turns.items()}
    cpu = {name: statistics.median(turn.cpu for turn in some) for name, some in turns.items()}
    what = f"{rows:,} rows in {parts} parts"
    made = [
        _row(f"{what}: {name}, {unit}", value, "s")
        for name in turns
        for unit, value in (("wall time", wall[name]), ("processor time", cpu[name]))
    ]
    made.append(_row("start of the workers, not counted above", start, "s"))
    ratio = wall["local"] / wall["dask"]
    made.append({**_row(f"{what}: speed of two workers", ratio, "x one process"), "demand": f">= {_LEAST:g}"})
    made[-1]["ok"] = ratio >= _LEAST
    first = turns["local"][0]
    every = [*turns["local"], *turns["dask"]]
    same = all((turn.evidence, turn.verdicts) == (first.evidence, first.verdicts) for turn in every)
    said = ", ".join(f"{name} {verdict.outcome}" for name, verdict in first.verdicts.items())
    made.append(
        {"name": f"{what}: evidence and verdicts ({said})", "value": float(same), "unit": "equal", "demand": "equal"}
    )
    made[-1]["ok"] = same and not any(isinstance(found, MissingEvidence) for found in first.evidence.values())
    return made


def _row(name: str, value: float, unit: str) -> dict[str, object]:
    return {"name": name, "value": round(value, 3), "unit": unit, "demand": "printed", "ok": True}


def main() -> int:
    """Print the table; 1 when a demand is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.spread", description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000_000, help="size of the log")
    parser.add_argument("--parts", type=int, default=12, help="closed parts of the log")
    parser.add_argument("--times", type=int, default=3, help="how often each is run, in turns")
    parser.add_argument("--folder", type=Path, help="keep models here for another run")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    console = Console()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="surefoot-bench-")))
        prepared = prepare_data(folder, BENCH_FOLDER.parent / ".bench" / "flights.parquet")
        made = _rows_of(console, prepared, options.rows, options.parts, options.times)
    print_rows(console, made)
    write_result_rows(options.json, made)
    return 0 if all(row["ok"] for row in made) else 1


if __name__ == "__main__":
    sys.exit(main())
