"""List the closed prediction-log segments that wait for compaction."""

from pathlib import Path

from surefoot.adapters.predictions.compaction import is_closed_segment
from surefoot.adapters.predictions.log_files import FILE_KINDS, list_current_log_files
from surefoot.core.errors import EvidenceUnavailable
from surefoot.core.naming.model_names import model_file_name


def closed_segments(root: Path, model: str) -> tuple[str, ...]:
    """Names of the closed segments of a model's log that wait for compaction; empty ones are deleted.

    Args:
        root: Folder of the logs.
        model: Registered model.

    Raises:
        EvidenceUnavailable: The folder cannot be read.
    """
    folder = root / model_file_name(model)
    try:
        return tuple(
            path.name for kind in FILE_KINDS for path in list_current_log_files(folder, kind)[0] if _waits(path)
        )
    except OSError as error:
        raise EvidenceUnavailable(f"the log of {model} cannot be read: {error}") from error


def _waits(segment: Path) -> bool:
    try:
        return is_closed_segment(segment)
    except FileNotFoundError:  # compacted just now
        return False
