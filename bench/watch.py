"""`python -m bench.watch [--years N] [--seeds N] [--json FILE]`: measures false and missed alarms of the watch.

Years in which nothing is wrong, though seasons, weekdays, holidays, correlated days and drifting columns make no two
days alike, must stay within the false alarms that a policy accepts. Faults that begin on some day must be alarmed
within the label delay and two weeks. The flights of 2013 are real; from some day on their labels are made four times
as frequent.
"""

import argparse
import datetime as dt
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy import stats

from bench.evaluate import print_rows
from bench.evaluating.evaluation_data import write_result_rows
from bench.flights_models import CandidateTrainer
from bench.watch_years import BASKET_VALUE, FAULT_DAY, Fault, simulate_years
from surefoot.core.champion_watch.day_counts import DAY_S, FIXED_POINT_SCALE, BoundedLabelValue, DayCounts
from surefoot.core.champion_watch.early_signals import PAST_DAYS, RECENT_DAYS, SignalReading, compute_champion_signals
from surefoot.core.domain import Outcome
from surefoot.demo.flight_requests import FEATURES

_PER_YEAR = 0.1
"""False alarms that are accepted [count a year]."""
_BEFORE = PAST_DAYS + max(RECENT_DAYS)
_DETECTED_WITHIN = 14
"""Days from the first day of a fault, label delay apart."""
_QUIET_DAYS = 28
"""Days after an alarm in which the same trouble is no second one, as in an incident."""
_FAULTS = {
    "a fourfold base rate": Fault(times=4.0),
    "answers a third as high as what comes true": Fault(answers=1.0 / 3.0),
    "a column without values": Fault(broken="seats"),
    "requests that bring a quarter of what they did": Fault(value=0.25),
}


def _look(days: Sequence[DayCounts], until: int, value: BoundedLabelValue | None = BASKET_VALUE) -> list[SignalReading]:
    """Alarms of one look at the days up to one."""
    first = until - _BEFORE
    seen = [one for one in days if first < one.day <= until]
    return [
        one for one in compute_champion_signals(seen, until, until, _PER_YEAR, value) if one.outcome is Outcome.FAIL
    ]


def _quiet_year(seed: int) -> list[str]:
    """Names of the alarms of one year in which nothing is wrong."""
    days, found, silent = list(simulate_years(seed, _BEFORE + 365)), [], 0
    for until in range(_BEFORE, _BEFORE + 365):
        alarms = _look(days, until)
        if alarms and until >= silent:
            found.append(alarms[0].name)
            silent = until + _QUIET_DAYS
    return found


def _days_to_alarm(seed: int, fault: Fault) -> int | None:
    """Days from the beginning of a fault to the alarm; None where none comes in time."""
    days = list(simulate_years(10_000 + seed, FAULT_DAY + _DETECTED_WITHIN, fault))
    return next((n for n in range(1, _DETECTED_WITHIN + 1) if _look(days, FAULT_DAY + n - 1)), None)


def _flight_days() -> list[DayCounts]:
    """The flights of 2013 by day: how many, how many were late, and what a model of the first quarter says of them."""
    shop = CandidateTrainer(Path(__file__).parent.parent / ".bench" / "flights.parquet")
    known = shop.requests[shop.requests["late"].notna()]
    scores = shop.train(60).predict_proba(known[list(FEATURES)])[:, 1]
    facts = known.assign(day=(known["at"] // DAY_S).astype(int), score=scores)
    found = facts.groupby("day").agg(size=("late", "size"), late=("late", "sum"), score=("score", "sum"))
    return [
        DayCounts(
            int(day),
            int(size),
            labelled=int(size),
            labels=int(late) * FIXED_POINT_SCALE,
            scored=int(size),
            came=int(late) * FIXED_POINT_SCALE,
            expected=round(score * FIXED_POINT_SCALE),
        )
        for day, size, late, score in found.itertuples()
    ]


def _flights_to_alarm(seed: int, days: Sequence[DayCounts]) -> int | None:
    """Days from where the late flights of 2013 become four times as frequent to the alarm; None without one in time."""
    rng = np.random.default_rng(seed)
    begins = days[0].day + int(rng.integers(_BEFORE, len(days) - _DETECTED_WITHIN))
    changed = [one if one.day < begins else _four_times(one, rng) for one in days]
    return next((n for n in range(1, _DETECTED_WITHIN + 1) if _look(changed, begins + n - 1, None)), None)


def _four_times(day: DayCounts, rng: np.random.Generator) -> DayCounts:
    rate = min(4.0 * day.labels / FIXED_POINT_SCALE / day.labelled, 0.95)
    labels = int(rng.binomial(day.labelled, rate)) * FIXED_POINT_SCALE
    return replace(day, labels=labels, came=labels)


def _date(day: int) -> str:
    return dt.datetime.fromtimestamp(day * DAY_S, dt.UTC).date().isoformat()


def main() -> int:
    """Print the table; 1 when a demand is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.watch", description=__doc__)
    parser.add_argument("--years", type=int, default=200, help="simulated years without a fault")
    parser.add_argument("--seeds", type=int, default=100, help="series for each fault")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    console = Console()
    rows: list[dict[str, object]] = []
    with ProcessPoolExecutor(os.cpu_count()) as pool, console.status("years without a fault") as status:
        alarms = [name for found in pool.map(_quiet_year, range(options.years)) for name in found]
        most = int(stats.poisson.ppf(0.95, _PER_YEAR * options.years))
        told = ", ".join(f"{name} {count}" for name, count in Counter(alarms).items()) or "none"
        rows.append(_row(f"false alarms in {options.years} years ({told})", len(alarms), "alarms", most=most))
        days = _flight_days()
        status.update("flights of 2013")
        real = [_look(days, one.day, None) for one in days[_BEFORE:]]
        dates = [days[0].day + _BEFORE + place for place, alarms in enumerate(real) if alarms]
        said = f" ({_date(dates[0])} to {_date(dates[-1])})" if dates else ""
        rows.append(_row(f"days of alarm in the real flights of 2013, as they were{said}", len(dates), "days"))
        least = -(-95 * options.seeds // 100)
        faults: dict[str, Callable[[int], int | None]] = {
            name: partial(_days_to_alarm, fault=fault) for name, fault in _FAULTS.items()
        }
        faults["late flights of 2013 four times as frequent"] = partial(_flights_to_alarm, days=days)
        for name, simulate in faults.items():
            status.update(name)
            found = list(pool.map(simulate, range(options.seeds)))
            hits = sorted(day for day in found if day is not None)
            rows.append(_row(f"{name}: alarmed within {_DETECTED_WITHIN} days", len(hits), "series", least=least))
            if hits:
                rows.append(_row(f"{name}: median time to the alarm", hits[len(hits) // 2], "days"))
    print_rows(console, rows)
    write_result_rows(options.json, rows)
    return 0 if all(row["ok"] for row in rows) else 1


def _row(name: str, value: int, unit: str, least: int | None = None, most: int | None = None) -> dict[str, object]:
    demand = f">= {least}" if least is not None else f"<= {most}" if most is not None else "printed"
    ok = (least is None or value >= least) and (most is None or value <= most)
    return {"name": name, "value": value, "unit": unit, "demand": demand, "ok": ok}


if __name__ == "__main__":
    sys.exit(main())
