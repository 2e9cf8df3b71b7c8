"""Draw a PNG plot of each gate's evidence over time in a rollout, against the accepted limit."""

import datetime as dt
import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from surefoot.core.domain import FigureKind, Outcome, Stage, Verdict
from surefoot.core.journal.events import GateJudged
from surefoot.core.verdicts.quantities import quantity_format
from surefoot.reports.plot_style import (
    ACCEPTED_COLOUR,
    LEFT_MARGIN,
    MUTED_COLOUR,
    OUTCOME_COLOURS,
    OUTCOME_MARKERS,
    TEXT_COLOUR,
    draw_literal_text,
    encode_png,
    finite_or_none,
    label_ticks,
    new_figure,
    shorten_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GateLooks = Sequence[tuple[float, GateJudged]]
"""(time of the look [Unix seconds], what was said), in order."""

_HEAD, _ROW, _FOOT = 0.95, 1.75, 0.35  # heights [inch]
_BAND, _BESIDE = (0.2, 0.45), (0.72, 0.245)  # (left, width) of the two pictures [share of the width]
_MOST = 12
"""Gates that one picture shows, those that stopped something first [count]."""
_BELOW = -3.0
"""Lowest evidence that is drawn [nats]; what lies below says no more."""
_LETTER = 0.0125
"""Width of a letter of a stage's name [share of the picture]."""
_UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def draw_evidence_over_time_png(looks: _GateLooks, title: str) -> bytes:
    """Draw one row for each gate: estimate and interval over time against the accepted margin, and the e-values.

    Args:
        looks: Every look of a rollout so far; gates that never gave a number are left out.
        title: Heading of the picture.

    Returns:
        A PNG image.
    """
    gates = _gates(looks)
    height = _HEAD + _ROW * max(len(gates), 1) + _FOOT
    figure = new_figure(
        height,
        title,
        "line: estimate, candidate against champion; band: what it may be; shaded: what the owner accepts",
    )
    if not gates:
        draw_literal_text(figure, LEFT_MARGIN, 0.3, "no gate has given a number at two looks", color=MUTED_COLOUR)
        return encode_png(figure)
    start, end = looks[0][0], looks[-1][0]
    size, unit = next((row for row in _UNITS if end - start >= 2.0 * row[0]), _UNITS[-1])
    when = dt.datetime.fromtimestamp(start, dt.UTC).strftime("%Y-%m-%d %H:%M")
    for number, (gate, told) in enumerate(gates.items()):
        bottom = (height - _HEAD - _ROW * (number + 1) + 0.42) / height
        tall = (_ROW - 0.62) / height
        last = told[-1][1].verdict
        middle = bottom + 0.66 * tall
        draw_literal_text(figure, LEFT_MARGIN, middle, shorten_text(gate, 16), weight="bold", va="bottom")
        draw_literal_text(
            figure, LEFT_MARGIN, middle, shorten_text(_measure(last), 20), size=8.5, color=MUTED_COLOUR, va="top"
        )
        draw_literal_text(figure, LEFT_MARGIN, middle - 0.2 * tall, last.role, size=8.5, color=MUTED_COLOUR, va="top")
        draw_literal_text(
            figure, LEFT_MARGIN, bottom + 0.06 * tall, last.outcome, weight="bold", color=OUTCOME_COLOURS[last.outcome]
        )
        times = [(at - start) / size for at, _ in told]
        axes = figure.add_axes((_BAND[0], bottom, _BAND[1], tall))
        _bands(axes, times, [event for _, event in told])
        _stages(axes, looks, start, size, named=number == 0)
        beside = figure.add_axes((_BESIDE[0], bottom, _BESIDE[1], tall))
        _evidence(beside, times, [event.verdict for _, event in told])
        for picture in (axes, beside):
            picture.set_xlim(0.0, max((end - start) / size, 1e-9))
            _quiet(picture)
        if number == len(gates) - 1:
            axes.set_xlabel(f"{unit} since {when} UTC", color=MUTED_COLOUR, size=8.5)
            beside.set_xlabel(unit, color=MUTED_COLOUR, size=8.5)
    return encode_png(figure)


def _gates(looks: _GateLooks) -> Mapping[str, list[tuple[float, GateJudged]]]:
    """Looks by gate; only those that gave a number twice, and the most urgent when there are too many."""
    found: dict[str, list[tuple[float, GateJudged]]] = defaultdict(list)
    for at, event in looks:
        if finite_or_none(event.verdict.estimate) is not None and event.verdict.metric != "validation":
            found[event.verdict.gate].append((at, event))
    drawn = {gate: told for gate, told in found.items() if len(told) > 1}
    if len(drawn) <= _MOST:
        return drawn
    urgent = sorted(drawn, key=lambda gate: (drawn[gate][-1][1].verdict.outcome is not Outcome.FAIL, -len(drawn[gate])))
    return {gate: drawn[gate] for gate in urgent[:_MOST]}


def _measure(verdict: Verdict) -> str:
    """The metric, with the unit where its name does not say it."""
    unit = quantity_format(verdict).unit
    return verdict.metric if unit.lower().replace(" ", "_") in {"", verdict.metric} else f"{verdict.metric} [{unit}]"


def _bands(axes: "Axes", times: Sequence[float], events: Sequence[GateJudged]) -> None:
    """Estimate, interval and margin over time, each stage with evidence of its own.

    The scale is the owner's, so that an early wide band hides nothing.
    """
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - costs half a second, and most runs draw nothing

    verdicts = [event.verdict for event in events]
    middles = [v.estimate or 0.0 for v in verdicts]
    margins = [finite_or_none(v.margin) for v in verdicts]
    lows = [_or(v.lower, v.estimate) for v in verdicts]
    highs = [_or(v.upper, v.estimate) for v in verdicts]
    last = next((m for m in reversed(margins) if m is not None), None)
    reach = max([abs(m) for m in middles] + [abs(last or 0.0)]) or 1e-9
    bottom = min(max(min(lows), -2.5 * reach), -0.15 * reach)
    top = max(min(max(highs), 2.5 * reach), 1.2 * reach)
    axes.set_ylim(bottom, top)
    axes.axhline(0.0, color=MUTED_COLOUR, lw=0.8, zorder=1)
    starts = [k for k, event in enumerate(events) if k == 0 or event.stage is not events[k - 1].stage]
    for first, end in itertools.pairwise([*starts, len(events)]):
        at, rows = times[first:end], range(first, end)
        if len(at) == 1:
            low, high = max(lows[first], bottom), min(highs[first], top)
            axes.plot(
                [at[0], at[0]], [low, high], color=MUTED_COLOUR, alpha=0.5, lw=4.0, solid_capstyle="butt", zorder=2
            )
            continue
        accepted = [_or(margins[k], top) for k in rows]
        axes.fill_between(at, [bottom] * len(at), accepted, color=ACCEPTED_COLOUR, lw=0.0, zorder=0)
        if last is not None:
            axes.plot(at, accepted, color=TEXT_COLOUR, lw=1.0, ls=(0, (3, 2)), zorder=1)
        axes.fill_between(
            at, [lows[k] for k in rows], [highs[k] for k in rows], color=MUTED_COLOUR, alpha=0.28, lw=0.0, zorder=2
        )
        axes.plot(at, [middles[k] for k in rows], color=TEXT_COLOUR, lw=1.4, zorder=3)
    for k, verdict in enumerate(verdicts):
        turned = k == 0 or verdict.outcome is not verdicts[k - 1].outcome or k == len(verdicts) - 1
        if turned and verdict.outcome in OUTCOME_MARKERS:
            colour, marker = OUTCOME_COLOURS[verdict.outcome], OUTCOME_MARKERS[verdict.outcome]
            axes.plot(times[k], middles[k], color=colour, marker=marker, ms=6.5, mec="white", mew=0.7, zorder=4)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    label_ticks(axes, quantity_format(verdicts[-1]))


def _or(value: float | None, other: float | None) -> float:
    found = finite_or_none(value)
    return (finite_or_none(other) or 0.0) if found is None else found


def _figures(verdict: Verdict) -> dict[FigureKind, float]:
    return {figure.kind: figure.value for figure in verdict.figures}


_LINES = (
    (FigureKind.HARM, FigureKind.HARM_NEEDED, Outcome.FAIL, "harm"),
    (FigureKind.SAFETY, FigureKind.SAFETY_NEEDED, Outcome.PASS, "safety"),
)
"""Evidence that is drawn: what it is, what decides, the outcome then, and its word."""


def _evidence(axes: "Axes", times: Sequence[float], verdicts: Sequence[Verdict]) -> None:
    """E-values of harm and of safety over time, as one in how many, and where each decides."""
    found = [_figures(verdict) for verdict in verdicts]
    whole = {kind for line in _LINES for kind in line[:2]}
    drawn = [(at, row) for at, row in zip(times, found, strict=True) if whole <= row.keys()]
    if not drawn:
        axes.text(
            0.5,
            0.5,
            "judged by its interval",
            ha="center",
            va="center",
            transform=axes.transAxes,
            size=8.5,
            color=MUTED_COLOUR,
        )
        axes.set_yticks([])
        return
    at = [time for time, _ in drawn]
    top = _BELOW
    for kind, needed, outcome, word in _LINES:
        bar = drawn[-1][1][needed]
        values = [min(max(row[kind], _BELOW), 1.6 * bar) for _, row in drawn]
        top = max(top, 1.15 * bar, *values)
        axes.plot(at, values, color=OUTCOME_COLOURS[outcome], lw=1.4, zorder=3)
        axes.axhline(bar, color=OUTCOME_COLOURS[outcome], lw=0.9, ls=(0, (3, 2)), zorder=2)
        axes.text(
            0.02,
            bar,
            f"{word} decides",
            size=7,
            color=OUTCOME_COLOURS[outcome],
            va="bottom",
            transform=axes.get_yaxis_transform(),
        )
    axes.set_ylim(_BELOW, 1.1 * top)
    ticks = [10.0**k for k in range(-1, math.floor(1.1 * top / math.log(10.0)) + 1, 1 if top < 10.0 else 2)]  # noqa: PLR2004 - nats
    axes.set_yticks([math.log(tick) for tick in ticks], [f"{tick:,.4g}" for tick in ticks])
    axes.set_title("e-value", size=8.5, color=MUTED_COLOUR, pad=2)


def _stages(axes: "Axes", looks: _GateLooks, start: float, size: float, *, named: bool) -> None:
    """A thin line where a stage or a step begins, with its name above the first picture where there is room."""
    wide = (looks[-1][0] - start) / size
    turns: list[tuple[float, Stage, int]] = []
    for at, event in looks:
        if not turns or turns[-1][1:] != (event.stage, event.step):
            turns.append(((at - start) / size, event.stage, event.step))
    ends = [x for x, _, _ in turns[1:]] + [wide]
    for number, ((x, stage, step), end) in enumerate(zip(turns, ends, strict=True)):
        if number:
            axes.axvline(x, color=MUTED_COLOUR, lw=0.8, ls=":", zorder=1)
        name = f"step {step + 1}" if stage is Stage.RAMPING else str(stage)
        if named and end - x >= _LETTER * len(name) * wide:
            axes.text(x, 1.02, name, size=7.5, color=MUTED_COLOUR, transform=axes.get_xaxis_transform(), va="bottom")


def _quiet(axes: "Axes") -> None:
    """Few ticks, no box."""
    axes.tick_params(axis="both", length=2.5, labelsize=8, colors=MUTED_COLOUR, labelcolor=TEXT_COLOUR)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED_COLOUR)
