"""Run simulations in parallel, and print a table of our number, its demand, and the rivals' numbers."""

import json
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

RIVAL_NAMES = ("Kayenta", "Argo", "Flagger", "repeated z", "OBF", "mSPRT", "SPRT")
_SURE = {True: 0.001, False: 0.025}
"""Chance below which a quick, or a full, run calls a share beyond its demand a miss and not bad luck [probability]."""
_Found = Sequence[dict[str, float]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        number: Which of the twenty demands it belongs to.
        name: What was done.
        unit: Unit of the numbers.
        value: Ours.
        demand: What is demanded, in words; empty for a line that is there to compare.
        ok: Whether it is met.
        rivals: The same number of each rival that has one.
        runs: Rollouts simulated; 0 where nothing is.
    """

    number: int
    name: str
    unit: str
    value: float
    demand: str
    ok: bool
    rivals: dict[str, float] = field(default_factory=dict)
    runs: int = 0

    def plain(self) -> dict[str, Any]:
        """The row as JSON; what never happened is null."""
        numbers = {name: value if math.isfinite(value) else None for name, value in self.rivals.items()}
        value = self.value if math.isfinite(self.value) else None
        return {
            "name": f"{self.number}. {self.name}",
            "value": value,
            "unit": self.unit,
            "demand": self.demand,
            "ok": self.ok,
            "rivals": numbers,
            "runs": self.runs,
        }


_FEWEST = 40
"""Rollouts of a scene that are always simulated [count]."""


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """How much is simulated, and how strictly it is read.

    Attributes:
        quick: Whether few rollouts do; a miss must then be beyond bad luck.
        seed: Start of the chance.
        pool: Where the rollouts run.
        seen: Called with the name of what begins.
        share: So much of the rollouts is simulated [fraction], but never fewer than FEWEST.
    """

    quick: bool
    seed: int
    pool: Executor
    seen: Callable[[str], None]
    share: float = 1.0

    def each(
        self,
        what: str,
        law: Callable[[Any, np.random.Generator], dict[str, float]],
        scene: object,
        full: int,
        quick: int,
    ) -> list[dict[str, float]]:
        """Simulate a scene many times; the same seed gives the same rollouts on however many processors."""
        self.seen(what)
        planned = quick if self.quick else full
        runs = min(planned, max(round(planned * self.share), _FEWEST))
        key = int.from_bytes(what.encode()[-8:], "big")
        seeds = np.random.SeedSequence([self.seed, key]).spawn(runs)
        size = max(runs // (4 * _WORKERS), 1)
        parts = [(law, scene, seeds[at : at + size]) for at in range(0, runs, size)]
        return [one for part in self.pool.map(_some, parts) for one in part]

    def rate(
        self, number: int, name: str, found: _Found, *, most: float = 1.0, least: float = 0.0, key: str = "ours"
    ) -> Row:
        """Share of the rollouts in which something happens."""
        hits, n = sum(math.isfinite(one[key]) for one in found), len(found)
        value = hits / n
        over = float(stats.binom.sf(hits - 1, n, most)) if value > most else 1.0
        under = float(stats.binom.cdf(hits, n, least)) if value < least else 1.0
        ok = min(over, under) >= _SURE[self.quick]
        demand = f"<= {most:.1%}" if most < 1.0 else f">= {least:.0%}" if least else ""
        shares = {name: sum(math.isfinite(one[name]) for one in found) / n for name in RIVAL_NAMES if _has(found, name)}
        return Row(number, name, "share", value, demand, ok, shares, n)

    def quantile(
        self,
        number: int,
        name: str,
        found: _Found,
        most: float,
        *,
        q: float = 0.5,
        key: str = "ours",
        unit: str = "requests",
    ) -> Row:
        """Quantile over the rollouts of when something happens; those in which it never does count as never."""
        times = [one[key] for one in found]
        value = quantile(times, q)
        late = sum(time > most for time in times)
        ok = value <= most or (self.quick and float(stats.binom.sf(late - 1, len(times), 1.0 - q)) >= _SURE[True])
        others = {name: quantile([one[name] for one in found], q) for name in RIVAL_NAMES if _has(found, name)}
        return Row(number, name, unit, value, f"<= {most:,.0f}", ok, others, len(times))


def _has(found: _Found, name: str) -> bool:
    return name in found[0] and not any(math.isnan(one[name]) for one in found)


def quantile(times: Sequence[float], q: float = 0.5) -> float:
    """Smallest time by which a share q of the rollouts is done; infinite when it never is."""
    return sorted(times)[max(math.ceil(q * len(times)) - 1, 0)]


_WORKERS = max(os.cpu_count() or 1, 1)


def _some(
    part: tuple[Callable[[Any, np.random.Generator], dict[str, float]], object, list[np.random.SeedSequence]],
) -> list[dict[str, float]]:
    law, scene, seeds = part
    return [law(scene, np.random.default_rng(seed)) for seed in seeds]


def start_process_pool() -> ProcessPoolExecutor:
    """A process for each processor."""
    return ProcessPoolExecutor(_WORKERS)


def _shown(value: float, unit: str) -> str:
    """A number as people read it."""
    if math.isnan(value):
        return ""
    if not math.isfinite(value):
        return "never"
    if unit == "share":
        return f"{value:.2%}"
    return f"{value:,.0f}" if abs(value) >= 100.0 else f"{value:.3g}"


def print_judge_table(rows: Sequence[Row], console: Console) -> None:
    """Print the table."""
    table = Table("#", "what", "unit", "runs", "ours", "demand", "", *RIVAL_NAMES, title="the judge beside others")
    for row in rows:
        mark = "" if not row.demand else "ok" if row.ok else "MISSED"
        others = [_shown(row.rivals[name], row.unit) if name in row.rivals else "" for name in RIVAL_NAMES]
        table.add_row(
            str(row.number), row.name, row.unit, f"{row.runs:,}" if row.runs else "", _shown(row.value, row.unit),
            row.demand, mark, *others,
        )  # fmt: skip
    console.print(table)


def write_json(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as JSON."""
    path.write_text(json.dumps({"rows": [row.plain() for row in rows]}, indent=2), encoding="utf-8")
