"""Answers the questions of the judge from the prediction log, the labels and the models themselves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from surefoot.adapters.counts import error_counts, latency_counts
from surefoot.adapters.predictions import PredictionLog, Served
from surefoot.adapters.replay import Replay, Scores
from surefoot.core.errors import SurefootError
from surefoot.core.evidence import Evidence, FeatureShift, InputShift, Missing, Question, Validation
from surefoot.core.model import Arm, Outcome, Version
from surefoot.core.policy import LOSSES, Metric

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
        replayed = question.kind == "shadow"
        if metric is Metric.VALIDATION:
            return self._data(question)
        if metric is Metric.ERROR_RATE:
            return self._replay.failures(question) if replayed else error_counts(self._log, question)
        if metric is Metric.LATENCY:
            return latency_counts(self._log, question)
        if metric in LOSSES:
            # On live traffic too, both versions are asked about the same requests: pairs see what arms cannot.
            return self._replay.paired(question)
        return self._shift(question)

    def _data(self, question: Question) -> Evidence:
        rows = self._log.requests(question.model, question.since, question.until)
        if not rows:
            return Missing(
                Outcome.ERROR, f"no request of {question.model} was logged in the window: nothing to validate"
            )
        frame = pd.DataFrame([row.features for row in rows])
        return self._validate(question.suite, frame, question.rollout)

    def _shift(self, question: Question) -> Evidence:
        width = question.until - question.since
        now = self._log.requests(question.model, question.since, question.until)
        if question.gate.against == "champion":
            sides = ([r for r in now if r.arm == Arm.CHAMPION], [r for r in now if r.arm == Arm.CANDIDATE])
            return InputShift("the champion's requests", _distances(*sides))
        before = self._log.requests(question.model, question.since - width, question.since)
        return InputShift("the window before", _distances(before, now))


def _distances(reference: list[Served], current: list[Served]) -> tuple[FeatureShift, ...]:
    """Distance of every feature between two sets of requests."""
    if not reference or not current:
        return ()
    old, new = (pd.DataFrame([row.features for row in rows]) for rows in (reference, current))
    made = []
    for name in old.columns.union(new.columns, sort=False):
        if name not in old.columns or name not in new.columns:
            made.append(FeatureShift(str(name), 1.0, len(old), len(new)))  # a feature that came or went has moved
            continue
        a, b = old[name].dropna(), new[name].dropna()
        numeric = pd.api.types.is_numeric_dtype(a) and pd.api.types.is_numeric_dtype(b)
        categories = 0
        if numeric and len(a) and len(b):
            grid = np.unique(np.concatenate([a.to_numpy(float), b.to_numpy(float)]))
            cdfs = [np.searchsorted(np.sort(x.to_numpy(float)), grid, side="right") / len(x) for x in (a, b)]
            distance = float(np.max(np.abs(cdfs[0] - cdfs[1])))
        else:
            shares = [x.astype(str).value_counts(normalize=True, dropna=False) for x in (old[name], new[name])]
            apart = shares[0].sub(shares[1], fill_value=0.0).abs()
            distance, categories = min(float(apart.sum() / 2.0), 1.0), len(apart)
        made.append(FeatureShift(str(name), distance, len(old), len(new), categories))
    return tuple(made)
