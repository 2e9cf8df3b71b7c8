"""Count the evidence in sections of the prediction log for several gates at once; store that of closed sections."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict

import numpy as np

from surefoot.adapters.evidence.failure_counts import FailureCounts
from surefoot.adapters.evidence.left_out_records import waits_for_labels
from surefoot.adapters.evidence.paired.paired_sums import PairedSumsBuilder
from surefoot.adapters.evidence_store.answer_files import TAIL, environment_digest
from surefoot.adapters.evidence_store.evidence_store import EvidenceStore, StoredCounts, key_name
from surefoot.adapters.evidence_store.left_out_facts import read_left_out
from surefoot.adapters.evidence_store.log_sections import LogSection, LogSections
from surefoot.adapters.evidence_store.sums_table import decode_sums, empty_table, encode_sums
from surefoot.adapters.evidence_store.verdict_recount import decode_failures, encode_failures
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.adapters.replay.scoring_progress import ScoringProgress
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.full_replay_requests import needs_every_request
from surefoot.core.judging.left_out_records import LeftOutRecords
from surefoot.core.policy.policy_types import PAIRED_METRICS, Metric, PairedGate, narrow

_FORMAT = 1
"""Version of what is kept; other sums are made anew."""
_Sums = tuple[PairedSumsBuilder, int, StoredCounts | None]
_Failures = tuple[FailureCounts, StoredCounts | None]


class SectionCounts:
    """What is counted of the sections of one window of a log.

    Attributes:
        cut: The window in sections.
        asked: Requests that a version was asked, for both versions together [count].
    """

    def __init__(
        self,
        cut: LogSections,
        store: EvidenceStore,
        open_replay: Callable[[LogSection], OfflineReplay],
        progress: ScoringProgress,
    ) -> None:
        """Nothing is opened before the first question.

        Args:
            cut: The window in sections.
            store: What is kept.
            open_replay: Opens a replay of one section.
            progress: Is told of each section.
        """
        self.cut, self.asked = cut, 0
        self._store, self._open_replay, self._progress = store, open_replay, progress
        self._replays: dict[int, OfflineReplay] = {}
        self._answers_kept: set[int] = set()
        self._given_up: set[int] = set()
        self._sums: dict[tuple[int, str], _Sums] = {}
        self._failures: dict[tuple[int, str], _Failures] = {}
        self._left: dict[tuple[int, bool], LeftOutRecords] = {}

    def replay(self, section: LogSection) -> OfflineReplay:
        """The replay of a section."""
        if id(section) not in self._replays:
            self._replays[id(section)] = self._open_replay(section)
        return self._replays[id(section)]

    def close(self) -> None:
        """Close all replays."""
        for replay in self._replays.values():
            replay.close_window()
        self._replays = {}

    def count_waiting(self, questions: Sequence[EvidenceRequest]) -> None:
        """Count all sections that the first question has to have counted, for all questions at once.

        While both versions are asked about one section, the next one is copied out of the log, and the one before is
        added up. No more than three are open.
        """
        first = questions[0]
        kept, versions = self._store.stored_keys(), (first.champion, first.candidate)
        waiting = [section for section in self.cut.sections if self._uncounted(first, section, kept)]
        rows = {id(section): len(versions) * section.rows * self._asks(first, section) for section in waiting}
        self._progress.begin(sum(rows.values()))
        with ThreadPoolExecutor(1) as copying, ThreadPoolExecutor(1) as counting:
            copied: Future[object] | None = None
            counted: Future[None] | None = None
            try:
                for place, section in enumerate(waiting):
                    self._progress.begin_section(rows[id(section)])
                    if copied is not None:
                        copied.result()
                    last = place + 1 == len(waiting)
                    copied = None if last else copying.submit(self.replay(waiting[place + 1]).window, first)
                    self._ask(first, section)
                    if counted is not None:
                        counted.result()
                    counted = counting.submit(self.count, questions, section, keep_open=last)
            finally:
                for future in (copied, counted):
                    if future is not None:
                        future.result()
        self._progress.end()

    def _uncounted(self, question: EvidenceRequest, section: LogSection, kept: frozenset[str]) -> bool:
        """Whether nothing is known of a section under a question's gate, neither here nor on disk."""
        name = (id(section), _gate_name(question))
        if name in self._sums or name in self._failures or id(section) in self._given_up:
            return False
        return not section.name or self.waits(question, section, kept)

    def _asks(self, question: EvidenceRequest, section: LogSection) -> bool:
        """Whether a version has to be asked about a section: its answers are neither at hand nor kept."""
        versions = (question.champion, question.candidate)
        known = id(section) in self._replays and self.replay(section).scored(versions)
        return not known and not (section.name and all(self._store.answers.has(v, section.name) for v in versions))

    def waits(self, question: EvidenceRequest, section: LogSection, kept: frozenset[str]) -> bool:
        """Whether a look would have to ask the versions about a closed section, or to add it up."""
        if key := self._sums_key(question, section):
            return key_name(key) not in kept
        return not all(self._store.answers.has(v, section.name) for v in (question.champion, question.candidate))

    def count(self, questions: Sequence[EvidenceRequest], section: LogSection, *, keep_open: bool = False) -> None:
        """Count a section for some questions while it is open.

        Args:
            questions: They are all about one window.
            section: The section.
            keep_open: Whether it is going to be asked more.
        """
        asked = [question for question in questions if needs_every_request(question)]
        kept = self._store.stored_keys()
        paired = [question for question in asked if question.gate.metric in PAIRED_METRICS]
        if waiting := [question for question in paired if self._uncounted(question, section, kept)]:
            self._add_up(waiting, section)
        for question in asked:
            if question.gate.metric is Metric.ERROR_RATE:
                self.failures(question, section)
            elif question not in paired:
                self._keep_answers(question, section)
            self.left_out(question, section)
        if not keep_open and id(section) not in self._given_up and (replay := self._replays.pop(id(section), None)):
            replay.close_window()

    def sums(self, question: EvidenceRequest, section: LogSection) -> _Sums | None:
        """The sums of a section, its requests and where its sums are kept; None where a version was given up."""
        name = (id(section), _gate_name(question))
        if name in self._sums:
            return self._sums[name]
        key = self._sums_key(question, section)
        piece = self._store.load_counts(key) if key else None
        if piece is not None:
            gate = narrow(question.gate, PairedGate)
            sums = decode_sums(gate, question.since, question.until, piece.table, piece.facts)
            return sums, int(str(piece.facts["rows"])), piece
        found = self._add_up([question], section)
        return found[0] if found else None

    def _add_up(self, questions: Sequence[EvidenceRequest], section: LogSection) -> list[_Sums]:
        """Add a section up for some questions in one pass, and keep the sums; nothing where a version was given up."""
        made, whole = self._keep_answers(questions[0], section)
        if made is None:
            return []
        size, found = made.window(questions[0]).size, []
        for question, sums in zip(questions, made.sum_losses(*questions), strict=True):
            key = self._sums_key(question, section)
            piece = None
            if key and whole:
                table, facts = encode_sums(sums)
                piece = self._store.save_counts(key, table, {**facts, "rows": size})
            else:
                self._sums[id(section), _gate_name(question)] = (sums, size, None)
            found.append((sums, size, piece))
        return found

    def failures(self, question: EvidenceRequest, section: LogSection) -> _Failures | None:
        """The failures in a section, and where they are kept; None where a version was given up."""
        name = (id(section), _gate_name(question))
        if name in self._failures:
            return self._failures[name]
        key = self._sums_key(question, section)
        piece = self._store.load_counts(key) if key else None
        if piece is not None:
            return decode_failures(piece.facts), piece
        made, whole = self._keep_answers(question, section)
        if made is None:
            return None
        counts = made.count_failures(question)
        if key and whole:
            return counts, self._store.save_counts(key, empty_table(), encode_failures(counts))
        self._failures[name] = (counts, None)
        return self._failures[name]

    def left_out(self, question: EvidenceRequest, section: LogSection) -> LeftOutRecords:
        """What is left out of the records of a section."""
        labels = waits_for_labels(question)
        name = (id(section), labels)
        if name in self._left:
            return self._left[name]
        key = self._key(question, section, "left out", labels=labels, versions=False, reads=labels)
        if key and (piece := self._store.load_counts(key)):
            return read_left_out(piece.facts)
        replay = self.replay(section)
        replay.window(question)
        found = replay.left_out(question)
        if key:
            self._store.save_counts(key, empty_table(), {**asdict(found), "requests": list(found.requests)})
        self._left[name] = found
        return found

    def _ask(self, question: EvidenceRequest, section: LogSection) -> None:
        """Ask both versions about a section."""
        replay, versions = self.replay(section), (question.champion, question.candidate)
        if not replay.window(question).size or replay.scored(versions):
            return
        self.asked += sum(scoring.asked for scoring in replay.score(question, *versions))

    def _keep_answers(self, question: EvidenceRequest, section: LogSection) -> tuple[OfflineReplay | None, bool]:
        """Ask both versions about a section, and keep what they answer.

        Returns:
            The section, None where a version was given up; and whether neither version has lost its process.
        """
        self._ask(question, section)
        replay, versions = self.replay(section), (question.champion, question.candidate)
        if not replay.window(question).size:
            return replay, True
        scorings = replay.score(question, *versions)
        if id(section) not in self._answers_kept:
            within = section.within(question.since, question.until)
            answers, name = self._store.answers, section.name or TAIL
            for version, scoring in zip(versions, scorings, strict=True):
                if scoring.asked or (section.name and within and not answers.has(version, name)):
                    answers.keep(version, name, scoring.tables(), self.cut.names)
            self._answers_kept.add(id(section))
        if any(scoring.tally.abandoned for scoring in scorings):
            self._given_up.add(id(section))
            return None, False
        return replay, all(scoring.complete() for scoring in scorings)

    def _sums_key(self, question: EvidenceRequest, section: LogSection) -> dict[str, object]:
        """What the sums of a section under a question's gate depend on; empty where they are still going to change."""
        if question.gate.metric is Metric.ERROR_RATE:
            return self._key(question, section, "failures", labels=False)
        if question.gate.metric not in PAIRED_METRICS:
            return {}
        gate = narrow(question.gate, PairedGate)
        if not PairedSumsBuilder(gate, question.since, question.until).complete(np.array([section.last_at])).all():
            return {}
        return self._key(question, section, "sums", gate=gate.model_dump(mode="json", warnings="none"))

    def _key(
        self,
        question: EvidenceRequest,
        section: LogSection,
        kind: str,
        *,
        labels: bool = True,
        versions: bool = True,
        **more: object,
    ) -> dict[str, object]:
        """What the sums of a section depend on; empty where they are still going to change."""
        if not section.within(question.since, question.until) or (labels and section.labels.last_at > question.until):
            return {}
        key: dict[str, object] = {
            "format": _FORMAT,
            "kind": kind,
            "parts": sorted(part.digest for part in section.parts),
            "labels": section.labels.key() if labels else "",
            **more,
        }
        if versions:
            key["environment"] = environment_digest()
            key["versions"] = [[v.number, v.digest] for v in (question.champion, question.candidate)]
        return key


def _gate_name(question: EvidenceRequest) -> str:
    """Everything that a gate says, as one text."""
    return f"{question.gate.name} {question.gate.metric} {question.gate.model_dump_json(warnings='none')}"
