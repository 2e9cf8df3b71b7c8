"""Check while serving that a row answered in a batch gets the same answer when it is asked again alone."""

import random
import time
from typing import Any, cast

from surefoot.models.model_protocols import ColumnNames, Model
from surefoot.models.rows.independence import (
    DEPENDENT_REASON,
    UNSTABLE_REASON,
    IndependenceResult,
    RowIndependence,
    answers_equal,
    probe_independence,
)
from surefoot.models.rows.row_prediction import predict_rows

ROWS_PER_RECHECK = 200
"""One row in so many that were answered in a batch is asked again alone [count]."""
_TIME_SHARE = 0.01
"""Most of the model's time that this may take [0 to 1]."""
MIN_RECHECKED_ROWS = 16
"""Different rows of callers that show a model row-wise where its probes did not [count]."""
_MIN_EQUAL_ROWS = 256
"""The same where all have the same answer, as rows of a rare class do [count]."""
_LARGEST = 4096
"""Most characters of a row that is kept to be a probe [count]."""
_PLAIN = ((), (None, False))
"""Options of a request without params."""


class LiveRecheck:
    """Rechecks one loaded model in the process in which it is asked.

    Attributes:
        model: The model.
        independence: What is known of its rows by now.
        checked: Rows that were asked again alone [count].
        differed: Those of them that then had another answer [count].
    """

    def __init__(self, model: Model, independence: IndependenceResult | None = None, *, probing: bool = True) -> None:
        """Start with what is known of the model.

        Args:
            model: The model.
            independence: What its probes have shown; without it the model is believed.
            probing: Whether rows of callers may be used as probes, where made-up rows showed nothing.
        """
        self.model = model
        self.independence = independence or _claimed_independence(model)
        self.checked = self.differed = 0
        unknown = self.independence.batching is RowIndependence.UNPROVEN or (
            independence is not None and not independence.answered
        )
        self._probing = probing and unknown
        self._names: ColumnNames = None
        self._kept: dict[str, tuple[list[object], object]] = {}
        self._varied = False
        self._draw = random.Random()  # noqa: S311 - which rows are asked again is no secret
        self._next_row = self._draw.randrange(ROWS_PER_RECHECK)
        self._not_before = 0.0

    @property
    def probes_next(self) -> bool:
        """Whether the next look asks several rows together that were never asked so before."""
        return self._probing and len(self._kept) >= (MIN_RECHECKED_ROWS if self._varied else _MIN_EQUAL_ROWS)

    def answer(self, names: ColumnNames, values: list[list[object]], *options: Any) -> list[object]:
        """Ask the model for one answer a row.

        Raises:
            ValueError: It gave no answer to some row.
            ModelExit: It tried to end the process.
            Exception: What the model raised.
        """
        answers = predict_rows(self.model, names, values, *options)
        if self._probing and options in _PLAIN:
            self._keep(names, values, answers)
        return answers

    def check_batch(
        self, names: ColumnNames, values: list[list[object]], options: tuple[Any, ...], answers: list[object]
    ) -> bool:
        """Check a batch that has been answered; whether more is known now than before.

        Callers have their answers already; only the next batch waits for this.
        """
        if self._probing:
            return self._prove_now()
        if not self.independence.row_wise or len(values) == 1:
            return False
        self._next_row -= len(values)
        if self._next_row >= 0 or time.monotonic() < self._not_before:
            return False
        self._next_row = self._draw.randrange(2 * ROWS_PER_RECHECK)
        place = self._draw.randrange(len(values))
        began = time.monotonic()
        known = self._compare_alone(names, values[place], options, answers[place])
        now = time.monotonic()
        self._not_before = now + (now - began) / _TIME_SHARE
        return known

    def _compare_alone(self, names: ColumnNames, row: list[object], options: tuple[Any, ...], answer: object) -> bool:
        self.checked += 1
        sizes = self.independence.sizes
        try:
            (alone,) = predict_rows(self.model, names, [row], *options)
            if answers_equal(answer, alone, sizes):
                return True
            (twice,) = predict_rows(self.model, names, [row], *options)
            stable = answers_equal(alone, twice, sizes)
        except Exception:  # noqa: BLE001 - the model's own code may raise anything; alone it has no such answer
            stable = True
        self.differed += 1
        found, why = (
            (RowIndependence.BATCH_DEPENDENT, DEPENDENT_REASON)
            if stable
            else (RowIndependence.NOT_REPEATABLE, UNSTABLE_REASON)
        )
        self.independence = IndependenceResult(found, f"{why} (seen on a caller's row)", sizes)
        return True

    def _keep(self, names: ColumnNames, values: list[list[object]], answers: list[object]) -> None:
        """Keep rows that callers have sent alone, with their answers, until there are enough of them."""
        if len(values) > 1 or (self._kept and names != self._names) or len(self._kept) >= _MIN_EQUAL_ROWS:
            return
        self._names = names
        text = repr(values[0])
        if len(text) <= _LARGEST:
            self._kept.setdefault(text, (values[0], answers[0]))
            self._varied = self._varied or answers[0] != next(iter(self._kept.values()))[1]

    def _prove_now(self) -> bool:
        if not self.probes_next:
            return False
        latest = list(self._kept.values())[
            -MIN_RECHECKED_ROWS:
        ]  # the last of them has the other answer, if there is one
        names, (rows, known) = self._names, map(list, zip(*latest, strict=True))
        self._probing = False
        self._kept.clear()
        together = bool(getattr(self.model, "batchable", True))
        independence = probe_independence(
            lambda some: predict_rows(self.model, names, some), rows, known, together=together
        )
        if together or independence.batching is RowIndependence.NOT_REPEATABLE:
            self.independence = independence
        return True


def _claimed_independence(model: Model) -> IndependenceResult:
    """Give what a model claims of itself, without probes."""
    batchable = model.batchable
    return (
        IndependenceResult(RowIndependence.ROW_WISE)
        if batchable
        else IndependenceResult(RowIndependence.BATCH_DEPENDENT, "it wants each request alone")
    )


def probe_model(model: Model) -> IndependenceResult:
    """Run the model's own probes; without them, give what it claims of itself."""
    own = getattr(model, "probe", None)
    return _claimed_independence(model) if own is None else cast("IndependenceResult", own())
