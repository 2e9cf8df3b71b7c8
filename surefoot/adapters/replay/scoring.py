"""Score logged requests with one version: in large batches where its rows are independent, else one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import pandas as pd

from surefoot.adapters.predictions.log import LoggedRequest
from surefoot.core.errors import SurefootError
from surefoot.models.answer_checks import describe_error
from surefoot.models.predictor import PredictorLost
from surefoot.models.remote_scorer import ScoringAbandoned
from surefoot.models.rows.independence import answers_equal

CHUNK_ROWS = 2000
"""Rows scored in one call [count]: large enough for the model, small enough for progress and memory."""
SMALL_CHUNK_ROWS = 50
"""Rows scored in one call after a larger call has ended the model's process [count]: few restarts find the row."""
GIVE_UP = 0.05
"""Share of unanswered requests above which the rest is not tried one by one any more."""
RECHECKED_ROWS = 8
"""Rows of a window that are asked again alone, to see that a chunk has not changed their answers [count]."""
Key = tuple[str, int]


class Scorable(Protocol):
    """A loaded model."""

    def predict(self, rows: list[Any], params: object = None) -> list[object]:
        """Answer every row under the params of its caller, or raise."""
        ...

    def golden(self) -> tuple[list[dict[str, object]], list[object]]:
        """Rows that the model carries, and the answers that its author saw."""
        ...

    def signature_fields(self) -> dict[str, object]:
        """What its signature says: "inputs" as types by name, and "outputs" as one text."""
        ...

    def seen(self, rows: list[dict[str, object]]) -> pd.DataFrame:
        """What the model is fed after everything that goes before it but keeps the columns."""
        ...


@dataclass(frozen=True, slots=True)
class ScoredRequests:
    """Answers of one version to a window of requests.

    Attributes:
        answers: By request key; requests that it could not answer are absent.
        tried: Requests that were tried [count].
        problem: What the first failure said; empty without one.
    """

    answers: Mapping[Key, object]
    tried: int
    problem: str = ""


def score_requests(model: Scorable, served: Sequence[LoggedRequest]) -> ScoredRequests:
    """Score requests; what fails in a chunk is asked again in smaller ones until what breaks it stands alone.

    A model says by its attribute `batchable` whether each row has an answer of its own; without that attribute it is
    taken to have. One that does not is asked one request at a time, as callers ask it.

    Raises:
        SurefootError: The model could not be had, which says nothing of its answers.
    """
    batchable = getattr(model, "batchable", None)
    if batchable is None or not batchable:
        return _scored(model, served, together=batchable is None)
    found = _scored(model, served, together=True)
    if model.batchable and _independent(model, served, found):  # type: ignore[attr-defined] # it has said so before
        return found
    return _scored(model, served, together=False)


def _independent(model: Scorable, served: Sequence[LoggedRequest], found: ScoredRequests) -> bool:
    """Whether some rows have the same answer alone as they had in their chunks."""
    answered = [r for r in served if r.key in found.answers]
    for r in answered[:: max(len(answered) // RECHECKED_ROWS, 1)][:RECHECKED_ROWS]:
        try:
            (alone,) = _ask(model, [r])
        except SurefootError:
            raise
        except Exception:  # noqa: BLE001 - alone it has no such answer
            return False
        if not answers_equal(alone, found.answers[r.key]):
            return False
    return True


def _ask(model: Scorable, chunk: Sequence[LoggedRequest]) -> list[object]:
    rows: list[Any] = [r.features if r.bare is None else r.bare[0] for r in chunk]
    params = chunk[0].params
    return model.predict(rows) if params is None else model.predict(rows, params)


def _scored(model: Scorable, served: Sequence[LoggedRequest], *, together: bool) -> ScoredRequests:
    answers: dict[Key, object] = {}
    failed, problem = 0, ""
    waiting = _chunks(served, together=together)[::-1]
    while waiting:
        chunk = waiting.pop()
        try:
            found = _ask(model, chunk)
        except SurefootError:
            raise
        except ScoringAbandoned:
            break
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the candidate's code may raise anything; that is what is measured
            problem = problem or describe_error(error)
            if len(chunk) > 1 and together:
                size = SMALL_CHUNK_ROWS if len(chunk) > SMALL_CHUNK_ROWS else 1
                size = size if isinstance(error, PredictorLost) else (len(chunk) + 1) // 2
                waiting += [chunk[i : i + size] for i in range(0, len(chunk), size)][::-1]
                continue
            failed += len(chunk)
            if failed > max(50, GIVE_UP * len(served)):
                break
            continue
        answers.update(zip((r.key for r in chunk), found, strict=True))
    return ScoredRequests(answers, len(answers) + failed, problem)


def _chunks(served: Sequence[LoggedRequest], *, together: bool) -> list[list[LoggedRequest]]:
    """What may be asked together: rows of the same params and form, or those of one request."""
    alike: dict[bytes, list[LoggedRequest]] = {}
    for r in served:
        form: tuple[object, ...] = (r.params, r.bare is None)
        alike.setdefault(orjson.dumps(form if together else (*form, r.key[0])), []).append(r)
    return [some[i : i + CHUNK_ROWS] for some in alike.values() for i in range(0, len(some), CHUNK_ROWS)]
