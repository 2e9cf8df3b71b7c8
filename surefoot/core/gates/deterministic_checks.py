"""Judge expectation suites, answer shapes and golden rows, without statistics."""

from surefoot.core.domain import FigureKind, Outcome, Verdict, VerdictFigure
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import AnswerShapes, GoldenRows
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import Gate
from surefoot.core.verdicts.verdict_builders import demanded_requests_text, make_journalable_sample, make_verdict


def judge_expectation_suite(gate: Gate, found: ValidationResult, _level: DecisionThresholds) -> Verdict:
    """PASS when every expectation that blocks holds; an empty suite or table is an ERROR."""
    figures = (
        VerdictFigure(FigureKind.EXPECTATIONS, found.evaluated),
        VerdictFigure(FigureKind.FAILED, len(found.failed)),
        VerdictFigure(FigureKind.WARNINGS, len(found.warnings)),
    )
    rows = tuple(
        {
            "expectation": e.kind,
            "column": e.column,
            "reason": e.reason,
            "samples": [make_journalable_sample(x) for x in e.samples],
        }
        for e in (*found.failed, *found.warnings)
    )
    if not found.evaluated or not found.rows:
        return make_verdict(gate, Outcome.ERROR, f"suite {found.suite} judged nothing", figures=figures)
    if found.failed:
        names = ", ".join(f"{e.kind}({e.column})" if e.column else e.kind for e in found.failed)
        reason = f"{len(found.failed)} of {found.evaluated} expectations do not hold: {names}"
        culprit = found.failed[0].column or found.failed[0].kind
        return make_verdict(gate, Outcome.FAIL, reason, n=found.rows, culprit=culprit, figures=figures, details=rows)
    many = f"all {found.evaluated} expectations of {found.suite} hold"
    held = many if found.evaluated > 1 else f"the one expectation of {found.suite} holds"
    reason = f"{held} on {found.rows:,} requests"
    return make_verdict(gate, Outcome.PASS, reason, n=found.rows, figures=figures, details=rows)


def judge_answer_shapes(gate: Gate, found: AnswerShapes, level: DecisionThresholds) -> Verdict:
    """PASS when callers get the same kinds of values from the candidate as from the champion, in the same places."""
    figures = (
        VerdictFigure(FigureKind.REQUESTS, found.requests, "count"),
        VerdictFigure(FigureKind.ANSWERED, found.answered, "count"),
    )
    if not found.champion:
        return make_verdict(
            gate, Outcome.NO_DATA, "no answer of the champion is known to compare with", figures=figures
        )
    if not found.answered:
        reason = f"the candidate can answer none of {found.requests:,} requests that the champion answers"
        return make_verdict(gate, Outcome.FAIL, reason, n=found.requests, figures=figures)
    new = [shape for shape in found.candidate if shape not in found.champion]
    old, said = "; or ".join(found.champion), "; or ".join(new or found.candidate)
    rows = tuple(
        {"version": version, "answers": list(some)}
        for version, some in (("champion", found.champion), ("candidate", found.candidate))
    )
    declared = ""
    if len(found.declared) > 1 and found.declared[0] != found.declared[1]:
        declared = f"; the signatures say {found.declared[0]} and {found.declared[1]}"
    if new:
        reason = (
            f"the candidate answers with {said} where the champion answers with {old}: callers would have to change"
            f" ('data: {{answers: any}}' in the policy allows it){declared}"
        )
        return make_verdict(gate, Outcome.FAIL, reason, n=found.requests, culprit=new[0], figures=figures, details=rows)
    if found.answered < level.min_requests:
        reason = demanded_requests_text(found.answered, level)
        return make_verdict(gate, Outcome.INCONCLUSIVE, reason, n=found.requests, figures=figures, details=rows)
    reason = f"both versions answer with {said} on {found.requests:,} requests{declared}"
    return make_verdict(gate, Outcome.PASS, reason, n=found.requests, figures=figures, details=rows)


def judge_golden_rows(gate: Gate, found: GoldenRows, _level: DecisionThresholds) -> Verdict:
    """PASS when the served version answers its own examples as its author saw them answered."""
    if not found.rows:
        return make_verdict(gate, Outcome.NO_DATA, "the candidate carries no golden rows: log them with its model")
    figures = (
        VerdictFigure(FigureKind.GOLDEN_ROWS, found.rows, "count"),
        VerdictFigure(FigureKind.GOLDEN_MISMATCHES, found.wrong, "count"),
        VerdictFigure(FigureKind.LARGEST_DIFFERENCE, found.worst),
    )
    if found.wrong:
        reason = (
            f"{found.wrong} of its {found.rows} golden rows are answered otherwise than their author saw (by up to"
            f" {found.worst:.3g}): what feeds the model is not what it was trained on"
        )
        rows = tuple({"row": make_journalable_sample(sample)} for sample in found.samples)
        return make_verdict(gate, Outcome.FAIL, reason, n=found.rows, figures=figures, details=rows)
    return make_verdict(
        gate, Outcome.PASS, f"all {found.rows} golden rows are answered as written", n=found.rows, figures=figures
    )
