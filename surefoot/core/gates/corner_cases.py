"""Judge whether the candidate can answer synthetic corner cases."""

from surefoot.core.domain import FigureKind, Outcome, Verdict, VerdictFigure
from surefoot.core.judging.corner_answers import BrokenRow, CornerAnswers, CornerResult
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Gate
from surefoot.core.verdicts.verdict_builders import make_verdict

_MAX_NAMED_CORNERS = 3
"""Corners that a sentence names [count]."""


def judge_corner_answers(gate: Gate, found: CornerAnswers, _level: DecisionThresholds) -> Verdict:
    """FAIL when the candidate breaks on a row that the champion answers; PASS when it was asked all and breaks on none.

    Law: a row on which the champion breaks as well stops no candidate.
    """
    rows = sum(corner.rows for corner in found.corners)
    broken, both = (sum(getattr(corner, name) for corner in found.corners) for name in ("broken", "both"))
    figures = (
        VerdictFigure(FigureKind.CORNERS, len(found.corners), "count"),
        VerdictFigure(FigureKind.CORNER_ROWS, rows, "count"),
        VerdictFigure(FigureKind.CORNER_BREAKS, broken, "count"),
        VerdictFigure(FigureKind.CORNER_BREAKS_OF_BOTH, both, "count"),
    )
    details = (*(_sample_details(sample) for sample in found.samples), *map(_corner_details, found.corners))
    told = _told_of_champion(found.corners)
    if broken:
        names = [corner.name for corner in found.corners if corner.broken]
        reason = (
            f"{_sample_text(found.samples)}the candidate breaks on {broken:,} of {rows:,} synthetic rows that the"
            f" champion answers, {_named(names)}{told}; seed {found.seed}"
        )
        culprit = found.samples[0].corner if found.samples else names[0]
        return make_verdict(gate, Outcome.FAIL, reason, n=rows, culprit=culprit, figures=figures, details=details)
    few = [corner for corner in found.corners if corner.rows < found.needed]
    if not found.corners and not found.needed:
        reason = "no group of the shadow's gates is too rare, so no synthetic row was made"
        return make_verdict(gate, Outcome.PASS, reason, figures=figures)
    if few or not found.corners:
        reason = "no corner has synthetic rows"
        if few:
            reason = f"corner '{few[0].name}' has {few[0].rows} of the {found.needed} rows that the policy demands"
        return make_verdict(gate, Outcome.INCONCLUSIVE, reason, n=rows, figures=figures, details=details)
    if unasked := sum(corner.unasked for corner in found.corners):
        reason = f"{unasked:,} of {rows:,} synthetic rows were not asked: the candidate's process ended too often{told}"
        return make_verdict(gate, Outcome.INCONCLUSIVE, reason, n=rows, figures=figures, details=details)
    answered = rows - both - sum(corner.champion for corner in found.corners)
    reason = (
        f"the candidate breaks on none of the {answered:,} synthetic rows of {len(found.corners)} corners that the"
        f" champion answers{told}; seed {found.seed}"
    )
    return make_verdict(gate, Outcome.PASS, reason, n=rows, figures=figures, details=details)


def _named(names: list[str]) -> str:
    """The corners of a failure."""
    more = len(names) - _MAX_NAMED_CORNERS
    listed = "; ".join(names[:_MAX_NAMED_CORNERS]) + (f" and {more} more" if more > 0 else "")
    return f"in {len(names)} corner{'' if len(names) == 1 else 's'} ({listed})"


def _sample_text(samples: tuple[BrokenRow, ...]) -> str:
    """The first broken row: what was changed, and what the candidate did."""
    if not samples:
        return ""
    first = samples[0]
    if first.changed == "{}":
        return f"request {first.request} as it was recorded: {first.what}; "
    return f"request {first.request} with {first.changed} instead of {first.recorded}: {first.what}; "


def _told_of_champion(corners: tuple[CornerResult, ...]) -> str:
    """On how many rows the champion breaks, which stops no candidate."""
    both, alone = (sum(getattr(corner, name) for corner in corners) for name in ("both", "champion"))
    said = [f"both versions break on {both:,} rows"] if both else []
    said += (
        [f"the champion alone on {alone:,}" if both else f"the champion alone breaks on {alone:,} rows"]
        if alone
        else []
    )
    return f"; {', '.join(said)}, which stops no candidate" if said else ""


def _corner_details(corner: CornerResult) -> dict[str, object]:
    return {
        "corner": corner.name,
        "rows": corner.rows,
        "candidate breaks": corner.broken,
        "both break": corner.both,
        "champion breaks": corner.champion,
    }


def _sample_details(sample: BrokenRow) -> dict[str, object]:
    return {
        "corner": sample.corner,
        "request": sample.request,
        "candidate": sample.what,
        "champion": sample.champion,
        "changed": sample.changed,
        "recorded": sample.recorded,
        "row": sample.row,
    }
