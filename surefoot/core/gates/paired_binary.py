"""Judge correct and wrong answers of both versions to the same requests."""

import math

from surefoot.core.domain import FigureKind, Outcome, Verdict, VerdictFigure
from surefoot.core.gates.paired_loss import judge_missing_values
from surefoot.core.judging.evidence import PairedBlock, PairedSums
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import PairedGate
from surefoot.core.stats.mcnemar import BET_SHARES, log_evidence_of_harm, log_evidence_of_no_harm
from surefoot.core.verdicts.pass_forecast import REQUEST_TRIAL, PassForecast, forecast_clause, forecast_pass
from surefoot.core.verdicts.quantities import as_percent, in_points, percentage_points
from surefoot.core.verdicts.verdict_builders import make_verdict

_MIN_LOSS_DISTANCE = 1e-6
"""How close a loss of accuracy may come to all of it [probability]."""


class _Slice:
    """One slice: who was wrong alone, and what that says."""

    def __init__(self, gate: PairedGate, name: str, block: PairedBlock, level: DecisionThresholds, parts: int) -> None:
        """Compute the evidence; a slice has its part of the level to fail."""
        (old, both), (new, _) = block.champion, block.candidate
        self.name, self.n = name, block.n
        self.worse, self.better = new - both, old - both
        self.champion, self.candidate = old / block.n, new / block.n
        self.apart = self.candidate - self.champion
        self.margin = gate.margin or 0.0
        self.harm = log_evidence_of_harm(self.worse, self.better)
        self.safe = log_evidence_of_no_harm(self.worse, self.better, block.n - self.worse - self.better, self.margin)
        # The requests of each stage are counted anew, so the stages share the level as the slices do.
        self.failing = math.log(parts * level.stages / level.alpha)
        self.failed = self.harm >= self.failing and self.apart > self.margin
        self.passed = self.safe >= -math.log(level.beta)

    @property
    def outcome(self) -> Outcome:
        """What this slice says by itself."""
        return Outcome.FAIL if self.failed else Outcome.PASS if self.passed else Outcome.INCONCLUSIVE

    def shown(self) -> dict[str, object]:
        """The slice as a row of a table."""
        return {
            "slice": self.name or "all",
            "outcome": self.outcome.value,
            "n": self.n,
            "champion": self.champion,
            "candidate": self.candidate,
            "difference": self.apart,
            "margin": self.margin,
        }


def judge_paired_binary(gate: PairedGate, found: PairedSums, level: DecisionThresholds) -> Verdict:
    """Judge every slice that is large enough; a smaller slice never counts as passed.

    Law: valid at every look, for each request speaks once and for itself; outcomes that move together need blocks.
    """
    if refused := judge_missing_values(gate, found, level):
        return refused
    blocks = {name: rows[0] for name, rows in found.slices.items() if bool(name) is bool(gate.by) and rows}
    large = {name: block for name, block in blocks.items() if block.n >= (gate.min_per_slice if gate.by else 1)}
    small = [(name, block.n) for name, block in blocks.items() if name not in large]
    if not large:
        return make_verdict(
            gate, Outcome.NO_DATA, f"no slice has {gate.min_per_slice} labelled requests", n=found.labelled
        )
    rows = [_Slice(gate, name, block, level, len(blocks)) for name, block in large.items()]
    order = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)
    worst = min(rows, key=lambda row: (order.index(row.outcome), row.margin - row.apart))
    outcome, reason = worst.outcome, _sentence(worst, level)
    if small:
        reason += f"; {len(small)} slices have too little data to be judged"
    absent = [name for name in gate.protected if name not in large]
    if absent and outcome is not Outcome.FAIL:
        outcome = Outcome.NO_DATA
        reason = f"{', '.join(absent)} is protected and has too little data to be judged; {reason}"
    wanted = _wanted(worst, level) if worst.outcome is Outcome.INCONCLUSIVE else None
    return make_verdict(
        gate,
        outcome,
        reason,
        n=worst.n,
        estimate=worst.apart,
        margin=worst.margin,
        unit="share",
        culprit=worst.name if outcome is Outcome.FAIL else "",
        figures=(
            VerdictFigure(FigureKind.CHAMPION_WRONG, worst.champion, "share"),
            VerdictFigure(FigureKind.CANDIDATE_WRONG, worst.candidate, "share"),
            VerdictFigure(FigureKind.ONLY_CANDIDATE_WRONG, worst.worse, "count"),
            VerdictFigure(FigureKind.ONLY_CHAMPION_WRONG, worst.better, "count"),
            VerdictFigure(FigureKind.HARM, worst.harm, "nats"),
            VerdictFigure(FigureKind.HARM_NEEDED, worst.failing, "nats"),
            VerdictFigure(FigureKind.SAFETY, worst.safe, "nats"),
            VerdictFigure(FigureKind.SAFETY_NEEDED, -math.log(level.beta), "nats"),
            *(wanted.figures() if wanted else ()),
        ),
        details=(
            *(row.shown() for row in sorted(rows, key=lambda row: row.margin - row.apart)),
            *({"slice": name, "outcome": Outcome.NO_DATA.value, "n": n} for name, n in small),
        ),
    )


def _sentence(row: _Slice, level: DecisionThresholds) -> str:
    where = f"on {row.name} " if row.name else ""
    what = (
        f"{where}the candidate is wrong on {as_percent(row.candidate)} of {row.n:,} requests, the champion on"
        f" {as_percent(row.champion)} ({row.worse:,} times it alone, {row.better:,} times the champion alone):"
        f" {in_points(row.apart)}, {_proved(row, level)}; up to"
        f" {in_points(row.margin)} is accepted"
    )
    return (
        f"not decided: {what}{forecast_clause(_wanted(row, level), level)}"
        if row.outcome is Outcome.INCONCLUSIVE
        else what
    )


def _proved(row: _Slice, level: DecisionThresholds) -> str:
    """The largest loss of accuracy that the answers do not exclude."""
    low, high = max(row.apart, 0.0), 1.0 - _MIN_LOSS_DISTANCE
    same = row.n - row.worse - row.better
    if log_evidence_of_no_harm(row.worse, row.better, same, high) < -math.log(level.beta):
        return "not known within limits yet"
    for _ in range(30):
        middle = 0.5 * (low + high)
        proved = log_evidence_of_no_harm(row.worse, row.better, same, middle) >= -math.log(level.beta)
        low, high = (low, middle) if proved else (middle, high)
    return f"at most {percentage_points(high)}"


def _wanted(row: _Slice, level: DecisionThresholds) -> PassForecast | None:
    """When an equal candidate passes, by how often the two disagree."""
    spread = (row.worse + row.better) / row.n
    if row.margin <= 0.0 or spread <= 0.0:
        return None
    # Bets on a mean grow by the room squared over twice the variance, which is the share of disagreements.
    nats = row.margin**2 / (2.0 * spread)
    return forecast_pass(nats, level.beta / len(BET_SHARES), row.n, REQUEST_TRIAL)
