"""Pictures of verdicts and slices."""

import struct

import pytest

from surefoot.core.domain import Outcome, Role, Verdict
from surefoot.reports.plot_style import OUTCOME_COLOURS
from surefoot.reports.verdict_plots import MAX_SLICES, draw_slice_losses_png, draw_verdicts_png

WIDTH = 1800


def size(image: bytes) -> tuple[int, int]:
    """Width and height of a PNG [pixels]."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", image[16:24])
    return width, height


def verdict(gate: str, outcome: Outcome, estimate: float | None = 0.01, **numbers: float) -> Verdict:
    """A gate's answer."""
    return Verdict(gate, "brier", outcome, Role.GUARDRAIL, "a reason for $5 and $_{x", 1000, estimate, **numbers)  # type: ignore[arg-type]


def row(name: str, difference: float, **changes: object) -> dict[str, object]:
    """A slice's row."""
    numbers = {"difference": difference, "lower": difference - 0.01, "upper": difference + 0.01, "margin": 0.02}
    return {"slice": name, "n": 400, **numbers, **changes}


def test_every_outcome_can_be_drawn_with_and_without_numbers() -> None:
    """All six outcomes are drawn with an interval, with an estimate alone, and as text."""
    for outcome in Outcome:
        whole = verdict("quality", outcome, 0.01, lower=-0.01, upper=0.03, margin=0.02)
        width, height = size(
            draw_verdicts_png([whole, verdict("latency", outcome), verdict("data", outcome, None)], "t")
        )
        assert width == WIDTH
        assert height > 500


def test_the_picture_grows_with_the_gates() -> None:
    """Each gate has room of its own, so that a tenth one is as legible as the first."""
    heights = [size(draw_verdicts_png([verdict(f"g{i}", Outcome.PASS) for i in range(n)], "t"))[1] for n in (1, 2, 3)]
    assert heights[2] - heights[1] == heights[1] - heights[0] > 150


def test_values_that_are_no_numbers_are_listed_as_text() -> None:
    """An infinite or undefined estimate is never drawn as if it were a number."""
    broken = [verdict("a", Outcome.ERROR, float("nan")), verdict("b", Outcome.ERROR, float("inf"))]
    told = [verdict("a", Outcome.ERROR, None), verdict("b", Outcome.ERROR, None)]
    assert draw_verdicts_png(broken, "t") == draw_verdicts_png(told, "t")
    half = verdict("c", Outcome.PASS, 0.01, lower=float("-inf"), upper=0.02, margin=0.05)
    assert size(draw_verdicts_png([half], "t"))[0] == WIDTH


def test_all_zero_and_all_equal_values_have_a_scale() -> None:
    """A gate whose numbers are all zero is drawn, not divided by."""
    flat = verdict("a", Outcome.PASS, 0.0, lower=0.0, upper=0.0, margin=0.0)
    assert size(draw_verdicts_png([flat], "t"))[0] == WIDTH
    assert size(draw_slice_losses_png([row("origin=LGA", 0.0, lower=0.0, upper=0.0, margin=0.0)], "t"))[0] == WIDTH


def test_equal_input_gives_equal_bytes() -> None:
    """A picture that is drawn twice is the same file, so a projection that is repeated changes nothing."""
    verdicts = [verdict("a", Outcome.PASS, 0.01, lower=0.0, upper=0.02, margin=0.05)]
    assert draw_verdicts_png(verdicts, "t") == draw_verdicts_png(verdicts, "t")
    assert draw_slice_losses_png([row("a", 0.01)], "t") == draw_slice_losses_png([row("a", 0.01)], "t")


def test_nothing_to_draw_is_said() -> None:
    """No verdict and no slice still give a picture that says so."""
    assert size(draw_verdicts_png([], "t"))[0] == WIDTH
    assert size(draw_slice_losses_png([], "t"))[0] == WIDTH
    assert draw_slice_losses_png([{"expectation": "x"}, row("a", 0.0, upper=None)], "t") == draw_slice_losses_png(
        [], "t"
    )


def test_a_formula_in_a_name_is_text() -> None:
    """Dollar signs and backslashes of data are shown as they are and break nothing."""
    assert size(draw_slice_losses_png([row(r"fare=$5 \frac{", 0.01)], r"$\bad{ title"))[0] == WIDTH


def test_the_worst_slices_come_first_and_the_rest_is_counted() -> None:
    """The order of the rows does not matter, and beyond a full page only the worst slices are drawn."""
    rows = [row(f"s{number}", number / 1000) for number in range(MAX_SLICES + 20)]
    crowded, full = draw_slice_losses_png(rows, "t"), draw_slice_losses_png(rows[20:], "t")
    assert draw_slice_losses_png(rows[::-1], "t") == crowded
    assert size(crowded) == size(full)
    assert crowded != full


def test_slices_may_each_have_a_margin_of_their_own() -> None:
    """Relative margins differ by slice, and each row is drawn against its own."""
    same, own = [row("a", 0.01), row("b", 0.0)], [row("a", 0.01, margin=0.03), row("b", 0.0)]
    assert draw_slice_losses_png(same, "t") != draw_slice_losses_png(own, "t")


def luminance(colour: str) -> float:
    """Relative luminance [0 to 1]; W3C, WCAG 2.1, section 1.4.3."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("outcome", Outcome)
def test_outcomes_are_legible_on_white(outcome: Outcome) -> None:
    """Every outcome's colour has a contrast of at least 3.5 to 1 on white, bold as it is written."""
    assert 1.05 / (luminance(OUTCOME_COLOURS[outcome]) + 0.05) >= 3.5
