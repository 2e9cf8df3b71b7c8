"""Judge the difference in loss between candidate and champion on the same requests, for each slice."""

from typing import NamedTuple

import numpy as np

from surefoot.core.domain import FigureKind, Outcome, Verdict, VerdictFigure
from surefoot.core.judging.evidence import PairedSums
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.policy_types import GAP_METRICS, Metric, PairedGate, get_gate_loss
from surefoot.core.stats.block_metrics import block_metric_for, group_metric_values
from surefoot.core.stats.paired_difference import MIN_BLOCKS, Difference, block_difference, jackknife_difference
from surefoot.core.verdicts.quantities import RATE_METRICS, as_percent, percentage_points
from surefoot.core.verdicts.sentence_parts import format_value
from surefoot.core.verdicts.verdict_builders import make_verdict

_UNSCORED_LIMIT = 0.01
"""Share of replayed requests that a candidate may leave unanswered before its shadow fails."""
_STATISTIC_NAMES = {
    Metric.AUC: "1 - auc",
    Metric.DISAGREEMENT: "share of different decisions",
    Metric.ECE: "calibration error",
    Metric.PINBALL: "pinball loss",
    Metric.RMSE: "root mean squared error",
    Metric.ZERO_ONE: "share of wrong answers",
    Metric.COST: "cost per request",
    Metric.LOSS_GAP: "gap of the loss",
    Metric.TPR_GAP: "gap of true positive rates",
    Metric.FPR_GAP: "gap of false positive rates",
    Metric.SELECTION_GAP: "gap of selection rates",
}
"""How a person reads a statistic of which lower is better, where the metric's own word would not say it."""


class _Row:
    """One slice: its difference, and what its intervals say."""

    def __init__(
        self, gate: PairedGate, name: str, found: Difference, alpha: float, beta: float, last: int = 0
    ) -> None:
        """Compute both intervals at the levels of this look.

        With a margin and a limit each of the two gets half of the level to fail; to pass both must hold, which
        costs nothing.
        """
        both = gate.margin is not None and gate.limit is not None
        self.name, self.found, self.last = name, found, last
        share = alpha / (2.0 if both else 1.0)
        self.own = gate.margin is None
        low, high = found.radius(share), found.radius(beta)
        own_low, own_high = found.radius(share, own=True), found.radius(beta, own=True)
        self.lower, self.upper = found.mean - low, found.mean + high
        self.bottom, self.top = found.candidate - own_low, found.candidate + own_high
        self.margin = None
        if gate.margin is not None:
            self.margin = gate.margin * abs(found.champion) if gate.relative else gate.margin
        self.grown = self.margin is not None and self.lower > 0.0 and found.mean > self.margin
        self.above = gate.limit is not None and self.bottom > gate.limit
        self.failed = self.grown or self.above
        kept = self.margin is None or self.upper <= self.margin
        self.passed = kept and (gate.limit is None or self.top <= gate.limit)
        # What the sentence speaks of: the limit when that is what decides, else the growth.
        self.own = self.own or (self.above and not self.grown)
        if gate.limit is not None and not self.failed and not self.passed and kept:
            self.own = True

    def shown(self, gate: PairedGate) -> dict[str, object]:
        """The slice as a row of a table."""
        return {
            "slice": (self.name or "all") + (f", last {self.last} blocks" if self.last else ""),
            "outcome": (Outcome.FAIL if self.failed else Outcome.PASS if self.passed else Outcome.INCONCLUSIVE).value,
            "n": self.found.n,
            "blocks": self.found.blocks,
            "champion": self.found.champion,
            "candidate": self.found.candidate,
            "difference": self.found.mean,
            "lower": self.lower,
            "upper": self.upper,
            "margin": self.margin,
            "limit": gate.limit,
        }

    def badness(self, gate: PairedGate) -> float:
        """How many standard errors this slice lies beyond what is accepted."""
        grown = (self.found.mean - (self.margin or 0.0)) / max(self.found.error, 1e-12)
        if gate.limit is None:
            return grown
        above = (self.found.candidate - gate.limit) / max(self.found.own, 1e-12)
        return above if self.margin is None else max(grown, above)


