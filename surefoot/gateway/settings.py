"""What the gateway is told when it is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from surefoot.core.model import Version


class Predictor(Protocol):
    """A loaded version."""

    def predict(self, rows: list[dict[str, object]]) -> list[object]:
        """Answer every row with one JSON value; raise what it likes when it cannot."""
        ...


Load = Callable[[str, Version], Predictor]  # of a registered model; verifies the digest before it loads


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """How a gateway behaves.

    Attributes:
        root: State directory: `routes/` and `log/` live in it.
        token: What a caller must present to change a route; never empty.
        candidate_timeout_s: A candidate that has not answered by then is late, counted from receipt [s].
        max_batch: Rows that are predicted together [count].
        max_queue: Requests that may wait for one version; more are refused [count].
        max_body_bytes: Largest request body [bytes].
        units: The column that sticks to one arm, by model; None splits by request.
    """

    root: Path
    token: str
    candidate_timeout_s: float = 1.0
    max_batch: int = 256
    max_queue: int = 2000
    max_body_bytes: int = 8 << 20
    units: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a gateway that anybody could steer."""
        if not self.token:
            raise ValueError("the gateway's control token is empty")
