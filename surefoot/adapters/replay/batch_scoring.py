"""Score requests with one version, in large chunks where its answers to rows are independent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from surefoot.adapters.predictions.prediction_log import LoggedRequest
from surefoot.core.errors import SurefootError
from surefoot.models.child_process_scorer import ScoringAbandoned
from surefoot.models.model_protocols import PredictorLost
from surefoot.models.rows.answer_checks import describe_error
from surefoot.models.rows.independence import answers_equal

if TYPE_CHECKING:
    import pandas as pd

CHUNK_ROWS = 2000
"""Rows scored in one call [count]: large enough for the model, small enough for progress and memory."""
SMALL_CHUNK_ROWS = 50
"""Rows scored in one call after a larger call has ended the model's process [count]: few restarts find the row."""
_MAX_FAILED_SHARE = 0.05
"""Share of unanswered requests above which the rest is not tried one by one any more."""
_MIN_FAILED_REQUESTS = 50
"""So many unanswered requests are tried in any case [count]."""
RECHECKED_ROWS = 8
"""Rows of a window that are asked again alone, to see that a chunk has not changed their answers [count]."""
RequestKey = tuple[str, int]
"""(request id, row)."""


class ScorableModel(Protocol):
    """A loaded model.

    One that also has the methods `table_columns` and `predict_table` of `surefoot.models.child_process_scorer` is asked
    whole tables.
    """

    def predict(self, rows: list[Any], params: object = None) -> list[object]:
        """Answer every row under the params of its caller, or raise."""
        ...

    def golden_rows(self) -> tuple[list[dict[str, object]], list[object]]:
        """Rows that the model carries, and the answers that its author saw."""
        ...

    def signature_fields(self) -> dict[str, object]:
        """What its signature says: "inputs" as types by name, and "outputs" as one text."""
        ...

    def preprocessed(self, rows: list[dict[str, object]]) -> "pd.DataFrame":
        """What the model is fed after everything that goes before it but keeps the columns."""
        ...


@dataclass(frozen=True, slots=True)
class ScoredRequests:
    """Answers of one version to some requests.

    Attributes:
        answers: By request key; requests that it could not answer are absent.
        tried: Requests that were tried [count].
        problem: What the first failure said; empty without one.
    """

    answers: Mapping[RequestKey, object]
    tried: int
    problem: str = ""


@dataclass(slots=True)
class ScoringCounts:
    """Counts of the requests that one version answered or failed.

    Attributes:
        total: Requests that it is to be asked [count].
        tried: Those that it was asked [count].
        failed: Those among them that it could not answer [count].
        problem: What the first failure said; empty without one.
        abandoned: Whether the rest is not tried any more.
        lost: Whether the process of the version has ended, or was ended because it hung.
    """

    total: int
    tried: int = 0
    failed: int = 0
    problem: str = ""
    abandoned: bool = False
    lost: bool = False

    def count_failed(self, requests: int) -> None:
        """Count requests that have no answer; too many of them end the scoring."""
        self.tried += requests
        self.failed += requests
        self.abandoned = self.abandoned or self.failed > max(_MIN_FAILED_REQUESTS, _MAX_FAILED_SHARE * self.total)


def declares_row_independence(model: ScorableModel) -> bool | None:
    """Whether a model declares that its answers to rows are independent; None where it declares nothing."""
    claimed = getattr(model, "batchable", None)
    return None if claimed is None else bool(claimed)


def score_requests(model: ScorableModel, served: Sequence[LoggedRequest]) -> ScoredRequests:
    """Score requests; what fails in a chunk is asked again in smaller ones until what breaks it stands alone.

    A model says by its attribute `batchable` whether each row has an answer of its own; without that attribute it is
    taken to have. One that does not is asked one request at a time, as callers ask it.

    Raises:
        SurefootError: The model could not be had, which says nothing of its answers.
    """
    claimed = declares_row_independence(model)
    found = _scored(model, served, together=claimed is not False)
    if claimed and not (
        declares_row_independence(model) and answers_equal_when_alone(model, _sample_answered(served, found.answers))
    ):
        return _scored(model, served, together=False)
    return found


def _scored(model: ScorableModel, served: Sequence[LoggedRequest], *, together: bool) -> ScoredRequests:
    tally = ScoringCounts(len(served))
    answers = score_rows(model, served, tally, together=together)
    return ScoredRequests(answers, tally.tried, tally.problem)


def _sample_answered(
    served: Sequence[LoggedRequest], answers: Mapping[RequestKey, object]
) -> list[tuple[LoggedRequest, object]]:
    """Take some of the answered requests evenly, each with its answer."""
    answered = [r for r in served if r.key in answers]
    step = max(len(answered) // RECHECKED_ROWS, 1)
    return [(r, answers[r.key]) for r in answered[::step][:RECHECKED_ROWS]]


def answers_equal_when_alone(model: ScorableModel, sample: Sequence[tuple[LoggedRequest, object]]) -> bool:
    """Whether some requests have the same answer alone as they had in their chunks.

    Raises:
        SurefootError: The model could not be had.
    """
    for request, answer in sample:
        try:
            (alone,) = _ask(model, [request])
        except SurefootError:
            raise
        except Exception:  # noqa: BLE001 - alone it has no such answer
            return False
        if not answers_equal(alone, answer):
            return False
    return True


def _ask(model: ScorableModel, chunk: Sequence[LoggedRequest]) -> list[object]:
    rows: list[Any] = [r.features if r.bare is None else r.bare[0] for r in chunk]
    params = chunk[0].params
    return model.predict(rows) if params is None else model.predict(rows, params)


def score_rows(
    model: ScorableModel, served: Sequence[LoggedRequest], tally: ScoringCounts, *, together: bool
) -> dict[RequestKey, object]:
    """Score requests row by row.

    Args:
        model: The version.
        served: The requests.
        tally: Counts them; once it is abandoned the rest has no answer.
        together: Whether rows of several requests may be asked at once.

    Returns:
        Answers by request key.

    Raises:
        SurefootError: The model could not be had.
    """
    answers: dict[RequestKey, object] = {}
    waiting = _chunks(served, together=together)[::-1]
    while waiting and not tally.abandoned:
        chunk = waiting.pop()
        try:
            found = _ask(model, chunk)
        except SurefootError:
            raise
        except ScoringAbandoned:
            tally.abandoned = True
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the candidate's code may raise anything; that is what is measured
            tally.problem = tally.problem or describe_error(error)
            tally.lost = tally.lost or isinstance(error, PredictorLost)
            if len(chunk) > 1 and together:
                size = SMALL_CHUNK_ROWS if len(chunk) > SMALL_CHUNK_ROWS else 1
                size = size if isinstance(error, PredictorLost) else (len(chunk) + 1) // 2
                waiting += [chunk[i : i + size] for i in range(0, len(chunk), size)][::-1]
            else:
                tally.count_failed(len(chunk))
        else:
            answers.update(zip((r.key for r in chunk), found, strict=True))
            tally.tried += len(chunk)
    return answers


def _chunks(served: Sequence[LoggedRequest], *, together: bool) -> list[list[LoggedRequest]]:
    """What may be asked together: rows of the same params and form, or those of one request."""
    alike: dict[bytes, list[LoggedRequest]] = {}
    for r in served:
        form: tuple[object, ...] = (r.params, r.bare is None)
        alike.setdefault(orjson.dumps(form if together else (*form, r.key[0])), []).append(r)
    return [some[i : i + CHUNK_ROWS] for some in alike.values() for i in range(0, len(some), CHUNK_ROWS)]
