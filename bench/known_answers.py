"""`python -m bench.known_answers [--json FILE]`: judges real comparisons whose right answer was published.

Each is brought into the form of evidence that fits it and judged as a rollout would be, with the arm that was tried
as the candidate. A baseline should come from before the rollout. No such number was published here, so the control's
own rate stands in for it: a guess that has seen the counts, which moves the power and not the direction.
"""

import argparse
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from bench.judging.rivals import hodges_lehmann_interval
from surefoot.core.domain import Outcome, Verdict
from surefoot.core.judging.evidence import (
    BadEventCounts,
    BadEventStratum,
    BucketCounts,
    MeasurementCounts,
    MeasurementStratum,
    PairedBlock,
    PairedSums,
    ValueCounts,
    ValueStratum,
)
from surefoot.core.judging.judge import judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.parse import parse_gate
from surefoot.core.policy.policy_types import Gate, Metric
from surefoot.core.policy.scalars import Margin
from surefoot.core.stats.bounded_mean import VALUE_LEVELS
from surefoot.core.stats.histogram import bucket_of

_DATA = Path(__file__).with_suffix(".json")
_LEVEL = DecisionThresholds(alpha=0.1, beta=0.05)
"""The judge may be looked at any time, and pays for that about a factor of ten against a single planned look. So what
was published at 5 % or less, two-sided, is asked here at one in ten; each row shows how far its e-value really goes.
"""
_EVENTS = parse_gate("events", {"metric": "error_rate", "margin": "10%"})
_WORSE_AT_ALL = _EVENTS.model_copy(update={"allowed": Margin(0.0, relative=True)})
"""No policy may ask for it: no amount of traffic proves equality."""
_POINT = parse_gate("events", {"metric": "error_rate", "margin": 0.01})
_SHARE = {"metric": "value", "cap": 1, "labels": {"maturity": "0s"}}
_LEAST_RETURNS = 0.001
_RETURNS = parse_gate("returns", {**_SHARE, "margin": _LEAST_RETURNS, "column": "share_that_returns"})
"""Nobody gives up players for nothing, but a policy takes no margin of zero: a tenth of a point."""
_FOUR_FIFTHS = parse_gate("callbacks", {**_SHARE, "margin": "20%", "column": "share_called_back"})
"""The four-fifths rule is a relative margin of a fifth."""
_FIFTH = 0.2
_APPROVAL = parse_gate(
    "approval", {"metric": "zero_one", "margin": 0.01, "block": "none", "labels": {"maturity": "0s"}}
)
_MEDIAN = parse_gate("latency", {"metric": "latency", "margin": "15%", "quantile": 0.5})
_REACH = (-5.0, 50.0)
"""Ends of a verdict's interval beyond which it does not look [margins]."""
_UNHARMED = frozenset({Outcome.PASS, Outcome.INCONCLUSIVE})
"""Judged, and no harm found; evidence that could not be judged agrees with nothing."""
_Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Said:
    """What the judge says of one comparison.

    Attributes:
        outcome: Its verdict, or what stands for one where no gate fits.
        value: The number that the demand is about.
        unit: Unit of `value`.
        reason: Estimate, interval and e-values, and what a reader must know beside them.
        demand: What agrees with the published conclusion.
        ok: Whether the judge does.
    """

    outcome: str
    value: float
    unit: str
    reason: str
    demand: str
    ok: bool


def _within(margin: float) -> Gate:
    """Bad events whose rate may grow by a margin [probability]."""
    return parse_gate("events", {"metric": "error_rate", "margin": margin})


def _events(gate: Gate, *strata: BadEventStratum) -> Verdict:
    """Bad events of two arms."""
    bad, n = sum(s.champion_bad for s in strata), sum(s.champion for s in strata)
    return judge(gate, BadEventCounts(strata, bad / n, "unit"), _LEVEL)


def _values(gate: Gate, candidate: tuple[int, int], champion: tuple[int, int]) -> Verdict:
    """Good events (count, of how many) of two arms as a value of 0 or 1, which is the lowest or the highest level."""
    new, old = ((n - good, *[0] * (VALUE_LEVELS - 2), good) for good, n in (candidate, champion))
    return judge(gate, ValueCounts((ValueStratum(0.5, new, old),), champion[0] / champion[1], "unit"), _LEVEL)


