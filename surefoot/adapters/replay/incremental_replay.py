"""Replay the prediction log, reusing the answers and sums that earlier runs stored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from surefoot.adapters.evidence.excluded_counts import MAX_EXAMINED_ROWS, gate_needs_labels, gate_uses_row_sample
from surefoot.adapters.evidence.paired.paired_loss_evidence import PairedLossAccumulator
from surefoot.adapters.evidence.replay_failures import ReplayFailures
from surefoot.adapters.evidence_store.count_metadata import add_excluded_counts, encode_replay_failures
from surefoot.adapters.evidence_store.evidence_store import EvidenceStore
from surefoot.adapters.evidence_store.file_group_log import LogFilesReplacedError
from surefoot.adapters.evidence_store.log_file_groups import LogFileGroup, group_log_files
from surefoot.adapters.evidence_store.paired_sums_table import empty_sums_table, encode_paired_sums
from surefoot.adapters.predictions.prediction_log import LoggedRequest, PredictionLog
from surefoot.adapters.replay.batch_scoring import ScorableModel
from surefoot.adapters.replay.file_group_counts import FileGroupCounts
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.adapters.replay.scoring_progress import ProgressReport, ScoringProgress
from surefoot.adapters.replay.window_scoring import WindowScorer
from surefoot.core.domain import Outcome, Version
from surefoot.core.judging.evidence import BadEventCounts, MissingEvidence, PairedSums
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.excluded_records import ExcludedRecords
from surefoot.core.judging.full_replay import list_full_replay_evidence_requests, needs_full_replay
from surefoot.core.policy.policy_types import PairedGate, narrow_gate_type

_MAX_TRIES = 10
"""How often a log is cut into file groups anew, because a compaction has replaced files [count]."""
_Found = TypeVar("_Found")


class IncrementalReplay(OfflineReplay):
    """An offline replay that stores answers and sums for later runs. Law: the evidence equals that of one full pass."""

    def __init__(
        self,
        log: PredictionLog,
        load: Callable[[str, Version], ScorableModel],
        root: Path,
        report: ProgressReport = lambda _done, _total: None,
    ) -> None:
        """Nothing is read or loaded before the first question.

        Args:
            log: The log.
            load: Gives a version by model; it is asked once for each.
            root: Folder of everything that is kept.
            report: Is told how far both versions have come, after each batch of requests; it must not raise.
        """
        super().__init__(log, load)
        self._progress = ScoringProgress(report)
        self.on_rows = self._progress.advance
        self._root = root
        self._model_name = ""
        self._kept = self._answer_files
        self._cut: tuple[tuple[str, float, float], FileGroupCounts] | None = None
        self._asked = 0

    @property
    def rows_scored(self) -> int:
        """Requests that a version was asked, for both versions together [count]."""
        return self._asked + (0 if self._cut is None else self._cut[1].asked)

    def _store(self) -> EvidenceStore:
        return EvidenceStore(self._root, self._model_name)

    def _answer_files(self, version: Version, since: float, until: float) -> list[Path]:
        """Files of answers that a version has given to requests of a time before."""
        return self._store().answers.files_overlapping(version, since, until)

    def close_window(self) -> None:
        """Forget the window and its file groups."""
        super().close_window()
        if self._cut is not None:
            self._cut[1].close()
            self._asked += self._cut[1].asked
        self._cut = None

    def _sections(self, question: EvidenceRequest) -> FileGroupCounts:
        key = (question.model, question.since, question.until)
        if self._cut is None or self._cut[0] != key:
            self.close_window()
            self._model_name = question.model
            store = self._store()
            cut = group_log_files(self._log, *key, store.indexes)
            self._cut = (
                key,
                FileGroupCounts(cut, store, lambda one: self._open_file_group(question, one), self._progress),
            )
        return self._cut[1]

    def _open_file_group(self, question: EvidenceRequest, file_group: LogFileGroup) -> OfflineReplay:
        """A replay of one file group, with the models of this one."""
        made = OfflineReplay(
            file_group.log,
            lambda _model, version: self._model(question, version),
            self._kept,
            file_group=True,
            part=file_group.table,
        )
        made.on_rows = self._progress.advance
        return made

    def _over_sections(self, question: EvidenceRequest, run: Callable[[FileGroupCounts], _Found]) -> _Found:
        """Run something on the file groups; again where a compaction has replaced files meanwhile."""
        left = _MAX_TRIES
        while True:
            left -= 1
            try:
                return run(self._sections(question))
            except LogFilesReplacedError:
                self.close_window()
                if not left:
                    raise

    def paired_loss_evidence(self, question: EvidenceRequest) -> PairedSums | MissingEvidence:
        """What both versions make of every request whose label has matured, by block and slice."""
        if question.max_rows is None:
            made = self._over_sections(question, lambda counts: self._paired(question, counts))
            if made is not None:
                return made
        return super().paired_loss_evidence(question)

    def _paired(self, question: EvidenceRequest, counts: FileGroupCounts) -> PairedSums | MissingEvidence | None:
        """The sums of all file groups; None where a version was given up, whose failures are counted over the whole."""
        gate = narrow_gate_type(question.gate, PairedGate)
        total, tail = (PairedLossAccumulator(gate, question.since, question.until) for _ in range(2))
        names, rows = [], 0
        counts.count_waiting(list_full_replay_evidence_requests(question))
        for file_group in counts.cut.file_groups:
            made = counts.loss_sums(question, file_group)
            if made is None:
                return None
            sums, size, piece = made
            rows += size
            total.merge(sums)
            if piece is None:
                tail.merge(sums)
            else:
                names.append(piece.name)
        if not rows:
            return MissingEvidence(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        raised = self._merge_older(question, total, tail)
        table, facts = encode_paired_sums(tail)
        kept = self._keep_look(question, names, table, {**facts, "kind": "sums", "unknown": counts.cut.unknown})
        return replace(total.evidence(counts.cut.unknown), kept=kept, raised=raised)

    def _keep_look(self, question: EvidenceRequest, names: list[str], table: pa.Table, facts: dict[str, object]) -> str:
        """Keep what an evidence was made of, where something of it was kept; give the digest of that."""
        if not names:
            return ""
        facts |= {"pieces": names, "since": question.since, "until": question.until}
        return self._store().save_verdict_sources(table, facts)

    def failure_evidence(self, question: EvidenceRequest) -> BadEventCounts | MissingEvidence:
        """Requests that each version cannot answer, as if both had been given half of them."""
        if question.max_rows is None:
            made = self._over_sections(question, lambda counts: self._failures(question, counts))
            if made is not None:
                return made
        return super().failure_evidence(question)

    def _failures(self, question: EvidenceRequest, counts: FileGroupCounts) -> BadEventCounts | MissingEvidence | None:
        names, total, tail = [], ReplayFailures(), ReplayFailures()
        counts.count_waiting(list_full_replay_evidence_requests(question))
        for file_group in counts.cut.file_groups:
            made = counts.failure_evidence(question, file_group)
            if made is None:
                return None
            failed, piece = made
            total += failed
            if piece is None:
                tail += failed
            else:
                names.append(piece.name)
        if not total.requests:
            return MissingEvidence(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        kept = self._keep_look(
            question, names, empty_sums_table(), {**encode_replay_failures(tail), "kind": "failures"}
        )
        return replace(total.error_rate_evidence(), kept=kept)

    def uncounted_files(self, questions: Sequence[EvidenceRequest]) -> Mapping[str, str]:
        """Closed parts that a look with some questions would have to count, oldest first.

        Returns:
            Name of each part for `count_part`, and names of its files for people.

        Raises:
            EvidenceUnavailable: The log, or what was kept of it, cannot be read.
        """
        asked = [question for question in questions if needs_full_replay(question)]
        if not asked:
            return {}

        def waiting(counts: FileGroupCounts) -> dict[str, str]:
            kept = self._store().list_stored_names()
            named = (file_group for file_group in counts.cut.file_groups if file_group.name)
            return {
                one.name: one.file_names
                for one in named
                if any(counts.needs_counting(other, one, kept) for other in asked)
            }

        return self._over_sections(asked[0], waiting)

    def count_file(self, questions: Sequence[EvidenceRequest], name: str) -> bool:
        """Score a closed part, and keep its answers and its sums, so that a look with some questions adds them up.

        Args:
            questions: What the look will ask, all about one window.
            name: One of `uncounted_files`.

        Returns:
            Whether the log has such a part: a compaction may have put its records into another one.

        Raises:
            SurefootError: The log cannot be read, or a version cannot be had.
        """

        def count(counts: FileGroupCounts) -> bool:
            file_group = next((one for one in counts.cut.file_groups if one.name == name), None)
            if file_group is None:
                return False
            counts.count_group(questions, file_group)
            return True

        return self._over_sections(questions[0], count) if questions else False

    def count_excluded(self, question: EvidenceRequest) -> ExcludedRecords:
        """Count what the evidence for a gate leaves out of the records of the window."""
        if question.max_rows is not None:
            return super().count_excluded(question)
        return self._over_sections(question, lambda counts: self._left_out(question, counts))

    def _left_out(self, question: EvidenceRequest, counts: FileGroupCounts) -> ExcludedRecords:
        labels, total = gate_needs_labels(question), ExcludedRecords()
        for file_group in counts.cut.file_groups:
            total = add_excluded_counts(total, counts.count_excluded(question, file_group))
        rows = total.records - total.repeated
        examined = gate_uses_row_sample(self._log, question)
        sampled = max(rows - MAX_EXAMINED_ROWS, 0) if examined else 0
        return replace(total, unknown=counts.cut.unknown if labels else 0, sampled=sampled)

    def latest_requests(self, question: EvidenceRequest, count: int) -> list[LoggedRequest]:
        """Give the latest requests of the window, oldest first, without their labels."""
        if question.max_rows is not None:
            return super().latest_requests(question, count)
        return self._over_sections(question, lambda counts: self._latest(question, counts, count))

    def _latest(self, question: EvidenceRequest, counts: FileGroupCounts, count: int) -> list[LoggedRequest]:
        found: list[LoggedRequest] = []
        for file_group in reversed(counts.cut.file_groups):
            if len(found) >= count and file_group.last_at < found[0].at:
                continue
            found += counts.replay(file_group).latest_requests(question, count)
            found = sorted(found, key=lambda served: (served.at, served.key))[-count:]
        return found

    def score_window(self, question: EvidenceRequest, *versions: Version) -> list[WindowScorer]:
        """Answers of some versions to the whole window, each asked for what was not kept."""
        self._model_name = question.model
        fresh = [version for version in versions if not self.is_scored([version])]
        self._progress.begin(len(fresh) * self.window(question).size)
        made = super().score_window(question, *versions)
        self._progress.end()
        self._asked += sum(one.asked for one, version in zip(made, versions, strict=True) if version in fresh)
        return made