def judge_missing_values(gate: PairedGate, found: PairedSums, level: DecisionThresholds) -> Verdict | None:
    """Verdict where requests, answers or labels are too few to compare the versions; None where they suffice."""
    if not found.requests:
        return make_verdict(gate, Outcome.NO_DATA, "no complete block of requests is old enough to have its labels")
    if found.unscored / found.requests > _UNSCORED_LIMIT:
        reason = f"the candidate cannot answer {found.unscored:,} of {found.requests:,} replayed requests"
        return make_verdict(gate, Outcome.FAIL, reason, n=found.requests)
    if found.left.odd >= max(found.labelled - found.unscored, 1):
        reason = f"none of the {found.left.odd:,} labelled requests can be read: {found.left.what}"
        return make_verdict(gate, Outcome.ERROR, reason, n=found.labelled)
    coverage = found.labelled / found.requests
    if coverage < gate.coverage:
        have = f"{as_percent(coverage)} of {found.requests:,} mature requests have a label"
        reason = f"{have}; {as_percent(gate.coverage)} is demanded"
        return make_verdict(gate, Outcome.INCONCLUSIVE, reason, n=found.labelled)
    if found.labelled < level.min_requests:
        reason = f"{found.labelled:,} of the {level.min_requests:,} labelled requests that this step demands"
        return make_verdict(gate, Outcome.INCONCLUSIVE, reason, n=found.labelled)
    return None


def compute_loss_differences_by_slice(gate: PairedGate, found: PairedSums) -> dict[str, Difference]:
    """Difference of the two versions in every slice that is large enough, or of a gap between groups, by name."""
    return (_gap(gate, found) if gate.metric in GAP_METRICS else _slices(gate, found))[0]


def judge_paired_loss(gate: PairedGate, found: PairedSums, level: DecisionThresholds) -> Verdict:
    """Judge every slice that is large enough; a smaller slice never counts as passed."""
    if refused := judge_missing_values(gate, found, level):
        return refused
    coverage = found.labelled / found.requests
    measured, small = _gap(gate, found) if gate.metric in GAP_METRICS else _slices(gate, found)
    if not measured:
        return make_verdict(gate, Outcome.NO_DATA, _too_little(gate, found), n=found.labelled)
    alpha, beta = level.error_levels(gate.block)
    # While a watch has no end, a good past would hide a bad present: half of the level is for the latest blocks alone.
    late = _late(gate, found, measured) if level.forever else []
    share = alpha / len(measured) / (2.0 if late else 1.0)
    rows = [_Row(gate, name, diff, share, beta) for name, diff in measured.items()]
    recent = [_Row(gate, name, diff, alpha / 2.0 / len(late), beta, last) for name, diff, last in late]
    failed = [row for row in (*rows, *recent) if row.failed]
    undecided = [row for row in rows if not row.passed]
    worst = max(failed or undecided or rows, key=lambda row: row.badness(gate))
    outcome = Outcome.FAIL if failed else Outcome.INCONCLUSIVE if undecided else Outcome.PASS
    reason = _sentence(gate, outcome, worst, len(measured), small)
    absent = [name for name in gate.protected if name not in measured] if gate.metric not in GAP_METRICS else []
    if absent and outcome is not Outcome.FAIL:
        outcome = Outcome.NO_DATA
        reason = f"{', '.join(absent)} is protected and has too little data to be judged; {reason}"
    own = worst.own
    groups = _rates(gate, found) if gate.metric in GAP_METRICS else []
    culprit = (_worse(gate, groups).name if groups else worst.name) if failed else ""
    if len(groups) > 1:
        reason += _between(gate, groups)
    return make_verdict(
        gate,
        outcome,
        reason,
        n=worst.found.n,
        estimate=worst.found.candidate if own else worst.found.mean,
        lower=worst.bottom if own else worst.lower,
        upper=worst.top if own else worst.upper,
        margin=gate.limit if own else worst.margin,
        unit=gate.metric.value,
        culprit=culprit,
        figures=_figures(worst.found, coverage, found),
        details=(
            *(row.shown(gate) for row in sorted((*rows, *recent), key=lambda row: -row.badness(gate))),
            *({"slice": name, "outcome": Outcome.NO_DATA.value, "n": n} for name, n in small),
            *(
                {"group": group.name, "n": group.n, "champion": group.champion, "candidate": group.candidate}
                for group in groups
            ),
        ),
    )


_LATEST_BLOCK_COUNTS = (7, 14, 28)
"""Numbers of the latest blocks that are looked at by themselves while a watch has no end [count]."""


