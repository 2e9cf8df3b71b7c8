"""Replay a log part by part: a closed part is counted once, and later looks add up what was kept of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from surefoot.adapters.evidence.failure_counts import FailureCounts
from surefoot.adapters.evidence.left_out_records import MAX_EXAMINED_ROWS, examines_rows, reads_labels
from surefoot.adapters.evidence.paired_sums import PairedSumsBuilder
from surefoot.adapters.evidence_store.answer_files import TAIL, environment_digest
from surefoot.adapters.evidence_store.evidence_store import EvidenceStore, KeptPiece, key_name
from surefoot.adapters.evidence_store.left_out_facts import add_left_out, read_left_out
from surefoot.adapters.evidence_store.log_sections import LogSection, LogSections, cut_log
from surefoot.adapters.evidence_store.recount import failure_facts, read_failures
from surefoot.adapters.evidence_store.section_log import PartsReplaced
from surefoot.adapters.evidence_store.sums_table import decode_sums, encode_sums, no_rows
from surefoot.adapters.predictions.prediction_log import LoggedRequest, PredictionLog
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.adapters.replay.part_questions import asks_every_request
from surefoot.adapters.replay.scoring import ScorableModel
from surefoot.adapters.replay.scoring_progress import ProgressReport, ScoringProgress
from surefoot.adapters.replay.version_scoring import VersionScorer
from surefoot.core.domain import Outcome, Version
from surefoot.core.judging.evidence import MissingEvidence, PairedSums, SplitCounts
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.left_out_records import LeftOutRecords
from surefoot.core.policy.policy_types import PAIRED_METRICS, Metric, PairedGate, narrow

_FORMAT = 1
"""Version of what is kept; other sums are made anew."""
_MAX_TRIES = 10
"""How often a log is cut into sections anew, because a compaction has replaced files [count]."""
_Found = TypeVar("_Found")


class KeptReplay(OfflineReplay):
    """An offline replay whose answers and sums outlive it. Law: the evidence is that of one pass over the window.

    Attributes:
        rows_asked: Requests that a version was asked, for both versions together [count].
    """

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
        self._cut: tuple[tuple[str, float, float], LogSections] | None = None
        self._replays: dict[int, OfflineReplay] = {}
        self.rows_asked = 0

    def _store(self) -> EvidenceStore:
        return EvidenceStore(self._root, self._model_name)

    def _answer_files(self, version: Version, since: float, until: float) -> list[Path]:
        """Files of answers that a version has given to requests of a time before."""
        return self._store().answers.overlapping(version, since, until)

    def close_window(self) -> None:
        """Forget the window and its sections."""
        super().close_window()
        for replay in self._replays.values():
            replay.close_window()
        self._replays, self._cut = {}, None

    def _sections(self, question: EvidenceRequest) -> LogSections:
        key = (question.model, question.since, question.until)
        if self._cut is None or self._cut[0] != key:
            self.close_window()
            self._model_name = question.model
            self._cut = (key, cut_log(self._log, *key, self._store().indexes))
        return self._cut[1]

    def _replay(self, question: EvidenceRequest, section: LogSection) -> OfflineReplay:
        """A replay of one section, with the models of this one."""
        if id(section) not in self._replays:
            self._replays[id(section)] = OfflineReplay(
                section.log,
                lambda _model, version: self._model(question, version),
                self._kept,
                section=True,
                part=section.table,
            )
            self._replays[id(section)].on_rows = self._progress.advance
        return self._replays[id(section)]

    def _over_sections(self, question: EvidenceRequest, run: Callable[[LogSections], _Found]) -> _Found:
        """Run something on the sections; again where a compaction has replaced files meanwhile."""
        left = _MAX_TRIES
        while True:
            left -= 1
            try:
                return run(self._sections(question))
            except PartsReplaced:
                self.close_window()
                if not left:
                    raise

    def paired(self, question: EvidenceRequest) -> PairedSums | MissingEvidence:
        """What both versions make of every request whose label has matured, by block and slice."""
        if question.max_rows is None:
            made = self._over_sections(question, lambda cut: self._paired(question, cut))
            if made is not None:
                return made
        return super().paired(question)

    def _paired(self, question: EvidenceRequest, cut: LogSections) -> PairedSums | MissingEvidence | None:
        """The sums of all sections; None where a version was given up, whose failures are counted over the whole."""
        gate = narrow(question.gate, PairedGate)
        total, tail = (PairedSumsBuilder(gate, question.since, question.until) for _ in range(2))
        names, rows = [], 0
        for section in self._told(question, cut):
            made = self._section_sums(question, section)
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
        table, facts = encode_sums(tail)
        kept = self._keep_look(question, names, table, {**facts, "kind": "sums", "unknown": cut.unknown})
        return replace(total.evidence(cut.unknown), kept=kept)

    def _section_sums(
        self, question: EvidenceRequest, section: LogSection
    ) -> tuple[PairedSumsBuilder, int, KeptPiece | None] | None:
        """The sums of a section, its requests and where its sums are kept; None where a version was given up."""
        key = self._sums_key(question, section)
        piece = self._store().piece(key) if key else None
        if piece is not None:
            gate = narrow(question.gate, PairedGate)
            sums = decode_sums(gate, question.since, question.until, piece.table, piece.facts)
            return sums, int(str(piece.facts["rows"])), piece
        made, whole = self._score_section(question, section)
        if made is None:
            return None
        sums, size = made.sum_losses(question), made.window(question).size
        if key and whole:
            table, facts = encode_sums(sums)
            piece = self._store().keep_piece(key, table, {**facts, "rows": size})
        return sums, size, piece

    def _keep_look(self, question: EvidenceRequest, names: list[str], table: pa.Table, facts: dict[str, object]) -> str:
        """Keep what an evidence was made of, where something of it was kept; give the digest of that."""
        if not names:
            return ""
        facts |= {"pieces": names, "since": question.since, "until": question.until}
        return self._store().keep_look(table, facts)

    def failures(self, question: EvidenceRequest) -> SplitCounts | MissingEvidence:
        """Requests that each version cannot answer, as if both had been given half of them."""
        if question.max_rows is None:
            made = self._over_sections(question, lambda cut: self._failures(question, cut))
            if made is not None:
                return made
        return super().failures(question)

    def _failures(self, question: EvidenceRequest, cut: LogSections) -> SplitCounts | MissingEvidence | None:
        names, total, tail = [], FailureCounts(), FailureCounts()
        for section in self._told(question, cut):
            made = self._section_failures(question, section)
            if made is None:
                return None
            counts, piece = made
            total += counts
            if piece is None:
                tail += counts
            else:
                names.append(piece.name)
        if not total.requests:
            return MissingEvidence(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        kept = self._keep_look(question, names, no_rows(), {**failure_facts(tail), "kind": "failures"})
        return replace(total.evidence(), kept=kept)

    def _section_failures(
        self, question: EvidenceRequest, section: LogSection
    ) -> tuple[FailureCounts, KeptPiece | None] | None:
        """The failures in a section, and where they are kept; None where a version was given up."""
        key = self._sums_key(question, section)
        piece = self._store().piece(key) if key else None
        if piece is not None:
            return read_failures(piece.facts), piece
        made, whole = self._score_section(question, section)
        if made is None:
            return None
        counts = made.count_failures(question)
        return counts, self._store().keep_piece(key, no_rows(), failure_facts(counts)) if key and whole else None

    def uncounted_parts(self, questions: Sequence[EvidenceRequest]) -> Mapping[str, str]:
        """Closed parts that a look with some questions would have to count, oldest first.

        Returns:
            Name of each part for `count_part`, and names of its files for people.

        Raises:
            EvidenceUnavailable: The log, or what was kept of it, cannot be read.
        """
        asked = [question for question in questions if asks_every_request(question)]
        if not asked:
            return {}

        def waiting(cut: LogSections) -> dict[str, str]:
            kept = self._store().kept_names()
            named = (section for section in cut.sections if section.name)
            return {one.name: one.title for one in named if any(self._waits(question, one, kept) for question in asked)}

        return self._over_sections(asked[0], waiting)

    def _waits(self, question: EvidenceRequest, section: LogSection, kept: frozenset[str]) -> bool:
        """Whether a look would have to ask the versions about a section, or to add it up."""
        if key := self._sums_key(question, section):
            return key_name(key) not in kept
        answers = self._store().answers
        return not all(answers.has(version, section.name) for version in (question.champion, question.candidate))

    def count_part(self, questions: Sequence[EvidenceRequest], name: str) -> bool:
        """Score a closed part, and keep its answers and its sums, so that a look with some questions adds them up.

        Args:
            questions: What the look will ask, all about one window.
            name: One of `uncounted_parts`.

        Returns:
            Whether the log has such a part: a compaction may have put its records into another one.

        Raises:
            SurefootError: The log cannot be read, or a version cannot be had.
        """

        def count(cut: LogSections) -> bool:
            section = next((one for one in cut.sections if one.name == name), None)
            if section is None:
                return False
            for question in questions:
                if not asks_every_request(question):
                    continue
                if question.gate.metric in PAIRED_METRICS:
                    self._section_sums(question, section)
                elif question.gate.metric is Metric.ERROR_RATE:
                    self._section_failures(question, section)
                else:
                    self._score_section(question, section)
                self._section_left_out(question, section)
            if replay := self._replays.pop(id(section), None):
                replay.close_window()
            return True

        return self._over_sections(questions[0], count) if questions else False

    def left_out(self, question: EvidenceRequest) -> LeftOutRecords:
        """Count what the evidence for a gate leaves out of the records of the window."""
        if question.max_rows is not None:
            return super().left_out(question)
        return self._over_sections(question, lambda cut: self._left_out(question, cut))

    def _left_out(self, question: EvidenceRequest, cut: LogSections) -> LeftOutRecords:
        labels, total = reads_labels(question), LeftOutRecords()
        for section in cut.sections:
            total = add_left_out(total, self._section_left_out(question, section))
        rows = total.records - total.repeated
        examined = examines_rows(self._log, question)
        sampled = max(rows - MAX_EXAMINED_ROWS, 0) if examined else 0
        return replace(total, unknown=cut.unknown if labels else 0, sampled=sampled)

    def _section_left_out(self, question: EvidenceRequest, section: LogSection) -> LeftOutRecords:
        """What is left out of the records of a section."""
        labels = reads_labels(question)
        key = self._key(question, section, "left out", labels=labels, versions=False, reads=labels)
        if key and (piece := self._store().piece(key)):
            return read_left_out(piece.facts)
        replay = self._replay(question, section)
        replay.window(question)
        found = replay.left_out(question)
        if key:
            self._store().keep_piece(key, no_rows(), {**asdict(found), "requests": list(found.requests)})
        return found

    def latest(self, question: EvidenceRequest, count: int) -> list[LoggedRequest]:
        """Give the latest requests of the window, oldest first, without their labels."""
        if question.max_rows is not None:
            return super().latest(question, count)
        return self._over_sections(question, lambda cut: self._latest(question, cut, count))

    def _latest(self, question: EvidenceRequest, cut: LogSections, count: int) -> list[LoggedRequest]:
        found: list[LoggedRequest] = []
        for section in reversed(cut.sections):
            if len(found) >= count and section.last_at < found[0].at:
                continue
            found += self._replay(question, section).latest(question, count)
            found = sorted(found, key=lambda served: (served.at, served.key))[-count:]
        return found

    def score(self, question: EvidenceRequest, *versions: Version) -> list[VersionScorer]:
        """Answers of some versions to the whole window, each asked for what was not kept."""
        self._model_name = question.model
        fresh = [version for version in versions if not self.scored([version])]
        self._progress.begin(len(fresh) * self.window(question).size)
        made = super().score(question, *versions)
        self._progress.end()
        self.rows_asked += sum(one.asked for one, version in zip(made, versions, strict=True) if version in fresh)
        return made

    def _told(self, question: EvidenceRequest, cut: LogSections) -> Iterator[LogSection]:
        """Give the sections, and tell how far the versions have come with those that are not counted yet."""
        versions, kept = (question.champion, question.candidate), self._store().kept_names()

        def waits(section: LogSection) -> bool:
            replay = self._replays.get(id(section))
            known = replay is not None and replay.scored(versions)
            return not known and (not section.name or self._waits(question, section, kept))

        waiting = {id(section): len(versions) * section.rows for section in cut.sections if waits(section)}
        self._progress.begin(sum(waiting.values()))
        for section in cut.sections:
            if id(section) in waiting:
                self._progress.begin_section(waiting[id(section)])
            yield section
        self._progress.end()

    def _score_section(self, question: EvidenceRequest, section: LogSection) -> tuple[OfflineReplay | None, bool]:
        """Ask both versions about a section, and keep what they answer.

        Returns:
            The section, None where a version was given up; and whether neither version has lost its process.
        """
        replay, versions = self._replay(question, section), (question.champion, question.candidate)
        if not replay.window(question).size:
            return replay, True
        known = replay.scored(versions)
        scorings = replay.score(question, *versions)
        if not known:
            self.rows_asked += sum(scoring.asked for scoring in scorings)
            within, current = section.within(question.since, question.until), self._sections(question).names
            answers, name = self._store().answers, section.name or TAIL
            for version, scoring in zip(versions, scorings, strict=True):
                if scoring.asked or (section.name and within and not answers.has(version, name)):
                    answers.keep(version, name, scoring.tables(), current)
        given_up = any(scoring.tally.abandoned for scoring in scorings)
        return None if given_up else replay, all(scoring.complete() for scoring in scorings)

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
