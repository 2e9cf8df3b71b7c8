"""Read a preview of the newest rows in a policy's evidence sources."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from surefoot.adapters.evidence_providers.provided_rows import (
    LabelRows,
    PredictionRows,
    ProvidedLabel,
    ProvidedPrediction,
    UnusableRows,
)
from surefoot.adapters.evidence_providers.provider_failure import ProviderFailure
from surefoot.adapters.evidence_providers.source_reading import SourceReader
from surefoot.core.policy.evidence.evidence_section import LabelSource, PredictionSource

_T = TypeVar("_T", ProvidedPrediction, ProvidedLabel)


@dataclass
class SourcePreview:
    """What one source holds in a window.

    Attributes:
        place: The source, for people.
        read: Rows [count].
        versions: Rows by version [count]; none of labels.
        labelled: Rows with a label [count].
        predictions: The newest predictions.
        labels: The newest labels, and those of the predictions, by request id and row.
        unusable: Rows that cannot be used.
        failure: Why it was not read to the end; None when it was.
    """

    place: str
    read: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    labelled: int = 0
    predictions: list[ProvidedPrediction] = field(default_factory=list)
    labels: list[ProvidedLabel] = field(default_factory=list)
    unusable: UnusableRows = field(default_factory=UnusableRows)
    failure: ProviderFailure | None = None


def preview_predictions(
    reader: SourceReader, source: PredictionSource, unit: str | None, since: float, until: float, limit: int
) -> SourcePreview:
    """Read a source of predictions, and keep its newest rows; nothing is written.

    Args:
        reader: Reads it.
        source: The source.
        unit: Column of the policy's unit; None without one.
        since: Beginning of the window [Unix seconds].
        until: End of the window [Unix seconds].
        limit: Rows to keep [count].
    """
    rows = PredictionRows(source, unit)
    made = SourcePreview(f"{source.source} {source.place}", unusable=rows.unusable)
    labels: dict[tuple[str, int], ProvidedLabel] = {}

    def found() -> Iterator[ProvidedPrediction]:
        for count, batch in reader.read_predictions(source, rows, since, until):
            made.read += count
            for one, label in batch:
                made.versions[one.version] = made.versions.get(one.version, 0) + 1
                if label is not None:
                    made.labelled += 1
                    labels[one.key] = label
                yield one

    made.predictions = _newest(found, limit, made)
    made.labels = [labels[one.key] for one in made.predictions if one.key in labels]
    return made


def preview_labels(reader: SourceReader, source: LabelSource, since: float, until: float, limit: int) -> SourcePreview:
    """Read a source of labels, and keep its newest rows; nothing is written.

    Args:
        reader: Reads it.
        source: The source.
        since: Beginning of the window [Unix seconds].
        until: End of the window [Unix seconds].
        limit: Rows to keep [count].
    """
    rows = LabelRows(source)
    made = SourcePreview(f"{source.source} {source.place}", unusable=rows.unusable)

    def found() -> Iterator[ProvidedLabel]:
        for count, batch in reader.read_labels(source, rows, since, until):
            made.read += count
            made.labelled += len(batch)
            yield from batch

    made.labels = _newest(found, limit, made)
    return made


def _newest(found: Callable[[], Iterator[_T]], limit: int, made: SourcePreview) -> list[_T]:
    """The newest of what a source gives, oldest first; a failure is noted, and what came before it is kept."""
    kept: list[tuple[float, int, _T]] = []
    try:
        for place, one in enumerate(found()):  # of equal times the later row, so that no two rows are compared
            heapq.heappush(kept, (one.at, place, one))
            if len(kept) > limit:
                heapq.heappop(kept)
    except ProviderFailure as error:
        made.failure = error
    return [one for _, _, one in sorted(kept)]
