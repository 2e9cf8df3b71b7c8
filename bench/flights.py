"""`python -m bench.flights [--json FILE]`: back-tests real candidates on real flights with the whole policy."""

import argparse
import copy
import datetime as dt
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.flights_models import CANDIDATES, GOOD_CANDIDATE, Candidate, CandidateTrainer
from surefoot.adapters.config.policy_file import read_policy
from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.backtest import BacktestResult, backtest
from surefoot.backtest.suite_runner import make_suite_runner
from surefoot.core.domain import Outcome, Verdict

_HERE = Path(__file__).parent
_POLICY = _HERE / "flights-late.yaml"
_SUITE = _HERE.parent / "expectations" / "flights-late.json"


@dataclass(frozen=True, slots=True)
class _Row:
    """One demand on one rollout.

    Attributes:
        name: What is demanded of whom.
        value: What happened.
        demand: What should.
        ok: Whether it did.
        detail: The verdicts that decided.
    """

    name: str
    value: str
    demand: str
    ok: bool
    detail: str


def _replay(path: Path, policy: Mapping[str, object]) -> BacktestResult:
    """One back-test."""
    records = RecordedRequests(path)
    try:
        return backtest(records, policy, make_suite_runner(_SUITE))
    finally:
        records.close()


def _first(found: BacktestResult, stage: str) -> dict[str, Verdict]:
    """What each gate of a stage said at its first look."""
    made: dict[str, Verdict] = {}
    for look in found.looks:
        if look.stage.value == stage:
            made.setdefault(look.verdict.gate, look.verdict)
    return made


def _failed(found: BacktestResult) -> list[Verdict]:
    return [look.verdict for look in found.looks if look.verdict.outcome is Outcome.FAIL]


def _ended(found: BacktestResult) -> str:
    return "promoted" if found.promoted else f"{found.stage.value}{f' by {found.gate}' if found.gate else ''}"


def _judged(candidate: Candidate, found: BacktestResult) -> _Row:
    """Hold a back-test against what a good judge says."""
    failed = _failed(found)
    detail = "; ".join(f"{v.gate} FAIL: {v.reason}" for v in failed) or found.reason
    if candidate.expected == "promoted":
        return _Row(candidate.name, _ended(found), "promoted", found.promoted, detail)
    if candidate.expected == "not rejected":
        good = not failed and not (found.stage.is_terminal and not found.promoted)
        return _Row(candidate.name, _ended(found), "no gate fails", good, detail)
    named = [
        v for v in failed if v.gate in candidate.gates and (not candidate.culprit or _blames(v, candidate.culprit))
    ]
    demand = f"stopped by {' or '.join(candidate.gates)}" + (
        f" naming {candidate.culprit}" if candidate.culprit else ""
    )
    detail = "; ".join(f"{v.gate} FAIL: {v.reason}" for v in [*named, *(v for v in failed if v not in named)])
    return _Row(candidate.name, _ended(found), demand, bool(named) and not found.promoted, detail)


def _blames(verdict: Verdict, culprit: str) -> bool:
    """Whether a failed verdict fails for this reason, whatever else it names."""
    rows = [row for row in verdict.details if culprit in {row.get("slice"), row.get("feature")}]
    return any(
        row.get("outcome") == Outcome.FAIL.value or float(str(row.get("lower", 0.0))) > (verdict.margin or 0.0)
        for row in rows
    )


def _two_weeks(policy: Mapping[str, object]) -> dict[str, Any]:
    """The same policy with a shadow of fourteen days."""
    made = copy.deepcopy(dict(policy))
    made["steps"][0]["shadow"]["window"] = "14d"  # type: ignore[index]
    made["data"]["window"] = "14d"  # type: ignore[index]
    return made


def _november(policy: Mapping[str, object]) -> dict[str, Any]:
    """The same policy with a bake that lasts until the end of November."""
    made = copy.deepcopy(dict(policy))
    made["bake"]["for"] = "150d"  # type: ignore[index]
    return made


def rows(console: Console) -> list[_Row]:
    """Every demand, one back-test each."""
    policy, _ = read_policy(_POLICY)
    made: list[_Row] = []
    with tempfile.TemporaryDirectory() as folder:
        shop = CandidateTrainer(_HERE.parent / ".bench" / "flights.parquet")
        for candidate, path in shop.files(Path(folder), "2013-06-01", "2013-08-01"):
            console.print(f"back-test: {candidate.name}")
            found = _replay(path, policy)
            made.append(_judged(candidate, found))
            if candidate.name == GOOD_CANDIDATE:
                made.append(_short(_replay(path, _two_weeks(policy))))
        console.print("back-test: the whole autumn, with a bake of 150 days")
        good = next(c for c in CANDIDATES if c.name == GOOD_CANDIDATE)
        autumn = shop.write(good, "2013-06-01", "2013-12-01", Path(folder) / "autumn.parquet")
        made.append(_autumn(_replay(autumn, _november(policy))))
    return made


def _short(found: BacktestResult) -> _Row:
    quality = _first(found, "Shadowing")["quality"]
    ok = quality.outcome is Outcome.INCONCLUSIVE and not _failed(found)
    return _Row("GOOD on its first 14 days", f"quality {quality.outcome}", "quality INCONCLUSIVE", ok, quality.reason)


def _autumn(found: BacktestResult) -> _Row:
    """Either the bake takes it back on cost, or the row says why not: what November alone can prove."""
    costs = [look for look in found.looks if look.verdict.gate == "cost" and look.stage.value == "Baking"]
    back = found.gate == "cost" and found.stage.value == "RolledBack"
    name = "GOOD baking until the end of November"
    demand = "rolled back on cost, or November is dearer and proves nothing"
    if back:
        return _Row(name, f"rolled back on {_day(found.ended)}", demand, True, found.reason)
    november = next(row for row in costs[-1].verdict.details if row["slice"] == "all, last 28 blocks")
    apart, low, high = (float(str(november[key])) for key in ("difference", "lower", "upper"))
    margin = costs[-1].verdict.margin or 0.0
    detail = (
        f"in the last 28 days a request costs {apart:+.2f}, between {low:+.2f} and {high:+.2f}; {margin:+.2f} is"
        f" accepted; over the whole bake {costs[-1].verdict.reason}"
    )
    return _Row(name, f"not rolled back by {_day(found.ended)}", demand, apart > 0.0 and low <= 0.0, detail)


def _day(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%d %B")


def main() -> int:
    """Print the table; 1 when a demand is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.flights", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    made = rows(Console(stderr=True))
    table = Table("candidate", "what happened", "demand", "", "verdict", show_lines=True)
    for row in made:
        table.add_row(row.name, row.value, row.demand, "ok" if row.ok else "MISSED", row.detail)
    Console(width=200).print(table)
    if options.json:
        plain = [
            {"name": r.name, "value": r.value, "unit": "", "demand": r.demand, "ok": r.ok, "detail": r.detail}
            for r in made
        ]
        options.json.write_text(json.dumps({"rows": plain}, indent=2), encoding="utf-8")
    return 0 if all(row.ok for row in made) else 1


if __name__ == "__main__":
    sys.exit(main())
