"""Append a line to `access.log` for a refused request or a change of an access token."""

import json
import logging
from pathlib import Path

ACCESS_LOG = "access.log"
"""Name of the file in the state folder; one JSON object a line."""
_MAX_BYTES = 2_000_000
"""Length at which the log is begun anew [bytes]; one earlier file is kept, so that strangers cannot fill the disk."""

_log = logging.getLogger(__name__)


def record_access(home: Path, at: float, actor: str, action: str, model: str, outcome: str) -> None:
    """Append one line; a log that cannot be written stops nothing.

    Args:
        home: Folder of all state.
        at: Time of the host [Unix seconds].
        actor: Who asked, as far as that is known.
        action: What for.
        model: Of which model.
        outcome: What became of it, and why.
    """
    file = home / ACCESS_LOG
    line = json.dumps({"at": at, "actor": actor, "action": action, "model": model[:256], "outcome": outcome[:500]})
    try:
        if file.exists() and file.stat().st_size > _MAX_BYTES:
            file.replace(file.with_suffix(".log.1"))
        file.touch(mode=0o600)
        with file.open("ab", buffering=0) as log:
            log.write(line.encode("utf-8", "replace") + b"\n")
    except OSError as error:
        _log.warning("%s cannot be written (%s): %s", file, error.strerror, line)