def _speeds(candidate: Sequence[float], champion: Sequence[float], unit: str) -> Verdict:
    """Measurements of two arms; the champion's past is the control itself."""
    new, old = (_histogram(arm) for arm in (candidate, champion))
    return judge(_MEDIAN, MeasurementCounts((MeasurementStratum(0.5, new, old),), old, unit), _LEVEL)


def _histogram(measured: Sequence[float]) -> BucketCounts:
    """Values by log bucket."""
    return tuple(sorted(Counter(bucket_of(value) for value in measured).items()))


def _figure(verdict: Verdict, name: str) -> float:
    """One of the further numbers of a verdict; NaN when it has none of this name."""
    return next((f.value for f in verdict.figures if f.name == name), math.nan)


def _nats(verdict: Verdict, of: str) -> float:
    """Log evidence of harm, of safety or of a wrong split [nats]."""
    return _figure(verdict, f"log evidence of {of}")


def _sure(log_e: float) -> str:
    """An e-value, and the level that it reaches; its logarithm where it is beyond all numbers."""
    if log_e > 200.0:
        return f"log e = {log_e:.0f}"
    e = math.exp(log_e)
    return f"e = {e:.3g} (level {1.0 / e:.2g})" if e > 1.0 else f"e = {e:.2g}"


def _numbers(verdict: Verdict) -> str:
    """Estimate and interval, where more is worse, and both e-values; an end beyond its reach is left open."""
    grown, text = verdict.estimate or 0.0, ""
    if verdict.lower is not None and verdict.upper is not None and verdict.margin:
        pairs = zip((verdict.lower, verdict.upper), _REACH, strict=True)
        opens = [(end, math.isclose(end, reach * verdict.margin, rel_tol=1e-6)) for end, reach in pairs]
        text = " [" + ", ".join("open" if far else f"{end * 100.0:+.3g}" for end, far in opens) + "]"
    shown = f"{grown:+.3g} {verdict.unit}" if verdict.metric == Metric.LATENCY else f"{grown * 100.0:+.3g} points"
    return f"{shown}{text}; harm {_sure(_nats(verdict, 'harm'))}, safety {_sure(_nats(verdict, 'safety'))}"


def _said(verdict: Verdict, wanted: Outcome, note: str = "", *, also: bool = True, demand: str = "") -> _Said:
    """A verdict held against the one that agrees with what was published."""
    value = _nats(verdict, "safety" if wanted is Outcome.PASS else "harm")
    ok = verdict.outcome is wanted and also
    return _Said(verdict.outcome.value, value, "nats", _numbers(verdict) + note, demand or wanted.value, ok)


def _trial(record: _Record, wanted: Outcome) -> _Said:
    """Bad events of a trial whose control comes first."""
    (old, new), (beside, mine) = record["data"]["n"], record["data"]["event"]
    return _said(_events(_EVENTS, BadEventStratum(0.5, mine, new - mine, beside, old - beside)), wanted)


def _propranolol(record: _Record) -> _Said:
    """Fewer deaths; the counts are the final ones, those of the sixth look were not published."""
    mine, new, beside, old = record["data"]["events"]
    stratum = BadEventStratum(0.5, mine, new - mine, beside, old - beside)
    verdict, equal = _events(_EVENTS, stratum), _events(_WORSE_AT_ALL, stratum)
    note = f", within 10 %. That it is no worse at all: {equal.outcome}, {_sure(_nats(equal, 'safety'))}"
    return _said(verdict, Outcome.PASS, note, also=(verdict.estimate or 0.0) < 0.0)


def _retention(record: _Record, wanted: Outcome) -> _Said:
    """Players who return with the gate moved to level 40, against level 30; what else the judge says is shown too."""
    (old, new), (beside, mine) = record["data"]["n"], record["data"]["success"]
    verdict, many = (_values(_RETURNS, (mine * k, new * k), (beside * k, old * k)) for k in (1, 100))
    away = _events(_within(_LEAST_RETURNS), BadEventStratum(0.5, new - mine, mine, old - beside, beside))
    note = (
        f". As the error rate of staying away: {away.outcome}, harm {_sure(_nats(away, 'harm'))}. With a hundred times"
        f" the players: {many.outcome}, harm {_sure(_nats(many, 'harm'))}"
    )
    return _said(verdict, wanted, note)


