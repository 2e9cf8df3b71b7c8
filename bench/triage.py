"""`python -m bench.triage [--seeds N] [--first SEED] [--cause NAME ...] [--json FILE]`: triages known incidents.

Twelve causes are injected into real flights, each from several seeds that draw the column, the size and the day of the
onset. The log holds what a gateway would have written; the triage asks real versions again in processes of their own.
Right is the injected cause with its column and detail; unknown is no mistake, another cause is.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
from rich.console import Console
from rich.table import Table

from bench.triaging.causes import CAUSES, IncidentScene, InjectedIncident
from bench.triaging.flight_versions import LEAKED, FlightVersions, read_flights
from surefoot.adapters.mlflow.artifacts import ArtifactCache
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.version_processes import VersionProcesses
from surefoot.adapters.served_answers.triage.triage_facts import TriageQuery, measure_triage_facts
from surefoot.core.policy.parse import parse_gate
from surefoot.core.triage.triage import Cause, Triage, decide_cause
from surefoot.demo.flight_requests import FEATURES, fill_gaps, midnight
from surefoot.gateway.log.segment_writer import SegmentWriter

_MODEL = "flights-late"
_DAY_S = 86400.0
GATE: Any = parse_gate("quality", {"metric": "brier", "margin": 0.015, "labels": {"maturity": "12h"}})
_BEFORE, _AFTER = 3000, 1500
"""Requests before and after the onset [count]."""
_RIGHT, _WRONG = 0.9, 1.0 / 60.0
"""Demanded: so many right, and at most so many wrong in place of unknown [share of all]."""


@dataclass(frozen=True, slots=True)
class _Result:
    """What the triage has found of one incident.

    Attributes:
        name: The injected cause.
        said: What was injected.
        found: What was found.
        right: Whether it is that.
    """

    name: str
    said: str
    found: Triage
    right: bool


def main() -> int:
    """Print what was found of each cause; 1 when a demand is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.triage", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="incidents of each cause")
    parser.add_argument("--first", type=int, default=0, help="seed of the first incident of each cause")
    parser.add_argument("--cause", action="append", choices=list(CAUSES), help="only this cause")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        flights = read_flights(Path(__file__).parent / ".bench" / "flights.parquet")
        versions = FlightVersions(Path(place), flights)
        versions.train()
        results = []
        for name in options.cause or CAUSES:
            for seed in range(options.first, options.first + options.seeds):
                began = time.monotonic()
                results.append(_run(versions, name, seed))
                one = results[-1]
                mark = "right" if one.right else "UNKNOWN" if one.found.cause is Cause.UNKNOWN else "WRONG"
                took = time.monotonic() - began
                print(
                    f"{name}, seed {seed}: {one.said}: {mark}: {one.found.cause} {one.found.column} ({took:.1f} s)",
                    flush=True,
                )
    return _report(results, options.json)


def _run(versions: FlightVersions, name: str, seed: int) -> _Result:
    """Inject a cause, write the log, and look for the cause."""
    draw = np.random.default_rng([seed, *name.encode()])
    onset = midnight("2013-06-15") + float(draw.integers(0, 75)) * _DAY_S
    flights = versions.flights
    before = flights[(flights["at"] < onset) & (flights["at"] >= onset - 14 * _DAY_S)]
    after = flights[(flights["at"] >= onset) & (flights["at"] < onset + 6 * _DAY_S)]
    before, after = (
        rows.sample(size, random_state=seed).sort_values("at") for rows, size in ((before, _BEFORE), (after, _AFTER))
    )
    injected = CAUSES[name][0](IncidentScene(versions, after, draw), seed)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        _write_log(root / "log", versions, injected, before, after, draw)
        copies = root / "artifacts"
        shutil.copytree(versions.root / "artifacts", copies)
        if injected.damaged:
            _damage(copies / versions.saved[injected.number].digest.removeprefix("sha256:"), draw)
        processes = VersionProcesses(ArtifactCache(copies, "http://127.0.0.1:9"), 6000)
        query = TriageQuery(
            _MODEL, versions.saved[injected.number], versions.saved["1"], injected.trial, onset - 14 * _DAY_S, onset,
            onset + 6 * _DAY_S, onset + 20 * _DAY_S, GATE, injected.too_slow, injected.too_large,
        )  # fmt: skip
        found = decide_cause(measure_triage_facts(PredictionLog(root / "log"), processes, query))
    right = (
        found.cause in injected.causes
        and (not injected.details or found.detail in injected.details)
        and (not injected.column or found.column == injected.column)
    )
    return _Result(name, injected.said, found, right)


def _write_log(
    root: Path,
    versions: FlightVersions,
    injected: InjectedIncident,
    before: pd.DataFrame,
    after: pd.DataFrame,
    draw: np.random.Generator,
) -> None:
    """Write what a gateway would have logged: requests, answers, failures, times, memory and labels."""
    needs_all = injected.number == "3"
    calm = (fill_gaps(before) if needs_all else before).assign(**{LEAKED: np.nan})
    stirred = injected.requests(fill_gaps(after) if needs_all else after)
    stirred = (
        stirred
        if LEAKED in injected.requests(after).columns and injected.number == "4"
        else stirred.assign(**{LEAKED: np.nan})
    )
    labels = (before["late"].to_numpy(float), injected.labels(after, after["late"].to_numpy(float)))
    segments = [SegmentWriter(root / _MODEL / f"{kind}-1-1.jsonl") for kind in ("predictions", "labels")]
    for place, (rows, known) in enumerate(zip((calm, stirred), labels, strict=True)):
        hit = place == 1
        arm = "1" if injected.trial and not hit else injected.number
        numbers = (
            np.where(draw.random(len(rows)) < 0.5, "1", injected.number)
            if injected.trial and hit
            else np.array([arm] * len(rows))
        )
        segments[0].append(b"".join(_records(rows, numbers, versions, injected, draw, hit=hit)))
        lines = [
            orjson.dumps({"v": 1, "request": str(name), "row": 0, "label": float(value), "at": float(at) + 3600.0})
            + b"\n"
            for name, value, at in zip(rows["id"], known, rows["at"], strict=True)
        ]
        segments[1].append(b"".join(lines))
    for segment in segments:
        segment.close()


