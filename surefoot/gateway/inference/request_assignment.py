"""Assign a new request to champion or candidate by its customer or request id."""

from surefoot.core.assignment import assign_arm
from surefoot.core.canonical_text import canonical_text
from surefoot.core.domain import Arm, Split
from surefoot.gateway.log.redaction import LogRedactor
from surefoot.gateway.log.scoring_request import ScoringRequest
from surefoot.models.model_protocols import NO_OPTIONS, ColumnNames, RequestOptions


def new_request(
    split: Split,
    *,
    model: str,
    request: str,
    names: ColumnNames,
    values: list[list[object]],
    column: str | None,
    at: float,
    started: float,
    tensor: bool = False,
    redactor: LogRedactor | None = None,
    options: RequestOptions = NO_OPTIONS,
) -> ScoringRequest:
    """Assign a request to an arm, by the first row's unit; one whose unit is missing or empty, by its own id."""
    unit = None
    if column is not None and names is not None and column in (texts := _texts(names, column)):
        value = values[0][texts.index(column)]
        # A list or an object is no unit, and may be nested too deeply to become a text.
        unit = None if isinstance(value, list | dict) else canonical_text(value)
    arm = assign_arm(split, request if unit is None else unit, unit)
    version = split.candidate if arm is Arm.CANDIDATE and split.candidate is not None else split.champion
    return ScoringRequest(
        model,
        request,
        names,
        values,
        unit,
        at,
        started,
        split,
        arm,
        version,
        None,
        None,
        None,
        tensor,
        redactor,
        options,
    )


def _texts(names: tuple[str | int | float, ...], column: str) -> tuple[object, ...]:
    """Give columns as the log names them, where that makes a difference for this column."""
    return names if column in names else tuple(map(str, names))
