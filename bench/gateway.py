"""`python -m bench.gateway [--only NAME ...] [--quick] [--json FILE]`: compares the speed of model servers.

The same pipelines, the same rows, the same load generator (wrk), in rounds that take turns; medians and their ratios.
The gateway routes, logs every answer and keeps the model in a process of its own, as in production. What is demanded is
judged on the gateway with two front workers, beside `mlflow models serve` with one worker and beside the best of
MLServer, BentoML, LitServe and Ray Serve. They live in virtual environments: `python -m bench.serving.install`.
"""

import argparse
import contextlib
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.serving.bare import running_bare_app
from bench.serving.batching import running_batching_app
from bench.serving.install import find_program, find_program_folder
from bench.serving.measuring import BurstResult, run_burst
from bench.serving.model_server import (
    Server,
    ServerStarter,
    check_answers,
    free_port,
    pause_server,
    resume_server,
    running_process,
)
from bench.serving.models import COLUMNS, compute_expected_answers, save_models, write_wrk_script
from bench.serving.on_bentoml import bentoml
from bench.serving.on_gateway import TOKEN, gateway_starter
from bench.serving.on_litserve import litserve
from bench.serving.on_mlflow import mlflow
from bench.serving.on_mlserver import mlserver
from bench.serving.on_ray import ray

__all__ = [
    "COLUMNS",
    "TOKEN",
    "BurstResult",
    "free_port",
    "run_burst",
    "running_process",
    "save_models",
    "write_wrk_script",
]
_NOTES = Console(stderr=True)
JUDGED, BASE, ALONE = "ours, 2 workers", "mlflow, 1 worker", "ours, 1 worker"
BARE, SILENT = "bare", "bare, batching"
PEERS: dict[str, ServerStarter] = {"mlserver": mlserver, "bentoml": bentoml, "litserve": litserve, "ray": ray}
SERVERS: dict[str, ServerStarter] = {
    JUDGED: gateway_starter(2),
    ALONE: gateway_starter(1),
    BASE: mlflow(1),
    "mlflow, 2 workers": mlflow(2),
    BARE: running_bare_app,
    SILENT: running_batching_app,
    **PEERS,
}
_SHORT = {name.replace(", ", "-").removesuffix(" workers").removesuffix(" worker"): name for name in SERVERS}


@dataclass(frozen=True, slots=True)
class _Load:
    """One way of asking.

    Attributes:
        name: What it is called.
        callers: Connections that ask without a pause [count].
        rows: Rows of each request [count].
        demand: Least ratio of medians to `mlflow models serve`; 0 for a line that is there to look at.
        peers: Least ratio to the best of the other servers; 0 for a line that is there to look at.
        overhead: Most processor time that routing and logging may take, of what the bare app takes for an answer [%];
            infinite for a line that is there to look at, None where it is not measured. What they take is the
            difference to an app that batches the same way and does neither.
    """

    name: str
    callers: int
    rows: int
    demand: float
    peers: float = 1.0
    overhead: float | None = None


@dataclass(frozen=True, slots=True)
class _Case:
    """One model with the loads that it is put under."""

    name: str
    model: str
    loads: tuple[_Load, ...]


_CASES = (
    _Case(
        "numbers, bare",
        "numeric",
        (
            _Load("1 caller", 1, 1, 8.0, overhead=math.inf),
            _Load("16 callers", 16, 1, 45.0, peers=3.0, overhead=5.0),
            _Load("64 callers", 64, 1, 100.0),
            _Load("8 callers, 100 rows", 8, 100, 8.0, overhead=math.inf),
        ),
    ),
    _Case(
        "numbers, through pyfunc",
        "checked",
        (
            # The other servers check no schema.
            _Load("1 caller", 1, 1, 1.7, peers=0.0),
            _Load("16 callers", 16, 1, 15.0, peers=0.0),
            _Load("64 callers", 64, 1, 45.0, peers=0.0),
        ),
    ),
    _Case("forest of 100 trees", "forest", (_Load("16 callers", 16, 1, 15.0),)),
    _Case(
        "flights, with texts",
        "flights",
        (_Load("1 caller", 1, 1, 0.0, peers=0.0), _Load("16 callers", 16, 1, 0.0, peers=0.0)),
    ),
)
_Row = dict[str, object]


def _takes_part(name: str, case: _Case, load: _Load | None = None) -> bool:
    """Whether a server is put under a load; without one, under any of the case."""
    loads = case.loads if load is None else (load,)
    return name != SILENT or any(one.overhead is not None for one in loads)