def _split(record: _Record) -> _Said:
    """A split that a check at 1 % doubts is not called broken at 0.1 %; ten times of it is."""
    share, (old, new) = record["data"]["expected_share"], record["data"]["n"]
    both = [_events(_POINT, BadEventStratum(share, 0, new * times, 0, old * times)) for times in (1, 10)]
    broken = ["the split is broken" in verdict.reason for verdict in both]
    doubts = [_nats(verdict, "a wrong split") for verdict in both]
    words = ["broken" if yes else "sound" for yes in broken]
    reason = f"a wrong split: {_sure(doubts[0])}; with ten times the players: {_sure(doubts[1])}"
    outcome = f"{both[0].outcome}: split {words[0]}; tenfold {words[1]}"
    return _Said(outcome, doubts[0], "nats", reason, "split sound; tenfold broken", broken == [False, True])


def _mammograms(record: _Record) -> _Said:
    """No difference: safe to a point, and no more than undecided where the limit is narrow."""
    yes, no = (record["data"]["table"][word] for word in ("yes", "no"))
    stratum = BadEventStratum(0.5, yes["mammogram"], no["mammogram"], yes["control"], no["control"])
    verdict, grown, narrow = (_events(gate, stratum) for gate in (_POINT, _EVENTS, _within(0.0015)))
    note = (
        f", within 1 point. Within 10 % of the control's rate: {grown.outcome}, {_sure(_nats(grown, 'safety'))}. Within"
        f" 0.15 points, which a single planned look would show: {narrow.outcome}, {_sure(_nats(narrow, 'safety'))}"
    )
    also = {grown.outcome, narrow.outcome} <= _UNHARMED
    return _said(verdict, Outcome.PASS, note, also=also, demand="PASS within 1 point, nowhere FAIL")


def _admissions(record: _Record) -> _Said:
    """Women as the candidate, rejections as bad: bias in the pooled counts, and none against them by department."""
    cells = {(row["Dept"], row["Gender"], row["Admit"]): row["Freq"] for row in record["data"]["table"]}
    order = [(who, what) for who in ("Female", "Male") for what in ("Rejected", "Admitted")]
    counts = [[cells[name, *key] for key in order] for name in sorted({dept for dept, _, _ in cells})]
    sums = [sum(column) for column in zip(*counts, strict=True)]
    apart, pooled = (
        _events(_EVENTS, *(BadEventStratum(sum(n[:2]) / sum(n), *n) for n in part)) for part in (counts, [sums])
    )
    adjusted = apart.estimate if apart.estimate is not None else math.nan
    return _Said(
        f"{pooled.outcome} pooled, {apart.outcome} by department",
        adjusted,
        "share",
        f"by department {_numbers(apart)}. Pooled {_numbers(pooled)}",
        "FAIL pooled; by department not, and fewer women rejected",
        pooled.outcome is Outcome.FAIL and apart.outcome in _UNHARMED and adjusted < 0.0,
    )


def _callbacks(record: _Record) -> _Said:
    """Fewer callbacks, and fewer than four fifths."""
    (beside, old), (mine, new) = record["data"]["white"], record["data"]["black"]
    verdict = _values(_FOUR_FIFTHS, (mine, new), (beside, old))
    ratio = _figure(verdict, "candidate mean") / _figure(verdict, "champion mean")
    none = _events(_POINT, BadEventStratum(0.5, new - mine, mine, old - beside, beside))
    note = f"; ratio {ratio:.3f}. As no callback, within 1 point: {none.outcome}, {_sure(_nats(none, 'harm'))}"
    also = none.outcome is Outcome.FAIL and ratio < 1.0 - _FIFTH
    return _said(verdict, Outcome.FAIL, note, also=also, demand="FAIL both ways, ratio below 0.8")


