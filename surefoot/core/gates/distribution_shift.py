"""Judge how far features or predictions have shifted from their baseline."""

import math

from surefoot.core.domain import Outcome, Verdict
from surefoot.core.judging.evidence import DistributionShift, FeatureShift
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import ShiftGate
from surefoot.core.stats.distributions import beta_quantile
from surefoot.core.verdicts.quantities import as_percent
from surefoot.core.verdicts.verdict_builders import make_verdict


def judge_distribution_shift(gate: ShiftGate, found: DistributionShift, level: DecisionThresholds) -> Verdict:
    """FAIL when some feature has surely moved further than the limit, PASS when none can have."""
    if not found.features:
        return make_verdict(gate, Outcome.NO_DATA, f"there is nothing to compare ({found.against})")
    alpha, _ = level.error_levels(gate.block)
    each = 2.0 * len(found.features) / alpha
    limit = gate.limit or 0.0

    between = _share if found.same else _around
    rows = sorted(
        ((f, *between(f, 1.0 / each)) for f in found.features if f.reference and f.current),
        key=lambda row: (-row[1], -row[0].distance),
    )
    if not rows:
        return make_verdict(gate, Outcome.NO_DATA, f"there are no requests to compare with ({found.against})")
    worst, low, high = rows[0]
    moved = [f.name for f, bottom, _ in rows if bottom > limit]
    unknown = [f.name for f in found.features if not (f.reference and f.current)]
    unsure = unknown or any(top > limit for _, _, top in rows)
    outcome = Outcome.FAIL if moved else Outcome.INCONCLUSIVE if unsure else Outcome.PASS
    return make_verdict(
        gate,
        outcome,
        _sentence(found, rows[0], limit, moved, unknown) + _unseen(gate, found),
        n=worst.current,
        estimate=worst.distance,
        lower=max(low, 0.0),
        upper=min(high, 1.0),
        margin=limit,
        unit="distance",
        culprit=moved[0] if moved else "",
        details=tuple(
            {"feature": f.name, "distance": f.distance, "lower": bottom, "upper": top} for f, bottom, top in rows
        ),
    )


def _unseen(gate: ShiftGate, found: DistributionShift) -> str:
    """What the gate did not look at, in words."""
    said = f"; not compared: {', '.join(gate.ignored)}" if gate.ignored else ""
    if found.blind:
        said += "; both versions are fed the row as it came, so what either makes of it inside is not seen"
    return said


def _around(feature: FeatureShift, alpha: float) -> tuple[float, float]:
    """Interval of a distance between two samples.

    Source: Dvoretzky, Kiefer and Wolfowitz (1956), Annals of Mathematical Statistics 27(3), with Massart's constant.
    """

    def noise(n: int) -> float:
        # Many categories differ between any two samples: the mean of their distance is at most sqrt(k / n) / 2.
        return math.sqrt(-math.log(alpha) / (2.0 * n)) + 0.5 * math.sqrt(feature.categories / n)

    radius = noise(feature.reference) + noise(feature.current)
    return feature.distance - radius, feature.distance + radius


def _share(feature: FeatureShift, alpha: float) -> tuple[float, float]:
    """Exact interval of a share of the same requests.

    Source: Clopper and Pearson (1934), Biometrika 26(4).
    """
    n = feature.current
    k = round(feature.distance * n)
    low = beta_quantile(alpha, k, n - k + 1) if k else 0.0
    return low, beta_quantile(1.0 - alpha, k + 1, n - k) if k < n else 1.0


def _sentence(
    found: DistributionShift, row: tuple[FeatureShift, float, float], limit: float, moved: list[str], unknown: list[str]
) -> str:
    worst, low, high = row[0], max(row[1], 0.0), min(row[2], 1.0)
    if found.same:
        where = f"on {as_percent(worst.distance)} of the requests"
        what = f"the candidate sees another {worst.name} than {found.against} {where}"
        reason = f"{what} (between {as_percent(low)} and {as_percent(high)}; at most {as_percent(limit)} is accepted)"
    else:
        reason = (
            f"{worst.name} has moved by {worst.distance:.3f} against {found.against}, on a scale from 0 (alike) to 1"
            f" (between {low:.3f} and {high:.3f}; at most {limit:g} is accepted)"
        )
    if len(moved) > 1:
        reason += f"; so have {', '.join(moved[1:6])}"
    if unknown:
        reason += f"; there is nothing to compare {', '.join(unknown[:5])} with"
    return reason
