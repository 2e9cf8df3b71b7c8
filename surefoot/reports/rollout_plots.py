"""Draw a rollout's inline SVG plots: the gates' estimates, the values of both versions and the traffic split."""

import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from surefoot.core.domain import FigureKind, Outcome, Verdict
from surefoot.core.journal.events import GateJudged
from surefoot.core.verdicts.quantities import (
    QuantityFormat,
    describe_accepted,
    describe_measured,
    figure_format,
    quantity_format,
)
from surefoot.reports.plot_style import (
    LIGHT_THEME,
    OUTCOME_MARKERS,
    PlotTheme,
    finite_or_none,
    label_ticks,
    simplify_date_axes,
    to_axis_day,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (6.4, 1.9)
"""Width and height [inch]; a page scales the width to its own."""
_PERCENT = QuantityFormat("%")
"""Shares of the traffic, which the journal keeps in percent."""
_FEWEST_LOOKS = 2
"""Looks with a number before a gate is drawn [count]."""
_ARMS = (
    (FigureKind.CANDIDATE_RATE, FigureKind.CHAMPION_RATE),
    (FigureKind.CANDIDATE_QUANTILE, FigureKind.CHAMPION_QUANTILE),
    (FigureKind.CANDIDATE_MEAN, FigureKind.CHAMPION_MEAN),
    (FigureKind.CANDIDATE_LOSS, FigureKind.CHAMPION_LOSS),
)
"""Figures that tell the same of the candidate and of the champion."""
_VARIABLES = {
    LIGHT_THEME.text: "var(--ink)",
    LIGHT_THEME.quiet: "var(--soft)",
    LIGHT_THEME.bad: "var(--plot-candidate)",
    LIGHT_THEME.good: "var(--plot-champion)",
    LIGHT_THEME.accepted: "var(--plot-accepted)",
}
"""Colours of a plot by the variable of the page's style, which knows light and dark."""

TimedGateEvaluation = tuple[float, GateJudged]
"""(time of the look [Unix seconds], what was said)."""


@dataclass(frozen=True, slots=True)
class InlinePlot:
    """One plot of a page.

    Attributes:
        title: What it shows.
        alternative: The same in words, for readers who do not see it.
        svg: SVG element whose colours are variables of the page.
    """

    title: str
    alternative: str
    svg: str


def draw_gate_estimates(gate: str, looks: Sequence[TimedGateEvaluation]) -> InlinePlot | None:
    """Estimate and interval of one gate at each look against what its owner accepts; None before two numbers."""
    drawn = [look for look in looks if finite_or_none(look[1].verdict.estimate) is not None]
    if len(drawn) < _FEWEST_LOOKS:
        return None
    last = drawn[-1][1].verdict
    accepted, written = describe_accepted(last), quantity_format(last)
    limit = f"; {accepted} is accepted" if accepted else ""
    said = f"{len(drawn)} looks; the last estimate is {describe_measured(last)}"
    title = f"{gate}: candidate against champion" + (f" [{written.axis_unit}]" if written.axis_unit else "")
    svg = _svg(lambda axes, theme: _band(axes, theme, drawn), (drawn[0][0], drawn[-1][0]), written)
    return InlinePlot(title, f"{title}: {said}{limit}; {last.outcome}", svg)


def draw_version_values(gate: str, looks: Sequence[TimedGateEvaluation]) -> InlinePlot | None:
    """What one gate measured of candidate and champion at each look; None where it tells no such numbers."""
    for candidate, champion in _ARMS:
        drawn = [
            (at, mine, other)
            for at, event in looks
            if (mine := _figure(event.verdict, candidate)) is not None
            and (other := _figure(event.verdict, champion)) is not None
        ]
        if len(drawn) >= _FEWEST_LOOKS:
            break
    else:
        return None
    latest = next(event.verdict for _, event in reversed(looks) if _figure(event.verdict, candidate) is not None)
    written = figure_format(next(one for one in latest.figures if one.kind is candidate), latest)
    what = str(candidate).removeprefix("candidate ")
    title = f"{gate}: {what} of both versions" + (f" [{written.axis_unit}]" if written.axis_unit else "")
    at, mine, other = drawn[-1]
    said = f"last, candidate {written.text(mine)} and champion {written.text(other)}"
    svg = _svg(lambda axes, theme: _two_lines(axes, theme, drawn), (drawn[0][0], at), written)
    return InlinePlot(title, f"{title}: {said}", svg)


def draw_traffic_split(splits: Sequence[tuple[float, float]], until: float) -> InlinePlot | None:
    """The candidate's share of the units over time.

    Args:
        splits: (since when [Unix seconds], share [percent]), in order.
        until: End of the axis [Unix seconds].
    """
    if not splits:
        return None
    title = "Traffic of the candidate [% of the units]"
    said = ", then ".join(f"{share:g} %" for _, share in splits)
    end = max(until, splits[-1][0] + 1.0)
    svg = _svg(lambda axes, theme: _shares(axes, theme, splits, end), (splits[0][0], end))
    return InlinePlot(title, f"{title}: {said}", svg)


def _figure(verdict: Verdict, kind: FigureKind) -> float | None:
    return next((finite_or_none(one.value) for one in verdict.figures if one.kind is kind), None)


def _svg(
    draw: "Callable[[Axes, PlotTheme], None]", window: tuple[float, float], written: QuantityFormat = _PERCENT
) -> str:
    """Draw one plot, with the values written like this; equal input gives equal text."""
    import matplotlib as mpl  # noqa: PLC0415 - costs half a second, and most commands draw nothing
    from matplotlib.figure import Figure  # noqa: PLC0415 - same

    with mpl.rc_context({"svg.hashsalt": "surefoot", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=_SIZE, facecolor="none")
        axes = figure.add_axes((0.095, 0.2, 0.885, 0.66), facecolor="none")
        draw(axes, LIGHT_THEME)
        room = 0.02 * (window[1] - window[0]) or 60.0
        axes.set_xlim(to_axis_day(window[0] - room), to_axis_day(window[1] + room))
        simplify_date_axes(axes, LIGHT_THEME)
        label_ticks(axes, written)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour.lower(), variable)
    return text


def _band(axes: "Axes", theme: PlotTheme, looks: Sequence[TimedGateEvaluation]) -> None:
    """Estimate, interval and margin, each stage with evidence of its own; the scale is the owner's."""
    times = [to_axis_day(at) for at, _ in looks]
    verdicts = [event.verdict for _, event in looks]
    middles = [float(one.estimate or 0.0) for one in verdicts]
    lows = [_number(one.lower, middle) for one, middle in zip(verdicts, middles, strict=True)]
    highs = [_number(one.upper, middle) for one, middle in zip(verdicts, middles, strict=True)]
    margin = next((found for one in reversed(verdicts) if (found := finite_or_none(one.margin)) is not None), None)
    reach = max([abs(one) for one in middles] + [abs(margin or 0.0)]) or 1e-9
    bottom = min(max(min(lows), -2.5 * reach), -0.15 * reach)
    top = max(min(max(highs), 2.5 * reach), 1.2 * reach)
    axes.set_ylim(bottom, top)
    axes.axhline(0.0, color=theme.quiet, lw=0.8, zorder=1)
    if margin is not None:
        axes.axhspan(bottom, margin, color=theme.accepted, lw=0.0, zorder=0)
        axes.axhline(margin, color=theme.text, lw=1.0, ls=(0, (4, 2)), zorder=1)
    steps = [(event.stage, event.step) for _, event in looks]
    starts = [k for k, step in enumerate(steps) if k == 0 or step != steps[k - 1]]
    for first, end in itertools.pairwise([*starts, len(looks)]):
        if first:
            axes.axvline(times[first], color=theme.quiet, lw=0.8, ls=":", zorder=1)
        rows = slice(first, end)
        if end - first == 1:
            axes.plot([times[first]] * 2, [lows[first], highs[first]], color=theme.bad, alpha=0.35, lw=4.0, zorder=2)
        else:
            axes.fill_between(times[rows], lows[rows], highs[rows], color=theme.bad, alpha=0.22, lw=0.0, zorder=2)
        axes.plot(times[rows], middles[rows], color=theme.bad, lw=1.5, zorder=3)
    for k, verdict in enumerate(verdicts):
        turned = k in (0, len(verdicts) - 1) or verdict.outcome is not verdicts[k - 1].outcome
        if turned and verdict.outcome in OUTCOME_MARKERS:
            size = 8.0 if verdict.outcome is Outcome.FAIL else 5.0
            axes.plot(times[k], middles[k], color=theme.bad, marker=OUTCOME_MARKERS[verdict.outcome], ms=size, zorder=4)


def _number(value: float | None, otherwise: float) -> float:
    found = finite_or_none(value)
    return otherwise if found is None else found


def _two_lines(axes: "Axes", theme: PlotTheme, drawn: Sequence[tuple[float, float, float]]) -> None:
    """One line a version, told apart by marker and by words as well as by colour."""
    times = [to_axis_day(at) for at, _, _ in drawn]
    for column, colour, marker, name in ((1, theme.bad, "o", "candidate"), (2, theme.good, "s", "champion")):
        values = [row[column] for row in drawn]
        axes.plot(times, values, color=colour, lw=1.5, marker=marker, ms=3.0, label=name)
    axes.set_ylim(bottom=min(0.0, *(min(row[1:]) for row in drawn)))
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 0.97),
        frameon=False,
        fontsize=9,
        labelcolor=theme.text,
        ncols=2,
        borderpad=0,
    )


def _shares(axes: "Axes", theme: PlotTheme, splits: Sequence[tuple[float, float]], end: float) -> None:
    times = [to_axis_day(at) for at, _ in splits] + [to_axis_day(end)]
    values = [share for _, share in splits] + [splits[-1][1]]
    axes.fill_between(times, 0.0, values, color=theme.bad, alpha=0.55, lw=0.0, step="post", zorder=2)
    axes.step(times, values, where="post", color=theme.bad, lw=1.5, zorder=3)
    axes.set_ylim(0.0, 104.0)