def _surveys(record: _Record) -> _Said:
    """The second survey against the first, by those who were asked twice: a pair of answers each."""
    (_, lost), (won, neither) = record["data"]["table"]
    n = sum(sum(row) for row in record["data"]["table"])
    block = PairedBlock("all", n, (won + neither, neither), (lost + neither, neither))
    verdict = judge(_APPROVAL, PairedSums({"": (block,)}, n, n), _LEVEL)
    also = _nats(verdict, "harm") >= math.log(100.0)
    return _said(verdict, Outcome.FAIL, f"; {lost} against {won} who changed", also=also, demand="FAIL, e >= 100")


def _benchmark(record: _Record, *, slower: bool) -> _Said:
    """Runs of two builds in microseconds; without a significant difference no harm is found."""
    new, old = ([seconds * 1e6 for seconds in record["data"][arm]] for arm in ("new", "base"))
    verdict = _speeds(new, old, "us")
    ratio = _figure(verdict, "candidate p50") / _figure(verdict, "champion p50")
    made = _said(verdict, Outcome.FAIL, f"; medians {ratio:.2f}x")
    return made if slower else replace(made, demand="not FAIL", ok=verdict.outcome in _UNHARMED)


def _windows(record: _Record) -> _Said:
    """The rank interval of four against four, which is too little for the judge."""
    new, old = (np.array(record["data"][arm], dtype=float) for arm in ("experiment", "control"))
    estimate, low, high = hodges_lehmann_interval(new, old, record["data"]["conf"])
    published = [float(word) for word in re.findall(r"\d+(?:\.\d+)?", record["published"])]
    verdict = _speeds(new.tolist(), old.tolist(), "units")
    ok = bool(np.allclose([low, high, estimate], published)) and verdict.outcome is Outcome.NO_DATA
    reason = f"Hodges-Lehmann {estimate:g} [{low:g}, {high:g}]; the judge: {verdict.reason}"
    return _Said(verdict.outcome.value, estimate, "units", reason, "same interval; judge NO_DATA", ok)


CHECKS: dict[str, Callable[[_Record], _Said]] = {
    "cookie_cats_ret7": partial(_retention, wanted=Outcome.FAIL),
    "cookie_cats_ret1": partial(_retention, wanted=Outcome.INCONCLUSIVE),
    "cookie_cats_srm": _split,
    "salk_polio_1954": partial(_trial, wanted=Outcome.PASS),
    "sammpris_2011": partial(_trial, wanted=Outcome.FAIL),
    "mammogram_canada": _mammograms,
    "ucb_admissions_1973": _admissions,
    "resume_callback_2004": _callbacks,
    "agresti_mcnemar": _surveys,
    "pyperf_[1,2]*1000_py37": partial(_benchmark, slower=True),
    "pyperf_[1]*1000_py38": partial(_benchmark, slower=False),
    "kayenta_mwu_small": _windows,
    "bhat_1981": _propranolol,
}


def read_comparisons() -> dict[str, _Record]:
    """The published comparisons by their name."""
    return {record["id"]: record for record in json.loads(_DATA.read_text(encoding="utf-8"))}


def main() -> int:
    """Print the table; 1 when the judge disagrees with one published conclusion."""
    parser = argparse.ArgumentParser(prog="python -m bench.known_answers", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    known = read_comparisons()
    made = {name: CHECKS[name](record) for name, record in known.items()}
    wide = (Column("published", max_width=44), Column("the judge says", max_width=22))
    table = Table("comparison", *wide, "on this evidence", Column("demand", max_width=26), "", show_lines=True)
    for name, row in made.items():
        cells = (name, known[name]["published"], row.outcome, row.reason, row.demand, "ok" if row.ok else "MISSED")
        table.add_row(*(escape(cell) for cell in cells))
    console = Console(width=200)
    console.print(table)
    late = [
        name
        for name, row in made.items()
        if row.outcome == Outcome.FAIL and row.value < -math.log(DecisionThresholds().alpha)
    ]
    console.print(
        f"At the default of {DecisionThresholds().alpha:g} these harms would not be"
        f" proved yet: {', '.join(late) or 'none'}."
    )
    if options.json:
        about = {name: {word: known[name][word] for word in ("published", "source")} for name in made}
        rows = [{"name": name, **asdict(row), **about[name]} for name, row in made.items()]
        options.json.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(row.ok for row in made.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
