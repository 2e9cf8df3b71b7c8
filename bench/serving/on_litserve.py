"""Start a LitServe server with batching."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.serving.install import find_program_folder
from bench.serving.model_server import Server, free_port, running_process
from bench.serving.models import input_kind_of


@contextlib.contextmanager
def litserve(root: Path, name: str, folder: Path) -> Iterator[Server]:
    """One that is up."""
    program = Path(__file__).with_name("programs") / "litserve_app.py"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    model = str((root / name / "model.pkl").absolute())
    command = [str(find_program_folder("litserve") / "python"), str(program), model, str(port), input_kind_of(name)]
    with running_process(command, {"OMP_NUM_THREADS": "1"}, f"{url}/health", folder / f"litserve-{name}.log") as found:
        yield Server(f"{url}/predict", found, restless=True)
