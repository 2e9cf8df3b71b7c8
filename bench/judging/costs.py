"""Measure what counting and judging cost, and test that merged counts give the same verdict (table rows 19 and 20)."""

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from bench.judging.table import Row, SimulationPlan
from surefoot.adapters.evidence.live_counts.bad_event_counts import count_bad_events
from surefoot.adapters.evidence.live_counts.measurement_histograms import count_measurements
from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.core.domain import EvidenceKind, Split, Version
from surefoot.core.judging.evidence import MILLIONTHS_PER_UNIT, BadEventCounts, BadEventStratum, PairedBlock, PairedSums
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.parse import parse_gate
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, degradation_interval, log_evidence

_REQUESTS = 200_000
"""Recorded requests that are counted."""
GATES, SLICES, BLOCKS = 20, 30, 30
"""Gates of one look, slices of each, and blocks (days) of each slice."""
_ROUNDS = 15
_STRATA = [
    BadEventStratum(0.01, 12, 588, 1_190, 58_210),
    BadEventStratum(0.05, 60, 2_940, 1_140, 55_860),
    BadEventStratum(0.25, 300, 14_700, 900, 44_100),
    BadEventStratum(0.5, 600, 29_400, 600, 29_400),
]


def _seconds(work: Callable[[], object], rounds: int = _ROUNDS) -> float:
    """Median processor time of one call [s]; the first call, which fills caches, is not counted."""
    work()
    times = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return statistics.median(times)


def _recorded(folder: Path) -> RecordedRequests:
    """A day of requests of two versions, 5 % of them the candidate's."""
    rng = np.random.default_rng(7)
    mine = rng.random(_REQUESTS) < 0.05
    path = folder / "records.parquet"
    failures = ["it raised" if failed else None for failed in rng.random(_REQUESTS) < 0.02]
    pd.DataFrame(
        {
            "request": [f"r{number}" for number in range(_REQUESTS)],
            "at": np.sort(rng.random(_REQUESTS)) * 86_400.0,
            "arm": np.where(mine, "candidate", "champion"),
            "version": np.where(mine, "2", "1"),
            "prediction": rng.random(_REQUESTS),
            "weight": 5.0,
            "error": pd.Series(failures, dtype="object"),
            "latency_ms": np.exp(rng.normal(3.0, 0.6, _REQUESTS)),
        }
    ).to_parquet(path)
    records = RecordedRequests(path)
    records.shift(0.0, Split(Version("1", "one"), Version("2", "two"), 5.0, "salt", "rollout"))
    return records


def _counting() -> list[Row]:
    gate = parse_gate("errors", {"metric": "error_rate", "margin": 0.01})
    slow = parse_gate("latency", {"metric": "latency", "margin": "15%"})
    with tempfile.TemporaryDirectory() as folder:
        records = _recorded(Path(folder))
        question = EvidenceRequest(
            "m",
            gate,
            EvidenceKind.LIVE,
            "",
            "rollout",
            Version("1", "one"),
            Version("2", "two"),
            0.0,
            86_400.0,
            0.0,
            3_600.0,
        )
        try:
            events = _seconds(lambda: count_bad_events(records, question), 5) / _REQUESTS * 1e6
            speeds = _seconds(lambda: count_measurements(records, replace(question, gate=slow)), 5) / _REQUESTS * 1e6
        finally:
            records.close()
    return [
        _most("counters of one gate", "us a request", events, 0.5),
        _most("latency histograms of one gate", "us a request", speeds, 1.0),
    ]


def _most(name: str, unit: str, value: float, most: float) -> Row:
    return Row(19, name, unit, value, f"<= {most:g}", value <= most)


def _sums() -> PairedSums:
    """What both versions made of 30 slices on 30 days."""
    rng = np.random.default_rng(11)
    slices = {}
    for number in range(SLICES):
        blocks = []
        for day in range(BLOCKS):
            old, new = (int(value * MILLIONTHS_PER_UNIT) for value in rng.normal(18.0, 1.0, 2))
            blocks.append(PairedBlock(f"2013-06-{day + 1:02}", 100, (old,), (new,)))
        slices[f"carrier={number}" if number else ""] = tuple(blocks)
    return PairedSums(slices, SLICES * BLOCKS * 100, SLICES * BLOCKS * 100)


def _judging() -> list[Row]:
    written = {
        "metric": "brier",
        "margin": 0.01,
        "by": ["carrier"],
        "min_per_slice": 100,
        "labels": {"maturity": "0s"},
    }
    gates = [parse_gate(f"slices {number}", written) for number in range(GATES)]
    found, level = _sums(), DecisionThresholds()
    look = _seconds(lambda: [judge(gate, found, level) for gate in gates], 5) * 1e3
    evidence = _seconds(lambda: [log_evidence(_STRATA, 0.02, 1.0, 0.0, HARM_FACTORS) for _ in range(1_000)]) * 1e3
    return [
        _most("full e-value, 4 strata, 6 alternatives", "us", evidence, 30.0),
        _most(
            "band of one gate, 4 strata",
            "ms",
            _seconds(lambda: degradation_interval(_STRATA, 0.02, 0.1, 0.002, 0.01, 0.05)) * 1e3,
            50.0,
        ),
        _most(f"a look: {GATES} gates of {SLICES} slices over {BLOCKS} days", "ms", look, 1_000.0),
    ]


def _merged(plan: SimulationPlan) -> Row:
    """Cut the requests of one rollout over workers in many ways, add up in any order, and compare every verdict."""
    rng = random.Random(plan.seed)  # noqa: S311 - a simulation
    gate, level = parse_gate("errors", {"metric": "error_rate", "margin": 0.01}), DecisionThresholds()
    whole = judge(gate, BadEventCounts(tuple(_STRATA), 0.02), level)
    rounds = 50 if plan.quick else 500
    different = 0
    for _ in range(rounds):
        parts: list[BadEventStratum] = []
        for s in _STRATA:
            cells = (s.candidate_bad, s.candidate_good, s.champion_bad, s.champion_good)
            cuts = [sorted(rng.randint(0, n) for _ in range(3)) for n in cells]
            for worker in range(4):
                ends = [([0, *cut, n][worker], [0, *cut, n][worker + 1]) for cut, n in zip(cuts, cells, strict=True)]
                parts.append(BadEventStratum(s.share, *(high - low for low, high in ends)))
        rng.shuffle(parts)
        different += judge(gate, BadEventCounts(_added(parts), 0.02), level) != whole
    name = "verdicts that differ when four workers count, in any order"
    return Row(20, name, "verdicts", different, "= 0", not different, runs=rounds)


def _added(parts: list[BadEventStratum]) -> tuple[BadEventStratum, ...]:
    totals: dict[float, list[int]] = {}
    for s in parts:
        total = totals.setdefault(s.share, [0, 0, 0, 0])
        for index, n in enumerate((s.candidate_bad, s.candidate_good, s.champion_bad, s.champion_good)):
            total[index] += n
    return tuple(BadEventStratum(share, *total) for share, total in sorted(totals.items()))


def rows(plan: SimulationPlan) -> list[Row]:
    """Every row of this kind."""
    plan.seen("what counting and judging cost")
    return [*_counting(), *_judging(), _merged(plan)]
