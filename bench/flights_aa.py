"""`python -m bench.flights_aa [--replays N] [--json FILE]`: replays canaries on real flights with two equal arms."""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.progress import track

from surefoot.core.assignment import compute_assignment_bucket
from surefoot.core.domain import Outcome
from surefoot.core.gates.bad_event_rate import MAX_EPOCHS
from surefoot.core.judging.evidence import BadEventCounts, BadEventStratum
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds, choose_margin_multiple
from surefoot.core.policy.parse import parse_gate
from surefoot.core.stats.change_point import log_mixture_over_starts
from surefoot.core.stats.rate_eprocess import HARM_FACTORS, epoch_evidence_increments, log_evidence
from surefoot.demo.flight_requests import FEATURES_WITH_GAPS, build_requests, midnight

_DAY = 86400.0
_RAMP = ((5.0, 3.0), (25.0, 5.0), (50.0, 7.0))
"""Weight [percent] and length [days] of each step; from 16 June."""
_LOOKS = 12
"""Looks in each step [count]."""
_BUDGET = 0.01
_MOST = 0.01
"""Largest share of replays that may end in a rollback, over all gates and looks."""
_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Trials:
    """One look at one kind of event, before anybody was assigned to an arm.

    Attributes:
        weight: Weight in force where each unit is counted [percent], shape (units,).
        epoch: Epoch of that moment, shape (units,).
        bad: Whether its event is bad, shape (units,).
        place: Position of the unit among all units, shape (units,).
        step: Step of the ramp in which the look falls.
    """

    weight: _Floats
    epoch: NDArray[np.int64]
    bad: NDArray[np.bool_]
    place: NDArray[np.int64]
    step: int


