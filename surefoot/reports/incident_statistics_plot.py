"""Draw a PNG plot of how long detection and restoration took in incidents and drills."""

from collections.abc import Mapping, Sequence

from surefoot.core.domain import Outcome
from surefoot.core.incidents.incident_state import Incident
from surefoot.core.served_versions.finished_drills import TimedDrill
from surefoot.reports.plot_style import (
    LEFT_MARGIN,
    MUTED_COLOUR,
    OUTCOME_COLOURS,
    TEXT_COLOUR,
    draw_literal_text,
    encode_png,
    new_figure,
)

_HEIGHT = 4.6
_SHORTEST_S = 0.001
"""What a logarithmic axis shows a time of zero as [seconds]."""
_TICKS = {0.001: "1 ms", 1.0: "1 s", 60.0: "1 min", 3600.0: "1 h", 86400.0: "1 d", 864000.0: "10 d", 8640000.0: "100 d"}


def draw_incident_statistics_png(
    incidents: Mapping[str, Sequence[Incident]], drills: Mapping[str, Sequence[TimedDrill]] | None = None
) -> bytes:
    """Each incident as two marks over the time of its opening: how long it took to detect, and to restore.

    Args:
        incidents: Incidents by model; those without a report are left out.
        drills: Finished drills by model; each rehearsed rollback is one more mark.
    """
    found = [one for of_model in incidents.values() for one in of_model if one.reported]
    rehearsed = _restore_times(drills or {})
    named = {model for of_kind in (incidents, drills or {}) for model, known in of_kind.items() if known}
    models = ", ".join(sorted(named)) or "no model"
    legend = "time from the onset to the detection, and from there until traffic was back"
    figure = new_figure(_HEIGHT, f"Incidents of {models}", legend)
    if not found and not rehearsed:
        draw_literal_text(figure, LEFT_MARGIN, 0.4, "no incident has a report yet", color=MUTED_COLOUR)
        return encode_png(figure)
    axes = figure.add_axes((0.09, 0.14, 0.88, 0.66))
    days = [one.at / 86400.0 for one in found]
    marks = (
        ("to detect", [one.reported.time_to_detect if one.reported else None for one in found], Outcome.FAIL, "o"),
        ("to restore", [one.reported.time_to_restore if one.reported else None for one in found], Outcome.PASS, "s"),
    )
    for label, seconds, outcome, marker in marks:
        drawn = [(day, max(value, _SHORTEST_S)) for day, value in zip(days, seconds, strict=True) if value is not None]
        if drawn:
            axes.plot(
                [day for day, _ in drawn], [value for _, value in drawn], color=OUTCOME_COLOURS[outcome], marker=marker,
                ls="none", ms=6.5, mec="white", mew=0.7, label=label,
            )  # fmt: skip
    if rehearsed:
        axes.plot(
            [day for day, _ in rehearsed], [max(value, _SHORTEST_S) for _, value in rehearsed], color=MUTED_COLOUR,
            marker="^", ls="none", ms=5.5, mec="white", mew=0.6, label="to restore, in a drill",
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_yticks(list(_TICKS), list(_TICKS.values()))
    axes.minorticks_off()
    axes.xaxis_date("UTC")
    axes.tick_params(axis="both", length=2.5, labelsize=9, colors=MUTED_COLOUR, labelcolor=TEXT_COLOUR)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color=MUTED_COLOUR, alpha=0.25, lw=0.6)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, frameon=False, fontsize=9.5)
    return encode_png(figure)


def _restore_times(drills: Mapping[str, Sequence[TimedDrill]]) -> list[tuple[float, float]]:
    """When each rehearsed rollback was, and how long the restoration took: days since 1970, and seconds."""
    return [
        (drill.at / 86400.0, result.restore_ms / 1000.0)
        for of_model in drills.values()
        for drill in of_model
        for result in drill.event.results
        if result.restore_ms is not None
    ]
