"""Count the evidence for gates per group of log files, by scoring their requests with both versions."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict

import numpy as np

from surefoot.adapters.evidence.excluded_counts import gate_needs_labels
from surefoot.adapters.evidence.paired.paired_loss_evidence import PairedLossAccumulator
from surefoot.adapters.evidence.replay_failures import ReplayFailures
from surefoot.adapters.evidence_store.answer_files import OPEN_GROUP_NAME, environment_digest
from surefoot.adapters.evidence_store.count_metadata import (
    decode_excluded_counts,
    decode_replay_failures,
    encode_replay_failures,
)
from surefoot.adapters.evidence_store.evidence_store import EvidenceStore, StoredCounts, stored_counts_file_prefix
from surefoot.adapters.evidence_store.log_file_groups import LogFileGroup, LogFileGroups
from surefoot.adapters.evidence_store.paired_sums_table import decode_paired_sums, empty_sums_table, encode_paired_sums
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.adapters.replay.scoring_progress import ScoringProgress
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.judging.full_replay import needs_full_replay
from surefoot.core.policy.policy_types import PAIRED_METRICS, Metric, PairedGate, narrow_gate_type

_FORMAT = 1
"""Version of what is kept; other sums are made anew."""
_Sums = tuple[PairedLossAccumulator, int, StoredCounts | None]
_Failures = tuple[ReplayFailures, StoredCounts | None]


class FileGroupCounts:
    """Evidence counts of the prediction-log file groups of one time window.

    Attributes:
        cut: The window in file groups.
        asked: Requests that a version was asked, for both versions together [count].
    """

    def __init__(
        self,
        cut: LogFileGroups,
        store: EvidenceStore,
        open_replay: Callable[[LogFileGroup], OfflineReplay],
        progress: ScoringProgress,
    ) -> None:
        """Nothing is opened before the first question.

        Args:
            cut: The window in file groups.
            store: What is kept.
            open_replay: Opens a replay of one file group.
            progress: Is told of each file group.
        """
        self.cut, self.asked = cut, 0
        self._store, self._open_replay, self._progress = store, open_replay, progress
        self._replays: dict[int, OfflineReplay] = {}
        self._answers_kept: set[int] = set()
        self._given_up: set[int] = set()
        self._sums: dict[tuple[int, str], _Sums] = {}
        self._failures: dict[tuple[int, str], _Failures] = {}
        self._left: dict[tuple[int, bool], ExcludedRecords] = {}

    def replay(self, file_group: LogFileGroup) -> OfflineReplay:
        """The replay of a file group."""
        if id(file_group) not in self._replays:
            self._replays[id(file_group)] = self._open_replay(file_group)
        return self._replays[id(file_group)]

    def close(self) -> None:
        """Close all replays."""
        for replay in self._replays.values():
            replay.close_window()
        self._replays = {}

    def count_waiting(self, questions: Sequence[EvidenceRequest]) -> None:
        """Count all file groups that the first question has to have counted, for all questions at once.

        While both versions are asked about one file group, the next one is copied out of the log, and the one before is
        added up. No more than three are open.
        """
        first = questions[0]
        kept, versions = self._store.list_stored_names(), (first.champion, first.candidate)
        waiting = [file_group for file_group in self.cut.file_groups if self._uncounted(first, file_group, kept)]
        rows = {
            id(file_group): len(versions) * file_group.rows * self._asks(first, file_group) for file_group in waiting
        }
        self._progress.begin(sum(rows.values()))
        with ThreadPoolExecutor(1) as copying, ThreadPoolExecutor(1) as counting:
            copied: Future[object] | None = None
            counted: Future[None] | None = None
            try:
                for place, file_group in enumerate(waiting):
                    self._progress.begin_file_group(rows[id(file_group)])
                    if copied is not None:
                        copied.result()
                    last = place + 1 == len(waiting)
                    copied = None if last else copying.submit(self.replay(waiting[place + 1]).window, first)
                    self._ask(first, file_group)
                    if counted is not None:
                        counted.result()
                    counted = counting.submit(self.count_group, questions, file_group, keep_open=last)
            finally:
                for future in (copied, counted):
                    if future is not None:
                        future.result()
        self._progress.end()

    def _uncounted(self, question: EvidenceRequest, file_group: LogFileGroup, kept: frozenset[str]) -> bool:
        """Whether nothing is known of a file group under a question's gate, neither here nor on disk."""
        name = (id(file_group), _gate_name(question))
        if name in self._sums or name in self._failures or id(file_group) in self._given_up:
            return False
        return not file_group.name or self.needs_counting(question, file_group, kept)

    def _asks(self, question: EvidenceRequest, file_group: LogFileGroup) -> bool:
        """Whether a version has to be asked about a file group: its answers are neither at hand nor kept."""
        versions = (question.champion, question.candidate)
        known = id(file_group) in self._replays and self.replay(file_group).is_scored(versions)
        return not known and not (
            file_group.name and all(self._store.answers.exists(v, file_group.name) for v in versions)
        )

    def needs_counting(self, question: EvidenceRequest, file_group: LogFileGroup, kept: frozenset[str]) -> bool:
        """Whether a look would have to ask the versions about a closed file group, or to add it up."""
        if key := self._sums_key(question, file_group):
            return stored_counts_file_prefix(key) not in kept
        return not all(self._store.answers.exists(v, file_group.name) for v in (question.champion, question.candidate))

    def count_group(
        self, questions: Sequence[EvidenceRequest], file_group: LogFileGroup, *, keep_open: bool = False
    ) -> None:
        """Count a file group for some questions while it is open.

        Args:
            questions: They are all about one window.
            file_group: The file_group.
            keep_open: Whether it is going to be asked more.
        """
        asked = [question for question in questions if needs_full_replay(question)]
        kept = self._store.list_stored_names()
        paired = [question for question in asked if question.gate.metric in PAIRED_METRICS]
        if waiting := [question for question in paired if self._uncounted(question, file_group, kept)]:
            self._add_up(waiting, file_group)
        for question in asked:
            if question.gate.metric is Metric.ERROR_RATE:
                self.failure_evidence(question, file_group)
            elif question not in paired:
                self._keep_answers(question, file_group)
            self.count_excluded(question, file_group)
        if (
            not keep_open
            and id(file_group) not in self._given_up
            and (replay := self._replays.pop(id(file_group), None))
        ):
            replay.close_window()

    def loss_sums(self, question: EvidenceRequest, file_group: LogFileGroup) -> _Sums | None:
        """The sums of a file group, its requests and where its sums are kept; None where a version was given up."""
        name = (id(file_group), _gate_name(question))
        if name in self._sums:
            return self._sums[name]
        key = self._sums_key(question, file_group)
        piece = self._store.load_counts(key) if key else None
        if piece is not None:
            gate = narrow_gate_type(question.gate, PairedGate)
            sums = decode_paired_sums(gate, question.since, question.until, piece.table, piece.facts)
            return sums, int(str(piece.facts["rows"])), piece
        found = self._add_up([question], file_group)
        return found[0] if found else None

    def _add_up(self, questions: Sequence[EvidenceRequest], file_group: LogFileGroup) -> list[_Sums]:
        """Sum a file group for some questions in one pass, and keep the sums; nothing where a version was given up."""
        made, whole = self._keep_answers(questions[0], file_group)
        if made is None:
            return []
        size, found = made.window(questions[0]).size, []
        for question, sums in zip(questions, made.sum_losses(*questions), strict=True):
            key = self._sums_key(question, file_group)
            piece = None
            if key and whole:
                table, facts = encode_paired_sums(sums)
                piece = self._store.save_counts(key, table, {**facts, "rows": size})
            else:
                self._sums[id(file_group), _gate_name(question)] = (sums, size, None)
            found.append((sums, size, piece))
        return found

    def failure_evidence(self, question: EvidenceRequest, file_group: LogFileGroup) -> _Failures | None:
        """The failures in a file group, and where they are kept; None where a version was given up."""
        name = (id(file_group), _gate_name(question))
        if name in self._failures:
            return self._failures[name]
        key = self._sums_key(question, file_group)
        piece = self._store.load_counts(key) if key else None
        if piece is not None:
            return decode_replay_failures(piece.facts), piece
        made, whole = self._keep_answers(question, file_group)
        if made is None:
            return None
        counts = made.count_failures(question)
        if key and whole:
            return counts, self._store.save_counts(key, empty_sums_table(), encode_replay_failures(counts))
        self._failures[name] = (counts, None)
        return self._failures[name]

    def count_excluded(self, question: EvidenceRequest, file_group: LogFileGroup) -> ExcludedRecords:
        """What is left out of the records of a file group."""
        labels = gate_needs_labels(question)
        name = (id(file_group), labels)
        if name in self._left:
            return self._left[name]
        key = self._key(question, file_group, "left out", labels=labels, versions=False, reads=labels)
        if key and (piece := self._store.load_counts(key)):
            return decode_excluded_counts(piece.facts)
        replay = self.replay(file_group)
        replay.window(question)
        found = replay.count_excluded(question)
        if key:
            self._store.save_counts(key, empty_sums_table(), {**asdict(found), "requests": list(found.requests)})
        self._left[name] = found
        return found

    def _ask(self, question: EvidenceRequest, file_group: LogFileGroup) -> None:
        """Ask both versions about a file group."""
        replay, versions = self.replay(file_group), (question.champion, question.candidate)
        if not replay.window(question).size or replay.is_scored(versions):
            return
        self.asked += sum(scoring.asked for scoring in replay.score_window(question, *versions))

    def _keep_answers(self, question: EvidenceRequest, file_group: LogFileGroup) -> tuple[OfflineReplay | None, bool]:
        """Ask both versions about a file group, and keep what they answer.

        Returns:
            The file group, None where a version was given up; and whether neither version has lost its process.
        """
        self._ask(question, file_group)
        replay, versions = self.replay(file_group), (question.champion, question.candidate)
        if not replay.window(question).size:
            return replay, True
        scorings = replay.score_window(question, *versions)
        if id(file_group) not in self._answers_kept:
            within = file_group.lies_within(question.since, question.until)
            answers, name = self._store.answers, file_group.name or OPEN_GROUP_NAME
            for version, scoring in zip(versions, scorings, strict=True):
                if scoring.asked or (file_group.name and within and not answers.exists(version, name)):
                    answers.write(version, name, scoring.answer_tables(), self.cut.names)
            self._answers_kept.add(id(file_group))
        if any(scoring.tally.abandoned for scoring in scorings):
            self._given_up.add(id(file_group))
            return None, False
        return replay, all(scoring.is_complete() for scoring in scorings)

    def _sums_key(self, question: EvidenceRequest, file_group: LogFileGroup) -> dict[str, object]:
        """What a file group's sums under a question's gate depend on; empty where they are still going to change."""
        if question.gate.metric is Metric.ERROR_RATE:
            return self._key(question, file_group, "failures", labels=False)
        if question.gate.metric not in PAIRED_METRICS:
            return {}
        gate = narrow_gate_type(question.gate, PairedGate)
        if (
            not PairedLossAccumulator(gate, question.since, question.until)
            .complete(np.array([file_group.last_at]))
            .all()
        ):
            return {}
        return self._key(question, file_group, "sums", gate=gate.model_dump(mode="json", warnings="none"))

    def _key(
        self,
        question: EvidenceRequest,
        file_group: LogFileGroup,
        kind: str,
        *,
        labels: bool = True,
        versions: bool = True,
        **more: object,
    ) -> dict[str, object]:
        """What the sums of a file group depend on; empty where they are still going to change."""
        if not file_group.lies_within(question.since, question.until) or (
            labels and file_group.labels.last_at > question.until
        ):
            return {}
        key: dict[str, object] = {
            "format": _FORMAT,
            "kind": kind,
            "parts": sorted(part.digest for part in file_group.parts),
            "labels": file_group.labels.key() if labels else "",
            **more,
        }
        if versions:
            key["environment"] = environment_digest()
            key["versions"] = [[v.number, v.digest] for v in (question.champion, question.candidate)]
        return key


def _gate_name(question: EvidenceRequest) -> str:
    """Everything that a gate says, as one text."""
    return f"{question.gate.name} {question.gate.metric} {question.gate.model_dump_json(warnings='none')}"
