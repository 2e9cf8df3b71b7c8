"""Replay a log part by part: a closed part is counted once, and later looks add up what was kept of it."""

from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from surefoot.adapters.evidence.failure_counts import FailureCounts
from surefoot.adapters.evidence.left_out_records import MAX_EXAMINED_ROWS, examines_rows, reads_labels
from surefoot.adapters.evidence.paired_sums import PairedSumsBuilder
from surefoot.adapters.evidence_store.answer_files import TAIL, environment_digest
from surefoot.adapters.evidence_store.evidence_store import EvidenceStore, KeptPiece
from surefoot.adapters.evidence_store.recount import failure_facts, read_failures
from surefoot.adapters.evidence_store.section_log import PartsReplaced
from surefoot.adapters.evidence_store.sums_table import decode_sums, encode_sums
from surefoot.adapters.predictions.prediction_log import LoggedRequest, PredictionLog
from surefoot.adapters.replay.log_sections import LogSection, LogSections, cut_log
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.adapters.replay.scoring import ScorableModel
from surefoot.adapters.replay.version_scoring import VersionScorer
from surefoot.core.domain import Outcome, Version
from surefoot.core.judging.evidence import MissingEvidence, PairedSums, SplitCounts
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.judging.left_out_records import LeftOutRecords
from surefoot.core.policy.policy_types import PairedGate, narrow

_FORMAT = 1
"""Version of what is kept; other sums are made anew."""
_MAX_TRIES = 10
"""How often a log is cut into sections anew, because a compaction has replaced files [count]."""
_Found = TypeVar("_Found")


class KeptReplay(OfflineReplay):
    """An offline replay whose answers and sums outlive it.

    Law: the evidence is that of one pass over the whole window.

    Attributes:
        rows_asked: Requests that a version was asked, for both versions together [count].
    """

    def __init__(self, log: PredictionLog, load: Callable[[str, Version], ScorableModel], root: Path) -> None:
        """Nothing is read or loaded before the first question.

        Args:
            log: The log.
            load: Gives a version by model; it is asked once for each.
            root: Folder of everything that is kept.
        """
        super().__init__(log, load)
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
        for section in cut.sections:
            key = self._key(question, section, "sums", gate=gate.model_dump(mode="json", warnings="none"))
            counted = bool(total.complete(np.array([section.last_at])).all())
            piece = self._store().piece(key) if key and counted else None
            if piece is None:
                made, whole = self._score_section(question, section)
                if made is None:
                    return None
                sums, size = made.sum_losses(question), made.window(question).size
                if key and counted and whole:
                    table, facts = encode_sums(sums)
                    piece = self._store().keep_piece(key, table, {**facts, "rows": size})
            else:
                sums = decode_sums(gate, question.since, question.until, piece.table, piece.facts)
                size = int(str(piece.facts["rows"]))
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
        for section in cut.sections:
            key = self._key(question, section, "failures", labels=False)
            piece = self._store().piece(key) if key else None
            if piece is None:
                made, whole = self._score_section(question, section)
                if made is None:
                    return None
                counts = made.count_failures(question)
                piece = self._store().keep_piece(key, _no_rows(), failure_facts(counts)) if key and whole else None
            else:
                counts = read_failures(piece.facts)
            total += counts
            if piece is None:
                tail += counts
            else:
                names.append(piece.name)
        if not total.requests:
            return MissingEvidence(Outcome.NO_DATA, f"no request of {question.model} was logged in the window")
        kept = self._keep_look(question, names, _no_rows(), {**failure_facts(tail), "kind": "failures"})
        return replace(total.evidence(), kept=kept)

    def left_out(self, question: EvidenceRequest) -> LeftOutRecords:
        """Count what the evidence for a gate leaves out of the records of the window."""
        if question.max_rows is not None:
            return super().left_out(question)
        return self._over_sections(question, lambda cut: self._left_out(question, cut))

    def _left_out(self, question: EvidenceRequest, cut: LogSections) -> LeftOutRecords:
        labels = reads_labels(question)
        total = LeftOutRecords()
        for section in cut.sections:
            key = self._key(question, section, "left out", labels=labels, versions=False, reads=labels)
            piece = self._store().piece(key) if key else None
            if piece is None:
                replay = self._replay(question, section)
                replay.window(question)
                found = replay.left_out(question)
                if key:
                    self._store().keep_piece(key, _no_rows(), {**asdict(found), "requests": list(found.requests)})
            else:
                found = _read_left_out(piece)
            total = _add(total, found)
        rows = total.records - total.repeated
        examined = examines_rows(self._log, question)
        return replace(
            total,
            unknown=cut.unknown if labels else 0,
            sampled=max(rows - MAX_EXAMINED_ROWS, 0) if examined else 0,
        )

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
        made = super().score(question, *versions)
        self.rows_asked += sum(one.asked for one, version in zip(made, versions, strict=True) if version in fresh)
        return made

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


def _read_left_out(piece: KeptPiece) -> LeftOutRecords:
    facts: dict[str, Any] = {one.name: piece.facts[one.name] for one in fields(LeftOutRecords)}
    return LeftOutRecords(**{**facts, "requests": tuple(facts["requests"])})


def _add(one: LeftOutRecords, other: LeftOutRecords) -> LeftOutRecords:
    """Count what was left out of different records."""
    counts = {
        name.name: getattr(one, name.name) + getattr(other, name.name)
        for name in fields(LeftOutRecords)
        if name.name not in {"requests", "what"}
    }
    return LeftOutRecords(**counts)


def _no_rows() -> pa.Table:
    return pa.table({"none": pa.nulls(0, pa.int64())})
