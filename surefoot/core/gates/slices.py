"""Judge a gate in each slice of served traffic, and combine the outcomes."""

from collections.abc import Callable
from dataclasses import replace

from surefoot.core.domain import FigureKind, Outcome, Verdict
from surefoot.core.judging.evidence import BadEventCounts, MeasurementCounts, ServedCounts, SlicedCounts
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Gate, SlicedGate
from surefoot.core.verdicts.verdict_builders import demanded_requests_text, make_verdict

_DECIDING_OUTCOMES = (
    Outcome.FAIL,
    Outcome.ERROR,
    Outcome.BASELINE_UNHEALTHY,
    Outcome.NO_DATA,
    Outcome.STALE,
    Outcome.INCONCLUSIVE,
    Outcome.PASS,
)
"""Which answer of several slices stands for all of them: the first that any slice gives."""


def _trials_in_slice(counts: ServedCounts) -> int:
    """Trials of both arms in a slice [count]."""
    if isinstance(counts, BadEventCounts):
        return sum(s.candidate + s.champion for s in counts.strata)
    if isinstance(counts, MeasurementCounts):
        return sum(n for s in counts.strata for side in (s.candidate, s.champion) for _, n in side)
    return sum(sum(s.candidate) + sum(s.champion) for s in counts.strata)


def judge_slices(
    gate: SlicedGate,
    found: SlicedCounts,
    level: DecisionThresholds,
    one: Callable[[Gate, ServedCounts, DecisionThresholds], Verdict],
) -> Verdict:
    """Judge every slice that is large enough, and name the one that decides.

    Args:
        gate: The gate, with its columns.
        found: Counts by slice.
        level: Level of the whole gate.
        one: Judges a single slice.

    Law: every slice that was ever seen takes an equal part of the level to fail, large or not, so that the whole gate
        keeps it; to pass each must pass by itself.
    """
    sizes = {name: _trials_in_slice(counts) for name, counts in found.slices.items()}
    large = [name for name, n in sizes.items() if n >= max(gate.min_per_slice, 1)]
    if not large:
        reason = f"no slice of {', '.join(gate.by)} has {gate.min_per_slice} trials yet"
        return make_verdict(gate, Outcome.NO_DATA, reason, n=sum(sizes.values()))
    part = replace(level, alpha=level.alpha / len(sizes), min_requests=0)
    whole = gate.model_copy(update={"by": (), "protected": ()})
    said = {name: one(whole, found.slices[name], part) for name in large}
    # A slice that has no past of its own, or no other slice, has too little data, however many its requests are.
    bare = [name for name in large if said[name].outcome is Outcome.NO_DATA]
    said = {name: verdict for name, verdict in said.items() if name not in bare}
    if not said:
        reason = f"no slice of {', '.join(gate.by)} has data to compare"
        return make_verdict(gate, Outcome.NO_DATA, reason, n=sum(sizes.values()))
    worst = min(said, key=lambda name: (_DECIDING_OUTCOMES.index(said[name].outcome), -_badness(said[name])))
    verdict = said[worst]
    if verdict.outcome is not Outcome.FAIL and found.recent < level.min_requests:
        return make_verdict(
            gate, Outcome.INCONCLUSIVE, demanded_requests_text(found.recent, level), n=sum(sizes.values())
        )
    small = [name for name in sizes if name not in said]
    absent = [name for name in gate.protected if name not in said]
    outcome, reason = verdict.outcome, f"on {worst} {verdict.reason}"
    if outcome is Outcome.PASS:
        reason += f", the worst of {len(said)} slices"
    if absent and outcome is not Outcome.FAIL:
        outcome = Outcome.NO_DATA
        reason = f"{', '.join(absent)} is protected and has too little data to be judged; {reason}"
    elif small:
        reason += f"; {len(small)} slices have too little data to be judged"
    return replace(
        verdict,
        outcome=outcome,
        reason=reason,
        culprit=worst if outcome is Outcome.FAIL else "",
        details=(
            *(_row(name, said[name]) for name in sorted(said, key=lambda name: -_badness(said[name]))),
            *({"slice": name, "outcome": Outcome.NO_DATA.value, "n": sizes[name]} for name in small),
        ),
    )


def _badness(verdict: Verdict) -> float:
    """How far an estimate lies beyond what is accepted, in margins."""
    if verdict.estimate is None or verdict.margin is None:
        return 0.0
    return (verdict.estimate - verdict.margin) / max(abs(verdict.margin), 1e-12)


_SIDE_FIGURES = {
    "champion": {FigureKind.CHAMPION_RATE, FigureKind.CHAMPION_MEAN, FigureKind.CHAMPION_QUANTILE},
    "candidate": {FigureKind.CANDIDATE_RATE, FigureKind.CANDIDATE_MEAN, FigureKind.CANDIDATE_QUANTILE},
}
"""Figures that show what each version did on a slice; the first one of a verdict is shown."""


def _row(name: str, verdict: Verdict) -> dict[str, object]:
    sides = {
        arm: next((f.value for f in verdict.figures if f.kind in kinds), None) for arm, kinds in _SIDE_FIGURES.items()
    }
    return {
        "slice": name,
        "outcome": verdict.outcome.value,
        "n": verdict.n,
        **{arm: value for arm, value in sides.items() if value is not None},
        "difference": verdict.estimate,
        "lower": verdict.lower,
        "upper": verdict.upper,
        "margin": verdict.margin,
    }
