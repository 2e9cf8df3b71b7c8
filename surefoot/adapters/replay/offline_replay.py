"""Score logged requests offline with champion and candidate, as evidence for a policy's gates."""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from surefoot.adapters.evidence.column_distances import (
    column_distances,
    count_texts_among_numbers,
    unequal_row_shares,
)
from surefoot.adapters.evidence.excluded_counts import (
    MAX_EXAMPLE_REQUESTS,
    count_excluded_records,
    gate_uses_row_sample,
)
from surefoot.adapters.evidence.paired.paired_loss_evidence import PairedLossAccumulator
from surefoot.adapters.evidence.paired.score_bins import score_bin_totals
from surefoot.adapters.evidence.paired.scored_batch import CategoryCodes, ScoredBatch, present_mask
from surefoot.adapters.evidence.replay_failures import ReplayFailures
from surefoot.adapters.predictions.prediction_log import LoggedRequest, PredictionLog
from surefoot.adapters.replay.answer_columns import answer_table, missing_answer_mask, paired_answer_arrays
from surefoot.adapters.replay.batch_scoring import ScorableModel, score_requests
from surefoot.adapters.replay.corners.corner_replay import replay_corners
from surefoot.adapters.replay.corners.rare_groups import merge_older_requests
from surefoot.adapters.replay.labelled_scores import read_labelled_scores
from surefoot.adapters.replay.replay_window import ReplayWindow
from surefoot.adapters.replay.window_scoring import WindowScorer
from surefoot.column_encryption import build_column_decryptor
from surefoot.core.answers.answer_shapes import describe_answer_shapes
from surefoot.core.domain import Outcome, Version
from surefoot.core.errors import SurefootError
from surefoot.core.judging.corner_answers import CornerAnswers, SupplementedGroup
from surefoot.core.judging.evidence import (
    AnswerShapes,
    BadEventCounts,
    DistributionShift,
    GoldenRows,
    MissingEvidence,
    PairedSums,
    ScoreBins,
)
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.policy.policy_types import GoldenGate, PairedGate, ShiftGate, narrow_gate_type
from surefoot.models.child_process_scorer import ChildProcessScorer
from surefoot.models.model_process import RemoteModelError
from surefoot.models.model_protocols import PredictorLost

MAX_COMPARED_INPUTS = 5_000
"""Latest requests of a window whose inputs are compared one by one [count]."""

MAX_COMPARED_ANSWER_SHAPES = 200
"""Latest requests of a window whose answers are compared by their shape [count]."""
UNREADABLE_ANSWERS_REASON = "answers that are no probabilities, or labels that are neither 0 nor 1"
MAX_REFUSED_REQUESTS = 500
"""Requests without an answer that the other version is asked about [count]."""