def _events(requests: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Bad events of real flights: a request with a gap in it, and a flight that never arrived or is late."""
    return {
        "a request with a gap breaks the model": requests[list(FEATURES_WITH_GAPS)].isna().any(axis=1).to_numpy(),
        "the flight never arrives": requests["late"].isna().to_numpy(),
    }


def _looks(requests: pd.DataFrame, bad: NDArray[np.bool_], keys: NDArray[np.int64]) -> list[_Trials]:
    """Where each key is counted at each look: at its first bad event, or else where it was seen last."""
    at = requests["at"].to_numpy(float)
    start = float(at[0])
    whole = sum(days for _, days in _RAMP) * _DAY
    epochs = np.minimum(((at - start) / (whole / MAX_EPOCHS)).astype(np.int64), MAX_EPOCHS - 1)
    edges = np.cumsum([0.0, *(days * _DAY for _, days in _RAMP)])
    steps = np.clip(np.searchsorted(edges, at - start, side="right") - 1, 0, len(_RAMP) - 1)
    weights = np.array([weight for weight, _ in _RAMP])[steps]
    made = []
    for step, (_, days) in enumerate(_RAMP):
        for look in range(1, _LOOKS + 1):
            end = int(np.searchsorted(at - start, edges[step] + days * _DAY * look / _LOOKS, side="right"))
            order = np.arange(end)
            last = np.full(keys.max() + 1, -1)
            last[keys[:end]] = order  # the latest assignment wins
            first = np.full(keys.max() + 1, end)
            np.minimum.at(first, keys[:end][bad[:end]], order[bad[:end]])
            seen = np.flatnonzero(last >= 0)
            where = np.where(first[seen] < end, first[seen], last[seen])
            made.append(_Trials(weights[where], epochs[where], bad[where], seen, step))
    return made


def _strata(trials: _Trials, ruler: _Floats) -> tuple[BadEventStratum, ...]:
    """Counts of one look under one assignment."""
    mine = ruler[trials.place] < trials.weight
    code = (trials.weight.astype(np.int64) * MAX_EPOCHS + trials.epoch) * 4 + mine * 2 + trials.bad
    cells = np.bincount(code, minlength=101 * MAX_EPOCHS * 4).reshape(-1, 4)
    made = []
    for key in np.flatnonzero(cells.sum(axis=1)):
        old_good, old_bad, new_good, new_bad = (int(n) for n in cells[key])
        made.append(
            BadEventStratum(key // MAX_EPOCHS / 100.0, new_bad, new_good, old_bad, old_good, int(key % MAX_EPOCHS))
        )
    return tuple(made)


def _rolled_back(sequence: list[_Trials], ruler: _Floats, rate: float, alpha: float) -> bool:
    """Whether any look of one replay fails the gate."""
    gate = parse_gate("errors", {"metric": "error_rate", "margin": 0.01})
    for trials in sequence:
        counts = _strata(trials, ruler)
        if (
            log_mixture_over_starts(epoch_evidence_increments(counts, rate, 1.0, 0.0, HARM_FACTORS), starts=MAX_EPOCHS)
            < -np.log(alpha) - 1e-9
        ):
            continue  # no FAIL without this evidence; the whole judge is slower
        level = DecisionThresholds(alpha, allowance=choose_margin_multiple(_RAMP[trials.step][0]))
        if judge(gate, BadEventCounts(counts, rate, "unit", 10**6), level).outcome is Outcome.FAIL:
            return True
    return False


def _naive(sequence: list[_Trials], ruler: _Floats, rate: float, alpha: float) -> bool:
    """The same evidence on requests instead of units, with no mixture and no guard: what sticky routing breaks."""
    return any(
        log_evidence(_strata(trials, ruler), rate, 1.0, 0.0, HARM_FACTORS) >= -np.log(alpha) for trials in sequence
    )


def rows(replays: int) -> list[dict[str, object]]:
    """Replay, and hold the share of rollbacks against the budget."""
    requests = build_requests(Path(__file__).parent / ".bench" / "flights.parquet")
    since = midnight("2013-06-16")
    window = requests[(requests["at"] >= since) & (requests["at"] < since + 15 * _DAY)].reset_index(drop=True)
    before = requests[(requests["at"] >= since - 30 * _DAY) & (requests["at"] < since)]
    units, keys = np.unique(window["tailnum"].to_numpy(str), return_inverse=True)
    alone = np.arange(len(window))
    alpha = _BUDGET / 2.0 / len(_events(window))  # half of a rollout's budget is for its ramp
    sides = {}
    for name, bad in _events(window).items():
        rate = float(_events(before)[name].mean())
        sides[name] = (_looks(window, bad, keys), _looks(window, bad, alone), rate)
    stopped = dict.fromkeys([*sides, "any"], 0)
    by_request = 0
    for replay in track(range(replays), "canaries", transient=True, disable=not sys.stderr.isatty()):
        ruler = np.array([compute_assignment_bucket(f"replay {replay}", unit) for unit in units])
        hit = {name: _rolled_back(sequence, ruler, rate, alpha) for name, (sequence, _, rate) in sides.items()}
        for name, yes in hit.items():
            stopped[name] += yes
        stopped["any"] += any(hit.values())
        if replay < replays // 10:
            spread = ruler[keys]
            by_request += any(_naive(sequence, spread, rate, alpha) for _, sequence, rate in sides.values())
    made: list[dict[str, object]] = [
        {"name": f"false rollbacks: {name}", "value": n / replays, "unit": "share", "demand": "", "ok": True}
        for name, n in stopped.items()
        if name != "any"
    ]
    share = stopped["any"] / replays
    made.append(
        {
            "name": f"false rollbacks of {replays:,} canaries that are the same, split by plane",
            "value": share,
            "unit": "share",
            "demand": f"<= {_MOST:g}",
            "ok": share <= _MOST,
        }
    )
    made.append(
        {
            "name": "for comparison: requests of a plane counted as if they were independent",
            "value": by_request / max(replays // 10, 1),
            "unit": "share",
            "demand": "",
            "ok": True,
        }
    )
    return made


def main() -> int:
    """Print the rows; 1 when the demand is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.flights_aa", description=__doc__)
    parser.add_argument("--replays", type=int, default=1000, help="random splits of the same flights")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    made = rows(options.replays)
    for row in made:
        mark = "" if not row["demand"] else "ok" if row["ok"] else "MISSED"
        print(f"{row['name']:<85} {row['value']:>8.4f} {row['demand']:<8} {mark}")
    if options.json:
        options.json.write_text(json.dumps({"rows": made}, indent=2), encoding="utf-8")
    return 0 if all(row["ok"] for row in made) else 1


if __name__ == "__main__":
    sys.exit(main())
