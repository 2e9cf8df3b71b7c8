"""Erase given requests, such as those of one customer, from every file of a model's prediction log."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb

from surefoot.adapters.predictions.erasure.erasure_record import ErasureProgressReport, ErasureRecord
from surefoot.adapters.predictions.erasure.segment_erasure import erase_from_segments
from surefoot.adapters.predictions.erasure.table_erasure import erase_from_tables
from surefoot.adapters.predictions.table_publication import lock_log_folder, remove_unfinished_files
from surefoot.core.errors import Conflict, EvidenceUnavailable

_LOCK_WAIT_S = 30.0
"""How long a compaction that runs is waited for [seconds]."""
_LOCK_POLL_S = 0.2


def erase_from_log(folder: Path, record: ErasureRecord, report: ErasureProgressReport) -> None:
    """Remove erased requests from every file of a model's log.

    Args:
        folder: The log of the model; nothing is done where there is none.
        record: What is erased.
        report: Is told how far it is.

    Raises:
        Conflict: A compaction runs for longer than it is waited for.
        EvidenceUnavailable: The disk refuses something; the next run goes on from there.
    """
    if not folder.is_dir():
        return
    try:
        with _hold(folder) as scratch:
            remove_unfinished_files(folder)
            erase_from_segments(folder, record, report)
            erase_from_tables(folder, scratch, record, report)
    except (duckdb.Error, OSError) as error:
        said = str(error).splitlines()[0]
        raise EvidenceUnavailable(f"the log of {folder.name} is not erased yet, repeat the command: {said}") from error


@contextmanager
def _hold(folder: Path) -> Iterator[Path]:
    """Wait for a compaction that runs, and keep the next one from beginning."""
    ends = time.monotonic() + _LOCK_WAIT_S
    with ExitStack() as held:
        while True:
            try:
                scratch = held.enter_context(lock_log_folder(folder))
                break
            except Conflict:
                if time.monotonic() > ends:
                    raise
                time.sleep(_LOCK_POLL_S)
        yield scratch
