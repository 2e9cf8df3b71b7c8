"""Start a BentoML server with adaptive batching."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.serving.install import find_program_folder
from bench.serving.model_server import Server, free_port, running_process
from bench.serving.models import input_kind_of, rows_body


@contextlib.contextmanager
def bentoml(root: Path, name: str, folder: Path) -> Iterator[Server]:
    """One that is up."""
    program = find_program_folder("bentoml") / "bentoml"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    place = Path(__file__).with_name("programs")
    service = "bentoml_app:FrameService" if input_kind_of(name) == "frame" else "bentoml_app:ArrayService"
    command = [
        str(program), "serve", service, "--working-dir", str(place), "--host", "127.0.0.1", "-p", str(port),
    ]  # fmt: skip
    environment = {
        "OMP_NUM_THREADS": "1",
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENCH_MODEL": str((root / name / "model.pkl").absolute()),
    }
    with running_process(command, environment, f"{url}/livez", folder / f"bentoml-{name}.log") as found:
        yield Server(f"{url}/predict", found, rows_body)
