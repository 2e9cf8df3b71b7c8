"""Pictures of how the evidence of a rollout went."""

import struct
from typing import Any

import pytest

from surefoot.core.domain import FigureKind, Outcome, Role, Stage, Verdict, VerdictFigure
from surefoot.core.journal.events import GateJudged
from surefoot.reports.evidence_over_time import draw_evidence_over_time_png

Look = tuple[float, GateJudged]


def look(at: float, gate: str, outcome: Outcome = Outcome.INCONCLUSIVE, **changes: object) -> Look:
    """What a gate said at a moment."""
    figures = (
        VerdictFigure(FigureKind.HARM, at - 3.0, "nats"),
        VerdictFigure(FigureKind.HARM_NEEDED, 4.6, "nats"),
        VerdictFigure(FigureKind.SAFETY, -1e6, "nats"),
        VerdictFigure(FigureKind.SAFETY_NEEDED, 3.0, "nats"),
    )
    numbers: dict[str, object] = {"estimate": 0.01, "lower": -0.2, "upper": 5.0, "margin": 0.02, "figures": figures}
    verdict = Verdict(gate, "error_rate", outcome, Role.GUARDRAIL, "so", 100, **{**numbers, **changes})  # type: ignore[arg-type]
    stage = Stage.RAMPING if at < 5.0 else Stage.BAKING
    return at * 3600.0, GateJudged("r", stage, int(at) % 2, 1, verdict)


def height(image: bytes) -> int:
    """Height of a PNG [pixels]."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    return int(struct.unpack(">II", image[16:24])[1])


def test_each_gate_has_a_row() -> None:
    """Two gates are drawn one below the other, and a gate without a number at two looks is not drawn."""
    one = [look(t, "errors") for t in range(10)]
    two = [each for t in range(10) for each in (look(t, "errors"), look(t, "latency"))]
    mute = [*one, look(3.0, "single"), look(4.0, "silent", estimate=None), look(5.0, "silent", estimate=None)]
    assert height(draw_evidence_over_time_png(two, "t")) > height(draw_evidence_over_time_png(one, "t"))
    assert height(draw_evidence_over_time_png(mute, "t")) == height(draw_evidence_over_time_png(one, "t"))


def test_a_gate_that_failed_is_drawn_however_many_there_are() -> None:
    """Of thirty gates the one that stopped the rollout is never left out."""
    many = [look(t, f"g{n}", Outcome.PASS) for t in range(3) for n in range(30)]
    failing = [
        look(t, "g29", Outcome.FAIL) if event.verdict.gate == "g29" else (at, event)
        for at, event in many
        for t in [at / 3600.0]
    ]
    assert draw_evidence_over_time_png(failing, "t") != draw_evidence_over_time_png(many, "t")


@pytest.mark.parametrize(
    "changes",
    [
        {"lower": None, "upper": None},
        {"margin": None},
        {"figures": ()},
        {"figures": (VerdictFigure(FigureKind.HARM, 1.0, "nats"),)},
        {"estimate": 0.0, "lower": 0.0, "upper": 0.0, "margin": 0.0},
        {"estimate": 1e300, "upper": float("inf")},
    ],
)
def test_whatever_a_verdict_lacks_there_is_a_picture(changes: dict[str, Any]) -> None:
    """Without interval, limit or evidence, of a journal of the first release, or with absurd numbers, it is drawn."""
    assert height(draw_evidence_over_time_png([look(t, "errors", **changes) for t in range(8)], "t")) > 300


def test_the_same_looks_give_the_same_bytes() -> None:
    """Projecting twice changes nothing."""
    looks = [look(t, "errors", Outcome.PASS if t > 3 else Outcome.INCONCLUSIVE) for t in range(10)]
    assert draw_evidence_over_time_png(looks, "t") == draw_evidence_over_time_png(looks, "t")


def test_nothing_to_draw_is_said() -> None:
    """Without any look, or with all at one moment, there is a picture that says so."""
    assert height(draw_evidence_over_time_png([], "t")) > 300
    assert height(draw_evidence_over_time_png([look(1.0, "errors"), look(1.0, "errors")], "t")) > 300
