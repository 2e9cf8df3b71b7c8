"""Ray Serve with its batches."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.serving.install import programs
from bench.serving.models import kind_of
from bench.serving.running import Server, free_port, process


@contextlib.contextmanager
def ray(root: Path, name: str, folder: Path) -> Iterator[Server]:
    """One that is up."""
    program = Path(__file__).with_name("programs") / "ray_app.py"
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    model = str((root / name / "model.pkl").absolute())
    command = [str(programs("ray") / "python"), str(program), model, str(port), kind_of(name), str(folder / "ray")]
    environment = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_LOG_TO_STDERR": "0"}
    with process(command, environment, url, folder / f"ray-{name}.log") as found:
        yield Server(url, found, restless=True)
