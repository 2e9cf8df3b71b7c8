"""Start an MLServer with its scikit-learn runtime, in one process, using the Open Inference Protocol."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from bench.serving.install import find_program_folder
from bench.serving.model_server import Server, free_port, running_process
from bench.serving.models import tensor_body


@contextlib.contextmanager
def mlserver(root: Path, name: str, folder: Path) -> Iterator[Server]:
    """One that is up."""
    program = find_program_folder("mlserver") / "mlserver"
    place = folder / f"mlserver-{name}"
    place.mkdir()
    port = free_port()
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "debug": False,
        "use_structured_logging": False,
        "environments_dir": str(place / "envs"),
    }
    model = {
        "name": "m",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str((root / name / "model.pkl").absolute())},
    }
    (place / "settings.json").write_text(json.dumps(settings))
    (place / "model-settings.json").write_text(json.dumps(model))
    url = f"http://127.0.0.1:{port}/v2"
    with running_process(
        [str(program), "start", str(place)],
        {"OMP_NUM_THREADS": "1"},
        f"{url}/health/live",
        folder / f"{place.name}.log",
    ) as found:
        yield Server(f"{url}/models/m/infer", found, tensor_body)
