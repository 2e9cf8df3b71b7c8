"""Check that erased log files have not come back, and rewritten ones have not changed."""

from collections.abc import Iterable
from pathlib import Path

from surefoot.adapters.predictions.table_publication import file_sha256
from surefoot.core.erasure.erasure_events import UnitForgotten


def find_erasure_problem(folder: Path, erasures: Iterable[UnitForgotten]) -> str:
    """What is wrong with a model's log after its erasures; empty where nothing is.

    A new file that is gone is in a larger one by now, or has expired, as every other file of the log.

    Args:
        folder: The log of the model.
        erasures: The erasures in the journal.

    Raises:
        OSError: A file cannot be read.
    """
    for event in erasures:
        for old, new in event.replaced.items():
            if "/" in old or old == new:
                continue
            if (folder / old).exists():
                return (
                    f"part {old} of the log is back, which erasure {event.erasure} has removed: delete the file, or"
                    " forget the unit again"
                )
            digest = event.digests.get(new, "")
            if new and digest and (folder / new).exists() and file_sha256(folder / new) != digest:
                return f"part {new} of the log has changed since erasure {event.erasure} wrote it: bring back the file"
    return ""
