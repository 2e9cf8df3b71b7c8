"""What a loaded model is for those who ask it, and how it is asked from an event loop."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import orjson

from surefoot.core.model import Version
from surefoot.models.answers import checked, describe

Names = tuple[str | int | float, ...] | None
"""Columns of a request; None for rows that are bare arrays."""


class Manner(NamedTuple):
    """What a model is told beside the rows; only requests of which it is the same can be predicted together.

    Attributes:
        params: JSON of what the caller gave as params, since 1, 1.0 and true are three things there; empty for nothing.
        csv: Whether the rows were CSV, so that a text may have been meant as a number or as a truth value.
    """

    params: bytes = b""
    csv: bool = False

    def told(self) -> tuple[object, bool]:
        """What `Model.answer` is given."""
        return orjson.loads(self.params) if self.params else None, self.csv


PLAIN = Manner()
"""Nothing beside the rows, which were JSON."""


class Cost(NamedTuple):
    """What answering took.

    Attributes:
        cpu_ms: Processor time [ms].
        rss_mb: Memory that the process has in use [MB]; None where it shares its process with others.
    """

    cpu_ms: float
    rss_mb: float | None = None

    def of_each(self, rows: int) -> "Cost":
        """The part of one of so many rows; rounded, and once a batch: it would take a good part of each line's time."""
        return self if rows == 1 else Cost(round(self.cpu_ms / rows, 4), self.rss_mb)


class Lost(Exception):
    """A predictor is gone; what it was asked has no answer, and it answers nothing more."""


class Model(Protocol):
    """A loaded model, wherever it is."""

    @property
    def joins(self) -> bool:
        """Whether a row's answer is the same whoever shares its batch; false has every request asked alone."""
        ...

    def answer(
        self, names: Names, values: list[list[object]], params: object = None, csv: bool = False
    ) -> list[object]:
        """Answer every row with one JSON value; raise what it likes when it cannot.

        Args:
            names: Columns; None for rows that are bare arrays.
            values: One list of values a row.
            params: What the caller gave as params, unchecked; None without any.
            csv: Whether the rows were CSV.
        """
        ...


Again = Callable[[Callable[[], bool]], "Predictor"]


class Predictor(Protocol):
    """A loaded model that is asked from the event loop, can be ended, and had more than once."""

    @property
    def cost(self) -> Cost | None:
        """What the last batch took; None before the first."""
        ...

    @property
    def joins(self) -> bool:
        """Whether rows of different requests may be predicted together."""
        ...

    @property
    def again(self) -> "Again | None":
        """Makes another one of the same model; None where there can be only this one.

        It blocks until the other one is ready, and is told how to learn that nobody wants it any more.
        """
        ...

    async def ask(self, names: Names, values: list[list[object]], manner: Manner) -> list[object]:
        """Answer every row with one JSON value; one batch at a time.

        Raises:
            Lost: It is gone, and what it was asked has no answer.
            Exception: The model raised.
        """
        ...

    def kill(self) -> None:
        """End it at once; who waits for an answer hears `Lost`. Where that is not possible nothing happens."""
        ...

    def close(self) -> None:
        """Let it go; may block for some seconds."""
        ...


class Inside:
    """A model in the gateway's own process: quick to have, and able to take the gateway with it."""

    again = None

    def __init__(self, model: Model) -> None:
        """Ask this model, in a thread of its own."""
        self._model = model
        self.joins = model.joins
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self.cost: Cost | None = None

    async def ask(self, names: Names, values: list[list[object]], manner: Manner) -> list[object]:
        """Answer every row."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, names, values, manner)

    def _answer(self, names: Names, values: list[list[object]], manner: Manner) -> list[object]:
        began = time.thread_time()
        try:
            answers = checked(self._model.answer(names, values, *manner.told()), len(values))
        except Exception:
            raise
        except BaseException as error:  # last resort: a model that wants to end the process only ends its answer
            raise Quit(describe(error)) from error
        self.cost = Cost(round((time.thread_time() - began) * 1000.0, 4))
        return answers

    def kill(self) -> None:
        """A thread cannot be ended."""

    def close(self) -> None:
        """Nothing more will be asked."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class Quit(Exception):
    """The model tried to end the process; the text is what it raised."""

    told = True


Load = Callable[[str, Version], Model | Predictor]
"""Loads a version of a registered model; verifies the digest before it loads."""
NICE = 19
"""How far behind all others a shadow stands."""
