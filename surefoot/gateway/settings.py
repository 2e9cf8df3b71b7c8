"""What the gateway is told when it is built."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from surefoot.core.model import Version


@dataclass(frozen=True, slots=True)
class Cost:
    """What answering took.

    Attributes:
        cpu_ms: Processor time [ms].
        rss_mb: Memory that the process has in use [MB]; None where it shares its process with others.
    """

    cpu_ms: float
    rss_mb: float | None = None


class Lost(Exception):
    """A predictor is gone; what it was asked has no answer, and it answers nothing more."""


class Model(Protocol):
    """A loaded model, wherever it is."""

    def predict(self, rows: list[dict[str, object]]) -> list[object]:
        """Answer every row with one JSON value; raise what it likes when it cannot."""
        ...


class Predictor(Model, Protocol):
    """A loaded model that can be ended, and had more than once."""

    @property
    def cost(self) -> Cost | None:
        """What the last batch took; None before the first."""
        ...

    @property
    def again(self) -> "Callable[[], Predictor] | None":
        """Makes another one of the same model; None where there can be only this one."""
        ...

    def kill(self) -> None:
        """End it at once; who waits for an answer hears `Lost`. Where that is not possible nothing happens."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


class Inside:
    """A model in the gateway's own process: quick to have, and able to take the gateway with it."""

    again = None

    def __init__(self, model: Model) -> None:
        """Ask this model."""
        self._model = model
        self.cost: Cost | None = None

    def predict(self, rows: list[dict[str, object]]) -> list[object]:
        """Answer every row."""
        began = time.thread_time()
        answers = self._model.predict(rows)
        self.cost = Cost((time.thread_time() - began) * 1000.0)
        return answers

    def kill(self) -> None:
        """A thread cannot be ended."""

    def close(self) -> None:
        """There is nothing to let go but a reference."""


Load = Callable[[str, Version], Model | Predictor]  # of a registered model; verifies the digest before it loads


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """How a gateway behaves.

    Attributes:
        root: State directory: `routes/` and `log/` live in it.
        token: What a caller must present to change a route; never empty.
        candidate_timeout_s: A candidate that has not answered by then is late, counted from receipt [s].
        champion_timeout_s: A champion whose process has been at one batch for so long is ended, and asked anew [s].
        processes: Processes of each routed version, where models have processes of their own [count]; as many for both
            arms, so that their latencies can be compared.
        max_batch: Rows that are predicted together [count].
        max_queue: Requests that may wait for one version; more are refused [count].
        max_body_bytes: Largest request body [bytes].
        units: The column that sticks to one arm, by model; None splits by request.
    """

    root: Path
    token: str
    candidate_timeout_s: float = 1.0
    champion_timeout_s: float = 30.0
    processes: int = 1
    max_batch: int = 256
    max_queue: int = 2000
    max_body_bytes: int = 8 << 20
    units: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a gateway that anybody could steer."""
        if not self.token:
            raise ValueError("the gateway's control token is empty")
