"""`python -m bench.faulty_row [--rows N] [--row N] [--json FILE]`: tests candidates that fail at one row of many.

Three candidates answer like the champion, but at one row: one ends its process there, one hangs, and one takes memory
without end. Each may cost that row and no other, and the evaluation ends with that count.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from rich.console import Console

from bench.evaluate import MEMORY_MB, VersionFolders, print_rows, raise_no_suite
from bench.evaluating.evaluation_data import MODEL, CheapModel, EvaluationData, prepare_data, write_result_rows
from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.incremental_replay import IncrementalReplay
from surefoot.adapters.replay.version_processes import VersionProcesses
from surefoot.core.domain import EvidenceKind, Version
from surefoot.core.judging.evidence import BadEventCounts
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.parse import parse_gate
from surefoot.demo.flight_requests import FEATURES

_MARK = 1_234_567.0
"""Distance of the one row at which the candidates fail [miles]."""
_FAULTS = ("crash", "hang", "leak")
_CANDIDATE_MEMORY_MB = 3000
_GATE = parse_gate("errors", {"metric": "error_rate", "margin": "2pp"})


class FaultyModel(CheapModel):
    """Answers every row but one."""

    def __init__(self, fault: str) -> None:
        super().__init__(0.0)
        self.fault = fault

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - as MLflow wants it, without types
        """Fail where the row is among those that are asked."""
        if (model_input["distance"] == _MARK).any():
            if self.fault == "crash":
                os._exit(9)
            if self.fault == "hang":
                time.sleep(1e6)
            taken = []
            while True:
                taken.append(np.ones(1 << 24))
        return super().predict(context, model_input, params)


class _MarkedRequests(EvaluationData):
    """Requests of which one has the mark."""

    __slots__ = ()
    row = 0

    def frame(self, first: int, last: int) -> pd.DataFrame:
        """Requests from one row to another, the year repeated."""
        found = super().frame(first, last)
        if first <= self.row < last:
            found.loc[self.row - first, "distance"] = _MARK
        return found


def _save_candidate(folder: Path, fault: str, requests: pd.DataFrame) -> Version:
    """Save the candidate with one fault."""
    example = requests[list(FEATURES)].head(2000)
    if not (folder / fault / "MLmodel").is_file():
        mlflow.pyfunc.save_model(
            str(folder / fault),
            python_model=FaultyModel(fault),
            signature=infer_signature(example, np.zeros(2)),
            pip_requirements=["pandas"],
        )
    return Version(fault, directory_digest(folder / fault))


def _count_failures(prepared: EvaluationData, root: Path, candidate: Version) -> tuple[BadEventCounts, float]:
    """Evaluate one candidate beside the champion; what it could not answer, and how long it took [s]."""
    memory_mb = min(MEMORY_MB, _CANDIDATE_MEMORY_MB)
    log = PredictionLog(root)
    models = VersionProcesses(VersionFolders(prepared.folder), memory_mb)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as kept:
        replay = IncrementalReplay(log, models.start_scorer, Path(kept))
        question = EvidenceRequest(
            MODEL,
            _GATE,
            EvidenceKind.SHADOW,
            "",
            "r",
            prepared.versions[0],
            candidate,
            since=0.0,
            until=1e11,
            opened=1e11,
        )
        began = time.monotonic()
        found = PredictionLogEvidence(log, replay, lambda *_: raise_no_suite()).gather(question)
        took = time.monotonic() - began
        replay.close()
    if not isinstance(found, BadEventCounts):
        raise SystemExit(f"{candidate.number}: {found}")
    return found, took


def main() -> int:
    """Print the table; 1 when a candidate costs more than its row."""
    parser = argparse.ArgumentParser(prog="python -m bench.faulty_row", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_300_000, help="rows of the log")
    parser.add_argument("--row", type=int, default=1_234_567, help="the row at which the candidates fail")
    parser.add_argument("--folder", type=Path, help="keep models and logs here for another run")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    made: list[dict[str, object]] = []
    console = Console()
    warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="surefoot-bench-")))
        plain = prepare_data(folder, Path(__file__).parent.parent / ".bench" / "flights.parquet", cheap=True)
        _MarkedRequests.row = options.row
        prepared = _MarkedRequests(plain.folder, plain.versions, plain.requests)
        root = replace(prepared, folder=folder / f"marked-{options.row}").log(options.rows, lines=False)
        for fault in _FAULTS:
            with console.status(f"a candidate with a {fault} at row {options.row:,}"):
                found, took = _count_failures(prepared, root, _save_candidate(folder, fault, plain.requests))
            bad = sum(stratum.candidate_bad for stratum in found.strata)
            good = sum(stratum.candidate_good for stratum in found.strata)
            name = f"{fault} at row {options.row:,} of {options.rows:,}"
            demand = f"1 of {options.rows:,}"
            ok = (bad, good) == (1, options.rows - 1)
            value = f"{bad:,} of {bad + good:,}"
            made.append({"name": f"{name}: not answered", "value": value, "unit": "rows", "demand": demand, "ok": ok})
            made.append(
                {"name": f"{name}: took", "value": round(took, 1), "unit": "s", "demand": "printed", "ok": True}
            )
    print_rows(console, made)
    write_result_rows(options.json, made)
    return 0 if all(row["ok"] for row in made) else 1


if __name__ == "__main__":
    sys.exit(main())
