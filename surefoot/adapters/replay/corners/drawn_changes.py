"""Draw random changes of column values, to make synthetic test rows."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from surefoot.core.errors import EvidenceUnavailable

_PROGRAM = Path(__file__).with_name("draw_values.py")
_PATIENCE_S = 120.0
"""Longest wait for all values [s]."""
Change = Mapping[str, object]
"""Values by column that replace those of a real row."""


def draw_changes(wanted: Sequence[Mapping[str, object]]) -> list[list[Change]]:
    """Draw changes, a list for each that is wanted; the same for the same seeds, in any process.

    Args:
        wanted: Of each the `columns` (`name`, `kind`, `low`, `high`), `count`, `seed` and whether `several` change at
            once.

    Raises:
        EvidenceUnavailable: The process failed.
    """
    if not wanted:
        return []
    with tempfile.TemporaryDirectory(prefix="surefoot-drawn-") as folder:
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-I", "-c", _PROGRAM.read_text(encoding="utf-8")],
            input=json.dumps(wanted),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=_PATIENCE_S,
            check=False,
            cwd=folder,
            env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": folder},
        )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise EvidenceUnavailable(f"values of corner cases cannot be drawn: {said}")
    found: list[list[Change]] = json.loads(done.stdout)
    return found