def _records(
    rows: pd.DataFrame,
    numbers: "np.ndarray",
    versions: FlightVersions,
    injected: InjectedIncident,
    draw: np.random.Generator,
    *,
    hit: bool,
) -> list[bytes]:
    """One line of the log for each request."""
    features = [*FEATURES, LEAKED] if injected.number == "4" else list(FEATURES)
    usable = ~rows[list(FEATURES)].isna().any(axis=1).to_numpy() if injected.number == "3" else np.ones(len(rows), bool)
    answers = {}
    for number in {*numbers, "1"}:
        inputs = rows[features if number == "4" else list(FEATURES)]
        made = np.full((len(rows), 2), np.nan)
        can = usable if number == "3" else np.ones(len(rows), bool)
        made[can] = versions.answers(number, inputs[can])
        answers[number] = injected.answers(made) if hit and number == injected.number else made
    lines = []
    fails = draw.random(len(rows)) < (injected.failing if hit else 0.0)
    for place, (name, at, row) in enumerate(
        zip(rows["id"], rows["at"], rows[features].to_dict("records"), strict=True)
    ):
        number = str(numbers[place])
        own = number == injected.number
        error = None
        if own and fails[place]:
            error = injected.error
        elif own and not usable[place]:
            error = "ValueError: Input X contains NaN."
        by = "1" if error else number
        stressed = hit and own
        record = {
            "v": 1, "request": str(name), "row": 0, "model": _MODEL, "at": float(at), "unit": f"u{place % 97}",
            "arm": "candidate" if injected.trial and own else "champion", "version": number, "answered_by": by,
            "weight": 50.0 if injected.trial and hit else 0.0, "generation": 3,
            "rollout": "r1" if injected.trial else "",
            "latency_ms": float(draw.gamma(4.0, 2.0)) * (injected.latency if stressed else 1.0), "cpu_ms": 2.0,
            "rss_mb": float(draw.normal(injected.memory_mb if stressed else 320.0, 5.0)), "error": error,
            "prediction": [float(one) for one in answers[by][place]],
            "features": {key: None if value != value else value for key, value in row.items()},  # noqa: PLR0124 - NaN
        }  # fmt: skip
        lines.append(orjson.dumps(record) + b"\n")
    return lines


def _damage(home: Path, draw: np.random.Generator) -> None:
    """Change one byte of the model file."""
    file = next(home.rglob("*.pkl"))
    content = bytearray(file.read_bytes())
    content[int(draw.integers(len(content)))] ^= 0xFF
    file.chmod(0o600)
    file.write_bytes(bytes(content))


def _row(name: str, value: object, unit: str, demand: str, *, ok: bool) -> dict[str, object]:
    return {"name": name, "value": value, "unit": unit, "demand": demand, "ok": ok}


def _report(results: list[_Result], file: Path | None) -> int:
    """Print the table and what was not right; 1 when a demand is missed."""
    table = Table(
        "injected", "right", "unknown", "wrong", "its nearest neighbour", "told as that", "evidence of the first"
    )
    rows: list[dict[str, object]] = []
    for name, (_, neighbour) in CAUSES.items():
        own = [one for one in results if one.name == name]
        if not own:
            continue
        unknown = sum(not one.right and one.found.cause is Cause.UNKNOWN for one in own)
        right = sum(one.right for one in own)
        wrong = len(own) - right - unknown
        as_other = Counter(
            f"{one.found.cause}" for one in own if not one.right and one.found.cause is not Cause.UNKNOWN
        )
        table.add_row(
            name, f"{right} of {len(own)}", str(unknown), str(wrong), neighbour,
            ", ".join(f"{cause} {count}" for cause, count in as_other.items()) or "never", own[0].found.sentence,
        )  # fmt: skip
        rows.append(_row(f"{name}: named right", right, f"of {len(own)}", "printed", ok=True))
    Console(width=200).print(table)
    for one in results:
        if not one.right:
            print(
                f"NOT RIGHT {one.name}, {one.said}: {one.found.cause} {one.found.column} {one.found.detail}:"
                f" {one.found.sentence}"
            )
            for line in one.found.evidence:
                print(f"    {line}")
            print(f"    would tell: {'; '.join(one.found.would_tell) or 'nothing'}")
    right = sum(one.right for one in results)
    wrong = sum(not one.right and one.found.cause is not Cause.UNKNOWN for one in results)
    speechless = sum(one.found.cause is Cause.UNKNOWN and not one.found.would_tell for one in results)
    need, most = int(np.ceil(_RIGHT * len(results))), int(np.floor(_WRONG * len(results)))
    rows += [
        _row("named right", right, f"of {len(results)}", f">= {need}", ok=right >= need),
        _row("named wrong", wrong, "incidents", f"<= {most}", ok=wrong <= most),
        _row("unknown without what would tell", speechless, "incidents", "0", ok=not speechless),
    ]  # fmt: skip
    for row in rows[-3:]:
        print(f"{row['name']}: {row['value']} {row['unit']} ({row['demand']}): {'ok' if row['ok'] else 'MISSED'}")
    if file is not None:
        file.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
