"""Write the rows that a policy's sources hold about two versions as records for a back-test."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from surefoot.adapters.evidence_providers.provided_rows import (
    LabelRows,
    PredictionRows,
    ProvidedLabel,
    ProvidedPrediction,
    UnusableRows,
)
from surefoot.adapters.evidence_providers.source_reading import SourceReader
from surefoot.core.domain import Arm
from surefoot.core.errors import NotFound, Rejected
from surefoot.core.policy.policy_types import Policy

_OWN_COLUMNS = frozenset({"request", "row", "at", "arm", "version", "prediction", "error", "unit", "weight"})
_OWN_COLUMNS |= {"latency_ms", "cpu_ms", "rss_mb", "label", "label_at"}
_LARGEST_WEIGHT = 100.0


@dataclass(frozen=True, slots=True)
class ObservedPair:
    """The two versions that are compared, and how traffic was split between them.

    Attributes:
        champion: Number of the version that serves.
        candidate: Number of the version on trial.
        weight: Share of the traffic that the candidate had [percent]; None where the source says so, or where it is
            measured by counting.
    """

    champion: str
    candidate: str
    weight: float | None = None


@dataclass
class ObservedRecords:
    """What the sources hold about two versions.

    Attributes:
        records: Rows of the two versions [count].
        versions: Rows by version, others included [count].
        paired: Rows of requests that both versions answered [count].
        since: When the candidate's first request was received [Unix seconds].
        weight: Share of the traffic that the candidate had [percent], of rows that do not say it themselves.
        measured: Whether that was measured by counting.
        before: Rows of the champion from before the candidate's first [count].
        renamed: Features that are left out, because their names are those of other fields.
        unusable: Rows that cannot be used.
    """

    records: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    paired: int = 0
    since: float = 0.0
    weight: float = 0.0
    measured: bool = False
    before: int = 0
    renamed: frozenset[str] = frozenset()
    unusable: UnusableRows = field(default_factory=UnusableRows)


def write_observed_records(
    policy: Policy, pair: ObservedPair, reader: SourceReader, window: tuple[float, float], folder: Path
) -> ObservedRecords:
    """Write the files records.parquet and labels.parquet into a folder.

    Args:
        policy: The policy, whose section `evidence` names the sources.
        pair: The two versions.
        reader: Reads the sources.
        window: Beginning and end of what is read [Unix seconds].
        folder: Folder of the files.

    Raises:
        Rejected: The policy names no source of predictions, or the sources hold nothing of one of the versions.
        ProviderFailure: A source cannot be read to the end.
    """
    section = policy.evidence
    if section is None or section.predictions is None:
        raise Rejected(f"the policy of {policy.model} names no 'evidence.predictions': there is nothing to observe")
    made = ObservedRecords()
    rows = PredictionRows(section.predictions, policy.unit)
    kept: dict[tuple[str, int, str], ProvidedPrediction] = {}
    labels: dict[tuple[str, int, float, str], ProvidedLabel] = {}
    for _, batch in reader.read_predictions(section.predictions, rows, *window):
        for one, label in batch:
            made.versions[one.version] += 1
            if one.version in {pair.champion, pair.candidate}:
                kept.setdefault((*one.key, one.version), one)
            if label is not None:
                labels.setdefault(label.identity, label)
    if section.labels is not None:
        told = LabelRows(section.labels)
        for _, found in reader.read_labels(section.labels, told, *window):
            labels.update((label.identity, label) for label in found)
        rows.unusable.counts.update(told.unusable.counts)
        rows.unusable.examples.update(told.unusable.examples)
    made.unusable = rows.unusable
    _measure(made, pair, kept.values())
    _write(folder / "records.parquet", _record_columns(made, pair, list(kept.values())))
    known = list(labels.values())
    columns: dict[str, list[object]] = {
        "request": [one.key[0] for one in known],
        "row": [one.key[1] for one in known],
        "label": [one.label for one in known],
        "at": [one.at for one in known],
    }
    if known:
        _write(folder / "labels.parquet", columns)
    return made


def _measure(made: ObservedRecords, pair: ObservedPair, rows: Iterable[ProvidedPrediction]) -> None:
    """Count what there is, and find out since when and under which share the candidate was tried.

    Raises:
        NotFound: There is no row of one of the versions.
    """
    by_version: dict[str, list[ProvidedPrediction]] = {pair.champion: [], pair.candidate: []}
    for row in rows:
        by_version[row.version].append(row)
    for number, found in by_version.items():
        if not found:
            others = ", ".join(f"{version} ({n:,})" for version, n in sorted(made.versions.items()))
            raise NotFound(f"the sources hold no row of version {number}; they hold versions {others or 'of nothing'}")
    champion, candidate = by_version[pair.champion], by_version[pair.candidate]
    made.records = len(champion) + len(candidate)
    made.since = min(one.at for one in candidate)
    last = max(one.at for one in candidate)
    made.before = sum(one.at < made.since for one in champion)
    made.paired = len({one.key for one in champion} & {one.key for one in candidate})
    beside = sum(made.since <= one.at <= last for one in champion)
    made.measured = pair.weight is None and any(one.weight is None for one in candidate)
    share = _LARGEST_WEIGHT * len(candidate) / (len(candidate) + beside)
    made.weight = pair.weight if pair.weight is not None else round(min(max(share, 0.1), 99.0), 2)


def _record_columns(
    made: ObservedRecords, pair: ObservedPair, rows: list[ProvidedPrediction]
) -> dict[str, list[object]]:
    """Columns of the records."""
    names = list(dict.fromkeys(name for one in rows for name in one.features))
    made.renamed = frozenset(names) & _OWN_COLUMNS
    columns: dict[str, list[object]] = {
        "request": [one.key[0] for one in rows],
        "row": [one.key[1] for one in rows],
        "at": [one.at for one in rows],
        "arm": [(Arm.CHAMPION if one.version == pair.champion else Arm.CANDIDATE).value for one in rows],
        "version": [one.version for one in rows],
        "prediction": [one.answer for one in rows],
        "error": [one.error for one in rows],
        "weight": [made.weight if one.weight is None or pair.weight is not None else one.weight for one in rows],
    }
    if any(one.unit is not None for one in rows):
        columns["unit"] = [one.unit for one in rows]
    if any(one.latency_ms is not None for one in rows):
        columns["latency_ms"] = [one.latency_ms for one in rows]
    return columns | {name: [one.features.get(name) for one in rows] for name in names if name not in made.renamed}


def _write(file: Path, columns: dict[str, list[object]]) -> None:
    """Write a table.

    Raises:
        Rejected: A column holds values of several types.
    """
    import pyarrow as pa  # noqa: PLC0415 - costs every command a tenth of a second
    from pyarrow import parquet  # noqa: PLC0415 - see above

    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values)
        except pa.ArrowException as error:
            raise Rejected(f"column '{name}' holds values of several types: {error}") from error
    if "prediction" in arrays and pa.types.is_null(arrays["prediction"].type):  # the source holds no answers
        arrays["prediction"] = arrays["prediction"].cast(pa.float64())
    parquet.write_table(pa.table(arrays), file)