def _late(gate: PairedGate, found: PairedSums, measured: dict[str, Difference]) -> list[tuple[str, Difference, int]]:
    """The latest blocks of every slice: (slice, difference, blocks)."""
    if gate.metric in GAP_METRICS:
        return []
    made = []
    for name, whole in measured.items():
        for last in (n for n in _LATEST_BLOCK_COUNTS if n < whole.blocks):
            blocks = sorted(found.slices[name], key=lambda block: block.key)[-last:]
            if diff := block_difference(blocks, block_metric_for(gate.metric), found.coarse):
                made.append((name, diff, last))
    return made


def _blocks(gate: PairedGate) -> str:
    return "days" if gate.block == 86400.0 else "blocks"  # noqa: PLR2004 - the seconds of a day


def _too_little(gate: PairedGate, found: PairedSums) -> str:
    """Why nothing was measured."""
    least = gate.min_per_slice if gate.by else 1
    large = [name for name, size in _sizes(gate, found).items() if size >= least]
    days = max((sum(block.n > 0 for block in found.slices.get(name, ())) for name in large), default=0)
    if gate.metric in GAP_METRICS and (absent := [name for name in gate.protected if name not in large]):
        return f"{', '.join(absent)} is protected and has too little data to be judged"
    if days >= MIN_BLOCKS and (gate.metric not in GAP_METRICS or len(large) > 1):
        what = _STATISTIC_NAMES.get(gate.metric, gate.metric.value)
        return f"no {what} can be told: too few requests of one kind, such as those that came true"
    if gate.metric in GAP_METRICS:
        return f"no two groups of {', '.join(gate.by)} have {gate.min_per_slice} requests on {MIN_BLOCKS} blocks"
    if gate.by:
        return f"no slice has {gate.min_per_slice} labelled requests on {MIN_BLOCKS} {_blocks(gate)}"
    return f"fewer than {MIN_BLOCKS} blocks of labelled requests"


_SmallSlices = list[tuple[str, int]]


def _sizes(gate: PairedGate, found: PairedSums) -> dict[str, int]:
    names = [name for name in found.slices if name] if gate.by else [""]
    return {name: sum(block.n for block in found.slices.get(name, ())) for name in names}


def _slices(gate: PairedGate, found: PairedSums) -> tuple[dict[str, Difference], _SmallSlices]:
    """Difference of every slice that is large enough, and the names of those that are not."""
    least = gate.min_per_slice if gate.by else 1
    measured: dict[str, Difference] = {}
    small: _SmallSlices = []
    for name, size in _sizes(gate, found).items():
        made = (
            block_difference(found.slices.get(name, ()), block_metric_for(gate.metric), found.coarse)
            if size >= least
            else None
        )
        if made is None:
            small.append((name, size))
        else:
            measured[name] = made
    return measured, small


