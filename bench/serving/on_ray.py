"""Start a Ray Serve server with batching."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.serving.install import find_program_folder
from bench.serving.model_server import Server, free_port, running_process
from bench.serving.models import input_kind_of


@contextlib.contextmanager
def ray(root: Path, name: str, folder: Path) -> Iterator[Server]:
    """One that is up."""
    program = Path(__file__).with_name("programs") / "ray_app.py"
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    model = str((root / name / "model.pkl").absolute())
    command = [
        str(find_program_folder("ray") / "python"),
        str(program),
        model,
        str(port),
        input_kind_of(name),
        str(folder / "ray"),
    ]
    environment = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_LOG_TO_STDERR": "0"}
    with running_process(command, environment, url, folder / f"ray-{name}.log") as found:
        yield Server(url, found, restless=True)
