"""What a gateway finds out while it serves, and what it says of models that it cannot serve."""

import contextlib
import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from surefoot.core.domain import Split
from surefoot.core.errors import Rejected
from tests import local_http
from tests.integration import hosted_models
from tests.integration.gateway_harness import GOOD, listening
from tests.integration.gateway_process import Models
from tests.integration.supervisor_harness import SupervisedGateway
from tests.integration.waiting import wait_for


def ask(port: int, count: int, callers: int = 16) -> None:
    """Ask for rows of large numbers, many callers at once."""
    numbers = iter(range(count))

    def caller() -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            for number in numbers:
                row = {"x": 20_000.0 + number, "y": 1.0}
                connection.request("POST", "/models/m/invocations", json.dumps({"dataframe_records": [row]}))
                reply = connection.getresponse()
                assert reply.status == 200, reply.read()
                reply.read()

    with ThreadPoolExecutor(callers) as pool:
        for done in [pool.submit(caller) for _ in range(callers)]:
            done.result()


def test_what_one_worker_finds_all_workers_know(tmp_path: Path) -> None:
    """A version that passes at load and looks at its batch later is asked one request at a time by every worker."""
    hosted_models.save(tmp_path / "models" / "1", hosted_models.Turning())
    (tmp_path / "gateway").mkdir()
    gateway = SupervisedGateway(tmp_path / "gateway", Models(tmp_path / "models"), 2, hosted=True)
    try:
        gateway.begin()
        gateway.traffic.shift("m", Split(gateway.models.version("1"), None, 0.0, "salt", "", 1))

        def counts() -> dict[str, object]:
            return gateway.traffic.stats("m")["versions"]["1"]  # type: ignore[index, no-any-return]

        assert counts()["row_wise"] is True

        def found() -> bool:
            ask(gateway.port, 500)
            return not counts()["row_wise"]

        wait_for(found, 120.0)
        assert "depends on the other rows of the batch (seen on a caller's row)" in str(counts()["one_at_a_time"])
        said = "version 1 is asked one request at a time: its answer"
        # The worker that is asked for its notes may be the other one, which learns of it a moment later.
        wait_for(lambda: any(note.startswith(said) for note in gateway.traffic.serving_notes("m")))
        assert int(str(counts()["differed"])) >= 1

        def quiet() -> bool:
            """No worker predicts requests together any more."""
            before = counts()["shared"]
            ask(gateway.port, 300)
            return counts()["shared"] == before

        wait_for(quiet)
        assert "surefoot_batching_allowed" in local_http.get(f"http://127.0.0.1:{gateway.port}/metrics").text
        gateway.end()
    finally:
        gateway.clear()


def test_a_champion_that_cannot_be_loaded_is_named(tmp_path: Path, models: Models) -> None:
    """`/health` and what status prints name the model that cannot be served and why; another model is served on."""

    def load(model: str, version: object) -> object:
        if model == "broken":
            raise Rejected("the model cannot be loaded: it needs the module 'torch'")
        return models(model, version)  # type: ignore[arg-type]

    with listening(tmp_path, models, load=load) as gateway:  # type: ignore[arg-type]
        gateway.shift(0, None)
        split = Split(models.version(GOOD), None, 0.0, "salt", "", 1)
        with pytest.raises(Rejected, match="it needs the module 'torch'"):
            gateway.traffic.shift("broken", split)
        said = local_http.get(f"{gateway.url}/health")
        assert (said.status_code, said.json()["models"]["broken"]["loaded"]) == (503, False)
        assert "'torch'" in said.json()["models"]["broken"]["error"]
        (note,) = gateway.traffic.serving_notes("broken")
        assert note.startswith("broken cannot be served: version 1 cannot be loaded: ")
        assert gateway.ask().status_code == 200
        assert gateway.traffic.serving_notes("flights") == ()
