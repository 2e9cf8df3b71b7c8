"""Draw PNG plots of a rollout's verdicts, and of how much worse the candidate is on each data slice."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from surefoot.core.domain import Outcome, Verdict
from surefoot.core.verdicts.quantities import QuantityFormat, quantity_format
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
    from matplotlib.figure import Figure

MAX_SLICES = 40
"""Slices that one picture shows, the worst first [count]."""

_HEAD, _FOOT, _PANEL, _LINE = 0.85, 0.2, 1.0, 0.2  # heights [inch]
_BARE = QuantityFormat("", signed=True)
_PLOT, _RIGHT = 0.21, 0.79  # where names, pictures and outcomes begin [share of the width]


def draw_verdicts_png(verdicts: Sequence[Verdict], title: str) -> bytes:
    """One panel a gate: estimate and interval against what the owner accepts, each in its own unit.

    Args:
        verdicts: What the gates answered; gates without a number are listed as text.
        title: Heading of the picture.

    Returns:
        A PNG image.
    """
    drawn = [verdict for verdict in verdicts if finite_or_none(verdict.estimate) is not None]
    told = [(v, textwrap.wrap(v.reason, 100)[:4]) for v in verdicts if finite_or_none(v.estimate) is None]
    height = _HEAD + _PANEL * len(drawn) + sum(_LINE * (len(lines) + 1.5) for _, lines in told) + _FOOT
    figure = new_figure(
        height + (0.0 if verdicts else _LINE),
        title,
        "shaded: what the owner accepts; 0: no difference from the champion",
    )
    top = height - _HEAD
    for verdict in drawn:
        top -= _PANEL
        _panel(figure, verdict, top / height, _PANEL / height)
    for verdict, lines in told:
        top -= _LINE
        draw_literal_text(figure, LEFT_MARGIN, top / height, verdict.gate, weight="bold")
        draw_literal_text(
            figure, _PLOT, top / height, verdict.outcome, weight="bold", color=OUTCOME_COLOURS[verdict.outcome]
        )
        for number, line in enumerate(lines, start=1):
            draw_literal_text(figure, _PLOT, (top - _LINE * number) / height, line, size=9)
        top -= _LINE * (len(lines) + 0.5)
    if not verdicts:
        draw_literal_text(figure, LEFT_MARGIN, 0.2, "no gate was judged", color=MUTED_COLOUR)
    return encode_png(figure)


@dataclass(frozen=True, slots=True)
class _Slice:
    """One row of a forest plot."""

    name: str
    n: int
    difference: float
    lower: float
    upper: float
    margin: float

    @property
    def outcome(self) -> Outcome:
        """What the picture shows of it: the same comparison that the judge makes."""
        if self.lower > 0.0 and self.difference > self.margin:
            return Outcome.FAIL
        return Outcome.PASS if self.upper <= self.margin else Outcome.INCONCLUSIVE


def draw_slice_losses_png(
    details: Sequence[Mapping[str, object]], title: str, written: QuantityFormat = _BARE
) -> bytes:
    """A forest plot of slices: how much worse the candidate is on each, against what the owner accepts.

    Args:
        details: Rows with "slice", "n", "difference", "lower", "upper" and "margin"; others are left out.
        title: Heading of the picture.
        written: How the differences are written.

    Returns:
        A PNG image.
    """
    found = sorted(filter(None, map(_slice, details)), key=lambda row: row.margin - row.difference)
    shown, hidden = found[:MAX_SLICES], max(len(found) - MAX_SLICES, 0)
    height = _HEAD + 0.7 + 0.28 * max(len(shown), 1) + _FOOT
    note = f"the worst {MAX_SLICES} slices; {hidden} more are not shown" if hidden else f"{len(found)} slices"
    figure = new_figure(height, title, f"{note}; worst first; shaded: what the owner accepts")
    if not shown:
        draw_literal_text(figure, LEFT_MARGIN, 0.35, "no slice could be judged", color=MUTED_COLOUR)
        return encode_png(figure)
    axes = figure.add_axes((0.24, 0.7 / height, 0.5, 1.0 - (_HEAD + 0.7 + _FOOT / 2) / height))
    _scale(axes, [value for row in shown for value in (row.lower, row.upper, row.margin, row.difference)])
    low, high = axes.get_xlim()
    label_ticks(axes, written, horizontal=True)
    digits = max(0, 2 - math.floor(math.log10(written.factor * (high - low))))
    margins = {row.margin for row in shown}
    for at, row in enumerate(shown):
        colour = OUTCOME_COLOURS[row.outcome]
        axes.barh(at, row.margin - low, left=low, height=1.0, color=ACCEPTED_COLOUR, zorder=0)
        if len(margins) > 1:
            axes.plot([row.margin] * 2, [at - 0.5, at + 0.5], color=TEXT_COLOUR, lw=1.0, ls=(0, (3, 2)), zorder=1)
        _whiskers(axes, at, (row.lower, row.difference, row.upper), row.outcome)
        _outside(
            axes,
            high,
            at,
            f"{written.factor * row.difference:+.{digits}f}".replace("-", "\N{MINUS SIGN}"),
            colour,
            weight="bold",
        )
        _outside(axes, high, at, f"n = {row.n:,}", MUTED_COLOUR, shift=66)
    if len(margins) == 1:
        axes.axvline(shown[0].margin, color=TEXT_COLOUR, lw=1.0, ls=(0, (3, 2)), zorder=1)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_yticks(range(len(shown)), [shorten_text(row.name, 28) for row in shown], size=9.5, parse_math=False)
    unit = f" [{written.axis_unit}]" if written.axis_unit else ""
    axes.set_xlabel(f"candidate minus champion{unit}: right is worse", color=MUTED_COLOUR, size=9.5)
    return encode_png(figure)


def _slice(row: Mapping[str, object]) -> _Slice | None:
    """A row of details, or nothing when it is no slice or lacks a number."""
    difference, lower = finite_or_none(row.get("difference")), finite_or_none(row.get("lower"))
    upper, margin = finite_or_none(row.get("upper")), finite_or_none(row.get("margin"))
    if "slice" not in row or difference is None or lower is None or upper is None or margin is None:
        return None
    return _Slice(str(row["slice"]), int(finite_or_none(row.get("n")) or 0), difference, lower, upper, margin)


def _panel(figure: "Figure", verdict: Verdict, bottom: float, height: float) -> None:
    """One gate: name on the left, picture in the middle, outcome on the right."""
    colour, middle = OUTCOME_COLOURS[verdict.outcome], bottom + 0.62 * height
    draw_literal_text(figure, LEFT_MARGIN, middle, verdict.gate, weight="bold", va="bottom")
    draw_literal_text(
        figure, LEFT_MARGIN, middle, f"{verdict.metric} ({verdict.role})", size=8.5, color=MUTED_COLOUR, va="top"
    )
    draw_literal_text(figure, _RIGHT, middle, verdict.outcome, weight="bold", color=colour, va="bottom")
    estimate, margin = finite_or_none(verdict.estimate) or 0.0, finite_or_none(verdict.margin)
    lower, upper = finite_or_none(verdict.lower), finite_or_none(verdict.upper)
    low, high = estimate if lower is None else lower, estimate if upper is None else upper
    said = f"n = {verdict.n:,}"
    if lower is None or upper is None:
        said += ", no interval"
    draw_literal_text(figure, _RIGHT, middle, said, size=9, color=MUTED_COLOUR, va="top")
    axes = figure.add_axes((_PLOT, bottom + 0.42 * height, _RIGHT - _PLOT - 0.025, 0.4 * height))
    _scale(axes, [estimate, low, high, *([] if margin is None else [margin])])
    if margin is not None:
        axes.axvspan(axes.get_xlim()[0], margin, color=ACCEPTED_COLOUR, lw=0.0, zorder=0)
        axes.axvline(margin, color=TEXT_COLOUR, lw=1.0, ls=(0, (3, 2)), zorder=1)
    _whiskers(axes, 0.0, (low, estimate, high), verdict.outcome)
    axes.set_ylim(-1.0, 1.0)
    axes.set_yticks([])
    written = quantity_format(verdict)
    label_ticks(axes, written, horizontal=True)
    if written.axis_unit:
        axes.set_xlabel(written.axis_unit, color=MUTED_COLOUR, size=8.5, labelpad=1, parse_math=False)


def _scale(axes: "Axes", values: Sequence[float]) -> None:
    """Limits that show every value and zero, which is the champion; quiet ticks."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - costs half a second, and most runs draw nothing

    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.08 * (high - low) or 1.0
    axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.tick_params(axis="both", length=2.5, labelsize=8.5, colors=MUTED_COLOUR, labelcolor=TEXT_COLOUR)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED_COLOUR)
    axes.axvline(0.0, color=MUTED_COLOUR, lw=0.8, zorder=1)


def _whiskers(axes: "Axes", at: float, values: tuple[float, float, float], outcome: Outcome) -> None:
    """An interval with its estimate."""
    low, middle, high = values
    colour = OUTCOME_COLOURS[outcome]
    axes.plot([low, high], [at, at], color=colour, lw=2.6, solid_capstyle="butt", marker="|", ms=9, mew=1.6, zorder=2)
    axes.plot(
        middle,
        at,
        color=colour,
        marker=OUTCOME_MARKERS.get(outcome, "s"),
        ms=11 if outcome is Outcome.FAIL else 8.5,
        mec="white",
        mew=0.9,
        zorder=3,
    )


def _outside(
    axes: "Axes", x: float, y: float, text: str, colour: str, shift: float = 8, weight: str = "normal"
) -> None:
    """Text to the right of the axes, beside its row."""
    axes.annotate(
        text,
        (x, y),
        xytext=(shift, 0),
        textcoords="offset points",
        va="center",
        annotation_clip=False,
        color=colour,
        size=9.5,
        weight=weight,
        parse_math=False,
    )