@dataclass(frozen=True, slots=True)
class _Bench:
    """Where it happens and for how long.

    Attributes:
        models: Folder of the saved models.
        folder: Where servers write.
        names: Servers that take part.
        seconds: Length of a burst [s].
        rounds: Bursts of each server under each load [count].
    """

    models: Path
    folder: Path
    names: Collection[str]
    seconds: float
    rounds: int

    def compare(self, case: _Case) -> list[_Row]:
        """All servers with one model."""
        rows: list[_Row] = []
        with contextlib.ExitStack() as stack:
            up: dict[str, Server] = {}
            for name, start in SERVERS.items():
                if name not in self.names or not _takes_part(name, case):
                    continue
                _NOTES.print(f"{case.name}: {name} starts")
                up[name] = stack.enter_context(start(self.models, case.model, self.folder))
                for count in sorted({load.rows for load in case.loads if _takes_part(name, case, load)}):
                    check_answers(up[name], case.model, count, compute_expected_answers(self.models, case.model, count))
                stack.callback(resume_server, up[name])
                pause_server(up[name])
            for load in case.loads:
                _NOTES.print(f"{case.name}: {load.name}")
                asked = {name: server for name, server in up.items() if _takes_part(name, case, load)}
                rows += _judged(f"{case.name}: {load.name}", load, self._measure(case, load, asked))
        return rows

    def _measure(self, case: _Case, load: _Load, asked: Mapping[str, Server]) -> dict[str, list[BurstResult]]:
        """Bursts in turn, after one that warms up."""
        found: dict[str, list[BurstResult]] = {name: [] for name in asked}
        pair = [name for name in (ALONE, SILENT) if name in asked]
        turns = [*asked, *pair, *pair] if SILENT in asked else list(asked)  # their small difference needs more bursts
        for number in range(self.rounds + 1):
            for name in turns:
                server = asked[name]
                lua = write_wrk_script(self.folder, load.rows, case.model, server.body)
                resume_server(server)
                seconds = self.seconds if number else min(1.0, self.seconds)
                one = run_burst(server.url, server.process, lua, load.callers, seconds)
                pause_server(server)
                if number:
                    found[name].append(one)
        return found


def _judged(what: str, load: _Load, found: Mapping[str, Sequence[BurstResult]]) -> list[_Row]:
    """Rows of one load: every server, and what is demanded of ours."""

    def middle(name: str, key: str) -> float:
        return float(statistics.median(getattr(one, key) for one in found[name]))

    failed = {name: sum(one.failed for one in many) for name, many in found.items()}
    rows: list[_Row] = [
        {
            "name": f"{what}: {name}",
            "value": round(middle(name, "rps"), 2),
            "unit": "answers a second",
            "demand": "no failed request" if name in (JUDGED, ALONE) else "",
            "ok": name not in (JUDGED, ALONE) or not failed[name],
            "failed": failed[name],
            **{key: round(middle(name, key), 3) for key in ("p50", "p99", "cpu", "memory")},
        }
        for name in found
    ]

    def demand(other: str, least: float) -> None:
        ratio = middle(JUDGED, "rps") / middle(other, "rps")
        wanted = f">= {least:g}" if least else ""
        name = f"{what}: beside {other}"
        rows.append({"name": name, "value": round(ratio, 2), "unit": "times", "demand": wanted, "ok": ratio >= least})

    if JUDGED in found and BASE in found:
        demand(BASE, load.demand)
    if JUDGED in found and (peers := [name for name in found if name in PEERS]):
        demand(max(peers, key=lambda name: middle(name, "rps")), load.peers)
    if load.overhead is not None and {ALONE, SILENT, BARE} <= found.keys():
        more = statistics.median(one.cpu - other.cpu for one, other in zip(found[ALONE], found[SILENT], strict=True))
        for beside, most in ((BARE, load.overhead), (SILENT, math.inf)):
            share = more / middle(beside, "cpu") * 100.0
            wanted = f"<= {most:g}" if most < math.inf else ""
            name = f"{what}: CPU of routing and logging ({more:.0f} us), of {beside}"
            rows.append({"name": name, "value": round(share, 1), "unit": "%", "demand": wanted, "ok": share <= most})
    return rows


def _show(rows: Sequence[_Row]) -> None:
    """Print the table."""
    table = Table("what", "value", "unit", "demand", "", "p50 ms", "p99 ms", "CPU us", "MB", "failed")
    for row in rows:
        told = "" if not row["demand"] else "ok" if row["ok"] else "MISSED"
        more = [f"{row[key]:,}" if key in row else "" for key in ("p50", "p99", "cpu", "memory", "failed")]
        table.add_row(str(row["name"]), f"{row['value']:,}", str(row["unit"]), str(row["demand"]), told, *more)
    Console(width=200).print(table)


def main() -> int:
    """Print the table; 1 when a row misses its demand."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(_SHORT), default=list(_SHORT), help="servers that take part")
    parser.add_argument(
        "--models", nargs="+", choices=[case.model for case in _CASES], help="models to serve; all without any"
    )
    parser.add_argument("--quick", action="store_true", help="one short round: whether it works, not how fast")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one burst")
    parser.add_argument("--rounds", type=int, default=3, help="bursts of each")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    find_program("wrk")  # what is missing is known before the first server starts
    for name in PEERS.keys() & set(options.only):
        find_program_folder(name)
    seconds, rounds = (1.0, 1) if options.quick else (options.seconds, options.rounds)
    rows: list[_Row] = []
    with tempfile.TemporaryDirectory() as place:
        bench = _Bench(Path(place, "models"), Path(place), {_SHORT[name] for name in options.only}, seconds, rounds)
        save_models(bench.models)
        for case in _CASES:
            if options.models and case.model not in options.models:
                continue
            rows += bench.compare(case)
    _show(rows)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