class OfflineReplay:
    """Replays a time window of the prediction log: scores each request once with each version, as evidence for gates.

    Attributes:
        on_rows: Is told how many more requests were asked about, for all versions together [count].
    """

    def __init__(
        self,
        log: PredictionLog,
        load: Callable[[str, Version], ScorableModel],
        kept: Callable[[Version, float, float], Sequence[Path]] = lambda _version, _since, _until: (),
        *,
        file_group: bool = False,
        part: Path | None = None,
    ) -> None:
        """Nothing is read or loaded before the first question.

        Args:
            log: The log.
            load: Gives a version by model; it is asked once for each.
            kept: Gives the files of answers that a version has given to requests of a time before.
            file_group: Whether the log is a part of a log only.
            part: The one table of requests that this log has; None for any others.
        """
        self._log = log
        self._load = load
        self._kept = kept
        self._file_group, self._part = file_group, part
        self.on_rows: Callable[[int], None] = lambda _rows: None
        self._models: dict[str, ScorableModel] = {}
        self._scored: dict[str, WindowScorer] = {}
        self._refused: dict[str, bool] = {}
        self._failed: dict[tuple[str, float, str], list[tuple[str, str, object, object]]] = {}
        self._window: tuple[tuple[str, float, float, int | None], ReplayWindow] | None = None

    def window(self, question: EvidenceRequest) -> ReplayWindow:
        """The requests of the question's window."""
        key = (question.model, question.since, question.until, question.max_rows)
        if self._window is None or self._window[0] != key:
            self._scored = {}
            if self._window is not None:
                self._window[1].close()
                self._window = None
            self._window = (key, ReplayWindow(self._log, *key, file_group=self._file_group, part=self._part))
        return self._window[1]

    def count_excluded(self, question: EvidenceRequest) -> ExcludedRecords:
        """Count what the evidence for a gate leaves out of the records of the window."""
        key = (question.model, question.since, question.until, question.max_rows)
        if self._window is not None and self._window[0] == key:
            return self._window[1].count_excluded(question, examined=gate_uses_row_sample(self._log, question))
        return count_excluded_records(self._log, question)

    def close_window(self) -> None:
        """Forget the window."""
        self._scored = {}
        if self._window is not None:
            self._window[1].close()
            self._window = None

    def close(self) -> None:
        """Forget the window, and end the processes of the models."""
        self.close_window()
        for model in self._models.values():
            if isinstance(model, ChildProcessScorer):
                model.close()
        self._models = {}

    def _model(self, question: EvidenceRequest, version: Version) -> ScorableModel:
        if version.digest not in self._models:
            self._models[version.digest] = self._load(question.model, version)
        return self._models[version.digest]

    def is_scored(self, versions: Sequence[Version]) -> bool:
        """Whether all of some versions have scored the window."""
        return all(version.digest in self._scored for version in versions)

    def score_window(self, question: EvidenceRequest, *versions: Version) -> list[WindowScorer]:
        """Answers of some versions to the window, each scored once; several are asked at the same time."""
        window = self.window(question)
        missing = {v.digest: v for v in versions if v.digest not in self._scored}
        if missing:
            models = [(self._model(question, version), version) for version in missing.values()]
            with ThreadPoolExecutor(len(models)) as threads:  # both processes start at the same time as well
                made = [
                    WindowScorer(window, *pair, self._kept(pair[1], question.since, question.until)) for pair in models
                ]
                _score_all(window, made, threads, self.on_rows)
            self._scored |= dict(zip(missing, made, strict=True))
        return [self._scored[v.digest] for v in versions]

    def paired_loss_evidence(self, question: EvidenceRequest) -> PairedSums | MissingEvidence:
        """What both versions make of every request whose label has matured, by block and slice."""
        if not self.window(question).size:
            return MissingEvidence(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        (made,), candidate = self.sum_losses(question), self.score_window(question, question.candidate)[0]
        tally = candidate.tally
        if tally.tried < tally.total:  # given up early: what was not tried counts at the rate of what was
            made.unscored = round(made.requests * (1.0 - candidate.answered / max(tally.tried, 1)))
        raised = self._merge_older(question, made)
        return replace(made.evidence(self.window(question).count_unknown_labels()), raised=raised)

    def _merge_older(self, question: EvidenceRequest, *sums: PairedLossAccumulator) -> tuple[SupplementedGroup, ...]:
        """Add older requests of rare groups to some sums, the first of which are those of the window."""
        return merge_older_requests(self._log, question, lambda version: self._model(question, version), *sums)

    def sum_losses(self, *questions: EvidenceRequest) -> list[PairedLossAccumulator]:
        """Add up what both versions make of the window, for the gates of some questions in one pass."""
        gates = [narrow_gate_type(question.gate, PairedGate) for question in questions]
        made = [PairedLossAccumulator(gate, q.since, q.until) for gate, q in zip(gates, questions, strict=True)]
        window = self.window(questions[0])
        champion, candidate = self.score_window(questions[0], questions[0].champion, questions[0].candidate)
        for (number, at, ids), *sides in zip(
            window.request_times(), champion.answer_columns(), candidate.answer_columns(), strict=True
        ):
            labels = {
                maturity: window.matured_labels(number, at, maturity) for maturity in {gate.maturity for gate in gates}
            }
            for gate, sums in zip(gates, made, strict=True):
                found = labels[gate.maturity]
                answers = paired_answer_arrays(gate, *sides)
                sums.add(
                    ScoredBatch(
                        at=at,
                        champion=answers[0],
                        candidate=answers[1],
                        labels=found["label"],
                        late=~present_mask(found["label"]) & (found["known"] > 0),
                        corrected=int(np.maximum(found["in_time"] - 1, 0).sum()),
                        columns={
                            column: CategoryCodes.from_arrow_json(window.feature_texts(number, column))
                            for column in gate.by
                        },
                        ids=ids,
                    )
                )
        return made

    def input_types(self, question: EvidenceRequest) -> Mapping[str, object]:
        """Types of the candidate's inputs by name; none where its signature names none, or it cannot be asked."""
        found = self._declared(question, question.candidate).get("inputs")
        return found if isinstance(found, dict) else {}

    def _declared(self, question: EvidenceRequest, version: Version) -> Mapping[str, object]:
        """What a version's signature says; nothing where it cannot be asked."""
        try:
            return self._model(question, version).signature_fields()
        except (SurefootError, RemoteModelError, PredictorLost):
            return {}

    def latest_requests(self, question: EvidenceRequest, count: int) -> list[LoggedRequest]:
        """Give the latest requests of the window, oldest first, without their labels."""
        return self.window(question).latest_requests(count)

    def answer_shapes(self, question: EvidenceRequest) -> AnswerShapes | MissingEvidence:
        """What both versions' answers to the latest requests look like; live answers are taken as they were."""
        served = self.latest_requests(question, MAX_COMPARED_ANSWER_SHAPES)
        if not served:
            return MissingEvidence(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        old, new = (self._known(question, version, served) for version in (question.champion, question.candidate))
        asked = [r for r in served if r.key in old]
        pair = (question.champion, question.candidate)
        said = [self._declared(question, v).get("outputs") for v in pair if v.digest in self._models]
        declared = tuple(str(one) for one in said if one)
        reference = list(old.values())
        mine = [new[r.key] for r in asked if r.key in new]
        return AnswerShapes(
            describe_answer_shapes(reference), describe_answer_shapes(mine, reference), len(asked), len(mine), declared
        )

    def _known(
        self, question: EvidenceRequest, version: Version, served: Sequence[LoggedRequest]
    ) -> dict[tuple[str, int], object]:
        """A version's answers to some requests; what it has answered live is not asked again."""
        known = {r.key: r.prediction for r in served if r.answered_by == version.number and r.prediction is not None}
        rest = [r for r in served if r.key not in known]
        return {**known, **score_requests(self._model(question, version), rest).answers} if rest else known

    def golden_rows(self, question: EvidenceRequest) -> GoldenRows | MissingEvidence:
        """What the candidate answers to the rows that it carries."""
        model = self._model(question, question.candidate)
        rows, written = model.golden_rows()
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
            if not apart <= narrow_gate_type(question.gate, GoldenGate).tolerance:
                wrong.append({"row": rows[index], "expected": expected, "answered": given})
        return GoldenRows(len(rows), len(wrong), worst, tuple(wrong[:5]))

    def corner_answers(self, question: EvidenceRequest) -> CornerAnswers | MissingEvidence:
        """What both versions make of synthetic rows of the declared corners."""
        return replay_corners(
            self._log,
            question,
            *(self._model(question, version) for version in (question.champion, question.candidate)),
        )

    def input_differences(self, question: EvidenceRequest) -> DistributionShift | MissingEvidence:
        """Share of the same requests on which the candidate's model is fed other values than the champion's."""
        served = self.latest_requests(question, MAX_COMPARED_INPUTS)
        if not served:
            return MissingEvidence(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        rows = [r.features for r in served]
        frames = [self._model(question, v).preprocessed(rows) for v in (question.champion, question.candidate)]
        ignored = narrow_gate_type(question.gate, ShiftGate).ignored
        shifts = tuple(f for f in unequal_row_shares(*frames) if f.name not in ignored)
        raw = all(getattr(self._model(question, v), "raw", False) for v in (question.champion, question.candidate))
        return DistributionShift("the champion", shifts, same=True, blind=raw)

    def answer_shift(self, question: EvidenceRequest) -> DistributionShift | MissingEvidence:
        """How far the candidate's answers lie from the champion's as a distribution."""
        window = self.window(question)
        if not window.size:
            return MissingEvidence(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        old, new = (
            answer_table(list(scoring.answer_columns()), [ids for _, _, ids in window.request_times()])
            for scoring in self.score_window(question, question.champion, question.candidate)
        )
        return DistributionShift(
            "the champion's answers", column_distances(old, new), left=count_texts_among_numbers(old, new)
        )

    def past_scores(self, question: EvidenceRequest) -> ScoreBins | MissingEvidence:
        """Scores with labels of the past, split in two by time, and scores that wait for theirs."""
        window = self.window(question)
        scored = read_labelled_scores(
            window, question, *self.score_window(question, question.candidate) if window.size else ()
        )
        due, now = scored.select_by_label(due=True), scored.select_by_label(due=False)
        good, fit = ~np.isnan(due.score + due.label), ~np.isnan(now.score)
        strange = [*due.request_ids(~good), *now.request_ids(~fit)]
        if strange and not good.any() and not fit.any():
            return MissingEvidence(Outcome.ERROR, f"{UNREADABLE_ANSWERS_REASON}: none of {len(strange):,} can be read")
        given, told, waiting = due.score[good], due.label[good], now.score[fit]
        half = len(given) // 2
        past, checked = (score_bin_totals(given[part], told[part]) for part in (slice(half), slice(half, None)))
        what = UNREADABLE_ANSWERS_REASON if strange else ""
        left = ExcludedRecords(odd=len(strange), requests=tuple(strange[:MAX_EXAMPLE_REQUESTS]), what=what)
        # A label before its time counts for nothing.
        return ScoreBins(past, checked, score_bin_totals(waiting, np.zeros(len(waiting))), left)

    def refused_requests(self, question: EvidenceRequest) -> tuple[str, ...]:
        """Requests of a rollout, and of the champion's past, that every version refuses.

        The gateway has asked one version or two; the one that it has not asked is asked here, so that a request counts
        as a failure only where the other version can answer it. A version that cannot be loaded here refuses nothing.
        Of very many requests the rest is taken as most of those that were asked.
        """
        key = (question.model, question.until, question.rollout)
        if key not in self._failed:
            self._failed = {key: self._log.failed_requests(*key, question.champion.number)}
        found = self._failed[key]
        asked = found[:MAX_REFUSED_REQUESTS]
        both = [failed[0] for failed in asked if self._refuses(question, *failed)]
        rest = [request for request, *_ in found[MAX_REFUSED_REQUESTS:]] if 2 * len(both) > len(asked) else []
        return (*both, *rest)

    def _refuses(self, question: EvidenceRequest, request: str, by: str, features: object, params: object) -> bool:
        """Whether the version that a request without an answer was not asked of refuses it as well."""
        if request not in self._refused:
            other = question.champion if by == question.candidate.number else question.candidate
            named, bare = (features, None) if isinstance(features, dict) else ({}, [features])
            decryptor = build_column_decryptor(self._log.root, question.model)
            named = named if decryptor is None else decryptor.decrypt_row(named)
            row = LoggedRequest((request, 0), 0.0, "", "", None, named, (), params, bare)
            try:  # a process starts at its first question, so a version that cannot be loaded says so there
                self._refused[request] = (
                    features is None or not score_requests(self._model(question, other), [row]).answers
                )
            except SurefootError:
                return False
        return self._refused[request]

    def failure_evidence(self, question: EvidenceRequest) -> BadEventCounts | MissingEvidence:
        """Requests that each version cannot answer, as if both had been given half of them."""
        if not self.window(question).size:
            return MissingEvidence(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        return self.count_failures(question).error_rate_evidence()

    def count_failures(self, question: EvidenceRequest) -> ReplayFailures:
        """Count the requests of the window that each version cannot answer."""
        champion, candidate = self.score_window(question, question.champion, question.candidate)
        size, tried = self.window(question).size, (champion.tally.tried, candidate.tally.tried)
        both = 0
        if tried == (size, size):  # what both refuse is evidence about neither
            pairs = zip(champion.answer_columns(), candidate.answer_columns(), strict=True)
            both = sum(int((missing_answer_mask(old) & missing_answer_mask(new)).sum()) for old, new in pairs)
        return ReplayFailures(size, *tried, champion.answered, candidate.answered, both)


def _score_all(
    window: ReplayWindow,
    versions: Sequence[WindowScorer],
    threads: ThreadPoolExecutor,
    on_rows: Callable[[int], None],
) -> None:
    """Score a window with some versions at the same time; the next batch is read while one is being scored."""
    running: list[Future[None]] = []
    rows = 0
    for batch in window.batches():
        for version in versions:
            version.prepare_batch(batch)
        for done in running:
            done.result()
        on_rows(rows)
        running, rows = (
            [threads.submit(version.score_batch, batch) for version in versions],
            len(versions) * len(batch.number),
        )
    for done in running:
        done.result()
    on_rows(rows)
    for done in [threads.submit(version.check_answers) for version in versions]:
        done.result()


def _apart(given: object, expected: object) -> float:
    """How far two answers are from each other; infinite when they are not even alike."""
    if isinstance(given, Mapping) and isinstance(expected, Mapping) and given.keys() == expected.keys():
        return max((_apart(given[key], expected[key]) for key in expected), default=0.0)
    if isinstance(given, list) and isinstance(expected, list) and len(given) == len(expected):
        return max((_apart(a, b) for a, b in zip(given, expected, strict=True)), default=0.0)
    if isinstance(given, int | float) and isinstance(expected, int | float):
        return abs(float(given) - float(expected))
    return 0.0 if given == expected else math.inf
