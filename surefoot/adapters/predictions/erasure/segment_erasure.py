"""Erase given requests from the JSON-lines segments of a prediction log, in place."""

import os
from collections.abc import Iterator
from pathlib import Path

import orjson

from surefoot.adapters.predictions.erasure.erasure_record import ErasureProgressReport, ErasureRecord
from surefoot.adapters.predictions.erasure.requests_to_erase import RequestsToErase
from surefoot.adapters.predictions.log_files import FILE_KINDS, FileKind, list_all_log_files
from surefoot.adapters.predictions.table_publication import sync_path
from surefoot.core.canonical_text import canonical_text

_BLANK = b" "


def erase_from_segments(folder: Path, record: ErasureRecord, report: ErasureProgressReport) -> None:
    """Overwrite each line of an erased request with blanks; readers and compactions skip such a line.

    The writer of an open segment appends at its end only, so lines before it can be overwritten while it goes on.
    Records that an incident holds are written into a segment of their own first, with pseudonyms.

    Args:
        folder: The log of the model, of which no compaction is running.
        record: What is erased.
        report: Is told how far it is.

    Raises:
        OSError: A segment cannot be read or written.
    """
    segments = [(kind, folder / name) for kind in FILE_KINDS for name in list_all_log_files(folder, kind, ".jsonl")]
    for done, (kind, path) in enumerate(segments):
        report("log segments", done, len(segments))
        if not path.name.startswith(_kept_prefix(kind, record)):
            _erase_from(path, kind, record)
    report("log segments", len(segments), len(segments))


def _kept_prefix(kind: FileKind, record: ErasureRecord) -> str:
    """What the names of segments with pseudonymised records begin with."""
    return f"{kind.name}-erasure-{record.erasure}-"


def _erase_from(path: Path, kind: FileKind, record: ErasureRecord) -> None:
    places: list[tuple[int, int]] = []
    kept: list[bytes] = []
    for start, line in _lines(path):
        request = _request(line, record.erased)
        if request is None:
            continue
        places.append((start, len(line.rstrip(b"\n"))))
        if pseudonym := record.erased.requests.get(request):
            kept.append(_pseudonymise_line(line, record.erased, pseudonym))
    if not places:
        return
    if kept:
        _keep_lines(path.with_name(f"{_kept_prefix(kind, record)}{path.stem.split('-')[-1]}.jsonl"), kept)
    record.count(f"{kind.name} in segments", path.name, len(places) - len(kept), len(kept))
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for start, length in places:
            os.pwrite(descriptor, _BLANK * length, start)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each whole line that is not blank, and where it begins; the last one may be in the middle of being written."""
    start = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n") and not line.isspace():
                yield start, line
            start += len(line)


def _request(line: bytes, erased: RequestsToErase) -> str | None:
    """The erased request that a line is of; the empty text for what is left of a line that names one."""
    try:
        request = orjson.loads(line).get("request")
    except (orjson.JSONDecodeError, AttributeError):  # torn, or partly overwritten by a run that was killed
        torn = line.startswith(_BLANK) or any(orjson.dumps(name) in line for name in erased.names)
        return "" if torn else None
    return request if isinstance(request, str) and request in erased.requests else None


def _pseudonymise_line(line: bytes, erased: RequestsToErase, pseudonym: str) -> bytes:
    """A record with a pseudonym for its request, and for the unit where the record names it."""
    found = orjson.loads(line)
    found["request"] = pseudonym
    if found.get("unit") in erased.spellings:
        found["unit"] = erased.pseudonym
    features = found.get("features")
    for column in erased.columns:
        if isinstance(features, dict) and canonical_text(features.get(column)) in erased.spellings:
            features[column] = erased.pseudonym
    return orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE)


def _keep_lines(path: Path, lines: list[bytes]) -> None:
    """Write a closed segment with some lines, and those that a run that was killed has written."""
    before = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    known = set(before)
    fresh = path.with_name(f".{path.name}.tmp")
    with fresh.open("wb") as stream:
        stream.writelines([*before, *(line for line in lines if line not in known)])
        stream.flush()
        os.fsync(stream.fileno())
    fresh.chmod(0o640)  # as every segment: requests are private
    fresh.rename(path)
    sync_path(path.parent)
