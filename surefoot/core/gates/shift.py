"""Features and answers that have moved."""

import math

from surefoot.core.evidence import FeatureShift, InputShift
from surefoot.core.gates.say import say
from surefoot.core.level import Level
from surefoot.core.model import Outcome, Verdict
from surefoot.core.policy import Gate


def judge(gate: Gate, found: InputShift, level: Level) -> Verdict:
    """FAIL when some feature has surely moved further than the limit, PASS when none can have."""
    if not found.features:
        return say(gate, Outcome.NO_DATA, f"there is nothing to compare ({found.against})")
    alpha, _ = level.spent(gate.block)
    each = 2.0 * len(found.features) / alpha
    limit = gate.limit or 0.0

    def noise(n: int, categories: int) -> float:
        # Many categories differ between any two samples: the mean of their distance is at most sqrt(k / n) / 2.
        return math.sqrt(math.log(each) / (2.0 * n)) + 0.5 * math.sqrt(categories / n)

    def radius(feature: FeatureShift) -> float:
        # On the same requests the distance is a plain share of them: one sample, no categories to spread it over.
        if found.same:
            return noise(feature.current, 0)
        return noise(feature.reference, feature.categories) + noise(feature.current, feature.categories)

    rows = sorted(
        ((f, radius(f)) for f in found.features if f.reference and f.current), key=lambda row: row[1] - row[0].distance
    )
    if not rows:
        return say(gate, Outcome.NO_DATA, f"there are no requests to compare with ({found.against})")
    worst, around = rows[0]
    moved = [f.name for f, r in rows if f.distance - r > limit]
    unknown = [f.name for f in found.features if not (f.reference and f.current)]
    unsure = unknown or any(f.distance + r > limit for f, r in rows)
    outcome = Outcome.FAIL if moved else Outcome.INCONCLUSIVE if unsure else Outcome.PASS
    return say(
        gate,
        outcome,
        _sentence(found, worst, limit, moved, unknown),
        n=worst.current,
        estimate=worst.distance,
        lower=max(worst.distance - around, 0.0),
        upper=min(worst.distance + around, 1.0),
        margin=limit,
        unit="distance",
        culprit=moved[0] if moved else "",
        details=tuple({"feature": f.name, "distance": f.distance, "noise": r} for f, r in rows),
    )


def _sentence(found: InputShift, worst: FeatureShift, limit: float, moved: list[str], unknown: list[str]) -> str:
    if found.same:
        what = f"the candidate sees another {worst.name} than {found.against} on {worst.distance:.1%} of the requests"
        reason = f"{what} (at most {limit:.1%} is accepted)"
    else:
        reason = (
            f"{worst.name} has moved by {worst.distance:.3f} against {found.against} (at most {limit:g} is accepted)"
        )
    if len(moved) > 1:
        reason += f"; so have {', '.join(moved[1:6])}"
    if unknown:
        reason += f"; there is nothing to compare {', '.join(unknown[:5])} with"
    return reason
