"""Distinguish corrupted labels from labels that show a real change."""

import math

from surefoot.core.triage.triage_facts import CauseDetail, LabelFacts, TriageFacts

_USABLE = 0.12
"""Rank correlation of answers and labels below which nothing can be told from it."""
_GONE = 0.2
"""Labels belong to other requests when so little of the correlation is left [fraction]."""
_TURNED = -0.3
"""Labels are inverted when the correlation has turned so far round [share of what it was]."""
_KEPT = 0.9
"""Labels keep their order when so much of the correlation is left [fraction]."""
_FEW_VALUES = 2
"""Labels of so few values have no unit [count]."""


def find_label_fault(before: LabelFacts, after: LabelFacts) -> tuple[CauseDetail, str]:
    """The fault of labels that no real outcome can explain, and its reason; NONE where the labels may be real.

    An outcome that changes leaves answers some relation to it; two models that were right cannot both be turned round,
    or right about nothing at all, within the same hour.

    Args:
        before: Labels before the onset, and how both versions' answers followed them.
        after: The same after it.
    """
    if before.values > 1 and after.values == 1:
        return CauseDetail.CONSTANT, "every label after the onset has the same value, and before they differed"
    chance = math.hypot(before.noise, after.noise)
    if any(
        old is not None and new is not None and old - new <= chance
        for old, new in ((before.own, after.own), (before.good, after.good))
    ):
        return CauseDetail.NONE, ""
    kept = [
        new / old if old is not None and new is not None and old >= _USABLE else None
        for old, new in ((before.own, after.own), (before.good, after.good))
    ]
    shares = [share for share in kept if share is not None]
    if len(shares) < len(kept):
        return CauseDetail.NONE, ""
    said = (
        f"the rank correlation with the labels went from {before.own:+.2f} to {after.own:+.2f}, and the good version's"
        f" from {before.good:+.2f} to {after.good:+.2f}"
    )
    if max(shares) <= _TURNED:
        return CauseDetail.INVERTED, f"both versions are right the other way round: {said}"
    if max(abs(share) for share in shares) <= _GONE:
        return (
            CauseDetail.UNRELATED,
            f"the answers of both versions have nothing to do with the labels any more: {said}",
        )
    return CauseDetail.NONE, ""


def describe_shifted_labels(facts: TriageFacts) -> str:
    """A clause on a shift of labels that a feed explains; empty without one, or where the outcome may have changed.

    Labels in another unit keep their order, so that answers rank them as well as before. Labels of two values have no
    unit: where they become more or less frequent, the outcome may have changed.
    """
    old, new = facts.label_before, facts.label_after
    if old is None or new is None or abs(new - old) <= facts.label_tolerance:
        return ""
    said = f"the mean label went from {old:.4g} to {new:.4g}"
    before, after = facts.labels_before, facts.labels_after
    if before is None or after is None or before.own is None or after.own is None:
        return said
    if before.values <= _FEW_VALUES or after.own < _KEPT * before.own:
        return ""
    return f"{said}, in the same order"
