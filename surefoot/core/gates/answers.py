"""Right and wrong answers of both versions to the same requests, each request for itself: only disagreements speak."""

import math

from surefoot.core.evidence import Block, PairedSums
from surefoot.core.gates.say import HARM, HARM_NEEDED, SAFETY, SAFETY_NEEDED, say
from surefoot.core.gates.sums import unusable
from surefoot.core.gates.words import forecast, points, share
from surefoot.core.level import Level
from surefoot.core.model import Figure, Outcome, Verdict
from surefoot.core.policy import Gate
from surefoot.core.stats.discordant import BETS, log_harm, log_safe

FINEST = 1e-6
"""How close a loss of accuracy may come to all of it [probability]."""


class _Slice:
    """One slice: who was wrong alone, and what that says."""

    def __init__(self, gate: Gate, name: str, block: Block, level: Level, parts: int) -> None:
        """Compute the evidence; a slice has its part of the level to fail."""
        (old, both), (new, _) = block.champion, block.candidate
        self.name, self.n = name, block.n
        self.worse, self.better = new - both, old - both
        self.champion, self.candidate = old / block.n, new / block.n
        self.apart = self.candidate - self.champion
        self.margin = gate.margin or 0.0
        self.harm = log_harm(self.worse, self.better)
        self.safe = log_safe(self.worse, self.better, block.n - self.worse - self.better, self.margin)
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


def judge(gate: Gate, found: PairedSums, level: Level) -> Verdict:
    """Judge every slice that is large enough; none that is not counts as passed.

    Law: valid at every look, for each request speaks once and for itself; outcomes that move together need blocks.
    """
    if refused := unusable(gate, found, level):
        return refused
    blocks = {name: rows[0] for name, rows in found.slices.items() if bool(name) is bool(gate.by) and rows}
    large = {name: block for name, block in blocks.items() if block.n >= (gate.min_per_slice if gate.by else 1)}
    small = [(name, block.n) for name, block in blocks.items() if name not in large]
    if not large:
        return say(gate, Outcome.NO_DATA, f"no slice has {gate.min_per_slice} labelled requests", n=found.labelled)
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
    return say(
        gate,
        outcome,
        reason,
        n=worst.n,
        estimate=worst.apart,
        margin=worst.margin,
        unit="share",
        culprit=worst.name if outcome is Outcome.FAIL else "",
        figures=(
            Figure("champion wrong", worst.champion, "share"),
            Figure("candidate wrong", worst.candidate, "share"),
            Figure("only the candidate wrong", worst.worse, "count"),
            Figure("only the champion wrong", worst.better, "count"),
            Figure(HARM, worst.harm, "nats"),
            Figure(HARM_NEEDED, worst.failing, "nats"),
            Figure(SAFETY, worst.safe, "nats"),
            Figure(SAFETY_NEEDED, -math.log(level.beta), "nats"),
        ),
        details=(
            *(row.shown() for row in sorted(rows, key=lambda row: row.margin - row.apart)),
            *({"slice": name, "outcome": Outcome.NO_DATA.value, "n": n} for name, n in small),
        ),
    )


def _sentence(row: _Slice, level: Level) -> str:
    where = f"on {row.name} " if row.name else ""
    what = (
        f"{where}the candidate is wrong on {share(row.candidate)} of {row.n:,} requests, the champion on"
        f" {share(row.champion)} ({row.worse:,} times it alone, {row.better:,} times the champion alone):"
        f" {points(row.apart)} points, {_proved(row, level)}; up to {points(row.margin)} points is accepted"
    )
    return f"not decided: {what}{_wanted(row, level)}" if row.outcome is Outcome.INCONCLUSIVE else what


def _proved(row: _Slice, level: Level) -> str:
    """The largest loss of accuracy that the answers do not exclude."""
    low, high = max(row.apart, 0.0), 1.0 - FINEST
    same = row.n - row.worse - row.better
    if log_safe(row.worse, row.better, same, high) < -math.log(level.beta):
        return "not known within limits yet"
    for _ in range(30):
        middle = 0.5 * (low + high)
        proved = log_safe(row.worse, row.better, same, middle) >= -math.log(level.beta)
        low, high = (low, middle) if proved else (middle, high)
    return f"at most {points(high)}"


def _wanted(row: _Slice, level: Level) -> str:
    """When an equal candidate passes, by how often the two disagree."""
    spread = (row.worse + row.better) / row.n
    if row.margin <= 0.0 or spread <= 0.0:
        return ""
    # Bets on a mean grow by the room squared over twice the variance, which is the share of disagreements.
    nats = row.margin**2 / (2.0 * spread)
    return forecast(nats, level.beta / len(BETS), row.n, "request", level)
