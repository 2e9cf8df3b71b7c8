"""Run an expectation suite on a back-test's requests, and reuse the result for equal requests."""

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.adapters.evidence.prediction_log_evidence import ExpectationSuiteRunner
from surefoot.core.judging.data_validation import ValidationResult
from surefoot.core.judging.evidence import MissingEvidence

if TYPE_CHECKING:
    import pandas as pd


def file_digest(file: Path) -> str:
    """SHA-256 of a file, as policies and journals write it."""
    return "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()


def make_suite_runner(suite: Path) -> ExpectationSuiteRunner:
    """Make a function that runs a suite file on a window's requests."""
    known: dict[str, ValidationResult | MissingEvidence] = {}

    def validate(_digest: str, frame: "pd.DataFrame", name: str) -> ValidationResult | MissingEvidence:
        key = _frame_digest(frame)
        if not key or key not in known:
            found = _validate(suite, frame, name)
            if not key:
                return found
            known[key] = found
        return known[key]

    return validate


def _validate(suite: Path, frame: "pd.DataFrame", name: str) -> ValidationResult | MissingEvidence:
    from surefoot.adapters.expectations.suite import run_suite  # noqa: PLC0415 - Great Expectations costs 5 CPU seconds
    from surefoot.reports.validation_page import render_validation_page  # noqa: PLC0415 - same

    with tempfile.TemporaryDirectory() as folder:
        return run_suite(suite, frame, render_validation_page, Path(folder) / f"{name}.html")


def _frame_digest(frame: "pd.DataFrame") -> str:
    """What a table holds, as a key; empty where it holds what cannot be hashed, such as lists."""
    import pandas as pd  # noqa: PLC0415 - costs a command half a second

    try:
        rows = pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()
    except TypeError:
        return ""
    return hashlib.sha256(repr(list(frame.dtypes.items())).encode() + rows).hexdigest()
