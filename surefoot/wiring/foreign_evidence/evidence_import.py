"""Copy evidence (predictions and labels) from external sources to the prediction log."""

import fcntl
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import xxhash

from surefoot.adapters.evidence_providers.provided_rows import (
    Key,
    LabelRows,
    PredictionRows,
    ProvidedLabel,
    ProvidedPrediction,
    UnusableRows,
)
from surefoot.adapters.evidence_providers.provider_failure import ProviderFailure
from surefoot.adapters.evidence_providers.source_reading import SourceReader
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.canonical_text import canonical_text
from surefoot.core.errors import EvidenceUnavailable
from surefoot.core.journal.chain import canonical_digest
from surefoot.core.naming.model_names import model_file_name
from surefoot.core.policy.evidence.evidence_section import EvidenceOrigin, LabelSource, PredictionSource
from surefoot.settings import Settings
from surefoot.wiring.adapters import make_clock, open_journal
from surefoot.wiring.answered_requests import AnsweredRequestLog, AnsweredRow, ReportedLabel

_MIN_UNUSABLE = 10
"""So many rows that cannot be used keep no watermark back, whatever their share [count]."""


@dataclass(frozen=True, slots=True)
class SourceImportResult:
    """What came of importing one source once.

    Attributes:
        place: The source and where it is, for people; empty where the policy names none.
        since: Beginning of the window that was read [Unix seconds].
        read: Rows that the source gave [count].
        added: Rows that are in the log since [count].
        unusable: Rows that cannot be used.
        failure: Why the source could not be read to the end; None when it could.
        too_many: Whether so many rows cannot be used that nothing is judged.
    """

    place: str = ""
    since: float = 0.0
    read: int = 0
    added: int = 0
    unusable: UnusableRows = field(default_factory=UnusableRows)
    failure: ProviderFailure | None = None
    too_many: bool = False


@dataclass(frozen=True, slots=True)
class _ImportResult:
    """What came of importing the sources of a model once.

    Attributes:
        predictions: Of the source of predictions.
        labels: Of the source of labels.
    """

    predictions: SourceImportResult
    labels: SourceImportResult


IMPORT_INTERVAL_S = 300.0
"""How often `reconcile` imports what no gate has asked for [seconds]."""


def is_import_due(config: Settings, model: str, now: float) -> bool:
    """Whether a model's sources were not read to the end for some minutes.

    Args:
        config: Where everything is.
        model: Registered model.
        now: The time by the host's clock [Unix seconds].
    """
    try:
        return now - _marks_file(config, model).stat().st_mtime >= IMPORT_INTERVAL_S
    except OSError:
        return True


def import_evidence(config: Settings, model: str, origin: EvidenceOrigin) -> str:
    """Import what a model's sources hold, for the commands and pages that read the log between two looks of a gate.

    Args:
        config: Where everything is.
        model: Registered model.
        origin: The sources.

    Returns:
        What was done, or what is wrong with a source, in one line; empty when nothing is new.

    Raises:
        SurefootError: The log or the journal cannot be used.
    """
    found = EvidenceImporter(config).refresh(model, origin, make_clock(config).now())
    said = []
    for one in (found.predictions, found.labels):
        if one.failure is not None:
            said.append(str(one.failure))
        elif one.too_many:
            said.append(f"{one.place}: {one.unusable.total:,} of {one.read:,} rows cannot be used")
        elif one.added:
            said.append(f"{one.added:,} rows of {one.place} are in the log")
    return "; ".join(said)


class EvidenceImporter:
    """Imports the sources of any model; what was read to a moment is not read again at that moment."""

    def __init__(self, config: Settings) -> None:
        """Nothing is read yet."""
        self._config = config
        self._last: dict[str, tuple[float, EvidenceOrigin, _ImportResult]] = {}

    def refresh(self, model: str, origin: EvidenceOrigin, until: float) -> _ImportResult:
        """Import what has come since the last import.

        Args:
            model: Registered model.
            origin: The sources, and what is kept of their rows.
            until: End of the window [Unix seconds].

        Raises:
            EvidenceUnavailable: The log cannot be read or written.
            JournalUnavailable: The journal, which says what was in force when, cannot be read.
        """
        known = self._last.get(model)
        if known is not None and known[:2] == (until, origin):
            return known[2]
        try:
            with self._locked(model):
                made = self._import(model, origin, until)
        except OSError as error:
            raise EvidenceUnavailable(f"the prediction log of {model} cannot be written: {error}") from error
        self._last[model] = until, origin, made
        return made

    def _import(self, model: str, origin: EvidenceOrigin, until: float) -> _ImportResult:
        section = origin.section
        marks = _Watermarks(_marks_file(self._config, model))
        reader = SourceReader(self._config.project, section.timeout)
        with open_journal(self._config) as journal:
            entries = journal.read(model)
        log = AnsweredRequestLog(self._config, model, origin.kept, origin.unit, entries)
        known = _KnownRows(PredictionLog(self._config.log), model)
        predictions, labels = SourceImportResult(), SourceImportResult()
        try:
            if section.predictions is not None:
                since = marks.begin("predictions", section.predictions, until, section.reach, section.late)
                predictions = _read_predictions(reader, section.predictions, origin, known, log, since, until)
                predictions = replace(predictions, too_many=_too_many(predictions, section.max_unusable))
                if predictions.failure is None and not predictions.too_many:
                    marks.move("predictions", section.predictions, until)
            if section.labels is not None:
                since = marks.begin("labels", section.labels, until, section.reach, section.late)
                labels = _read_labels(reader, section.labels, known, log, since, until)
                labels = replace(labels, too_many=_too_many(labels, section.max_unusable))
                if labels.failure is None and not labels.too_many:
                    marks.move("labels", section.labels, until)
        finally:
            log.close()
        return _ImportResult(predictions, labels)

    @contextmanager
    def _locked(self, model: str) -> Iterator[None]:
        """Keep other imports of the model out: two at once would write a row twice."""
        folder = self._config.home / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"import-{model_file_name(model)}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _read_predictions(
    reader: SourceReader,
    source: PredictionSource,
    origin: EvidenceOrigin,
    known: "_KnownRows",
    log: AnsweredRequestLog,
    since: float,
    until: float,
) -> SourceImportResult:
    """Read one source of predictions, and append what is new."""
    rows = PredictionRows(source, origin.unit)
    read = added = 0
    failure = None
    try:
        known.load(since)
        for count, batch in reader.read_predictions(source, rows, since, until):
            read += count
            fresh = [one for one, _ in batch if since < one.at <= until and known.is_new_prediction(one.key)]
            told = [label for _, label in batch if label is not None and since < label.at <= until]
            log.append(map(_answered, fresh), map(_reported, filter(known.is_new_label, told)))
            added += len(fresh)
    except ProviderFailure as error:
        failure = error
    return SourceImportResult(f"{source.source} {source.place}", since, read, added, rows.unusable, failure)


