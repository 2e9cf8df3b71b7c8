"""Define the style and the drawing functions that all plots share, and encode a figure as PNG."""

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from surefoot.core.domain import Outcome
from surefoot.core.verdicts.quantities import QuantityFormat

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUTCOME_COLOURS = {
    Outcome.PASS: "#0072B2",
    Outcome.FAIL: "#D55E00",
    Outcome.INCONCLUSIVE: "#8A6A00",
    Outcome.NO_DATA: "#6B6B6B",
    Outcome.STALE: "#A34D7F",
    Outcome.ERROR: "#111111",
    Outcome.BASELINE_UNHEALTHY: "#7A4B00",
}
"""After the palette of Okabe and Ito, darkened where it carries text; the marker's shape says the same again."""
OUTCOME_MARKERS = {Outcome.PASS: "o", Outcome.FAIL: "X", Outcome.INCONCLUSIVE: "D"}
ACCEPTED_COLOUR, TEXT_COLOUR, MUTED_COLOUR = "#DCEBF5", "#1C1D20", "#5D6068"
PAGE_WIDTH_INCHES, PLOT_DPI = 9.0, 200  # [inch], [dots per inch]: crisp when it is shown 900 pixels wide
LEFT_MARGIN = 0.025
"""Where text begins [share of the width]."""


@dataclass(frozen=True, slots=True)
class PlotTheme:
    """Colours of a plot.

    Attributes:
        text: Of ticks and labels.
        quiet: Of axes and marks.
        bad: Of the version that was taken back.
        good: Of the version that serves in its place.
        accepted: Of the area of values that the owner accepts.
    """

    text: str
    quiet: str
    bad: str
    good: str
    accepted: str


LIGHT_THEME = PlotTheme("#1C1D20", "#5D6068", "#C04A00", "#00659A", "#DCEBF5")
DARK_THEME = PlotTheme("#E9E8E4", "#A3A6AE", "#FF9D70", "#6FB8E6", "#1D3444")


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot of a report.

    Attributes:
        title: What it shows.
        alternative: The same in words, for readers who do not see it.
        light: SVG for light pages.
        dark: SVG for dark pages.
    """

    title: str
    alternative: str
    light: bytes
    dark: bytes


def finite_or_none(value: object) -> float | None:
    """A finite number, or nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def shorten_text(text: str, longest: int) -> str:
    """A text that fits [characters]."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def new_figure(height: float, title: str, legend: str) -> "Figure":
    """A page with a heading; of no global state, so that threads can draw side by side."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - costs half a second, and most runs draw nothing

    figure = Figure(figsize=(PAGE_WIDTH_INCHES, height), dpi=PLOT_DPI, facecolor="white")
    draw_literal_text(figure, LEFT_MARGIN, 1.0 - 0.3 / height, shorten_text(title, 80), size=13, weight="bold")
    draw_literal_text(figure, LEFT_MARGIN, 1.0 - 0.56 / height, legend, size=9, color=MUTED_COLOUR)
    return figure


def draw_literal_text(figure: "Figure", x: float, y: float, text: str, **style: object) -> None:
    """Text as it is written: a dollar sign of a slice's name is no formula."""
    figure.text(x, y, text, **{"size": 10.5, "color": TEXT_COLOUR, "va": "center", **style}, parse_math=False)  # type: ignore[arg-type]


def encode_png(figure: "Figure") -> bytes:
    """The image; equal input gives equal bytes, so that projecting twice changes nothing."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - same half second

    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", metadata={"Software": "surefoot"})
    return buffer.getvalue()


def to_axis_day(at: float) -> float:
    """A time as an axis of dates counts it [days since 1970]."""
    return at / 86400.0


def label_ticks(axes: "Axes", written: QuantityFormat, *, horizontal: bool = False) -> None:
    """Write the ticks of the values as the numbers of a verdict are written; for example a rate in percent."""
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415 - same half second

    if written.factor != 1.0:
        axis = axes.xaxis if horizontal else axes.yaxis
        axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(written, value)))


def _tick(written: QuantityFormat, value: float) -> str:
    return f"{round(written.factor * value, 9) + 0.0:g}".replace("-", "\N{MINUS SIGN}")


def simplify_date_axes(axes: "Axes", theme: PlotTheme) -> None:
    """Few ticks with short dates, no box."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - same half second

    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz="UTC"))  # type: ignore[no-untyped-call]
    axes.xaxis.get_offset_text().set_color(theme.quiet)
    axes.xaxis.get_offset_text().set_fontsize(8.5)
    axes.tick_params(axis="both", length=2.5, labelsize=9, colors=theme.quiet, labelcolor=theme.text)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(theme.quiet)
