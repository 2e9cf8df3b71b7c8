"""Hold the rows and version of one scoring request until it is logged."""

import time
from dataclasses import dataclass

from surefoot.core.domain import Arm, FailoverLevel, Split, Version
from surefoot.gateway.log.redaction import LogRedactor
from surefoot.models.model_protocols import NO_OPTIONS, AnswerCost, ColumnNames, RequestOptions


@dataclass(slots=True, eq=False)
class ScoringRequest:
    """One scoring request: its rows, the arm and version it was assigned to, and the latency of that arm.

    Attributes:
        model: Registered model.
        request: Id of the request.
        names: Columns of the rows; None for bare arrays.
        values: What is to be predicted, a list of values a row.
        unit: Value of the unit column, or None.
        at: Receipt [Unix seconds].
        started: Receipt on the host's monotonic clock [s].
        split: The split that was in force at receipt.
        arm: The arm that the split assigned.
        version: That arm's version.
        latency_ms: Receipt to the assigned arm's answer or failure [ms]; None until then.
        error: How the assigned arm failed, or None.
        cost: What the assigned arm's answer took; None when it gave none.
        tensor: Whether the caller can only be given answers that make one tensor.
        redactor: Prepares the rows for the log; None where all of it is kept.
        options: What the model is told besides the rows.
        rung: What answered because the champion failed; None when champion or candidate answered.
    """

    model: str
    request: str
    names: ColumnNames
    values: list[list[object]]
    unit: str | None
    at: float
    started: float
    split: Split
    arm: Arm
    version: Version
    latency_ms: float | None = None
    error: str | None = None
    cost: AnswerCost | None = None
    tensor: bool = False
    redactor: LogRedactor | None = None
    options: RequestOptions = NO_OPTIONS
    rung: FailoverLevel | None = None

    def age(self) -> float:
        """Time since receipt [s]."""
        return time.perf_counter() - self.started

    def restart_timer(self) -> None:
        """Count the age from now on."""
        self.started = time.perf_counter()

    def record_latency(self) -> None:
        """Record the latency of the assigned arm; later calls change nothing."""
        if self.latency_ms is None:
            self.latency_ms = int(self.age() * 1e6) / 1e3
