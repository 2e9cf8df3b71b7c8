"""Remove erased requests from stored answers and from the example ids in stored counts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from surefoot.adapters.evidence_store.answer_files import ANSWER_SCHEMA
from surefoot.adapters.evidence_store.evidence_store import EvidenceStore
from surefoot.adapters.evidence_store.request_key_index import remove_stale_indexes
from surefoot.adapters.evidence_store.table_files import file_digest, read_table, read_table_metadata, write_table
from surefoot.adapters.predictions.erasure.erasure_record import ErasureProgressReport, ErasureRecord
from surefoot.adapters.predictions.erasure.requests_to_erase import RequestsToErase
from surefoot.adapters.predictions.log_files import LABEL_FILES, PREDICTION_FILES, list_current_log_files
from surefoot.core.errors import EvidenceUnavailable

_ID_KEYS = frozenset({"named", "requests"})
"""Keys of the metadata of stored counts that list ids of example requests."""


def erase_from_evidence_store(
    store: EvidenceStore, log: Path, record: ErasureRecord, report: ErasureProgressReport
) -> None:
    """Remove erased requests from everything that was stored about a model's log.

    Counters are sums of many requests and stay as they are, so that each verdict still follows from them. Where stored
    counts name a request as an example, the name goes, and the file gets the name of its new bytes.

    Args:
        store: What is stored.
        log: The log of the model, which is erased already.
        record: What is erased.
        report: Is told how far it is.

    Raises:
        EvidenceUnavailable: A file cannot be read or written.
    """
    try:
        _erase_answers(store.folder / "answers", record, report)
        for place in ("sums", "looks"):
            paths = sorted((store.folder / place).glob("*.parquet"))
            for done, path in enumerate(paths):
                report("stored counts", done, len(paths))
                _erase_example_ids(path, record)
        names = [path.name for kind in (PREDICTION_FILES, LABEL_FILES) for path in list_current_log_files(log, kind)[1]]
        remove_stale_indexes(store.indexes, names)
    except FileNotFoundError as error:
        raise EvidenceUnavailable(
            f"{error.filename} was replaced while it was erased: repeat the command when no evidence is counted"
        ) from error


def _erase_answers(folder: Path, record: ErasureRecord, report: ErasureProgressReport) -> None:
    paths = sorted(folder.glob("*/*.parquet"))
    for done, path in enumerate(paths):
        report("stored answers", done, len(paths))
        table, facts = read_table(path)
        left, removed, pseudonymised = _remaining_answers(table, record.erased)
        if not removed and not pseudonymised:
            continue
        record.count("stored answers", f"{path.parent.name}/{path.name}", removed, pseudonymised)
        if left.num_rows:
            write_table(path, left, facts, ["row", "answer"])
        else:
            path.unlink()
    report("stored answers", len(paths), len(paths))


def _remaining_answers(table: pa.Table, erased: RequestsToErase) -> tuple[pa.Table, int, int]:
    """Answers without those to erased requests, how many are gone, and how many have pseudonyms now."""
    gone = [one for one, pseudonym in erased.requests.items() if pseudonym is None]
    names = {one: pseudonym for one, pseudonym in erased.requests.items() if pseudonym is not None}
    left = table.filter(pc.invert(pc.is_in(table.column("request"), pa.array(gone, pa.string()))))
    held = pc.sum(pc.is_in(left.column("request"), pa.array(list(names), pa.string()))).as_py() or 0
    if held:
        column = pa.array([names.get(one, one) for one in left.column("request").to_pylist()], pa.string())
        left = left.set_column(ANSWER_SCHEMA.get_field_index("request"), "request", column)
    return left, table.num_rows - left.num_rows, held


def _erase_example_ids(path: Path, record: ErasureRecord) -> None:
    """Write stored counts again where they name an erased request as an example."""
    facts = read_table_metadata(path)
    bare = _without_ids(facts, record.erased.requests)
    if bare == facts:
        return
    table, _ = read_table(path)
    record.count("example ids in stored counts", path.name, _count_ids(facts, record.erased.requests))
    prefix = f"{path.stem.split('-')[0]}-" if "-" in path.stem else ""
    fresh = path.with_name(f".erasure-{path.name}.tmp")
    name = f"{prefix}{write_table(fresh, table, bare)}.parquet"
    record.new_name(path.name, lambda: name)
    fresh.replace(path.with_name(name))
    record.settle(name, file_digest(path.with_name(name)))
    path.unlink()


def _without_ids(value: Any, erased: Mapping[str, str | None], key: str = "") -> Any:
    """Metadata whose lists of example ids have no erased request."""
    if isinstance(value, dict):
        return {name: _without_ids(item, erased, name) for name, item in value.items()}
    if isinstance(value, list):
        if key in _ID_KEYS:
            return [item for item in value if item not in erased]
        return [_without_ids(item, erased) for item in value]
    return value


def _count_ids(value: Any, erased: Mapping[str, str | None], key: str = "") -> int:
    if isinstance(value, dict):
        return sum(_count_ids(item, erased, name) for name, item in value.items())
    if isinstance(value, list):
        return sum(item in erased if key in _ID_KEYS else _count_ids(item, erased) for item in value)
    return 0