def _read_labels(
    reader: SourceReader,
    source: LabelSource,
    known: "_KnownRows",
    log: AnsweredRequestLog,
    since: float,
    until: float,
) -> SourceImportResult:
    """Read one source of labels, and append what is new."""
    rows = LabelRows(source)
    read = added = 0
    failure = None
    try:
        known.load(since)
        for count, batch in reader.read_labels(source, rows, since, until):
            read += count
            fresh = list(filter(known.is_new_label, batch))
            log.append((), map(_reported, fresh))
            added += len(fresh)
    except ProviderFailure as error:
        failure = error
    return SourceImportResult(f"{source.source} {source.place}", since, read, added, rows.unusable, failure)


def _too_many(found: SourceImportResult, share: float) -> bool:
    """Whether so many rows cannot be used that nothing is judged."""
    return found.unusable.total >= _MIN_UNUSABLE and found.unusable.total > share * found.read


def _answered(row: ProvidedPrediction) -> AnsweredRow:
    measured = {"latency_ms": row.latency_ms}
    return AnsweredRow(row.key, row.at, row.version, row.unit, row.answer, row.error, row.features, measured)


def _reported(label: ProvidedLabel) -> ReportedLabel:
    return ReportedLabel(label.key, label.at, label.label)


class _KnownRows:
    """The rows of the log since a moment, as hashes of their keys: a source gives rows again that were read before."""

    def __init__(self, log: PredictionLog, model: str) -> None:
        self._log, self._model = log, model
        self._since: float | None = None
        self._predictions: set[int] = set()
        self._labels: set[int] = set()

    def load(self, since: float) -> None:
        """Know every row from then on."""
        if self._since is not None and self._since <= since:
            return
        asked = self._log.query_rows(self._model, 'SELECT request, "row" FROM log WHERE "at" > $1', (since,))
        self._predictions |= {_hash(*row) for row in asked}
        told = self._log.query_rows(
            self._model, 'SELECT request, "row", "at", label::VARCHAR FROM labels WHERE "at" > $1', (since,)
        )
        self._labels |= {_hash(request, row, at, _text(label)) for request, row, at, label in told}
        self._since = since

    def is_new_prediction(self, key: Key) -> bool:
        """Whether a row was not there; it is from now on."""
        return _is_new(self._predictions, _hash(*key))

    def is_new_label(self, label: ProvidedLabel) -> bool:
        """Whether a label was not there; it is from now on."""
        return _is_new(self._labels, _hash(*label.identity))


def _is_new(known: set[int], found: int) -> bool:
    before = len(known)
    known.add(found)
    return len(known) > before


def _hash(*parts: object) -> int:
    return xxhash.xxh3_64_intdigest(repr(parts).encode())


def _text(label: object) -> str:
    return canonical_text(json.loads(str(label))) or ""


def _marks_file(config: Settings, model: str) -> Path:
    return config.home / "imports" / f"{model_file_name(model)}.json"


class _Watermarks:
    """Until when each source of a model was read to the end; kept in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._marks: dict[str, dict[str, object]] = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # rows that were read are known by the log: reading again adds nothing
            self._marks = {}

    def begin(
        self, kind: str, source: PredictionSource | LabelSource, until: float, reach: float, late: float
    ) -> float:
        """Where the next window begins [Unix seconds]; a source that was changed is read from the beginning."""
        mark = self._marks.get(kind, {})
        if mark.get("source") != _source_digest(source):
            return until - reach
        return min(float(str(mark["until"])), until) - late

    def move(self, kind: str, source: PredictionSource | LabelSource, until: float) -> None:
        """Note that everything until then was read."""
        self._marks[kind] = {"source": _source_digest(source), "until": until}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_name(f".{self._file.name}-{secrets.token_hex(4)}")
        draft.write_text(json.dumps(self._marks), encoding="utf-8")
        draft.replace(self._file)


def _source_digest(source: PredictionSource | LabelSource) -> str:
    return canonical_digest(source.model_dump(mode="json", exclude_none=True))
