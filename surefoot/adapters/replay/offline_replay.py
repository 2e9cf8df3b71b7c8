"""Replay logged requests through champion and candidate offline: the paired evidence of a replay step."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from surefoot.adapters.evidence.block_sums import ScoredBatch, probabilities_or_nan, score_bins
from surefoot.adapters.evidence.column_distances import column_distances, unequal_shares, unseen_texts
from surefoot.adapters.evidence.left_out import MAX_NAMED_REQUESTS
from surefoot.adapters.evidence.paired_sums import sum_batches
from surefoot.adapters.predictions.log import LoggedRequest, PredictionLog
from surefoot.adapters.predictions.typed_table import answer_frame
from surefoot.adapters.replay.scoring import Scorable, ScoredRequests, score_requests
from surefoot.core.answers.shape import shapes_of
from surefoot.core.domain import Outcome, Version
from surefoot.core.errors import SurefootError
from surefoot.core.judging.evidence import (
    AnswerShapes,
    GoldenRows,
    InputShift,
    Missing,
    PairedSums,
    ScoreBins,
    SplitCounts,
    Stratum,
)
from surefoot.core.judging.left_out import LeftOut
from surefoot.core.judging.request import EvidenceRequest
from surefoot.core.policy.model import GoldenGate, PairedGate, ShiftGate, narrow
from surefoot.models.model_process import RemoteModelError
from surefoot.models.predictor import PredictorLost

MAX_COMPARED_INPUTS = 5_000
"""Latest requests of a window whose inputs are compared one by one [count]."""

MAX_COMPARED_SHAPES = 200
"""Latest requests of a window whose answers are compared by their shape [count]."""
UNREADABLE_REASON = "answers that are no probabilities, or labels that are neither 0 nor 1"
MAX_REFUSED = 500
"""Requests without an answer that the other version is asked about [count]."""


class OfflineReplay:
    """Scorable windows of the prediction log, each request once per version."""

    def __init__(self, log: PredictionLog, load: Callable[[str, Version], Scorable]) -> None:
        """Nothing is read or loaded before the first question."""
        self._log = log
        self._load = load
        self._models: dict[str, Scorable] = {}
        self._scored: dict[tuple[str, str, float, float], ScoredRequests] = {}
        self._refused: dict[str, bool] = {}
        self._failed: dict[tuple[str, float, str], list[tuple[str, str, object, object]]] = {}
        self._windows: dict[tuple[str, float, float], list[LoggedRequest]] = {}

    def window(self, question: EvidenceRequest) -> list[LoggedRequest]:
        """The requests of the question's window."""
        key = (question.model, question.since, question.until)
        if key not in self._windows:
            self._windows = {key: self._log.requests(*key)}
        return self._windows[key]

    def _model(self, question: EvidenceRequest, version: Version) -> Scorable:
        if version.digest not in self._models:
            self._models[version.digest] = self._load(question.model, version)
        return self._models[version.digest]

    def score(self, question: EvidenceRequest, version: Version) -> ScoredRequests:
        """One version's answers; what it has already answered live is not asked again."""
        key = (version.digest, question.model, question.since, question.until)
        if key not in self._scored:
            served = self.window(question)
            known = {
                r.key: r.prediction for r in served if r.answered_by == version.number and r.prediction is not None
            }
            fresh = score_requests(self._model(question, version), [r for r in served if r.key not in known])
            answers = {**known, **fresh.answers}
            self._scored = {k: v for k, v in self._scored.items() if k[1:] == key[1:]}
            self._scored[key] = ScoredRequests(answers, fresh.tried + len(known), fresh.problem)
        return self._scored[key]

    def paired(self, question: EvidenceRequest) -> PairedSums | Missing:
        """What both versions make of every request whose label has matured, by block and slice."""
        gate = narrow(question.gate, PairedGate)
        served = self.window(question)
        if not served:
            return Missing(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        champion, candidate = (self.score(question, v) for v in (question.champion, question.candidate))
        made = sum_batches(gate, question.since, question.until, [_batch(served, gate, champion, candidate)])
        if candidate.tried < len(served):  # given up early: what was not tried counts at the rate of what was
            made.unscored = round(made.requests * (1.0 - len(candidate.answers) / max(candidate.tried, 1)))
        return made.evidence(self._log.unknown_labels(question.model, question.since, question.until))

    def types(self, question: EvidenceRequest) -> Mapping[str, object]:
        """Types of the candidate's inputs by name; none where its signature names none, or it cannot be asked."""
        found = self._declared(question, question.candidate).get("inputs")
        return found if isinstance(found, dict) else {}

    def _declared(self, question: EvidenceRequest, version: Version) -> Mapping[str, object]:
        """What a version's signature says; nothing where it cannot be asked."""
        try:
            return self._model(question, version).signature_fields()
        except (SurefootError, RemoteModelError, PredictorLost):
            return {}

    def shapes(self, question: EvidenceRequest) -> AnswerShapes | Missing:
        """What both versions' answers to the latest requests look like; nobody is asked who answered live."""
        served = self.window(question)[-MAX_COMPARED_SHAPES:]
        if not served:
            return Missing(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        old, new = (self._known(question, version, served) for version in (question.champion, question.candidate))
        asked = [r for r in served if r.key in old]
        pair = (question.champion, question.candidate)
        said = [self._declared(question, v).get("outputs") for v in pair if v.digest in self._models]
        declared = tuple(str(one) for one in said if one)
        reference = list(old.values())
        mine = [new[r.key] for r in asked if r.key in new]
        return AnswerShapes(shapes_of(reference), shapes_of(mine, reference), len(asked), len(mine), declared)

    def _known(
        self, question: EvidenceRequest, version: Version, served: Sequence[LoggedRequest]
    ) -> dict[tuple[str, int], object]:
        """A version's answers to some requests; what it has answered live is not asked again."""
        known = {r.key: r.prediction for r in served if r.answered_by == version.number and r.prediction is not None}
        rest = [r for r in served if r.key not in known]
        return {**known, **score_requests(self._model(question, version), rest).answers} if rest else known

    def golden(self, question: EvidenceRequest) -> GoldenRows | Missing:
        """What the candidate answers to the rows that it carries."""
        model = self._model(question, question.candidate)
        rows, written = model.golden()
        if not rows:
            return GoldenRows(0, 0)
        found = score_requests(
            model, [LoggedRequest((str(i), 0), 0.0, "", "", None, row) for i, row in enumerate(rows)]
        ).answers
        wrong, worst = [], 0.0
        for index, expected in enumerate(written):
            given = found.get((str(index), 0))
            apart = _apart(given, expected)
            worst = max(worst, min(apart, 1e9))
            if not apart <= narrow(question.gate, GoldenGate).tolerance:
                wrong.append({"row": rows[index], "expected": expected, "answered": given})
        return GoldenRows(len(rows), len(wrong), worst, tuple(wrong[:5]))

    def seen(self, question: EvidenceRequest) -> InputShift | Missing:
        """Share of the same requests on which the candidate's model is fed other values than the champion's."""
        served = self.window(question)[-MAX_COMPARED_INPUTS:]
        if not served:
            return Missing(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        rows = [r.features for r in served]
        frames = [self._model(question, v).seen(rows) for v in (question.champion, question.candidate)]
        ignored = narrow(question.gate, ShiftGate).ignored
        shifts = tuple(f for f in unequal_shares(*frames) if f.name not in ignored)
        raw = all(getattr(self._model(question, v), "raw", False) for v in (question.champion, question.candidate))
        return InputShift("the champion", shifts, same=True, blind=raw)

    def answered(self, question: EvidenceRequest) -> InputShift | Missing:
        """How far the candidate's answers lie from the champion's as a distribution."""
        if not self.window(question):
            return Missing(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        scored = [self.score(question, v).answers for v in (question.champion, question.candidate)]
        old, new = (answer_frame(list(side.values()), [key[0] for key in side]) for side in scored)
        return InputShift("the champion's answers", column_distances(old, new), left=unseen_texts(old, new))

    def past_scores(self, question: EvidenceRequest) -> ScoreBins | Missing:
        """Scorable with labels of the past, split in two by time, and scores that wait for theirs."""
        served = self.window(question)
        answers = self.score(question, question.candidate).answers if served else {}
        maturity, until = question.gate.maturity, question.until
        due = [r for r in served if r.key in answers and r.at + maturity <= until and r.label(maturity) is not None]
        now = [r for r in served if r.key in answers and r.at + maturity > until]
        given, told, waiting = (
            probabilities_or_nan(items)
            for items in (
                [answers[r.key] for r in due],
                [r.label(maturity) for r in due],
                [answers[r.key] for r in now],
            )
        )
        good, fit = ~np.isnan(given + told), ~np.isnan(waiting)
        strange = [
            r.key[0] for rows, some in ((due, good), (now, fit)) for r, ok in zip(rows, some, strict=True) if not ok
        ]
        if strange and not good.any() and not fit.any():
            return Missing(Outcome.ERROR, f"{UNREADABLE_REASON}: none of {len(strange):,} can be read")
        given, told, waiting = given[good], told[good], waiting[fit]
        half = len(given) // 2
        past, checked = (score_bins(given[part], told[part]) for part in (slice(half), slice(half, None)))
        what = UNREADABLE_REASON if strange else ""
        left = LeftOut(odd=len(strange), requests=tuple(strange[:MAX_NAMED_REQUESTS]), what=what)
        # A label before its time counts for nothing.
        return ScoreBins(past, checked, score_bins(waiting, np.zeros(len(waiting))), left)

    def refused(self, question: EvidenceRequest) -> tuple[str, ...]:
        """Requests of a rollout, and of the champion's past, that every version refuses.

        The gateway has asked one version or two; the one that it has not asked is asked here, so that a request counts
        as a failure only where the other version can answer it. A version that cannot be loaded here refuses nothing.
        Of very many requests the rest is taken as most of those that were asked.
        """
        key = (question.model, question.until, question.rollout)
        if key not in self._failed:
            self._failed = {key: self._log.failed(*key, question.champion.number)}
        found = self._failed[key]
        asked = found[:MAX_REFUSED]
        both = [failed[0] for failed in asked if self._refuses(question, *failed)]
        rest = [request for request, *_ in found[MAX_REFUSED:]] if 2 * len(both) > len(asked) else []
        return (*both, *rest)

    def _refuses(self, question: EvidenceRequest, request: str, by: str, features: object, params: object) -> bool:
        """Whether the version that a request without an answer was not asked of refuses it as well."""
        if request not in self._refused:
            other = question.champion if by == question.candidate.number else question.candidate
            named, bare = (features, None) if isinstance(features, dict) else ({}, [features])
            row = LoggedRequest((request, 0), 0.0, "", "", None, named, (), params, bare)
            try:  # a process starts at its first question, so a version that cannot be loaded says so there
                self._refused[request] = (
                    features is None or not score_requests(self._model(question, other), [row]).answers
                )
            except SurefootError:
                return False
        return self._refused[request]

    def failures(self, question: EvidenceRequest) -> SplitCounts | Missing:
        """Requests that each version cannot answer, as if both had been given half of them."""
        served = self.window(question)
        if not served:
            return Missing(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        champion, candidate = (self.score(question, v) for v in (question.champion, question.candidate))
        good = len(champion.answers), len(candidate.answers)
        both = 0
        if champion.tried == candidate.tried == len(served):  # what both refuse is evidence about neither
            both = sum(r.key not in champion.answers and r.key not in candidate.answers for r in served)
        bad = champion.tried - good[0] - both, candidate.tried - good[1] - both
        rate = bad[0] / max(champion.tried - both, 1)
        counts = (Stratum(0.5, bad[1], good[1], bad[0], good[0]),)
        return SplitCounts(counts, rate, "request", len(served) - both, left=LeftOut(refused=both))


def _batch(
    served: Sequence[LoggedRequest], gate: PairedGate, champion: ScoredRequests, candidate: ScoredRequests
) -> ScoredBatch:
    """A window as the tally wants it."""
    labels = [r.label(gate.maturity) for r in served]
    in_time = [[value for at, value in r.labels if not gate.maturity or at <= r.at + gate.maturity] for r in served]
    return ScoredBatch(
        at=np.array([r.at for r in served], dtype=np.float64),
        champion=[champion.answers.get(r.key) for r in served],
        candidate=[candidate.answers.get(r.key) for r in served],
        labels=labels,
        late=np.array([label is None and bool(r.labels) for label, r in zip(labels, served, strict=True)], dtype=bool),
        corrected=sum(max(len(found) - 1, 0) for found in in_time),
        columns={column: [r.features.get(column) for r in served] for column in gate.by},
        ids=[r.key[0] for r in served],
    )


def _apart(given: object, expected: object) -> float:
    """How far two answers are from each other; infinite when they are not even alike."""
    if isinstance(given, Mapping) and isinstance(expected, Mapping) and given.keys() == expected.keys():
        return max((_apart(given[key], expected[key]) for key in expected), default=0.0)
    if isinstance(given, list) and isinstance(expected, list) and len(given) == len(expected):
        return max((_apart(a, b) for a, b in zip(given, expected, strict=True)), default=0.0)
    if isinstance(given, int | float) and isinstance(expected, int | float):
        return abs(float(given) - float(expected))
    return 0.0 if given == expected else math.inf
