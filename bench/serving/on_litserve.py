"""LitServe with its batches."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.serving.install import programs
from bench.serving.models import kind_of
from bench.serving.running import Server, free_port, process


@contextlib.contextmanager
def litserve(root: Path, name: str, folder: Path) -> Iterator[Server]:
    """One that is up."""
    program = Path(__file__).with_name("programs") / "litserve_app.py"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    model = str((root / name / "model.pkl").absolute())
    command = [str(programs("litserve") / "python"), str(program), model, str(port), kind_of(name)]
    with process(command, {"OMP_NUM_THREADS": "1"}, f"{url}/health", folder / f"litserve-{name}.log") as found:
        yield Server(f"{url}/predict", found, restless=True)
