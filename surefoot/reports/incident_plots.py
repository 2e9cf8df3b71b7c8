"""Draw the plots of an incident report as SVG, for light and dark pages."""

import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from surefoot.core.incidents.incident_report import GateEvaluationRow, IncidentReport, VersionTraffic
from surefoot.core.incidents.timeline import Moment
from surefoot.core.verdicts.quantities import describe_accepted, describe_measured, quantity_format
from surefoot.reports.plot_style import (
    DARK_THEME,
    LIGHT_THEME,
    Plot,
    PlotTheme,
    finite_or_none,
    label_ticks,
    simplify_date_axes,
    to_axis_day,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (7.0, 2.4)
"""Width and height [inch]; a page scales the width to its own."""
_MARKED = (Moment.ONSET, Moment.DETECTED, Moment.TRAFFIC_BACK)
"""Moments that every plot marks."""


def draw_incident_plots(report: IncidentReport) -> tuple[Plot, ...]:
    """The plots of a report: evidence, traffic, errors and latency; those of which nothing is known are left out."""
    bad = report.incident.version.number
    plots = []
    numbers = [look for look in report.looks if finite_or_none(look.verdict.estimate) is not None]
    if len(numbers) > 1:
        last = numbers[-1].verdict
        unit, accepted = quantity_format(last).axis_unit, describe_accepted(last)
        title = f"Evidence of gate {last.gate} against its limit" + (f" [{unit}]" if unit else "")
        limit = f", where {accepted} is accepted" if accepted else ""
        said = f"{len(numbers)} looks; the last estimate is {describe_measured(last)}{limit}"
        plots.append(_plot(title, said, report, lambda axes, theme: _evidence(axes, theme, numbers)))
    if report.traffic:
        shares = _shares(report.traffic, bad)
        said = f"the share of version {bad} was at most {max(shares.values()):.0f} %"
        plots.append(_plot("Traffic by version [%]", said, report, lambda axes, theme: _traffic(axes, theme, report)))
        failed = sum(row.failed for row in report.traffic if row.version == bad)
        said = f"version {bad} failed {failed:,} requests in this time"
        plots.append(_plot("Failed requests [%]", said, report, lambda axes, theme: _errors(axes, theme, report)))
        if any(row.latency_ms is not None for row in report.traffic):
            said = "the 95th percentile of each interval, by version"
            plots.append(
                _plot("Latency, 95th percentile [ms]", said, report, lambda axes, theme: _latency(axes, theme, report))
            )
    return tuple(plots)


def _plot(title: str, said: str, report: IncidentReport, draw: "Callable[[Axes, PlotTheme], None]") -> Plot:
    """One plot in both themes."""
    return Plot(title, f"{title}: {said}", *(_svg(report, theme, draw) for theme in (LIGHT_THEME, DARK_THEME)))


def _svg(report: IncidentReport, theme: PlotTheme, draw: "Callable[[Axes, PlotTheme], None]") -> bytes:
    """Draw one plot; equal input gives equal bytes, so that a report that is written again is the same."""
    import matplotlib as mpl  # noqa: PLC0415 - costs half a second, and most commands draw nothing
    from matplotlib.figure import Figure  # noqa: PLC0415 - same

    with mpl.rc_context({"svg.hashsalt": "surefoot"}):
        figure = Figure(figsize=_SIZE, facecolor="none")
        axes = figure.add_axes((0.085, 0.2, 0.89, 0.66), facecolor="none")
        draw(axes, theme)
        axes.set_xlim(*_window(report))
        _mark(axes, theme, report)
        simplify_date_axes(axes, theme)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "surefoot"})
    return buffer.getvalue()


def _window(report: IncidentReport) -> tuple[float, float]:
    """The time that all plots show, so that they can be read one below the other [days since 1970]."""
    moments = [row.at for row in report.timeline.rows] or [report.incident.at]
    times = (
        [*moments, *(row.at for row in report.traffic)]
        if report.traffic
        else [*moments, *(look.at for look in report.looks)]
    )
    room = 0.03 * (max(times) - min(times)) or 60.0
    return to_axis_day(min(times) - room), to_axis_day(max(times) + room)


