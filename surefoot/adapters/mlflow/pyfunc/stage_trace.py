"""Trace how a model processes one request, stage by stage."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from surefoot.models.rows.answer_checks import describe_error

_MAX_VALUES = 100
"""Values of one stage that are recorded, the first ones [count]."""
_MAX_TEXT = 200
"""Characters of a value that is no number [count]."""


class StageTrace:
    """The stages of one request so far.

    Attributes:
        stages: One object a stage with its name, its time [ms], and its value or the error that ended it.
        failed: Whether a stage has raised: there is nothing after it.
    """

    def __init__(self, received: object) -> None:
        """Begin with the request as it was received."""
        self.stages: list[dict[str, object]] = [{"stage": "received", "ms": 0.0, "value": _readable_value(received)}]
        self.failed = False

    def run(self, name: str, stage: Callable[[], Any]) -> Any:
        """Run a stage and record what it gives; None where it, or one before it, has raised.

        Args:
            name: Name of the stage.
            stage: What is run.
        """
        if self.failed:
            return None
        began = time.perf_counter()
        try:
            value = stage()
            ended: dict[str, object] = {"value": _readable_value(value)}
        except Exception as error:  # noqa: BLE001 - it runs the model's own code, whose error is what is looked for
            value, ended, self.failed = None, {"error": describe_error(error)}, True
        self.stages.append({"stage": name, "ms": round((time.perf_counter() - began) * 1000.0, 3), **ended})
        return value


def _readable_value(value: Any) -> object:
    """Make a JSON value of what a stage gave: of a frame the first row by column, of an array its numbers.

    Law: the result is valid JSON whatever the value is; NaN and infinities are texts.
    """
    if hasattr(value, "iloc") and hasattr(value, "columns"):
        value = {str(name): value[name].iloc[0] for name in list(value.columns)[:_MAX_VALUES]} if len(value) else {}
    if hasattr(value, "toarray"):  # a sparse matrix
        value = value.toarray()
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _readable_value(one) for name, one in list(value.items())[:_MAX_VALUES]}
    if isinstance(value, list | tuple):
        return [_readable_value(one) for one in value[:_MAX_VALUES]]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)[:_MAX_TEXT]
