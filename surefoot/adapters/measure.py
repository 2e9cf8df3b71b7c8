"""Answers the questions of the judge from the prediction log, the labels and the models themselves."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from surefoot.adapters.counts import event_counts, speed_counts, value_counts
from surefoot.adapters.predictions import PredictionLog, Served
from surefoot.adapters.replay import Replay, Scores
from surefoot.adapters.shifts import distances
from surefoot.core.errors import SurefootError
from surefoot.core.evidence import Evidence, InputShift, Missing, Validation
from surefoot.core.model import Outcome, Version
from surefoot.core.policy import EVENTS, PAIRED, SPEEDS, Metric
from surefoot.core.question import Question
from surefoot.core.stats.losses import numbers

Validate = Callable[[str, pd.DataFrame, str], Validation | Missing]
"""(suite digest, requests, name of the report) -> what the suite says."""


class Measurements:
    """Implements the Evidences port; whatever goes wrong while measuring is an ERROR, with its reason."""

    def __init__(self, logs: Path, load: Callable[[str, Version], Scores], validate: Validate) -> None:
        """Wire the log, the verified loader and the validator; nothing is read yet."""
        self._log = PredictionLog(logs)
        self._replay = Replay(self._log, load)
        self._validate = validate

    def gather(self, question: Question) -> Evidence:
        """Measure; never raises for what the measured things do."""
        try:
            return self._gather(question)
        except SurefootError as error:
            return Missing(Outcome.ERROR, str(error))
        except Exception as error:  # noqa: BLE001 - last boundary: a metric that raises is an ERROR, never a pass
            return Missing(Outcome.ERROR, f"{question.gate.metric} cannot be measured: {type(error).__name__}: {error}")

    def _gather(self, question: Question) -> Evidence:
        metric = question.gate.metric
        if metric is Metric.VALIDATION:
            return self._data(question)
        if question.kind in {"live", "bake"} and (stale := self._stale(question)):
            return stale
        if metric is Metric.ERROR_RATE and question.kind == "shadow":
            return self._replay.failures(question)
        if metric in EVENTS:
            return event_counts(self._log, question)
        if metric in SPEEDS:
            return speed_counts(self._log, question)
        if metric is Metric.VALUE:
            return value_counts(self._log, question)
        if metric in PAIRED:
            # On live traffic too, both versions are asked about the same requests: pairs see what arms cannot.
            return self._replay.paired(question)
        if metric is Metric.GOLDEN:
            return self._replay.golden(question)
        if metric is Metric.EXPECTED_LOSS:
            return self._replay.foreseen(question)
        return self._shift(question)

    def _stale(self, question: Question) -> Missing | None:
        """Why the log cannot speak of now; None when it can."""
        if not question.stale_after:
            return None
        newest = self._log.newest(question.model, question.until)
        if newest is None or question.until - newest <= question.stale_after:
            return None
        age, allowed = ((seconds / 3600.0) for seconds in (question.until - newest, question.stale_after))
        reason = f"the newest request was logged {age:.1f} h ago; more than {allowed:.1f} h of silence says nothing"
        return Missing(Outcome.STALE, reason)

    def _data(self, question: Question) -> Evidence:
        rows = self._log.requests(question.model, question.since, question.until)
        if not rows:
            return Missing(
                Outcome.ERROR, f"no request of {question.model} was logged in the window: nothing to validate"
            )
        frame = pd.DataFrame([row.features for row in rows])
        return self._validate(question.suite, frame, question.rollout)

    def _shift(self, question: Question) -> Evidence:
        answers = question.gate.metric is Metric.PREDICTION_SHIFT
        if question.gate.against == "champion":
            return self._replay.answered(question) if answers else self._replay.seen(question)
        width = question.until - question.since
        now = self._log.requests(question.model, question.since, question.until)
        before = self._log.requests(question.model, question.since - width, question.since)
        frame = _answers if answers else _inputs
        return InputShift("the window before", distances(frame(before), frame(now)))


def _inputs(rows: list[Served]) -> pd.DataFrame:
    return pd.DataFrame([row.features for row in rows])


def _answers(rows: list[Served]) -> pd.DataFrame:
    return pd.DataFrame({"prediction": numbers([row.prediction for row in rows if row.prediction is not None])})
