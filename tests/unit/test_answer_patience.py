"""How long a version's process is waited for follows what its rows have taken."""

from types import SimpleNamespace

import pytest

from surefoot.models import child_process_scorer
from surefoot.models.child_process_scorer import ANSWER_TIMEOUT_PER_ROW_S, ANSWER_TIMEOUT_S, ChildProcessScorer


class Process:
    """Answers tables, and remembers how long it could have taken."""

    waits: list[float]

    def __init__(self, _start: object) -> None:
        self.waits = []

    def call_table(self, _verb: str, _table: bytes, patience: float) -> bytes:
        """Answer at once."""
        self.waits.append(patience)
        return b""

    def close(self) -> None:
        """End."""


def test_a_fast_model_that_hangs_is_not_waited_for_as_long_as_a_slow_one_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first table may take 50 ms a row; later ones a multiple of what its rows took, and at least a minute."""
    clock = iter([0.0, 0.5, 1.0, 1.1, 2.0, 2.1])
    monkeypatch.setattr(child_process_scorer, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(child_process_scorer, "ModelProcess", Process)
    scorer = ChildProcessScorer(lambda _number: None)  # type: ignore[arg-type, return-value]
    for _ in range(3):
        scorer.predict_table(b"", 50_000)
    waits = scorer._process.waits  # type: ignore[union-attr] # what it was given
    first, later = ANSWER_TIMEOUT_S + 50_000 * ANSWER_TIMEOUT_PER_ROW_S, ANSWER_TIMEOUT_S + 20.0 * 0.5
    assert waits == pytest.approx([first, later, later])
