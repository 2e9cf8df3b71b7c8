"""A prediction log as gateways write it, and a program that writes one until it is killed."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.gateway.log.segment_writer import SegmentWriter

ROOT = Path(__file__).resolve().parents[2]
DAY = 86_400.0


def record(number: int, at: float | None = None, **fields: object) -> bytes:
    """One line of the log; `number` seconds after the start of time without a time of its own."""
    made: dict[str, object] = {
        "v": 1,
        "request": f"q{number:06d}",
        "row": 0,
        "model": "m",
        "at": float(number) if at is None else at,
        "unit": f"u{number % 7}",
        "arm": "candidate" if number % 5 == 0 else "champion",
        "version": "2" if number % 5 == 0 else "1",
        "answered_by": "1",
        "weight": 20.0,
        "generation": 3,
        "rollout": "r1",
        "latency_ms": 1.0 + number % 11,
        "cpu_ms": 0.5,
        "rss_mb": None,
        "error": "ValueError: no" if number % 13 == 0 else None,
        "prediction": number % 10 / 10.0,
        "features": {"x": number, "place": "LGA"},
    }
    return json.dumps({**made, **fields}).encode() + b"\n"


def label(number: int, at: float, value: object = 1) -> bytes:
    """One line of the labels."""
    return json.dumps({"v": 1, "request": f"q{number:06d}", "row": 0, "label": value, "at": at}).encode() + b"\n"


def write(root: Path, lines: Iterable[bytes], kind: str = "predictions", model: str = "m") -> Path:
    """One closed segment with these lines."""
    segment = SegmentWriter(root / model / f"{kind}-1-1.jsonl")
    segment.append(b"".join(lines))
    segment.close()
    return segment.path


def requests(root: Path, view: str = "log") -> list[str]:
    """Every record that a reader sees, by its request."""
    return [str(row[0]) for row in PredictionLog(root).query_rows("m", f"SELECT request FROM {view} ORDER BY request")]  # noqa: S608 - a test's own


def named(numbers: Iterable[int]) -> list[str]:
    """Requests of these records."""
    return [f"q{number:06d}" for number in numbers]


def files(root: Path) -> dict[str, bytes]:
    """Segments and tables, with what is in them."""
    return {path.name: path.read_bytes() for path in sorted((root / "m").iterdir()) if path.is_file()}


WRITER = """
import os, sys
from pathlib import Path
from surefoot.gateway.log.segment_writer import SegmentWriter
from tests.integration.log_writing import record

root, size, most = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
segment = SegmentWriter(root / "m" / "predictions-1-1.jsonl", size=size)
acknowledged = os.open(root / "acknowledged", os.O_RDWR | os.O_CREAT)
for number in range(most):
    segment.append(record(number))
    os.pwrite(acknowledged, (number + 1).to_bytes(8, "little"), 0)
"""


def start_writer(root: Path, size: int, most: int) -> "subprocess.Popen[bytes]":
    """Append records 0, 1, 2, ... in a process of its own, and note after each that it is written."""
    command = [sys.executable, "-c", WRITER, str(root), str(size), str(most)]
    return subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": ""})


def acknowledged(root: Path) -> int:
    """How many records the writer has noted as written [count]."""
    try:
        return int.from_bytes((root / "acknowledged").read_bytes(), "little")
    except FileNotFoundError:
        return 0