def _mark(axes: "Axes", theme: PlotTheme, report: IncidentReport) -> None:
    """A line at each moment that matters, with its name where it does not cover the one before."""
    low, high = axes.get_xlim()
    left = -1.0
    for row in report.timeline.rows:
        if row.moment not in _MARKED:
            continue
        place = to_axis_day(row.at)
        if not low <= place <= high:
            continue
        axes.axvline(place, color=theme.quiet, lw=0.9, ls=(0, (2, 2)), zorder=1)
        share = (place - low) / (high - low)
        if share - left > 0.012 * len(str(row.moment)) or left < 0:
            align = "right" if share > 0.9 else "left"  # noqa: PLR2004 - share of the width
            axes.text(
                share,
                1.03,
                str(row.moment),
                size=8.5,
                color=theme.quiet,
                ha=align,
                va="bottom",
                transform=axes.transAxes,
                parse_math=False,
            )
            left = share


def _evidence(axes: "Axes", theme: PlotTheme, looks: Sequence[GateEvaluationRow]) -> None:
    """Estimate and interval of each look, and what the owner accepts."""
    times = [to_axis_day(look.at) for look in looks]
    verdicts = [look.verdict for look in looks]
    middles = [float(v.estimate or 0.0) for v in verdicts]
    lows = [
        middle if (low := finite_or_none(v.lower)) is None else low for v, middle in zip(verdicts, middles, strict=True)
    ]
    highs = [
        middle if (high := finite_or_none(v.upper)) is None else high
        for v, middle in zip(verdicts, middles, strict=True)
    ]
    margin = finite_or_none(verdicts[-1].margin)
    reach = max([abs(one) for one in middles] + [abs(margin or 0.0)]) or 1e-9
    bottom = min(max(min(lows), -2.5 * reach), -0.15 * reach)
    top = max(min(max(highs), 2.5 * reach), 1.2 * reach)
    axes.set_ylim(bottom, top)
    axes.axhline(0.0, color=theme.quiet, lw=0.8, zorder=1)
    if margin is not None:
        axes.axhspan(bottom, margin, color=theme.accepted, lw=0.0, zorder=0)
        axes.axhline(margin, color=theme.text, lw=1.0, ls=(0, (4, 2)), zorder=1)
    axes.fill_between(times, lows, highs, color=theme.bad, alpha=0.25, lw=0.0, zorder=2)
    axes.plot(times, middles, color=theme.bad, lw=1.6, marker="o", ms=4, zorder=3)
    label_ticks(axes, quantity_format(verdicts[-1]))


def _shares(traffic: Sequence[VersionTraffic], bad: str) -> dict[float, float]:
    """Share of a version's answers in each interval [percent]."""
    total: dict[float, int] = defaultdict(int)
    own: dict[float, int] = defaultdict(int)
    for row in traffic:
        total[row.at] += row.answers
        own[row.at] += row.answers if row.version == bad else 0
    return {at: 100.0 * own[at] / count for at, count in sorted(total.items())}


def _traffic(axes: "Axes", theme: PlotTheme, report: IncidentReport) -> None:
    """Share of the version that was taken back, below that of the other one."""
    bad = report.incident.version.number
    shares = _shares(report.traffic, bad)
    times, values = [to_axis_day(at) for at in shares], list(shares.values())
    axes.fill_between(times, 0.0, values, color=theme.bad, alpha=0.75, lw=0.0, step="post", zorder=2)
    axes.fill_between(times, values, 100.0, color=theme.good, alpha=0.35, lw=0.0, step="post", zorder=2)
    axes.set_ylim(0.0, 100.0)


def _errors(axes: "Axes", theme: PlotTheme, report: IncidentReport) -> None:
    """Share of failed requests of each version."""
    _lines(axes, theme, report, lambda row: 100.0 * row.failed / row.answers if row.answers else None)
    axes.set_ylim(bottom=0.0)


def _latency(axes: "Axes", theme: PlotTheme, report: IncidentReport) -> None:
    """Latency of each version."""
    _lines(axes, theme, report, lambda row: row.latency_ms)
    axes.set_ylim(bottom=0.0)


def _lines(
    axes: "Axes", theme: PlotTheme, report: IncidentReport, value: Callable[[VersionTraffic], float | None]
) -> None:
    """One line a version."""
    bad = report.incident.version.number
    for version in sorted({row.version for row in report.traffic}):
        drawn = [
            (to_axis_day(row.at), found)
            for row in report.traffic
            if row.version == version
            if (found := value(row)) is not None
        ]
        if drawn:
            colour = theme.bad if version == bad else theme.good
            axes.plot(
                [at for at, _ in drawn],
                [found for _, found in drawn],
                color=colour,
                lw=1.6,
                marker="o" if version == bad else "s",
                ms=2.5,
                zorder=3 if version == bad else 2,
            )
