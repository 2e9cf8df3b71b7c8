"""Evidence and a gate in, a verdict out: the only place that compares a metric with a limit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from surefoot.core.chain import canonical
from surefoot.core.errors import InvariantBroken
from surefoot.core.evidence import (
    Evidence,
    InputShift,
    LatencyCounts,
    Missing,
    PairedLosses,
    SplitCounts,
    Stratum,
    Validation,
)
from surefoot.core.model import Figure, Outcome, Verdict
from surefoot.core.policy import Gate
from surefoot.core.soundness import flaw
from surefoot.core.stats.paired import LEAST_BLOCKS, Difference, difference, spend
from surefoot.core.stats.split import HARM, NO_HARM, band, log_evidence, mantel_haenszel

UNSCORED_LIMIT = 0.01
"""Share of replayed requests that a candidate may leave unanswered before its shadow fails."""


@dataclass(frozen=True, slots=True)
class Level:
    """How sure a verdict must be, and how much must have been seen.

    Attributes:
        alpha: Chance that a good candidate fails this gate over the whole rollout [probability].
        beta: Chance that a candidate beyond the margin passes this gate [probability].
        allowance: Multiple of the margin that this step must exclude; small steps prove less [>= 1].
        min_requests: Fewest requests before the gate can pass [count].
        look: One-based number of the look; gates that are not valid at every look spend `alpha` over looks.
        late: One-based number of the look since a pass would have counted; they spend `beta` over these.
    """

    alpha: float = 0.01
    beta: float = 0.05
    allowance: float = 1.0
    min_requests: int = 0
    look: int = 1
    late: int = 1


def allowance(weight: float) -> float:
    """Multiple of the margin that a step must exclude, by its weight [percent]: little traffic proves little."""
    ladder = ((1.0, 15.0), (5.0, 5.0), (25.0, 2.0))
    return next((multiple for limit, multiple in ladder if weight <= limit), 1.0)


def judge(gate: Gate, evidence: Evidence, level: Level) -> Verdict:
    """Judge one gate.

    Law: a pure function; the same counters give the same verdict for ever. Evidence that is missing, empty or
    not finite never passes and never fails.
    """
    if problem := flaw(evidence):
        return _say(gate, Outcome.ERROR, f"the evidence cannot be judged: {problem}")
    try:
        verdict = _judge(gate, evidence, level)
    except (ArithmeticError, LookupError, ValueError, InvariantBroken) as error:
        return _say(gate, Outcome.ERROR, f"the evidence cannot be judged: {error}")
    numbers = (verdict.estimate, verdict.lower, verdict.upper, verdict.margin, *(f.value for f in verdict.figures))
    if any(value is not None and not math.isfinite(value) for value in numbers):
        return _say(gate, Outcome.ERROR, "the evidence leads to a value that is not a number")
    return verdict


def _judge(gate: Gate, evidence: Evidence, level: Level) -> Verdict:
    match evidence:
        case Missing():
            return _say(gate, evidence.outcome, evidence.reason)
        case Validation():
            return _validation(gate, evidence)
        case SplitCounts():
            return _rate(gate, evidence, level)
        case LatencyCounts():
            return _latency(gate, evidence, level)
        case PairedLosses():
            return _paired(gate, evidence, level)
        case InputShift():
            return _shift(gate, evidence, level)


def _say(gate: Gate, outcome: Outcome, reason: str, **fields: object) -> Verdict:
    return Verdict(gate.name, gate.metric.value, outcome, gate.role, reason, **fields)  # type: ignore[arg-type]


def _shown(sample: object) -> object:
    """A sample as it can be journalled; the rows that fail are those that hold NaN and the like."""
    try:
        canonical(sample)
    except InvariantBroken:
        return ascii(sample)
    return sample


def _validation(gate: Gate, found: Validation) -> Verdict:
    figures = (
        Figure("expectations", found.evaluated),
        Figure("failed", len(found.failed)),
        Figure("warnings", len(found.warnings)),
    )
    rows = tuple(
        {"expectation": e.kind, "column": e.column, "reason": e.reason, "samples": [_shown(x) for x in e.samples]}
        for e in (*found.failed, *found.warnings)
    )
    if not found.evaluated or not found.rows:
        return _say(gate, Outcome.ERROR, f"suite {found.suite} judged nothing", figures=figures)
    if found.failed:
        names = ", ".join(f"{e.kind}({e.column})" if e.column else e.kind for e in found.failed)
        reason = f"{len(found.failed)} of {found.evaluated} expectations do not hold: {names}"
        culprit = found.failed[0].column or found.failed[0].kind
        return _say(gate, Outcome.FAIL, reason, n=found.rows, culprit=culprit, figures=figures, details=rows)
    reason = f"all {found.evaluated} expectations of {found.suite} hold on {found.rows:,} requests"
    return _say(gate, Outcome.PASS, reason, n=found.rows, figures=figures, details=rows)


@dataclass(frozen=True, slots=True)
class _Arms:
    """What the two live metrics have in common once their numbers are on the table."""

    harm: float
    safe: float
    beyond: bool
    n: int
    recent: int


def _decide(gate: Gate, arms: _Arms, level: Level, sentences: tuple[str, str, str], **fields: object) -> Verdict:
    """FAIL on proof of harm beyond the margin, PASS on proof of none, otherwise wait."""
    failed, passed, undecided = sentences
    if arms.harm >= -math.log(level.alpha) and arms.beyond:
        return _say(gate, Outcome.FAIL, failed, n=arms.n, **fields)
    if arms.recent < level.min_requests:
        reason = f"{arms.recent:,} of the {level.min_requests:,} requests that this step demands so far"
        return _say(gate, Outcome.INCONCLUSIVE, reason, n=arms.n, **fields)
    if arms.safe >= -math.log(level.beta):
        return _say(gate, Outcome.PASS, passed, n=arms.n, **fields)
    return _say(gate, Outcome.INCONCLUSIVE, undecided, n=arms.n, **fields)


def _alone(strata: Sequence[Stratum]) -> bool:
    """Whether the candidate answers everything, so that only a frozen baseline is left to compare with."""
    return all(s.share >= 1.0 for s in strata)


def _rate(gate: Gate, found: SplitCounts, level: Level) -> Verdict:
    strata = [s for s in found.strata if s.candidate + s.champion]
    n, candidate = sum(s.candidate + s.champion for s in strata), sum(s.candidate for s in strata)
    if not candidate:
        return _say(gate, Outcome.NO_DATA, f"the candidate has answered no {found.trial} yet", n=n)
    alone = _alone(strata)
    if alone and found.baseline is None:
        return _say(gate, Outcome.NO_DATA, "the candidate serves alone and no rate of the champion is known", n=n)
    guess = found.baseline if found.baseline is not None else 0.001
    growth, points = (gate.margin, 0.0) if gate.relative else (0.0, gate.margin)
    rates = mantel_haenszel(strata) or (guess, sum(s.candidate_bad for s in strata) / candidate)
    limit = rates[0] * (1.0 + growth) + points
    s = 1.0 if alone else 0.0
    harm = log_evidence(strata, guess, 1.0 + s * growth, s * points, HARM)
    wide = level.allowance
    safe = log_evidence(strata, guess, 1.0 + wide * growth, wide * points, NO_HARM)
    low, high = band(strata, guess, growth, points, level.alpha, level.beta)
    unit = points or growth * max(guess, 1e-6)
    shown = f"{rates[1]:.2%} of the candidate's {candidate:,} {found.trial}s fail, against {rates[0]:.2%}"
    sentences = (
        f"{shown} of the champion's; at most {limit:.2%} is accepted",
        f"{shown} of the champion's: at most {max(high, 0.0):.0%} of the accepted degradation is used",
        f"{shown} of the champion's: between {low:.0%} and {high:.0%} of the accepted degradation",
    )
    return _decide(
        gate,
        _Arms(harm, safe, rates[1] > limit, n, found.recent),
        level,
        sentences,
        estimate=rates[1] - rates[0],
        lower=low * unit,
        upper=high * unit,
        margin=limit - rates[0],
        unit="share",
        figures=(
            Figure("candidate rate", rates[1], "share"),
            Figure("champion rate", rates[0], "share"),
            Figure("candidate trials", candidate, found.trial),
            Figure("log evidence of harm", harm, "nats"),
            Figure("log evidence of safety", safe, "nats"),
        ),
    )


def _latency(gate: Gate, found: LatencyCounts, level: Level) -> Verdict:
    strata = [s for s in found.same if s.candidate + s.champion]
    n, candidate = sum(s.candidate + s.champion for s in strata), sum(s.candidate for s in strata)
    if not candidate or found.candidate_ms is None:
        return _say(gate, Outcome.NO_DATA, "the candidate has answered no request yet", n=n)
    beside = found.champion_ms if found.champion_ms is not None else found.threshold_ms
    guess = 1.0 - gate.quantile
    tight = found.stretched[1.0 + gate.margin]
    # Alone, there is no champion to share the machine's bad minutes with: only beyond the margin is harm.
    harm = log_evidence(tight if _alone(strata) else strata, guess, 1.0, 0.0, HARM)
    safe = log_evidence(found.stretched[1.0 + level.allowance * gate.margin], guess, 1.0, 0.0, NO_HARM)
    name = f"p{gate.quantile * 100:g}"
    limit = beside * (1.0 + gate.margin)
    shown = f"{name} is {found.candidate_ms:.1f} ms on the candidate, {beside:.1f} ms on the champion"
    sentences = (
        f"{shown}; at most {limit:.1f} ms is accepted",
        f"{shown}; {limit:.1f} ms is accepted",
        f"{shown}; not yet told apart from {limit:.1f} ms",
    )
    return _decide(
        gate,
        _Arms(harm, safe, found.candidate_ms > limit, n, found.recent),
        level,
        sentences,
        estimate=found.candidate_ms - beside,
        margin=limit - beside,
        unit="ms",
        figures=(
            Figure(f"candidate {name}", found.candidate_ms, "ms"),
            Figure(f"champion {name}", beside, "ms"),
            Figure("candidate trials", candidate, "request"),
            Figure("log evidence of harm", harm, "nats"),
            Figure("log evidence of safety", safe, "nats"),
        ),
    )


def _paired(gate: Gate, found: PairedLosses, level: Level) -> Verdict:
    if not found.requests:
        return _say(gate, Outcome.NO_DATA, "no request is old enough to have its label")
    if found.unscored / found.requests > UNSCORED_LIMIT:
        reason = f"the candidate cannot answer {found.unscored:,} of {found.requests:,} replayed requests"
        return _say(gate, Outcome.FAIL, reason, n=found.requests)
    coverage = found.labelled / found.requests
    if coverage < gate.coverage:
        reason = f"{coverage:.1%} of {found.requests:,} mature requests have a label; {gate.coverage:.1%} is demanded"
        return _say(gate, Outcome.INCONCLUSIVE, reason, n=found.labelled)
    if found.labelled < level.min_requests:
        reason = f"{found.labelled:,} of the {level.min_requests:,} labelled requests that this step demands"
        return _say(gate, Outcome.INCONCLUSIVE, reason, n=found.labelled)
    names = [name for name in found.slices if name] if gate.by else [""]
    least = gate.min_per_slice if gate.by else 1
    large = [name for name in names if sum(block.n for block in found.slices.get(name, ())) >= least]
    measured = {name: difference(found.slices[name]) for name in large}
    judged = {name: diff for name, diff in measured.items() if diff is not None}
    if not judged:
        reason = (
            f"no slice has {gate.min_per_slice} labelled requests on {LEAST_BLOCKS} days"
            if gate.by
            else (f"fewer than {LEAST_BLOCKS} blocks of labelled requests")
        )
        return _say(gate, Outcome.NO_DATA, reason, n=found.labelled)
    alpha, beta = level.alpha * spend(level.look) / len(judged), level.beta * spend(level.late)
    rows = []
    for name, diff in judged.items():
        margin = gate.margin * abs(diff.champion) if gate.relative else gate.margin
        rows.append((name, diff, diff.mean - diff.radius(alpha), diff.mean + diff.radius(beta), margin))
    failed = [row for row in rows if row[2] > 0.0 and row[1].mean > row[4]]
    undecided = [row for row in rows if row[3] > row[4]]
    worst = max(failed or undecided or rows, key=lambda row: (row[1].mean - row[4]) / max(row[1].error, 1e-12))
    outcome = Outcome.FAIL if failed else Outcome.INCONCLUSIVE if undecided else Outcome.PASS
    return _say(
        gate,
        outcome,
        _loss_sentence(gate, outcome, worst, len(judged), len(names) - len(judged)),
        n=worst[1].n,
        estimate=worst[1].mean,
        lower=worst[2],
        upper=worst[3],
        margin=worst[4],
        unit=gate.metric.value,
        culprit=worst[0] if failed else "",
        figures=_loss_figures(worst[1], coverage, found),
        details=tuple(_loss_row(*row) for row in rows),
    )


_Row = tuple[str, Difference, float, float, float]


def _loss_sentence(gate: Gate, outcome: Outcome, row: _Row, judged: int, small: int) -> str:
    name, diff, low, high, margin = row
    where = f"on {name} " if name else ""
    what = f"{gate.metric.value} {where}goes from {diff.champion:.4f} to {diff.candidate:.4f} ({diff.mean:+.4f}"
    what += f", between {low:+.4f} and {high:+.4f}; {margin:+.4f} is accepted)"
    rest = f"; {small} slices have too little data to be judged" if small else ""
    if outcome is Outcome.FAIL:
        return f"{what} over {diff.n:,} requests on {diff.blocks} days{rest}"
    if outcome is Outcome.INCONCLUSIVE:
        return f"not decided: {what}{rest}"
    return f"{what}{f', the worst of {judged} slices' if name else ''}{rest}"


def _loss_figures(diff: Difference, coverage: float, found: PairedLosses) -> tuple[Figure, ...]:
    figures = [
        Figure("champion loss", diff.champion),
        Figure("candidate loss", diff.candidate),
        Figure("blocks", diff.blocks, "count"),
        Figure("label coverage", coverage, "share"),
        Figure("unanswered by the candidate", found.unscored, "count"),
    ]
    if found.agreement is not None:
        figures.append(Figure("agreement", found.agreement, "share"))
    return tuple(figures)


def _loss_row(name: str, diff: Difference, low: float, high: float, margin: float) -> dict[str, object]:
    return {
        "slice": name or "all",
        "n": diff.n,
        "blocks": diff.blocks,
        "champion": diff.champion,
        "candidate": diff.candidate,
        "difference": diff.mean,
        "lower": low,
        "upper": high,
        "margin": margin,
    }


def _shift(gate: Gate, found: InputShift, level: Level) -> Verdict:
    if not found.features:
        return _say(gate, Outcome.NO_DATA, "there is no feature to compare")
    level_each = 2.0 * len(found.features) / (level.alpha * spend(level.look))

    def noise(n: int, categories: int) -> float:
        # Many categories differ between any two samples: the mean of their distance is at most sqrt(k / n) / 2.
        return math.sqrt(math.log(level_each) / (2.0 * n)) + 0.5 * math.sqrt(categories / n)

    rows = sorted(
        (
            (f, noise(f.reference, f.categories) + noise(f.current, f.categories))
            for f in found.features
            if f.reference and f.current
        ),
        key=lambda row: row[1] - row[0].distance,
    )
    if not rows:
        return _say(gate, Outcome.NO_DATA, f"there are no requests to compare with ({found.against})")
    worst, radius = rows[0]
    low, high = worst.distance - radius, worst.distance + radius
    moved = [f.name for f, r in rows if f.distance - r > gate.limit]
    unknown = [f.name for f in found.features if not (f.reference and f.current)]
    unsure = unknown or any(f.distance + r > gate.limit for f, r in rows)
    outcome = Outcome.FAIL if moved else Outcome.INCONCLUSIVE if unsure else Outcome.PASS
    reason = (
        f"{worst.name} has moved by {worst.distance:.3f} against {found.against} (at most {gate.limit:g} is accepted)"
    )
    if len(moved) > 1:
        reason += f"; so have {', '.join(moved[1:6])}"
    if unknown:
        reason += f"; there is nothing to compare {', '.join(unknown[:5])} with"
    return _say(
        gate,
        outcome,
        reason,
        n=worst.current,
        estimate=worst.distance,
        lower=max(low, 0.0),
        upper=min(high, 1.0),
        margin=gate.limit,
        unit="distance",
        culprit=moved[0] if moved else "",
        details=tuple({"feature": f.name, "distance": f.distance, "noise": r} for f, r in rows),
    )