def _table(found: PairedSums, groups: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Requests (blocks, groups) and both versions' sums (blocks, groups, k) of several groups, block by block."""
    keys = sorted({block.key for name in groups for block in found.slices[name]})
    width = max(len(block.champion) for name in groups for block in found.slices[name])
    n = np.zeros((len(keys), len(groups)))
    sums = np.zeros((2, len(keys), len(groups), width))
    where = {key: index for index, key in enumerate(keys)}
    for column, name in enumerate(groups):
        for block in found.slices[name]:
            row = where[block.key]
            n[row, column] = block.n
            sums[0, row, column], sums[1, row, column] = block.champion, block.candidate
    return n, sums[0] * found.coarse, sums[1] * found.coarse


def _groups(gate: PairedGate, found: PairedSums) -> tuple[list[str], _SmallSlices]:
    sizes = _sizes(gate, found)
    large = sorted(name for name, size in sizes.items() if size >= gate.min_per_slice)
    return large, [(name, size) for name, size in sizes.items() if name not in large]


def _gap(gate: PairedGate, found: PairedSums) -> tuple[dict[str, Difference], _SmallSlices]:
    """The difference between groups is one number over all that are large enough."""
    groups, small = _groups(gate, found)
    if len(groups) < 2 or set(gate.protected) - set(groups):  # noqa: PLR2004 - a gap needs two sides
        return {}, small
    n, champion, candidate = _table(found, groups)
    made = jackknife_difference(n, champion, candidate, block_metric_for(gate.metric)) if len(n) >= MIN_BLOCKS else None
    return ({} if made is None else {"": made}), small


class _Group(NamedTuple):
    """A group of a gap: its rate with each version."""

    name: str
    n: int
    champion: float
    candidate: float


def _rates(gate: PairedGate, found: PairedSums) -> list[_Group]:
    """Each group with a rate under both versions, the highest rate of the candidate first."""
    groups, _ = _groups(gate, found)
    n, champion, candidate = _table(found, groups)
    before, after = (
        group_metric_values(gate.metric, n.sum(axis=0), sums.sum(axis=0)) for sums in (champion, candidate)
    )
    made = [
        _Group(name, int(n[:, place].sum()), float(before[place]), float(after[place]))
        for place, name in enumerate(groups)
        if np.isfinite(before[place]) and np.isfinite(after[place])
    ]
    return sorted(made, key=lambda group: -group.candidate)


def _worse(gate: PairedGate, groups: list[_Group]) -> _Group:
    """The group that the gap is against: the lowest rate of hits or selections, the highest rate or loss of errors."""
    return groups[-1] if gate.metric in {Metric.TPR_GAP, Metric.SELECTION_GAP} else groups[0]


def _between(gate: PairedGate, groups: list[_Group]) -> str:
    """The two groups that make the gap, in words."""
    high, low = groups[0], groups[-1]
    what = {Metric.TPR_GAP: "true positive rate", Metric.FPR_GAP: "false positive rate"}.get(gate.metric, "")
    what = what or ("selection rate" if gate.metric is Metric.SELECTION_GAP else f"mean {get_gate_loss(gate)}")
    shown = as_percent if gate.metric in RATE_METRICS else format_value
    return (
        f"; with the candidate the {what} is {shown(high.candidate)} on {high.name} (champion: {shown(high.champion)})"
        f" and {shown(low.candidate)} on {low.name} ({shown(low.champion)})"
    )


def _sentence(gate: PairedGate, outcome: Outcome, row: _Row, judged: int, small: _SmallSlices) -> str:
    diff, where = row.found, f"on {row.name} " if row.name else ""
    where += f"in the last {row.last} blocks " if row.last else ""
    name = _STATISTIC_NAMES.get(gate.metric, gate.metric.value)
    near = max(abs(diff.champion), abs(diff.candidate))
    rates = gate.metric in RATE_METRICS
    points = " points" if rates else ""

    def value(x: float) -> str:
        return as_percent(x) if rates else format_value(x, near)

    def difference(x: float) -> str:
        return percentage_points(x) if rates else format_value(x, near, signed=True)

    what = f"{name} {where}goes from {value(diff.champion)} to {value(diff.candidate)}"
    if row.own:
        low, high, limit = map(value, (row.bottom, row.top, gate.limit or 0.0))
        what += f", between {low} and {high}; at most {limit} is accepted"
    else:
        change, low, high, margin = map(difference, (diff.mean, row.lower, row.upper, row.margin or 0.0))
        accepted = f"{margin}{points} is accepted" if row.margin else "it must surely be lower"
        what += f" ({change}{points}, between {low} and {high}{points}; {accepted})"
    rest = f"; {len(small)} slices have too little data to be judged" if small else ""
    if outcome is Outcome.FAIL:
        return f"{what} over {diff.n:,} requests on {diff.blocks} {_blocks(gate)}{rest}"
    if outcome is Outcome.INCONCLUSIVE:
        return f"not decided: {what}{rest}"
    return f"{what}{f', the worst of {judged} slices' if row.name else ''}{rest}"


def _figures(diff: Difference, coverage: float, found: PairedSums) -> tuple[VerdictFigure, ...]:
    counts = (
        (FigureKind.UNANSWERED, found.unscored),
        (FigureKind.LATE_LABELS, found.late),
        (FigureKind.CORRECTED_LABELS, found.corrected),
        (FigureKind.UNKNOWN_LABELS, found.unknown),
    )
    return (
        VerdictFigure(FigureKind.CHAMPION_LOSS, diff.champion),
        VerdictFigure(FigureKind.CANDIDATE_LOSS, diff.candidate),
        VerdictFigure(FigureKind.BLOCKS, diff.blocks, "count"),
        VerdictFigure(FigureKind.LABEL_COVERAGE, coverage, "share"),
        *(VerdictFigure(kind, value, "count") for kind, value in counts),
        *((VerdictFigure(FigureKind.AGREEMENT, found.same / found.compared, "share"),) if found.compared else ()),
    )
