"""Define the interfaces of a loaded model (Model for direct, Predictor for asynchronous calls) and their types."""

import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol

from surefoot.core.domain import Version
from surefoot.models.environments import json_codec
from surefoot.models.rows.independence import IndependenceResult

ColumnNames = tuple[str | int | float, ...] | None
"""Columns of a request; None for rows that are bare arrays."""


class RequestOptions(NamedTuple):
    """Options that a model is given with the rows; only requests with equal options can be predicted together.

    Attributes:
        params: JSON of what the caller gave as params, since 1, 1.0 and true are three things there; empty for nothing.
        csv: Whether the rows were CSV, so that a text may have been meant as a number or as a truth value.
    """

    params: bytes = b""
    csv: bool = False

    def arguments(self) -> tuple[object, bool]:
        """Give the options as the last arguments of `Model.answer`."""
        return json_codec.loads(self.params) if self.params else None, self.csv


NO_OPTIONS = RequestOptions()
"""No options; the rows were JSON."""


class AnswerCost(NamedTuple):
    """Cost of answering.

    Attributes:
        cpu_ms: Processor time [ms].
        rss_mb: Memory that the process has in use [MB]; None where it shares its process with others.
        model_ms: Time that the model took by the clock, without what it waited for a processor in a process of low
            priority [ms]; None where it was not measured.
        batch: Rows that were predicted together [count].
    """

    cpu_ms: float
    rss_mb: float | None = None
    model_ms: float | None = None
    batch: int = 1

    def of_each(self, rows: int) -> "AnswerCost":
        """Give the part of one of so many rows; rounded once a batch, because rounding each record takes too long."""
        if rows == 1:
            return self
        model_ms = None if self.model_ms is None else round(self.model_ms / rows, 4)
        return AnswerCost(round(self.cpu_ms / rows, 4), self.rss_mb, model_ms, rows)


class TableColumn(NamedTuple):
    """One column of the tables that a model can be asked about.

    Attributes:
        name: Its name.
        kind: Its type in the model's signature.
        required: Whether each row must have it; null counts as having it.
    """

    name: str
    kind: str
    required: bool


class BatchRecheckCounts(NamedTuple):
    """Counts of rows that were predicted in a batch and again alone, and of those whose two answers differed.

    Attributes:
        checked: How many [count].
        differed: How many of them then had another answer [count].
    """

    checked: int = 0
    differed: int = 0


class PredictorLost(Exception):
    """A predictor is gone: what it was asked has no answer, and it answers nothing more."""


class Model(Protocol):
    """A loaded model, in this process or another one."""

    @property
    def batchable(self) -> bool:
        """Whether the answer to a row does not depend on the other rows of its batch; else requests are asked alone."""
        ...

    def answer(
        self, names: ColumnNames, values: list[list[object]], params: object = None, csv: bool = False
    ) -> list[object]:
        """Answer every row with one JSON value; raise any error when it cannot.

        Args:
            names: Columns; None for rows that are bare arrays.
            values: One list of values a row.
            params: What the caller gave as params, unchecked; None without any.
            csv: Whether the rows were CSV.
        """
        ...


SpawnReplica = Callable[[threading.Event], "Predictor"]
"""Loads the same model once more; blocks until it is ready, or until the event is set because it is not needed."""


class Predictor(Protocol):
    """A loaded model that is asked from the event loop, can be killed, and can be loaded more than once."""

    @property
    def cost(self) -> AnswerCost | None:
        """Cost of the last batch; None before the first."""
        ...

    @property
    def batchable(self) -> bool:
        """Whether rows of different requests may be predicted together; may change with every answer."""
        ...

    @property
    def independence(self) -> IndependenceResult | None:
        """Why they may or may not be, as known after the last answer; None where nothing has been looked at."""
        ...

    @property
    def checks(self) -> BatchRecheckCounts:
        """How often rows that were answered together have been asked again alone."""
        ...

    @property
    def probe_deaths(self) -> int:
        """How many processes ended while they were to show that they answer each row by itself, before this one."""
        ...

    @property
    def spawn_replica(self) -> "SpawnReplica | None":
        """Loads the same model once more; None where there can be only this one."""
        ...

    async def ask(self, names: ColumnNames, values: list[list[object]], options: RequestOptions) -> list[object]:
        """Answer every row with one JSON value; one batch at a time.

        Raises:
            PredictorLost: It is gone, and what it was asked has no answer.
            Exception: The model raised.
        """
        ...

    def kill(self) -> None:
        """Kill it at once; what waits for an answer gets PredictorLost. Where that is not possible nothing happens."""
        ...

    def close(self) -> None:
        """Release it; may block for some seconds."""
        ...


LoadModel = Callable[[str, Version], Model | Predictor]
"""Loads a version of a registered model; verifies the digest before it loads."""
